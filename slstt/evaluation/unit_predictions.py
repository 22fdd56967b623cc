"""`predictions.csv` of action units: for every clip and unit whether it is there, and the predicted probability.

Columns: `dataset, subject, clip, true_<unit>..., p_<unit>...`, e.g. `true_AU4, p_AU4`; `true_` is 1, 0, or empty where
the coder left it open. A unit is predicted to be there where its probability is above one half (logit above 0).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slstt.datasets.clips import name_of
from slstt.errors import DataError, shortened
from slstt.evaluation.predictions import problems_of_keys, refuse_too_large
from slstt.files import read_csv, write_csv

COLUMNS = ("dataset", "subject", "clip")
TRUE, PROBABILITY = "true_", "p_"


@dataclass(frozen=True, eq=False)
class UnitPredictions:
    """One row per clip; N clips, U units."""

    units: tuple[str, ...]
    """Names, `AU1`, ..."""
    keys: tuple[tuple[str, str, str], ...]
    """(dataset, subject, clip) of each row, each once."""
    true: np.ndarray
    """(N, U) float64: 1 present, 0 absent, nan undecided."""
    probabilities: np.ndarray
    """(N, U) float64 in [0, 1]."""

    def __post_init__(self) -> None:
        shape = (len(self.keys), len(self.units))
        if self.true.shape != shape or self.probabilities.shape != shape:
            raise ValueError(
                f"{len(self.keys)} keys, true units {self.true.shape} and probabilities {self.probabilities.shape} for "
                f"{len(self.units)} units do not belong together"
            )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def predicted(self) -> np.ndarray:
        """(N, U) bool: whether each unit is predicted to be there."""
        return self.probabilities > 0.5

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """(dataset, subject) pairs that occur, sorted."""
        return tuple(sorted({key[:2] for key in self.keys}))


def holds_units(path: Path) -> bool:
    """Whether `path` is a predictions.csv of action units: its header has no label, but true units."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            header = [cell.strip().strip('"') for cell in stream.readline(1_000_000).split(",")]
    except (OSError, ValueError):
        return False
    return "true_label" not in header and any(cell.startswith(TRUE) for cell in header)


def read_unit_predictions(path: Path) -> UnitPredictions:
    """Read and check a `predictions.csv` of action units.

    Raises DataError listing every problem: file missing or malformed, no rows, a unit without its probability, an id
    that cannot name a file, a clip that stands twice, a true unit that is not 1, 0 or empty, a probability outside
    0..1.
    """
    path = Path(path)
    refuse_too_large(path)
    rows = read_csv(path, COLUMNS, one_line=True)
    if not rows:
        raise DataError(f"{path}: holds no predictions, only the header; finish at least one fold first")
    units = tuple(name.removeprefix(TRUE) for name in rows[0] if name.startswith(TRUE))
    stated = tuple(name.removeprefix(PROBABILITY) for name in rows[0] if name.startswith(PROBABILITY))
    if not units or "" in units or units != stated:
        raise DataError(
            f"{path}: needs the columns true_<unit> and p_<unit> for each unit, in the same order; it has "
            f"{', '.join(units) or 'none'} and {', '.join(stated) or 'none'}"
        )
    keys = tuple((row["dataset"], row["subject"], row["clip"]) for row in rows)
    problems = problems_of_keys(path, keys)
    true, probabilities = np.full((len(rows), len(units)), np.nan), np.zeros((len(rows), len(units)))
    wrong = []
    for i, (key, row) in enumerate(zip(keys, rows, strict=True)):
        for place, unit in enumerate(units):
            given, stated_p = row[TRUE + unit].strip(), row[PROBABILITY + unit]
            if given not in ("", "0", "1"):
                wrong.append(f"{name_of(key)}: {TRUE}{unit} '{given}' is not 1, 0 or empty")
            elif given:
                true[i, place] = float(given)
            try:
                probabilities[i, place] = float(stated_p)
            except ValueError:
                wrong.append(f"{name_of(key)}: {PROBABILITY}{unit} is not a number")
                continue
            if not 0 <= probabilities[i, place] <= 1:
                wrong.append(f"{name_of(key)}: {PROBABILITY}{unit} lies outside 0..1")
    if problems := problems + shortened(wrong):
        raise DataError(*(f"{path}: {problem}" for problem in problems))
    return UnitPredictions(units, keys, true, probabilities)


def write_unit_predictions(path: Path, predictions: UnitPredictions) -> None:
    """Write `predictions.csv`, whole or not at all; probabilities with nine digits, enough for float32."""
    write_csv(
        path,
        (*COLUMNS, *(TRUE + unit for unit in predictions.units), *(PROBABILITY + unit for unit in predictions.units)),
        (
            (*key, *("" if np.isnan(value) else f"{value:.0f}" for value in true), *(f"{p:.9g}" for p in row))
            for key, true, row in zip(predictions.keys, predictions.true, predictions.probabilities, strict=True)
        ),
    )


def pool_units(parts: Sequence[UnitPredictions]) -> UnitPredictions:
    """All rows of the folds together, sorted by (dataset, subject, clip).

    Raises DataError where there is nothing to pool, the units differ, or a clip was predicted by two folds.
    """
    if not parts:
        raise DataError("no predictions to pool; finish at least one fold first")
    units = parts[0].units
    if any(part.units != units for part in parts):
        lists = "; ".join(sorted({", ".join(part.units) for part in parts}))
        raise DataError(f"folds of different units cannot be pooled: {lists}")
    keys = [key for part in parts for key in part.keys]
    if twice := [key for key, times in Counter(keys).items() if times > 1]:
        raise DataError(*shortened([f"{name_of(key)} is predicted by more than one fold" for key in sorted(twice)]))
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    true, probabilities = (
        np.concatenate([getattr(part, name) for part in parts])[order] for name in ("true", "probabilities")
    )
    return UnitPredictions(units, tuple(keys[i] for i in order), true, probabilities)
