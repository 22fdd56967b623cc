"""Accuracy, UF1 and UAR from one pooled confusion matrix, their bootstrap intervals, and the selection gap.

UF1 is the mean over the classes of 2TP / (2TP + FP + FN), UAR the mean over the classes of TP / N (See et al.,
MEGC 2019), both of the confusion matrix pooled over all folds, never averaged over folds. The classes are pinned: a
class absent from both true and predicted labels counts 0, with a warning, as does the recall of a class without clips.

Intervals come from the bootstrap over subjects: subjects, not clips, are drawn, with replacement, because the clips of
one person are not independent. S subjects, C classes; everything starts from one confusion matrix per subject, so that
a draw is a sum of matrices. Last comes what another choice of the epoch would have scored (`selection_gap`).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slstt.errors import DataError
from slstt.evaluation.predictions import Predictions
from slstt.files import read_csv

SCORES = ("accuracy", "uf1", "uar")
DRAWS = 2000
LEVEL = 0.95


def confusion(true: Sequence[Any], predicted: Sequence[Any], labels: Sequence[Any]) -> np.ndarray:
    """The (C, C) int64 confusion matrix: rows true, columns predicted, both in the order of `labels`.

    Raises DataError where a label is not in `labels` or the two sequences differ in length.
    """
    order = {label: i for i, label in enumerate(labels)}
    if len(true) != len(predicted):
        raise DataError(f"{len(true)} true labels and {len(predicted)} predicted ones do not belong together")
    if outside := sorted({str(label) for label in (*true, *predicted) if label not in order}):
        raise DataError(f"labels outside the classes {[str(label) for label in labels]}: {', '.join(outside)}")
    size = len(order)
    cells = [order[t] * size + order[p] for t, p in zip(true, predicted, strict=True)]
    return np.bincount(np.array(cells, dtype=np.int64), minlength=size * size).reshape(size, size)


def uf1(true: Sequence[Any], predicted: Sequence[Any], labels: Sequence[Any]) -> float:
    """Unweighted F1, 0..1: the mean over `labels` of 2TP / (2TP + FP + FN).

    A class absent from both counts 0, with a warning. Raises DataError as `confusion` does.
    """
    matrix = confusion(true, predicted, labels)
    _warn_of(matrix.sum(0) + matrix.sum(1) == 0, labels, "is absent from true and predicted labels: its F1")
    return float(uf1_of(matrix))


def uar(true: Sequence[Any], predicted: Sequence[Any], labels: Sequence[Any]) -> float:
    """Unweighted average recall, 0..1: the mean over `labels` of TP / N.

    A class without true clips counts 0, with a warning. Raises DataError as `confusion` does.
    """
    matrix = confusion(true, predicted, labels)
    _warn_of(matrix.sum(1) == 0, labels, "has no true clips: its recall")
    return float(uar_of(matrix))


def _warn_of(absent: np.ndarray, labels: Sequence[Any], what: str) -> None:
    for label, missing in zip(labels, absent, strict=True):
        if missing:
            warnings.warn(f"class '{label}' {what} counts 0", UserWarning, stacklevel=3)


def accuracy_of(matrix: np.ndarray) -> np.ndarray:
    """Accuracy of confusion matrices (..., C, C) -> (...)."""
    return _ratio(_hits(matrix).sum(-1), matrix.sum((-2, -1)))


def recall_of(matrix: np.ndarray) -> np.ndarray:
    """Recall of each class of confusion matrices (..., C, C) -> (..., C); 0 for a class without clips."""
    return _ratio(_hits(matrix), matrix.sum(-1))


def precision_of(matrix: np.ndarray) -> np.ndarray:
    """Precision of each class of confusion matrices (..., C, C) -> (..., C); 0 for a class never predicted."""
    return _ratio(_hits(matrix), matrix.sum(-2))


def f1_of(matrix: np.ndarray) -> np.ndarray:
    """F1 of each class of confusion matrices (..., C, C) -> (..., C): 2TP / (2TP + FP + FN), and 0 for 0/0."""
    return _ratio(2 * _hits(matrix), matrix.sum(-1) + matrix.sum(-2))


def uf1_of(matrix: np.ndarray) -> np.ndarray:
    """UF1 of confusion matrices (..., C, C) -> (...)."""
    return f1_of(matrix).mean(-1)


def uar_of(matrix: np.ndarray) -> np.ndarray:
    """UAR of confusion matrices (..., C, C) -> (...)."""
    return recall_of(matrix).mean(-1)


def scores_of(matrix: np.ndarray) -> dict[str, Any]:
    """The three scores of confusion matrices (..., C, C), each (...)."""
    return {"accuracy": accuracy_of(matrix), "uf1": uf1_of(matrix), "uar": uar_of(matrix)}


def subject_confusions(
    predictions: Predictions, subjects: Sequence[tuple[str, str]] | None = None
) -> tuple[tuple[tuple[str, str], ...], np.ndarray]:
    """The confusion matrix of each subject: ((dataset, subject) pairs, sorted; (S, C, C) int64)."""
    subjects = predictions.subjects if subjects is None else tuple(subjects)
    place = {subject: i for i, subject in enumerate(subjects)}
    order = {label: i for i, label in enumerate(predictions.classes)}
    matrices = np.zeros((len(subjects), len(order), len(order)), dtype=np.int64)
    for key, true, predicted in zip(predictions.keys, predictions.true, predictions.predicted, strict=True):
        matrices[place[key[:2]], order[true], order[predicted]] += 1
    return tuple(subjects), matrices


def summary(
    predictions: Predictions,
    protocol: str | None = None,
    selection: str | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """What `metrics.json` holds: scores with intervals in full and per part, per class and per subject.

    `protocol` and `selection` are passed through. Absent classes stand under "warnings".
    """
    subjects, matrices = subject_confusions(predictions)
    return summary_of(predictions.classes, subjects, matrices, protocol, selection, draws, seed)


def summary_of(
    classes: Sequence[str],
    subjects: Sequence[tuple[str, str]],
    matrices: np.ndarray,
    protocol: str | None = None,
    selection: str | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """`summary` from the subjects' confusion matrices (S, C, C), which may be summed over several seeds."""
    matrix = matrices.sum(0)
    datasets = sorted({dataset for dataset, _ in subjects})
    parts, remarks = {}, _absences(matrix, classes, "")
    for dataset in datasets:
        rows = matrices[[i for i, subject in enumerate(subjects) if subject[0] == dataset]]
        parts[dataset] = block_of(rows, draws, seed)
        if len(datasets) > 1:
            remarks += _absences(rows.sum(0), classes, f"{dataset}: ")
    if len(subjects) > 1 and (missing := draws_without_a_class(matrices, draws, seed)) > 0.05:
        remarks.append(f"a class has no clip in {missing:.0%} of the bootstrap draws: the intervals are wide for it")
    per_class = {
        name: {
            "precision": float(precision_of(matrix)[i]),
            "recall": float(recall_of(matrix)[i]),
            "f1": float(f1_of(matrix)[i]),
            "support": int(matrix[i].sum()),
            "predicted": int(matrix[:, i].sum()),
        }
        for i, name in enumerate(classes)
    }
    return {
        "protocol": protocol,
        "selection": selection,
        "classes": list(classes),
        "n": int(matrix.sum()),
        "full": block_of(matrices, draws, seed),
        "parts": parts,
        "per_class": per_class,
        "confusion": matrix.tolist(),
        "per_subject": [
            {"dataset": dataset, "subject": subject, "n": int(m.sum()), "accuracy": float(accuracy_of(m))}
            for (dataset, subject), m in zip(subjects, matrices, strict=True)
        ],
        "bootstrap": {"unit": "subject", "draws": draws, "level": LEVEL, "seed": seed},
        "warnings": remarks,
    }


