"""Tables that others made, csv, xlsx and xls, as rows of text cells: read within limits, and never a part in silence.

A workbook's cells are laid out densely once it is read, so one stray cell in the last row and column of a worksheet
asks for more memory than any machine has, and the reading library then ends the whole process. Therefore xlsx is
looked through first, cell by cell, and xls is read in a process of its own whose memory is bounded.
"""

import csv
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

from slstt.errors import DataError

FORMATS = (".xlsx", ".xls", ".csv")

MOST_ROWS = 100_000
MOST_COLUMNS = 1_000
MOST_CELLS = 2_000_000
MOST_BYTES = 128 * 2**20
"""Of the file, and of all parts of an xlsx file together once they are unpacked. The largest known coding sheets have
some ten thousand rows and one megabyte."""
MOST_PARTS = 10_000
XLS_MEMORY = 2 * 2**30
"""Bytes of address space for reading an xls file."""
XLS_SECONDS = 120

SWALLOWED = 4
"""A csv cell with a line break and this many delimiters has swallowed a row: a usable row has at least five cells."""

_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_REFERENCE = re.compile(r"([A-Za-z]{1,7})(\d{1,12})", re.ASCII)


@dataclass(frozen=True)
class Worksheet:
    """One worksheet of a workbook, or a csv file."""

    name: str
    """Empty for csv."""
    hidden: bool
    rows: list[list[str]]
    """Empty rows are kept, so indices are row numbers less one."""


def read_worksheets(path: Path) -> list[Worksheet]:
    """All worksheets of the workbook at `path` (one for csv), hidden ones included.

    Raises DataError where the file is missing, of another format, unreadable or beyond a limit, and where a quote in a
    csv file is never closed or has swallowed further rows.
    """
    try:
        found = path.is_file()
        size = path.stat().st_size if found else 0
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not found:
        raise DataError(f"{path}: no such coding sheet")
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise DataError(f"{path}: a coding sheet is one of {', '.join(FORMATS)}")
    if size > MOST_BYTES:
        raise DataError(f"{path}: has {_size(size)}, at most {_size(MOST_BYTES)} are read; keep the table alone")
    read = {".csv": _read_csv, ".xlsx": _read_xlsx, ".xls": _read_xls}[suffix]
    try:
        return read(path)
    except (DataError, KeyboardInterrupt, SystemExit):
        raise
    # calamine raises types of its own for each format, panics (no Exception) on some, and a damaged archive others.
    except BaseException as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: unreadable as {suffix[1:]} ({reason}); open and save it again") from error


def _read_csv(path: Path) -> list[Worksheet]:
    raw = path.read_bytes()
    # Sheets saved by a Chinese Excel are GB18030, its "Unicode text" is UTF-16 with a byte order mark.
    for encoding in ("utf-16",) if raw.startswith(_BYTE_ORDER_MARKS) else ("utf-8-sig", "gb18030"):
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise DataError(f"{path}: neither UTF-8 nor GB18030 text; save it as UTF-8")
    if "\0" in text:
        raise DataError(f"{path}: holds NUL characters, so it is no text; save it as csv in UTF-8")
    head = text[:100_000].splitlines()[:40]
    delimiter = max(",;\t", key=lambda mark: sum(line.count(mark) for line in head))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    cells = 0
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f'{path}: line {line}: a quote (") that begins in this line is not closed, or closed inside a cell '
                f"({error}); correct the quotes"
            ) from error
        if row is None:
            return [Worksheet("", False, rows)]
        if any(("\n" in cell or "\r" in cell) and cell.count(delimiter) >= SWALLOWED for cell in row):
            raise DataError(
                f'{path}: line {line}: a quote (") that begins in this line is closed in line {reader.line_num} only '
                "and has swallowed what lies between; close it, or take the line breaks out of the cell"
            )
        rows.append([cell.strip() for cell in row])
        cells += len(row)
        if len(rows) > MOST_ROWS or len(row) > MOST_COLUMNS or cells > MOST_CELLS:
            raise DataError(_beyond(f"{path}: line {line}", f"{len(rows):,} rows, {len(row):,} columns"))


def _read_xlsx(path: Path) -> list[Worksheet]:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        unpacked = sum(part.file_size for part in parts)
        if len(parts) > MOST_PARTS:
            raise DataError(f"{path}: has {len(parts):,} parts, at most {MOST_PARTS:,} are read; save the table alone")
        if unpacked > MOST_BYTES:
            raise DataError(
                f"{path}: has {_size(unpacked)} once unpacked, at most {_size(MOST_BYTES)} are read; "
                "save the table alone, without empty formatted rows"
            )
        for part in parts:
            scan = _CellScan(f"{path}: {part.filename}")
            with archive.open(part) as stream:  # a part longer than the archive says fails its checksum here
                scan.read(stream, part.filename)
    return _read_workbook(path)


