"""`predictions.csv`: the predicted class of every clip. All figures of a run can be recomputed from this file alone.

Columns: `dataset, subject, clip, true_label, predicted_label, p_<class>...`; labels are class names and the order of
the `p_` columns is the order of the classes everywhere (confusion matrices, tables, colours). A run that predicts
action units has the columns `true_AU<n>` (1, 0, empty where the coder left it open) and `p_AU<n>` instead.
"""

import stat
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slstt.datasets.clips import key_problems, name_of, same_but_for_case
from slstt.errors import DataError, shortened
from slstt.files import data_frame, read_csv, write_csv

if TYPE_CHECKING:
    import pandas

COLUMNS = ("dataset", "subject", "clip", "true_label", "predicted_label")
MOST_BYTES, MOST_ROWS, MOST_SUBJECTS, MOST_CLASSES = 100_000_000, 200_000, 5_000, 50
"""Ten times what the largest data set of micro-expressions would give; more is another file."""
SUM_TOLERANCE = 1e-3
"""Probabilities rounded to three digits still count as summing to one."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row per clip; N clips, C classes."""

    classes: tuple[str, ...]
    keys: tuple[tuple[str, str, str], ...]
    """(dataset, subject, clip) of each row, each once."""
    true: tuple[str, ...]
    predicted: tuple[str, ...]
    probabilities: np.ndarray
    """(N, C) float64 in [0, 1]; rows sum to one; columns in the order of `classes`."""

    def __post_init__(self) -> None:
        count = len(self.keys)
        if not (len(self.true) == len(self.predicted) == count) or self.probabilities.shape != (
            count,
            len(self.classes),
        ):
            raise ValueError(
                f"{count} keys, {len(self.true)} true and {len(self.predicted)} predicted labels, "
                f"probabilities {self.probabilities.shape} for {len(self.classes)} classes do not belong together"
            )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """(dataset, subject) pairs that occur, sorted. A subject id is unique only within its data set."""
        return tuple(sorted({key[:2] for key in self.keys}))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Data sets that occur, sorted."""
        return tuple(sorted({key[0] for key in self.keys}))

    def select(self, rows: Sequence[int]) -> "Predictions":
        """The rows with these numbers, in this order."""
        return Predictions(
            self.classes,
            tuple(self.keys[i] for i in rows),
            tuple(self.true[i] for i in rows),
            tuple(self.predicted[i] for i in rows),
            self.probabilities[list(rows)],
        )

    def only(self, keys: Collection[tuple[str, str, str]]) -> "Predictions":
        """The rows of these clips."""
        return self.select([i for i, key in enumerate(self.keys) if key in keys])

    def part(self, dataset: str) -> "Predictions":
        """The rows of one data set."""
        return self.select([i for i, key in enumerate(self.keys) if key[0] == dataset])

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a clip, with the columns of predictions.csv. Raises ConfigError where pandas is absent."""
        rows = zip(self.keys, self.true, self.predicted, self.probabilities.tolist(), strict=True)
        return data_frame(
            (*COLUMNS, *(f"p_{name}" for name in self.classes)),
            [(*key, true, predicted, *p) for key, true, predicted, p in rows],
        )


def read_predictions(path: Path) -> Predictions:
    """Read and check a `predictions.csv`.

    Raises DataError listing every problem: file missing or malformed, no rows, no `p_` columns, an id that cannot
    name a file, a clip that stands twice, a label outside the classes, probabilities that are not numbers in [0, 1]
    or do not sum to one.
    """
    path = Path(path)
    refuse_too_large(path)
    rows = read_csv(path, COLUMNS, one_line=True)
    if not rows:
        raise DataError(f"{path}: holds no predictions, only the header; finish at least one fold first")
    classes = tuple(name[2:] for name in rows[0] if name.startswith("p_"))
    if not classes or "" in classes:
        raise DataError(f"{path}: needs one probability column p_<class> for each class, in the classes' order")
    keys = tuple((row["dataset"], row["subject"], row["clip"]) for row in rows)
    problems = problems_of_keys(path, keys)
    probabilities = np.zeros((len(rows), len(classes)))
    labels, numbers = [], []
    for i, (key, row) in enumerate(zip(keys, rows, strict=True)):
        for column in ("true_label", "predicted_label"):
            if row[column] not in classes:
                labels.append(
                    f"{name_of(key)}: {column} '{row[column]}' is not one of the classes ({', '.join(classes)})"
                )
        try:
            probabilities[i] = [float(row[f"p_{name}"]) for name in classes]
        except ValueError:
            numbers.append(f"{name_of(key)}: a probability is not a number")
            continue
        if not ((probabilities[i] >= 0) & (probabilities[i] <= 1 + SUM_TOLERANCE)).all():
            numbers.append(f"{name_of(key)}: a probability lies outside 0..1")
        elif abs(probabilities[i].sum() - 1) > SUM_TOLERANCE:
            numbers.append(f"{name_of(key)}: probabilities sum to {probabilities[i].sum():.4g}, not to one")
    problems += shortened(labels) + shortened(numbers)
    if problems:
        raise DataError(*(f"{path}: {problem}" for problem in problems))
    return Predictions(
        classes,
        keys,
        tuple(row["true_label"] for row in rows),
        tuple(row["predicted_label"] for row in rows),
        probabilities,
    )


