"""Folders of a release: where the subjects and the coding sheets lie, and the frames of one clip by number."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slstt.datasets.ids import DATASETS, is_subject_folder
from slstt.datasets.sheets import FORMATS
from slstt.errors import DataError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})

DEPTH = 4
"""How far below `--root` subjects are looked for (`SMIC-E_raw image/HS_long/SMIC-HS-E/HS/s01` is the deepest known)."""

PARENTS = 3
"""How far above `--root` a coding sheet is looked for, when `--root` is an inner folder."""


@dataclass(frozen=True)
class Survey:
    """What lies under a root, without looking into the subjects."""

    parents: tuple[Path, ...]
    """Folders that hold subject folders, nearest the root first."""
    sheets: tuple[Path, ...]
    """Spreadsheets and csv files at or below the root, then in the folders above it."""


def survey(dataset: str, root: Path) -> Survey:
    """Look through `root` for subjects of `dataset` and for spreadsheets.

    Raises DataError where `root` is missing, is a file, or is empty.
    """
    if not root.exists():
        raise DataError(f"{root}: no such folder; --root must point at the data set")
    if not root.is_dir():
        raise DataError(f"{root}: is a file; --root must point at the data set's folder")
    if not _entries(root):
        raise DataError(f"{root}: the folder is empty; --root must point at the data set")
    parents, sheets, level = [], [], [root]
    for _ in range(DEPTH + 1):
        below = []
        for folder in level:
            if not os.access(folder, os.R_OK | os.X_OK):
                continue  # e.g. lost+found; the subjects' own folders must be readable
            inner = subfolders(folder)
            subjects = [path for path in inner if is_subject_folder(dataset, path.name)]
            if any(subfolders(subject) for subject in subjects):
                parents.append(folder)
            sheets += _sheets_in(folder)
            below += [path for path in inner if path not in subjects]
        level = below
    above = [folder for folder in list(root.resolve().parents)[:PARENTS] if os.access(folder, os.R_OK | os.X_OK)]
    return Survey(tuple(parents), (*sheets, *(sheet for folder in above for sheet in _sheets_in(folder))))


def look_alike(root: Path, dataset: str) -> str | None:
    """Another data set whose subject folders lie under `root`, for the error that says so."""
    others = (other for other in DATASETS if other != dataset)
    return next((other for other in others if survey(other, root).parents), None)


def subfolders(folder: Path) -> list[Path]:
    """The folders inside `folder`, by name; hidden ones and archive leftovers (`__MACOSX`) left out.

    Raises DataError where `folder` may not be read.
    """
    return [folder / e.name for e in _entries(folder) if e.is_dir() and not e.name.startswith((".", "__", "$", "@"))]


def frames_in(folder: Path) -> tuple[dict[int, Path], list[Path]]:
    """(frame number -> file, ascending; further files with a number already taken).

    The number is the integer that ends the file's stem, so zero padding and what stands before it do not matter:
    `img46.jpg`, `reg_img46.jpg`, `006_05562.jpg`, `image559740.bmp`. Files of other kinds, hidden files and copies
    (`img46 (1).jpg`) are not frames. Raises DataError where `folder` may not be read.
    """
    names = [e.name for e in _entries(folder) if not e.name.startswith((".", "~")) and e.is_file()]
    frames, doubled = {}, []
    for name in names:
        stem, _, suffix = name.rpartition(".")
        number = re.search(r"[0-9]+$", stem)
        if f".{suffix.lower()}" not in PICTURES or not number:
            continue
        if int(number[0]) in frames:
            doubled.append(folder / name)
        else:
            frames[int(number[0])] = folder / name
    return dict(sorted(frames.items())), doubled


def own_names(folder: Path, root: Path) -> tuple[str, ...]:
    """Lower-case names from below `root` down to `folder`; the root's own name where they are the same folder."""
    return tuple(name.lower() for name in folder.relative_to(root).parts) or (root.resolve().name.lower(),)


def is_cropped(folder: Path, root: Path) -> bool:
    """Whether the subjects in `folder` are a cropped release: the folder says so, or frames are called `reg_...`."""
    return any("crop" in name for name in own_names(folder, root)) or next(_pictures_below(folder), "").startswith(
        "reg_"
    )


def pick_sheet(sheets: Iterable[Path], pattern: re.Pattern[str], preferred: Iterable[str]) -> tuple[Path | None, list]:
    """(the coding sheet to use, further sheets that fit as well) among `sheets`, by file name.

    Names are compared without case; `preferred` stems come first, in their order, then the nearest to the root.
    """
    order = [name.lower() for name in preferred]
    fitting = [path for path in dict.fromkeys(sheets) if pattern.match(path.name.lower())]
    fitting.sort(key=lambda path: order.index(path.stem.lower()) if path.stem.lower() in order else len(order))
    return (fitting[0], fitting[1:]) if fitting else (None, [])


def by_id(found: Iterable[tuple[tuple[str, str], Path]]) -> tuple[dict[tuple[str, str], Path], Mapping[Path, Path]]:
    """((subject, clip) -> folder, doubled folder -> the one used) for folders whose normal ids may coincide."""
    folders, doubled = {}, {}
    for key, folder in found:
        if key in folders:
            doubled[folder] = folders[key]
        else:
            folders[key] = folder
    return folders, doubled


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); allow it or move it away") from error


def _sheets_in(folder: Path) -> list[Path]:
    return [
        folder / e.name
        for e in _entries(folder)
        if e.name.lower().endswith(FORMATS) and not e.name.startswith((".", "~")) and e.is_file()
    ]


def _pictures_below(folder: Path) -> Iterator[str]:
    for _, inner, names in os.walk(folder):
        inner.sort()
        yield from sorted(name for name in names if name.lower().endswith(tuple(PICTURES)) and name[0] != ".")
