"""Coding sheets (xlsx, xls, csv) as text rows, and the annotations in them.

Every release words its header differently and some put a preamble above it: the header is found by scanning for a row
that names all wanted columns. Every cell becomes text before it is read, so `006` stays `006` and `5562.0` is 5562.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slstt.datasets.clip import Remark
from slstt.datasets.ids import clip_id, emotion_name, subject_id, whole_number
from slstt.errors import DataError

FORMATS = (".xlsx", ".xls", ".csv")

COLUMNS = {
    "subject": ("subject",),
    "clip": ("filename",),
    "onset": ("onsetframe", "onset", "onsetf"),
    "apex": ("apexframe", "apex", "apexf"),
    "offset": ("offsetframe", "offset", "offsetf"),
    "emotion": ("estimatedemotion", "emotion"),
    "first": ("firstf",),
    "second onset": ("onset2f", "onsetf2"),
}
"""Our name of a column -> what headers call it, in lower case with only letters and digits kept."""

REQUIRED = ("subject", "clip", "onset", "offset", "emotion")


@dataclass(frozen=True)
class Annotation:
    """One row of a coding sheet, ids and emotion in normal form."""

    line: int | None
    """Row of the sheet, counted from 1, as spreadsheet programs show it; None where the folder is the annotation."""
    subject: str
    clip: str
    emotion: str
    onset: int
    apex: int | None
    """None where the cell holds no whole number (`/`) or the sheet has no apex column."""
    apex_text: str
    """What the cell says."""
    offset: int
    first: int | None = None
    """First frame of the long clip (SMIC-E-HS `FirstF`)."""
    second: bool = False
    """The row lists a further micro-expression of the same clip (SMIC-E-HS `Onset2F`)."""

    @property
    def source(self) -> str:
        """Where it stands, for messages."""
        return "the folder" if self.line is None else f"row {self.line} of the sheet"


def read_table(path: Path) -> list[list[list[str]]]:
    """All sheets of a workbook (one for csv) as rows of text cells; empty rows are kept, so indices are row numbers.

    Raises DataError where the file is missing, of another format or unreadable.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such coding sheet")
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path}: a coding sheet is one of {', '.join(FORMATS)}")
    try:
        return [_csv_rows(path)] if path.suffix.lower() == ".csv" else _workbook_rows(path)
    except DataError:
        raise
    # calamine raises types of its own for each format, and a damaged archive raises others.
    except Exception as error:
        raise DataError(f"{path}: unreadable as {path.suffix.lower()[1:]} ({error}); open and save it again") from error


def read_rows(path: Path, required: Sequence[str] = REQUIRED) -> list[tuple[int, dict[str, str]]]:
    """(row number, {our column name: text}) for every row below the header that is not empty.

    The header is the first row, over all sheets of the workbook, that names every column in `required`. Raises
    DataError that lists the columns missing from the best candidate.
    """
    best: list[str] = list(required)
    for rows in read_table(path):
        for number, row in enumerate(rows, start=1):
            where = _columns(row)
            missing = [name for name in required if name not in where]
            if not missing:
                below = enumerate(rows[number:], start=number + 1)
                return [
                    (line, {name: cells[at] if at < len(cells) else "" for name, at in where.items()})
                    for line, cells in below
                    if any(cells)
                ]
            if len(missing) < len(best):
                best = missing
    wanted = ", ".join(f"{name} ({' / '.join(COLUMNS[name])})" for name in best)
    raise DataError(f"{path}: no header row found; missing columns: {wanted}")


def read_annotations(dataset: str, path: Path) -> tuple[list[Annotation], list[Remark]]:
    """The annotations of a coding sheet, and remarks on rows that cannot be used.

    A row counts as data when its onset is a number or both its ids are valid: notes below the table do not. A data row
    without valid ids or without onset and offset is a failure of kind `bad_row`. Needs no frames on disk.
    """
    annotations, remarks = [], []
    for line, cells in read_rows(path):
        onset, offset = whole_number(cells["onset"]), whole_number(cells["offset"])
        problems, subject, clip = [], cells["subject"], cells["clip"]
        try:
            subject = subject_id(dataset, subject)
        except ValueError as error:
            problems.append(str(error))
        try:
            clip = clip_id(dataset, clip)
        except ValueError as error:
            problems.append(str(error))
        if problems and onset is None:
            continue
        problems += [
            f"{name} '{cells[name]}' is not a frame number"
            for name, value in (("onset", onset), ("offset", offset))
            if value is None
        ]
        if problems or onset is None or offset is None:
            reason = f"{path.name} row {line}: {'; '.join(problems)}; row not used"
            remarks.append(Remark(dataset, subject, clip, "bad_row", reason, "failure"))
            continue
        annotations.append(
            Annotation(
                line,
                subject,
                clip,
                emotion_name(dataset, cells["emotion"]),
                onset,
                whole_number(cells.get("apex", "")),
                cells.get("apex", ""),
                offset,
                whole_number(cells.get("first", "")),
                whole_number(cells.get("second onset", "")) is not None,
            )
        )
    if not annotations and not remarks:
        raise DataError(f"{path}: no row of {dataset} below the header")
    return annotations, remarks


def _columns(row: Sequence[str]) -> Mapping[str, int]:
    headings = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in row]
    return {
        name: next(headings.index(spelling) for spelling in spellings if spelling in headings)
        for name, spellings in COLUMNS.items()
        if any(spelling in headings for spelling in spellings)
    }


def _workbook_rows(path: Path) -> list[list[list[str]]]:
    from python_calamine import CalamineWorkbook

    with CalamineWorkbook.from_path(path) as workbook:
        return [
            [
                [_cell_text(cell) for cell in row]
                for row in workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
            ]
            for name in workbook.sheet_names
        ]


def _cell_text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _csv_rows(path: Path) -> list[list[str]]:
    raw = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):  # sheets saved by a Chinese Excel are not UTF-8
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise DataError(f"{path}: neither UTF-8 nor GB18030 text; save it as UTF-8")
    lines = text.splitlines()
    delimiter = max(",;\t", key=lambda mark: sum(line.count(mark) for line in lines[:40]))
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
