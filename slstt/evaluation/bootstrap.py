"""Bootstrap intervals: subjects drawn with replacement, and how many draws.

Subjects, not clips, are drawn, with replacement, because the clips of one person are not independent. S subjects, C
classes; everything starts from one confusion matrix per subject, so that a draw is a sum of matrices.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

DRAWS = 2000
LEVEL = 0.95


def subject_weights(subjects: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each subject stands in each bootstrap sample: (draws, subjects) int64, rows summing to `subjects`."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(subjects, np.full(subjects, 1 / subjects), size=draws)


def resample(matrices: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Pooled confusion matrices of `draws` bootstrap samples of subjects: (S, ..., C, C) -> (draws, ..., C, C)."""
    weights = subject_weights(len(matrices), draws, seed)
    return (weights @ matrices.reshape(len(matrices), -1)).reshape(draws, *matrices.shape[1:])


def interval(values: np.ndarray, level: float = LEVEL) -> list[float]:
    """The percentile interval [low, high] of bootstrap values (draws,), with (1 - level) / 2 of them on each side."""
    tail = 50 * (1 - level)
    low, high = np.percentile(values, [tail, 100 - tail])
    return [float(low), float(high)]


def intervals(
    matrices: np.ndarray,
    scores: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Any]:
    """The interval of each of `scores` from per-subject confusion matrices (S, ..., C, C); None where S is 1.

    `scores` maps (draws, ..., C, C) to values (draws,) by name; every draw is scored by the rule of the score itself.
    """
    if len(matrices) < 2:
        return dict.fromkeys(scores(matrices))
    return {name: interval(values, level) for name, values in scores(resample(matrices, draws, seed)).items()}


def draws_without_a_class(matrices: np.ndarray, draws: int = DRAWS, seed: int = 0) -> float:
    """The share of draws, 0..1, in which a class that has clips (S, C, C) has none."""
    present = matrices.sum((0, 2)) > 0
    return float((resample(matrices, draws, seed).sum(2)[:, present] == 0).any(1).mean())
