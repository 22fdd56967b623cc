"""What small differences in how flow maps were cut and smoothed cost the weights that come with slstt (zero-shot).

    python scripts/disturb_maps.py --maps MAPS [--model synthetic]

All maps are shifted by 2 pixels of 28, zoomed by 10 %, blurred, or all of these; another laboratory's crop and flow
program would do about that. Nothing is trained. UF1 over the clips of `cde`, and what of it is lost against the maps as
published, with its 95 % bootstrap over subjects, paired.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from slstt.config.load import load_config
from slstt.config.train import TrainConfig
from slstt.evaluation.compare import compare
from slstt.evaluation.metrics import uf1
from slstt.evaluation.predictions import Predictions
from slstt.flow.encoding import normalized, transform
from slstt.training.flow_data import read_data
from slstt.training.trainer import make_model

CONFIG = Path(__file__).parents[1] / "configs" / "flow_maps" / "zero_shot.yaml"
Change = Callable[[Tensor], Tensor]


def moved(right: float = 0.0, down: float = 0.0, zoom: float = 1.0) -> Change:
    """Pixels of the map, and the factor by which the face grows about the centre; the border is repeated."""

    def change(maps: Tensor) -> Tensor:
        count, side = len(maps), maps.shape[-1]
        shift = torch.tensor([[right / side, down / side]]).expand(count, 2)
        return transform(maps, torch.zeros(count), torch.full((count,), zoom), shift)

    return change


def blurred(sigma: float) -> Change:
    """A Gaussian of `sigma` pixels."""
    return lambda maps: torch.from_numpy(gaussian_filter(maps.numpy(), (0, 0, 0, sigma, sigma), mode="nearest"))


CHANGES: dict[str, Sequence[Change]] = {
    "as published": (),
    "2 px to the right": (moved(right=2),),
    "2 px to the left": (moved(right=-2),),
    "2 px down": (moved(down=2),),
    "2 px up": (moved(down=-2),),
    "zoomed by 1.1": (moved(zoom=1.1),),
    "zoomed by 0.9": (moved(zoom=0.9),),
    "blurred, 1 px": (blurred(1.0),),
    "blurred, 2 px": (blurred(2.0),),
    "2 px down, zoomed by 1.1, blurred 1 px": (moved(down=2, zoom=1.1), blurred(1.0)),
    "2 px up, zoomed by 0.9, blurred 1 px": (moved(down=-2, zoom=0.9), blurred(1.0)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="the folder of the published flow maps")
    parser.add_argument("--model", default="synthetic", help="a model file, or weights that come with slstt")
    parser.add_argument("--protocol", default="cde")
    options = parser.parse_args(argv)
    words = [f"data.root={options.maps}", f"data.protocol={options.protocol}", f"model.pretrained={options.model}"]
    settings = load_config(TrainConfig, CONFIG, words)
    data = read_data(settings.data, settings.model.image_size)
    model = make_model(settings, len(data.classes)).eval()
    maps = torch.stack([data.clip(i) for i in range(len(data))])
    true = tuple(data.classes[label] for label in data.labels)
    print("| maps | UF1 | " + " | ".join(data_set for data_set in sorted({key[0] for key in data.keys})) + " | cost |")
    print("|---|---|" + "---|" * len({key[0] for key in data.keys}) + "---|")
    reference: Predictions | None = None
    for name, changes in CHANGES.items():
        seen = maps
        for change in changes:
            seen = change(seen)
        with torch.inference_mode():
            probabilities = model(normalized(seen, settings.data.normalize)).double().softmax(1).numpy()
        predicted = tuple(data.classes[i] for i in probabilities.argmax(1))
        found = Predictions(data.classes, data.keys, true, predicted, probabilities)
        parts = [found.part(data_set) for data_set in sorted({key[0] for key in data.keys})]
        scores = [f"{uf1(one.true, one.predicted, data.classes):.3f}" for one in (found, *parts)]
        cost = ""
        if reference is None:
            reference = found
        else:
            gap = compare({"": reference}, {"": found}, ("as published", name))
            low, high = gap.ci["uf1"] or (np.nan, np.nan)
            cost = f"{gap.difference['uf1']:+.3f} [{low:+.3f}, {high:+.3f}]"
        print(f"| {name} | {' | '.join(scores)} | {cost} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