def block_of(matrices: np.ndarray, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """The scores of one part with their intervals, from its subjects' confusion matrices (S, C, C)."""
    pooled = matrices.sum(0)
    return {
        **{name: float(value) for name, value in scores_of(pooled).items()},
        "ci": intervals(matrices, scores_of, draws, seed),
        "n": int(pooled.sum()),
        "subjects": len(matrices),
    }


def _absences(matrix: np.ndarray, classes: Sequence[str], where: str) -> list[str]:
    remarks = []
    for name, true, predicted in zip(classes, matrix.sum(1), matrix.sum(0), strict=True):
        if true == 0:
            absent = (
                "true and predicted labels: its F1 and recall count" if predicted == 0 else "true labels: it counts"
            )
            remarks.append(f"{where}class '{name}' is absent from the {absent} 0 in UF1 and UAR")
    return remarks


def _hits(matrix: np.ndarray) -> np.ndarray:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(np.shape(denominator)), where=denominator != 0)


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


PEEK_COLUMNS = ("epoch", "dataset", "subject", "clip", "true_label", "predicted_label")


@dataclass(frozen=True)
class ScoresUnderRule:
    """The pooled scores under one way of choosing the epoch."""

    rule: str
    scores: Mapping[str, float]
    clips: int
    valid: bool
    epochs: str
    """Which epochs were taken, for people."""


