"""Does a probability of 0.7 mean right seven times out of ten?"""

from dataclasses import dataclass

import numpy as np

from slstt.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Calibration:
    """Clips binned by the probability of their predicted class."""

    edges: np.ndarray
    """(B + 1,) bin edges over 0..1; a bin holds its upper edge, not its lower one."""
    counts: np.ndarray
    """(B,) clips in each bin."""
    confidence: np.ndarray
    """(B,) mean probability of the predicted class, nan where a bin is empty."""
    accuracy: np.ndarray
    """(B,) share of clips recognised, nan where a bin is empty."""
    low: np.ndarray
    high: np.ndarray
    """(B,) each: 95% Wilson interval of the accuracy (clips taken as independent)."""
    error: float
    """Expected calibration error: mean |accuracy - confidence| over the clips."""


def calibration(predictions: Predictions, bins: int = 10) -> Calibration:
    """The calibration of the predicted class's probability in `bins` equal bins."""
    order = {name: i for i, name in enumerate(predictions.classes)}
    said = predictions.probabilities[np.arange(len(predictions)), [order[label] for label in predictions.predicted]]
    right = np.array([t == p for t, p in zip(predictions.true, predictions.predicted, strict=True)], dtype=float)
    place = np.clip(np.ceil(said * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, said, bins) / counts
        accuracy = np.bincount(place, right, bins) / counts
        low, high = _wilson(accuracy, counts)
    filled = counts > 0
    error = float((counts * np.abs(accuracy - confidence))[filled].sum() / counts.sum())
    return Calibration(np.linspace(0, 1, bins + 1), counts, confidence, accuracy, low, high, error)


def _wilson(share: np.ndarray, counts: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    counts = np.where(counts > 0, counts, np.nan)
    centre = (share + z * z / (2 * counts)) / (1 + z * z / counts)
    half = z / (1 + z * z / counts) * np.sqrt(share * (1 - share) / counts + z * z / (4 * counts**2))
    return centre - half, centre + half
