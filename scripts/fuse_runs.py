"""Fuse runs of slstt-train: the mean of their probabilities, equal weights, as one more run that slstt-eval reads.

python scripts/fuse_runs.py RUN RUN [RUN ...] OUT
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from slstt.evaluation.predictions import Predictions, read_predictions, write_predictions


def main() -> None:
    *runs, out = map(Path, sys.argv[1:])
    if len(runs) < 2:
        sys.exit(__doc__)
    parts = [read_predictions(run / "predictions.csv") for run in runs]
    first = parts[0]
    for run, part in zip(runs, parts, strict=True):
        if (part.keys, part.true, part.classes) != (first.keys, first.true, first.classes):
            sys.exit(f"{run}: not the clips, labels and classes of {runs[0]}")
    mean = np.mean([part.probabilities for part in parts], axis=0)
    predicted = tuple(first.classes[i] for i in mean.argmax(1))
    write_predictions(out / "predictions.csv", Predictions(first.classes, first.keys, first.true, predicted, mean))
    shutil.copy(runs[0] / "folds.json", out / "folds.json")
    print(f"{out}: mean of {len(runs)} runs; slstt-eval {out}")


if __name__ == "__main__":
    main()