def problems_of_keys(path: Path, keys: Sequence[tuple[str, str, str]]) -> list[str]:
    """Ids in the rows of `path` that cannot name a file, and rows for one clip.

    Raises DataError where there are too many subjects.
    """
    if (subjects := len({key[:2] for key in keys})) > MOST_SUBJECTS:
        raise DataError(f"{path}: has {subjects:,} subjects; at most {MOST_SUBJECTS:,} are read")
    problems = shortened(
        [f"row {row}: {problem}" for row, key in enumerate(keys, start=1) for problem in key_problems(key)]
    )
    problems += shortened(
        [
            f"{name_of(one)} and {name_of(other)} differ in capitals only; keep one row"
            for one, other in same_but_for_case(keys)
        ]
    )
    return problems + shortened(
        [f"{name_of(key)} stands {times} times; keep one row" for key, times in Counter(keys).items() if times > 1]
    )


def refuse_too_large(path: Path) -> None:
    """Raise DataError where a file is far larger than any predictions are, before its rows fill the memory."""
    try:
        state = path.stat()
        if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
            raise DataError(f"{path}: unreadable, since it is a pipe or a device; put a file there")
        if state.st_size > MOST_BYTES:
            raise DataError(f"{path}: has {state.st_size / 1e6:,.0f} MB; at most {MOST_BYTES / 1e6:,.0f} MB are read")
        with path.open("rb") as stream:
            columns = stream.readline().count(b",") + 1
            rows = sum(block.count(b"\n") for block in iter(lambda: stream.read(2**20), b""))
    except (OSError, ValueError):
        return  # absent, or not to be opened: reading says so
    if columns > MOST_CLASSES + len(COLUMNS):
        raise DataError(f"{path}: has {columns:,} columns; at most {MOST_CLASSES} classes are read")
    if rows > MOST_ROWS:
        raise DataError(f"{path}: has {rows:,} rows; at most {MOST_ROWS:,} are read")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `predictions.csv`, whole or not at all; probabilities with nine digits, enough for float32."""
    write_csv(
        path,
        (*COLUMNS, *(f"p_{name}" for name in predictions.classes)),
        (
            (*key, true, predicted, *(f"{p:.9g}" for p in row))
            for key, true, predicted, row in zip(
                predictions.keys, predictions.true, predictions.predicted, predictions.probabilities, strict=True
            )
        ),
    )


def pool(parts: Sequence[Predictions]) -> Predictions:
    """All rows of the folds together, sorted by (dataset, subject, clip).

    Raises DataError where there is nothing to pool, the classes differ, or a clip was predicted by two folds.
    """
    if not parts:
        raise DataError("no predictions to pool; finish at least one fold first")
    classes = parts[0].classes
    if any(part.classes != classes for part in parts):
        raise DataError(
            "folds of different classes cannot be pooled: "
            + "; ".join(sorted({", ".join(part.classes) for part in parts}))
        )
    keys = [key for part in parts for key in part.keys]
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        raise DataError(*shortened([f"{name_of(key)} is predicted by more than one fold" for key in sorted(twice)]))
    pooled = Predictions(
        classes,
        tuple(keys),
        tuple(label for part in parts for label in part.true),
        tuple(label for part in parts for label in part.predicted),
        np.concatenate([part.probabilities for part in parts]),
    )
    return pooled.select(sorted(range(len(keys)), key=lambda i: keys[i]))


UNIT_COLUMNS = ("dataset", "subject", "clip")
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

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a clip, with the columns of predictions.csv; nan where a true unit is undecided. Raises ConfigError
        where pandas is absent."""
        rows = zip(self.keys, self.true.tolist(), self.probabilities.tolist(), strict=True)
        return data_frame(unit_columns(self.units), [(*key, *true, *p) for key, true, p in rows])


def unit_columns(units: Sequence[str]) -> tuple[str, ...]:
    """The header of a predictions.csv of action units."""
    return (*UNIT_COLUMNS, *(TRUE + unit for unit in units), *(PROBABILITY + unit for unit in units))


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
    rows = read_csv(path, UNIT_COLUMNS, one_line=True)
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
        unit_columns(predictions.units),
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
