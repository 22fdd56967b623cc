"""How much a score owes to the choice of the epoch: last epoch, inner validation, and peeking at the test subject.

A training run may leave two files per fold: `inner.csv` (the predictions of the epoch that validation on other subjects
chose) and `peek.csv` (the predictions on the held-out subject after every epoch, a diagnosis only).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slstt.errors import DataError
from slstt.evaluation.metrics import accuracy_of, confusion, scores_of, uf1_of
from slstt.evaluation.tables import SCORE_TITLES, Table, number
from slstt.files import read_csv

COLUMNS = ("epoch", "dataset", "subject", "clip", "true_label", "predicted_label")


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


def selection_table(rules: Sequence[Mapping[str, Any]]) -> Table | None:
    """`metrics.json`'s "selection_gap" as a table, the peeking rules marked INVALID; None where there is none."""
    if not rules:
        return None
    rows = tuple(
        (
            rule["rule"] + ("" if rule["valid"] else " (INVALID)"),
            rule["epochs"],
            str(rule["n"]),
            *(number(rule[score]) for score in SCORE_TITLES),
        )
        for rule in rules
    )
    notes = ("INVALID: the epoch was chosen by looking at the test subject; the figure is not a result.",)
    return Table(
        "Selection gap: the same training under different choices of the epoch",
        ("Epoch chosen by", "Epochs", "Clips", *SCORE_TITLES.values()),
        rows,
        notes if any(not rule["valid"] for rule in rules) else (),
    )


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
    rows = read_csv(path, COLUMNS)
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
