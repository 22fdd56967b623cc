"""Tiny native trees: the layouts of CASME II, SAMM and SMIC with sheets and frames, as their owners have them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import xlsxwriter
import xlwt

CASME2_HEADER = (
    "Subject",
    "Filename",
    "",
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    "",
    "Action Units",
    "Estimated Emotion",
)
SAMM_HEADER = (
    "Subject",
    "Filename",
    "Inducement Code",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Duration",
    "Micro",
    "Action Units",
    "Estimated Emotion",
    "Objective Classes",
    "Notes",
)
SMIC_E_HEADER = ("Subject", "Filename", "", "OnsetF", "OffsetF", "Onset2F", "Offset2F", "FirstF", "LastF", "Emotion")


def write_xlsx(path: Path, rows: Iterable[Sequence[object]], other_sheets: Sequence[str] = ()) -> Path:
    """A workbook whose last worksheet holds `rows`; `other_sheets` stand before it and hold a note each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with xlsxwriter.Workbook(path) as workbook:
        for name in other_sheets:
            workbook.add_worksheet(name).write(0, 0, "nothing here")
        sheet = workbook.add_worksheet("codes")
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                sheet.write(number, column, cell)
    return path


def write_workbook(path: Path, sheets: Mapping[str, Iterable[Sequence[object]]]) -> Path:
    """A workbook with several worksheets: name -> rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with xlsxwriter.Workbook(path) as workbook:
        for name, rows in sheets.items():
            sheet = workbook.add_worksheet(name)
            for number, row in enumerate(rows):
                for column, cell in enumerate(row):
                    sheet.write(number, column, cell)
    return path


def write_xls(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    workbook = xlwt.Workbook()
    sheet = workbook.add_sheet("codes")
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            sheet.write(number, column, cell)
    workbook.save(str(path))
    return path


def casme2_row(subject: object, clip: str, onset: object, apex: object, offset: object, emotion: str) -> tuple:
    return (subject, clip, "", onset, apex, offset, "", "4+7", emotion)


def samm_row(subject: object, clip: str, onset: object, apex: object, offset: object, emotion: str) -> tuple:
    return (subject, clip, "1", onset, apex, offset, 50, "Micro - 1/2", "4", emotion, 1, "")


def frames(
    folder: Path, numbers: Iterable[int], name: str = "img{}.jpg", *, size: tuple[int, int] | None = None
) -> Path:
    """Files called `name.format(number)` in `folder`: empty ones, or pictures of `size` (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / name.format(number)
        if size is None:
            path.touch()
        else:
            picture = np.full((size[1], size[0], 3), number % 256, np.uint8)
            path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    return folder
