"""Do the weights for clips help on rendered clips? Pretrained against scratch on the full road, by training subjects.

    python scripts/transfer_rendered.py --out transfer

Writes rendered clips in SMIC's layout, preprocesses them (faces found, 11 frames, flow), holds eight subjects out and
trains configs/synthetic_clip.yaml on some of the others: from the whole pretrained network, from its encoder alone, and
from scratch. Prints UF1 on the held-out subjects, mean and spread over draws of training subjects, and leaves
transfer.csv. Clips that are there already are kept.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from slstt.cli import preprocess
from slstt.config.load import load_config
from slstt.config.train import TrainConfig
from slstt.datasets import synthetic
from slstt.evaluation.metrics import uf1
from slstt.files import write_csv
from slstt.training.classifiers import classify_fold
from slstt.training.flow_data import FlowData, read_data
from slstt.training.folds import Fold
from slstt.training.inputs import FlowInputs
from slstt.training.trainer import FoldSetup, train_fold

CONFIG = Path("configs/synthetic_clip.yaml")
HELD_OUT = 8
KINDS = {
    "zero-shot": ("classifier.name=pretrained", "classifier.start=random", "training.augment.mirror=false"),
    "whole network": (),
    "encoder alone": ("classifier.start=random",),
    "scratch": ("classifier.start=random", "model.pretrained=null"),
}


def prepared(out: Path, subjects: int, clips: int, difficulty: float) -> Path:
    """The folder with the rendered clips' flow."""
    if not (out / "preprocessed" / "index.csv").exists():
        synthetic.write(out / "raw", "smic", subjects, clips, difficulty, seed=11)
        words = ["--dataset", "smic", "--root", str(out / "raw"), "--out", str(out / "preprocessed")]
        if preprocess.main([*words, "--config", "configs/demo_preprocess.yaml", "--quiet"]) not in (0, 1):
            raise SystemExit("slstt-preprocess failed")
    return out / "preprocessed"


def held_out_uf1(data: FlowData, settings: TrainConfig, subjects: list[str], out: Path) -> float:
    """UF1 on the last subjects of the data after learning from `subjects`."""
    tested = sorted({subject for _, subject, _ in data.keys})[-HELD_OUT:]
    train, test = (
        tuple(i for i, (_, subject, _) in enumerate(data.keys) if subject in chosen) for chosen in (subjects, tested)
    )
    fold, device = Fold("smic", "held-out", train, (), test), torch.device("cpu")
    inputs = FlowInputs(data, settings, device, fold.train)
    setup = FoldSetup(fold, data, settings, inputs, out, device)
    trained = classify_fold(setup) if settings.classifier.trained_at_once else train_fold(setup)
    assert trained is not None
    true, predicted = [data.classes[data.labels[i]] for i in test], trained.probabilities.argmax(1)
    return uf1(true, [data.classes[i] for i in predicted], data.classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("transfer"))
    parser.add_argument("--subjects", type=int, default=24, help=f"in all; {HELD_OUT} of them are held out")
    parser.add_argument("--clips", type=int, default=6, help="per subject")
    parser.add_argument("--difficulty", type=float, default=0.9)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16], help="numbers of training subjects")
    parser.add_argument("--draws", type=int, default=3, help="of training subjects and of everything random")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("overrides", nargs="*", help="section.key=value of slstt-train")
    options = parser.parse_args()
    root = prepared(options.out, options.subjects, options.clips, options.difficulty)
    common = (f"data.root={root}", "run.device=cpu", "run.checkpoint_seconds=100000", *options.overrides)
    rows = []
    for kind in options.kinds:
        for size in options.sizes if kind != "zero-shot" else [0]:
            found, started = [], time.process_time()
            for draw in range(options.draws if size else 1):
                settings = load_config(TrainConfig, CONFIG, (*common, *KINDS[kind], f"run.seed={draw}"))
                data = read_data(settings.data, settings.model.image_size)
                learned = sorted({subject for _, subject, _ in data.keys})[:-HELD_OUT]
                subjects = np.random.default_rng([draw, size]).permutation(learned)[:size].tolist()
                found.append(held_out_uf1(data, settings, subjects, options.out / "work"))
            spread = np.std(found, ddof=1) if len(found) > 1 else 0.0
            rows.append([kind, size, len(found), round(float(np.mean(found)), 4), round(float(spread), 4)])
            seconds = time.process_time() - started
            print(
                f"{kind}, {size} subjects: UF1 {np.mean(found):.3f} +- {spread:.3f} ({seconds:.0f} CPU s)", flush=True
            )
    write_csv(options.out / "transfer.csv", ["kind", "subjects", "draws", "uf1", "deviation"], rows)


if __name__ == "__main__":
    main()