class _CellScan:
    """Looks through one part of an xlsx file; raises DataError where a filled cell lies beyond the limits."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.root: str | None = None
        self.row = self.column = 0
        self.rows = self.columns = 0
        """Of the area that filled cells take up."""

    def read(self, stream: Any, name: str) -> None:
        """Feed all of `stream`; parts that are no worksheet are only unpacked."""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = self._doctype
        while chunk := stream.read(2**20):
            if self.root in (None, "worksheet"):
                try:
                    parser.Parse(chunk, False)
                except expat.ExpatError as error:
                    if self.root == "worksheet" or name.lower().endswith(".xml"):
                        raise DataError(f"{self.where}: damaged ({error}); open and save the file again") from error
                    self.root = ""  # a picture, say

    def _doctype(self, *_: object) -> None:
        raise DataError(f"{self.where}: declares a document type, which no spreadsheet does; save the file again")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if self.root is None:
            self.root = name
        if self.root != "worksheet":
            return
        if name == "row":
            self.row = _number(attributes.get("r"), self.row + 1)
            self.column = 0
        elif name == "c":
            found = _REFERENCE.fullmatch(attributes.get("r", ""))
            self.column = _column(found[1]) if found else self.column + 1
            self.row = int(found[2]) if found else self.row
        elif name in ("v", "is", "f"):  # cells that are only formatted hold none of these and take no memory
            self.rows, self.columns = max(self.rows, self.row), max(self.columns, self.column)
            if self.rows > MOST_ROWS or self.columns > MOST_COLUMNS or self.rows * self.columns > MOST_CELLS:
                what = f"a cell in row {self.row:,}, column {self.column:,} of a table {self.columns:,} columns wide"
                raise DataError(_beyond(self.where, what))


def _column(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"\d{1,12}", text, re.ASCII) else otherwise


def _read_workbook(path: Path) -> list[Worksheet]:
    from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    sheets = []
    with CalamineWorkbook.from_path(path) as workbook:
        for place, about in enumerate(workbook.sheets_metadata):
            if about.typ != SheetTypeEnum.WorkSheet:
                continue
            sheet = workbook.get_sheet_by_index(place)
            row, column = sheet.end or (0, 0)
            if row >= MOST_ROWS or column >= MOST_COLUMNS or (row + 1) * (column + 1) > MOST_CELLS:
                where = f"{path}: worksheet '{about.name}'"
                raise DataError(_beyond(where, f"a cell in row {row + 1:,}, column {column + 1:,}"))
            rows = [[_cell_text(cell) for cell in cells] for cells in sheet.to_python(skip_empty_area=False)]
            sheets.append(Worksheet(about.name, about.visible != SheetVisibleEnum.Visible, rows))
    return sheets


def _read_xls(path: Path) -> list[Worksheet]:
    command = [
        sys.executable,
        "-c",
        "from slstt.datasets.worksheets import print_xls; print_xls()",
        str(path.resolve()),
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=XLS_SECONDS, env=_environment())
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{path}: not read within {XLS_SECONDS} s; save the table alone as xlsx or csv") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise DataError(
            f"{path}: cannot be read within {_size(XLS_MEMORY)} of memory (a stray cell far from the table?); "
            "save the table alone as xlsx or csv"
        ) from None
    if isinstance(answer, str):
        raise DataError(answer)
    return [Worksheet(**sheet) for sheet in answer]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def print_xls() -> None:
    """What the process that reads an xls file runs: its worksheets, or what is wrong with them, as JSON on stdout."""
    path = Path(sys.argv[1])
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (XLS_MEMORY, XLS_MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # Windows has no such limit; the process still stands for itself
    try:
        answer: Any = [asdict(sheet) for sheet in _read_workbook(path)]
    except DataError as error:
        answer = error.problems[0]
    except Exception as error:
        answer = f"{path}: unreadable as xls ({' '.join(str(error).split())[:200]}); open and save it again"
    json.dump(answer, sys.stdout)


def _cell_text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _beyond(where: str, what: str) -> str:
    return (
        f"{where}: {what}; at most {MOST_ROWS:,} rows, {MOST_COLUMNS:,} columns and {MOST_CELLS:,} cells are read; "
        "delete stray cells far from the table, or save the table alone"
    )


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MB"
