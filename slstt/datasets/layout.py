"""What the readers of annotated data sets share: finding the frames and the coding sheet below a root."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slstt.datasets.annotated import Key
from slstt.datasets.clip import Remark
from slstt.datasets.folders import DEPTH, Survey, by_id, look_alike, pick_sheet, subfolders, survey
from slstt.datasets.ids import clip_id, is_subject_folder, subject_id
from slstt.errors import DataError


@dataclass(frozen=True)
class Layout:
    """How one data set is laid out, as far as finding it needs."""

    dataset: str
    title: str
    example: str
    """A frame's path below the root, for error messages."""
    sheets: tuple[str, ...]
    """Stems of the coding sheets in circulation, the one to prefer first."""
    sheet_pattern: re.Pattern[str]
    """Fits the lower-case file name of any coding sheet, listed above or not."""


@dataclass(frozen=True)
class Found:
    """Where the frames and the coding sheet lie, and what else was there."""

    folder: Path
    """Holds the subject folders."""
    sheet: Path
    remarks: tuple[Remark, ...]
    """Further releases and sheets, not used."""


def locate(layout: Layout, root: Path, annotations: Path | None, rank: Callable[[Path], Any]) -> Found:
    """Find the frames (the folder of lowest `rank`) and the coding sheet of a data set.

    Raises DataError that lists all of: root missing or empty, no subjects below it, no coding sheet.
    """
    found = survey(layout.dataset, root)
    problems = []
    folders = sorted(found.parents, key=lambda folder: (rank(folder), len(folder.parts), folder))
    if not folders:
        problems.append(no_subjects(layout, root))
    sheet, further = (annotations, []) if annotations else pick_sheet(found.sheets, layout.sheet_pattern, layout.sheets)
    if sheet is None:
        problems.append(no_sheet(layout, root, found))
    elif not sheet.is_file():
        problems.append(f"{sheet}: no such coding sheet (--annotations)")
    if problems or sheet is None:
        raise DataError(*problems)
    unused = [("other_release", path) for path in folders[1:]] + [("other_sheet", path) for path in further]
    remarks = tuple(
        Remark(layout.dataset, "", "", kind, f"{path} found as well; not used", "ignored") for kind, path in unused
    )
    return Found(folders[0], sheet, remarks)


def no_subjects(layout: Layout, root: Path) -> str:
    """The error line for a root without subjects of the data set."""
    other = look_alike(root, layout.dataset)
    hint = f"; its folders look like --dataset {other}" if other else ""
    return f"{root}: no {layout.title} frames within {DEPTH} levels (expected e.g. {layout.example}){hint}"


def no_sheet(layout: Layout, root: Path, found: Survey) -> str:
    """The error line for a root without a coding sheet."""
    seen = f"; other tables there: {', '.join(path.name for path in found.sheets[:5])}" if found.sheets else ""
    return (
        f"{root}: no {layout.title} coding sheet at, below or above it (expected e.g. {layout.sheets[0]}.xlsx); "
        f"give it with --annotations FILE{seen}"
    )


def clip_folders(dataset: str, parent: Path) -> tuple[dict[Key, Path], Mapping[Path, Path], list[Remark]]:
    """((subject, clip) -> folder, doubled folders, remarks on other folders) of `<parent>/<subject>/<clip>`."""
    found, strays = [], []
    for subject_folder in subfolders(parent):
        if not is_subject_folder(dataset, subject_folder.name):
            continue
        subject = subject_id(dataset, subject_folder.name)
        for folder in subfolders(subject_folder):
            try:
                found.append(((subject, clip_id(dataset, folder.name)), folder))
            except ValueError:
                strays.append(
                    Remark(dataset, subject, folder.name, "stray_folder", f"{folder} is no clip; ignored", "ignored")
                )
    return *by_id(found), strays