def selection_gap(
    peek_files: Sequence[Path], inner_files: Sequence[Path], classes: Sequence[str]
) -> list[ScoresUnderRule]:
    """The scores under each rule for which the folds left `peek.csv` or `inner.csv`; empty where they left none.

    Raises DataError where a file is malformed or names labels outside `classes`.
    """
    rules = []
    peek = [_epochs(path, classes) for path in peek_files]
    inner = [_epochs(path, classes) for path in inner_files]
    if peek:
        last = [max(fold) for fold in peek]
        rules.append(_under_rule("last epoch", peek, last, True))
    if inner:
        rules.append(_under_rule("inner validation", inner, [max(fold) for fold in inner], True))
    if peek:
        shared = sorted(set.intersection(*(set(fold) for fold in peek)))
        if shared:
            best = max(shared, key=lambda epoch: float(uf1_of(_pooled([fold[epoch] for fold in peek]))))
            rules.append(
                _under_rule("one epoch for all folds, best on the test subjects", peek, [best] * len(peek), False)
            )
        # `max` keeps the first of equals: the earliest epoch, as the usual `if score > best` does.
        chosen = [max(sorted(fold), key=lambda epoch, f=fold: float(accuracy_of(f[epoch]))) for fold in peek]
        rules.append(_under_rule("each fold's best epoch on its test subject", peek, chosen, False))
    return rules


def peek_curve(peek_files: Sequence[Path], classes: Sequence[str]) -> dict[str, list[float]] | None:
    """Pooled test UF1 after every epoch ("epoch", "uf1"), a diagnosis only; None where there is no `peek.csv`."""
    folds = [_epochs(path, classes) for path in peek_files]
    if not folds:
        return None
    epochs = sorted(set.intersection(*(set(fold) for fold in folds)))
    return {
        "epoch": [float(epoch) for epoch in epochs],
        "uf1": [float(uf1_of(_pooled([fold[epoch] for fold in folds]))) for epoch in epochs],
    }


def _under_rule(rule: str, folds: Sequence[Mapping[int, Any]], epochs: Sequence[int], valid: bool) -> ScoresUnderRule:
    matrix = _pooled([fold[epoch] for fold, epoch in zip(folds, epochs, strict=True)])
    low, high = min(epochs), max(epochs)
    return ScoresUnderRule(
        rule,
        {name: float(value) for name, value in scores_of(matrix).items()},
        int(matrix.sum()),
        valid,
        str(low) if low == high else f"{low}-{high}",
    )


def _epochs(path: Path, classes: Sequence[str]) -> dict[int, np.ndarray]:
    """Epoch -> confusion matrix of one fold's file."""
    rows = read_csv(path, PEEK_COLUMNS)
    by_epoch: dict[int, tuple[list[str], list[str]]] = {}
    for row in rows:
        if not row["epoch"].isdecimal() or len(row["epoch"]) > 9:
            raise DataError(f"{path}: epoch '{row['epoch']}' is not a number")
        true, predicted = by_epoch.setdefault(int(row["epoch"]), ([], []))
        true.append(row["true_label"])
        predicted.append(row["predicted_label"])
    if not by_epoch:
        raise DataError(f"{path}: holds no predictions")
    try:
        return {epoch: confusion(*labels, classes) for epoch, labels in by_epoch.items()}
    except DataError as error:
        raise DataError(*(f"{path}: {problem}" for problem in error.problems)) from error


def _pooled(matrices: Sequence[np.ndarray]) -> np.ndarray:
    return np.sum(matrices, axis=0)
