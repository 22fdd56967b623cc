"""The network that names an interval's class: the shipped weights, a model file, or all folds of a run.

A run's folds each learned from other subjects; their probabilities are averaged. What goes in is made as in training,
by the same functions, from what the model files' headers say.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from slstt.datasets.synthetic.flow_fields import PUBLISHED_CROP, min_max
from slstt.errors import WeightsError
from slstt.files import sha256
from slstt.models.model_input import ModelInput, read_model_input
from slstt.models.pretrained import load_model
from slstt.models.slstt import SLSTT
from slstt.models.weight_files import SYNTHETIC
from slstt.preprocessing.flow import strain
from slstt.training.encodings import encode, normalize_each
from slstt.training.flow_dataset import resized
from slstt.training.run_folder import CONFIG, FOLDS

DEFAULT = "synthetic"
"""The shipped weights that `default` stands for."""
HELD_BYTES = 2 * 10**9
"""Models of up to this size together stay in memory; larger ones are read again for each recording."""


@dataclass(frozen=True)
class Classifier:
    """Networks of one input and one set of classes."""

    source: str
    """As given."""
    paths: tuple[Path, ...]
    wanted: ModelInput
    """Of the first; the others differ in `mean`, `deviation` and `left_out` alone."""
    remarks: tuple[str, ...] = ()

    @property
    def crop(self) -> tuple[float, float, float, float] | None:
        """As `ModelInput.crop`; published maps do not say what they show, so it is what they seem to show."""
        return self.wanted.crop or (PUBLISHED_CROP if self.wanted.kind == "flow_maps" else None)

    @property
    def shipped(self) -> bool:
        """Whether the weights came with slstt."""
        return self.paths[0].parent == SYNTHETIC.parent

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of each file."""
        return tuple(sha256(path) for path in self.paths)

    @cached_property
    def _held(self) -> dict[Path, tuple[SLSTT, ModelInput]]:
        if sum(path.stat().st_size for path in self.paths) > HELD_BYTES:
            return {}
        return {path: _load(path) for path in self.paths}

    def load(self) -> None:
        """Read the models now, so that a damaged one is found before any work. Raises WeightsError."""
        if not self._held:
            for path in self.paths:
                _load(path)

    def models(self):
        """Each model with what it wants, in evaluation mode."""
        for path in self.paths:
            yield self._held.get(path) or _load(path)

    def probabilities(self, flows: Sequence[Float[Tensor, "T 2 H W"]]) -> Float[Tensor, "N K"]:
        """Intervals' flow in pixels of the crop (each T, 2, H, W) -> probabilities (N, K), averaged over the models."""
        total = torch.zeros(len(flows), len(self.wanted.classes), dtype=torch.float64)
        for model, wanted in self.models():
            for row, flow in enumerate(flows):
                total[row] += logits(model, wanted, flow).double().softmax(0)
        return total / len(self.paths)


@torch.inference_mode()
def logits(model: SLSTT, wanted: ModelInput, flow: Float[Tensor, "T 2 H W"]) -> Float[Tensor, " K"]:
    """One model's answer to one interval."""
    device = next(model.parameters()).device
    return model(pictures(wanted, flow)[None].to(device))[0].cpu()


def pictures(wanted: ModelInput, flow: Float[Tensor, "T 2 H W"]) -> Float[Tensor, "T 3 S S"]:
    """Flow in pixels of the crop -> what the network sees, as slstt-train and slstt-pretrain make it."""
    small = resized(flow, wanted.image_size).float()
    if wanted.kind == "flow_maps":
        maps = torch.cat([small, torch.from_numpy(strain(small.numpy()))[:, None]], dim=1)
        encoded = torch.from_numpy(2 * min_max(maps[None].numpy()) - 1)
    else:
        encoded = encode(small[None], wanted.encoding)
    if wanted.mean is not None and wanted.deviation is not None:
        mean, deviation = (torch.tensor(x)[:, None, None] for x in (wanted.mean, wanted.deviation))
        return ((encoded - mean) / deviation)[0]
    return (normalize_each(encoded) if wanted.normalize == "map" else encoded)[0]


def find_classifier(source: str) -> Classifier:
    """The networks that `source` means: `default`, a shipped name, a model file, or a run folder.

    Raises WeightsError where there are none, where one is not a model file of slstt, or where they do not go together.
    """
    shipped = {path.stem: path for path in sorted(SYNTHETIC.parent.glob("*.safetensors"))}
    path, remarks = Path(source), []
    if source == "default":
        paths = [shipped[DEFAULT]]
    elif path.is_dir():
        paths, remarks = _models_of_run(path)
    elif path.is_file():
        paths = [path]
    elif source in shipped:
        paths = [shipped[source]]
    else:
        raise WeightsError(f"{source}: no such model file or run folder; give one, or default")
    wanted = [read_model_input(path) for path in paths]
    plain = [replace(one, mean=None, deviation=None, left_out="") for one in wanted]
    odd = [str(path) for path, one in zip(paths, plain, strict=True) if one != plain[0]]
    if odd:
        raise WeightsError(f"{odd[0]}: wants other input or names other classes than {paths[0]}; give one run's folds")
    return Classifier(source, tuple(paths), wanted[0], tuple(remarks))


def _load(path: Path) -> tuple[SLSTT, ModelInput]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_model(path).to(device), read_model_input(path)


def _models_of_run(run: Path) -> tuple[list[Path], list[str]]:
    """The model files of a run of slstt-train (or of slstt-pretrain), and what is to be said about them."""
    if (run / "model.safetensors").is_file():
        return [run / "model.safetensors"], []
    found = sorted(run.glob("folds/*/model.safetensors"))
    if not found:
        raise WeightsError(f"{run}: {_why_none(run)}")
    try:
        folds = [fold["name"] for fold in json.loads((run / FOLDS).read_text(encoding="utf-8"))["folds"]]
    except (OSError, ValueError, KeyError, TypeError):
        return found, [f"{run}: {FOLDS} is missing or unreadable, so folds may be missing"]
    missing = sorted(set(folds) - {path.parent.name for path in found})
    if not missing:
        return found, []
    names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return found, [f"{run}: {len(missing)} of {len(folds)} folds have no model yet: {names}"]


def _why_none(run: Path) -> str:
    try:
        settings = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
        name = settings["classifier"]["name"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return f"not a run folder (no folds/*/model.safetensors and no {CONFIG}); give a run of slstt-train"
    if name != "slstt":
        return f"its classifier is {name}, which leaves no network behind; give a run with classifier.name=slstt"
    return "holds no models of its folds; train with run.save_models=true"
