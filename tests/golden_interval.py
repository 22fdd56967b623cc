"""The 95 % interval of one simulated run, computed in plain Python; `python tests/golden_interval.py` prints it.

Nothing of slstt's own bootstrap is used, so that a change of the level, the number of draws, what is drawn or the kind
of percentile shows. Draws: 2000, of subjects, `numpy.random.default_rng(0).multinomial`.
"""

import math
from collections import defaultdict

import numpy as np
from simulated_runs import predictions

GOLDEN = {
    "accuracy": [0.6153846153846154, 0.9272727272727272],
    "uf1": [0.610219717212301, 0.9326923076923078],
    "uar": [0.6352542988412553, 0.9455376344086022],
}
"""Of `predictions(subjects=9)`."""


def quantile(values: list[float], share: float) -> float:
    """By linear interpolation between the two nearest of the sorted values."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def plain_interval(level: float = 0.95, draws: int = 2000) -> dict[str, list[float]]:
    """[low, high] of each score."""
    run = predictions(subjects=9)
    of_subject = defaultdict(list)
    for key, true, predicted in zip(run.keys, run.true, run.predicted, strict=True):
        of_subject[key[:2]].append((true, predicted))
    groups = [of_subject[subject] for subject in sorted(of_subject)]
    scores = defaultdict(list)
    for times in np.random.default_rng(0).multinomial(len(groups), [1 / len(groups)] * len(groups), size=draws):
        pairs = [pair for group, count in zip(groups, times.tolist(), strict=True) for pair in group * count]
        f1, recall = [], []
        for name in run.classes:
            hits = sum(true == predicted == name for true, predicted in pairs)
            of_class = sum(true == name for true, _ in pairs)
            stated = sum(predicted == name for _, predicted in pairs)
            f1.append(2 * hits / (of_class + stated) if of_class + stated else 0.0)
            recall.append(hits / of_class if of_class else 0.0)
        scores["accuracy"].append(sum(true == predicted for true, predicted in pairs) / len(pairs))
        scores["uf1"].append(sum(f1) / len(f1))
        scores["uar"].append(sum(recall) / len(recall))
    tail = (1 - level) / 2
    return {name: [quantile(values, tail), quantile(values, 1 - tail)] for name, values in scores.items()}


if __name__ == "__main__":
    print(plain_interval())
