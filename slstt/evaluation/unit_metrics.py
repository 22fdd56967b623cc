"""Macro F1 and binary F1 of action units, as CD6ME's paper (arXiv 2211.11425) and its authors' program define them.

Predictions are pooled over all folds. Binary F1 of a unit is 2TP / (2TP + FP + FN) of its presence, 0 for 0/0. Macro F1
of a unit is the mean of the F1 of its presence and the F1 of its absence; one of the two that neither the coder nor the
model ever says is left out of that mean, as the authors' program does. A data set's score, and the whole, is the mean
over the units. Units that the coder left open count nowhere.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from slstt.evaluation.metrics import DRAWS, LEVEL, f1_of, intervals, precision_of, recall_of
from slstt.evaluation.predictions import UnitPredictions

UNIT_SCORES = ("macro_f1", "binary_f1")


def unit_confusions(predictions: UnitPredictions) -> np.ndarray:
    """Each subject's confusion matrices, (S, U, 2, 2) int64: rows absent, present in truth; columns in prediction.

    Subjects in the order of `predictions.subjects`.
    """
    place = {subject: i for i, subject in enumerate(predictions.subjects)}
    matrices = np.zeros((len(place), len(predictions.units), 2, 2), dtype=np.int64)
    for key, true, said in zip(predictions.keys, predictions.true, predictions.predicted, strict=True):
        for unit in np.flatnonzero(~np.isnan(true)):
            matrices[place[key[:2]], unit, int(true[unit]), int(said[unit])] += 1
    return matrices


def binary_f1_of(matrices: np.ndarray) -> np.ndarray:
    """Binary F1 of confusion matrices (..., 2, 2) -> (...): of presence; 0 for 0/0."""
    return f1_of(matrices)[..., 1]


def macro_f1_of(matrices: np.ndarray) -> np.ndarray:
    """Macro F1 of confusion matrices (..., 2, 2) -> (...): mean over what is said at all of absence and presence."""
    said = (matrices.sum(-1) + matrices.sum(-2)) > 0
    count = said.sum(-1)
    return np.divide((f1_of(matrices) * said).sum(-1), count, out=np.zeros(count.shape), where=count > 0)


def unit_scores_of(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Both scores of (..., U, 2, 2), each (...): the mean over the units."""
    return {"macro_f1": macro_f1_of(matrices).mean(-1), "binary_f1": binary_f1_of(matrices).mean(-1)}


def unit_summary(
    predictions: UnitPredictions,
    protocol: str | None = None,
    selection: str | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """What `metrics.json` holds: scores with intervals in full and per data set, per unit and per data set and unit."""
    subjects, matrices = predictions.subjects, unit_confusions(predictions)
    datasets = sorted({dataset for dataset, _ in subjects})
    parts, warnings = {}, []
    for dataset in datasets:
        rows = matrices[[i for i, subject in enumerate(subjects) if subject[0] == dataset]]
        clips = sum(key[0] == dataset for key in predictions.keys)
        parts[dataset] = {**_block(rows, clips, draws, seed), "per_unit": _per_unit(rows.sum(0), predictions.units)}
        if len(datasets) > 1:
            warnings += _never_shown(rows.sum(0), predictions.units, f"{dataset}: ")
    return {
        "protocol": protocol,
        "selection": selection,
        "target": "units",
        "units": list(predictions.units),
        "n": len(predictions),
        "full": _block(matrices, len(predictions), draws, seed),
        "parts": parts,
        "per_unit": _per_unit(matrices.sum(0), predictions.units),
        "bootstrap": {"unit": "subject", "draws": draws, "level": LEVEL, "seed": seed},
        "warnings": [*_never_shown(matrices.sum(0), predictions.units, ""), *warnings],
    }


def _block(matrices: np.ndarray, clips: int, draws: int, seed: int) -> dict[str, Any]:
    return {
        **{name: float(value) for name, value in unit_scores_of(matrices.sum(0)).items()},
        "ci": intervals(matrices, unit_scores_of, draws, seed),
        "n": clips,
        "subjects": len(matrices),
    }


def _per_unit(matrices: np.ndarray, units: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {
        unit: {
            "macro_f1": float(macro_f1_of(matrix)),
            "binary_f1": float(binary_f1_of(matrix)),
            "precision": float(precision_of(matrix)[1]),
            "recall": float(recall_of(matrix)[1]),
            "shown": int(matrix[1].sum()),
            "predicted": int(matrix[:, 1].sum()),
            "decided": int(matrix.sum()),
        }
        for unit, matrix in zip(units, matrices, strict=True)
    }


def _never_shown(matrices: np.ndarray, units: Sequence[str], where: str) -> list[str]:
    absent = [unit for unit, matrix in zip(units, matrices, strict=True) if not matrix[1].sum()]
    return [f"{where}no clip shows {', '.join(absent)}: the binary F1 counts 0"] if absent else []
