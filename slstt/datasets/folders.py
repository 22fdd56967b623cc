"""What lies below a root: the folders of frames by id, frames by number (`006_05562.jpg`), and spreadsheets."""

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slstt.datasets.annotations import DataSet, Tree
from slstt.datasets.clips import Remark
from slstt.datasets.worksheets import FORMATS
from slstt.errors import DataError
from slstt.files import PICTURES

DEPTH = 4
"""How far below `--root` subjects are looked for (`SMIC-E_raw image/HS_long/SMIC-HS-E/HS/s01` is the deepest known)."""

PARENTS = 3
"""How far above `--root` a coding sheet is looked for, when `--root` is an inner folder."""


@dataclass(frozen=True)
class Survey:
    """What lies under a root, without looking deep into a data set's trees."""

    parents: Mapping[Path, Tree]
    """Folders below which a tree begins, nearest the root first, with the tree."""
    sheets: tuple[Path, ...]
    """Spreadsheets and csv files at or below the root, then in the folders above it."""
    unnamed: tuple[Path, ...] = ()
    """Folders that hold a file or folder whose name is not UTF-8; such are not looked at."""


def survey(data_set: DataSet, root: Path) -> Survey:
    """Look through `root` for the trees of `data_set` and for spreadsheets.

    Raises DataError where `root` is missing, is a file, or is empty.
    """
    check_root(root)
    parents: dict[Path, Tree] = {}
    sheets, unnamed, level, seen = [], [], [root], set()
    for _ in range(DEPTH + 1):
        below = []
        for folder in level:
            if not os.access(folder, os.R_OK | os.X_OK):
                continue  # e.g. lost+found; the subjects' own folders must be readable
            place = folder.stat()
            if (place.st_dev, place.st_ino) in seen:
                continue  # a link back to a folder above or beside
            seen.add((place.st_dev, place.st_ino))
            if any(not _is_text(entry.name) for entry in _scan(folder)):
                unnamed.append(folder)
            inner = subfolders(folder)
            for tree in data_set.trees:
                begins = [path for path in inner if tree.levels[0].fullmatch(path.name)]
                if folder not in parents and any(len(tree.levels) == 1 or subfolders(path) for path in begins):
                    parents[folder] = tree
                inner = [path for path in inner if path not in begins]
            sheets += _sheets_in(folder)
            below += inner
        level = below
    above = [folder for folder in list(root.resolve().parents)[:PARENTS] if os.access(folder, os.R_OK | os.X_OK)]
    sheets += [sheet for folder in above for sheet in _sheets_in(folder)]
    return Survey(parents, tuple(sheets), tuple(unnamed))


def check_root(root: Path) -> None:
    """Raise DataError where `root` is missing, no folder, empty, or called what no table can hold."""
    if not _is_text(str(root)):
        raise DataError(f"{str(root)!a}: the path holds control characters or is not UTF-8; rename the folder")
    try:
        mode = root.stat().st_mode
    except FileNotFoundError as error:
        raise DataError(f"{root}: no such folder; --root must point at the data set") from error
    except OSError as error:
        raise DataError(f"{root}: cannot be read ({error.strerror}); --root must point at the data set") from error
    if not stat.S_ISDIR(mode):
        raise DataError(f"{root}: is a file; --root must point at the data set's folder")
    if not _entries(root):
        raise DataError(f"{root}: the folder is empty; --root must point at the data set")


def subfolders(folder: Path) -> list[Path]:
    """The folders inside `folder`, by name; hidden ones and archive leftovers (`__MACOSX`) left out.

    Raises DataError where `folder` may not be read.
    """
    return [
        folder / e.name
        for e in _entries(folder)
        if _leads_to(e, os.DirEntry.is_dir) and not e.name.startswith((".", "__", "$", "@"))
    ]


def frames_in(folder: Path) -> tuple[dict[int, Path], list[Path]]:
    """(frame number -> file, ascending; further files with a number already taken).

    The number is the integer that ends the file's stem, so zero padding and what stands before it do not matter:
    `img46.jpg`, `reg_img46.jpg`, `006_05562.jpg`, `image559740.bmp`. Files of other kinds, hidden files and copies
    (`img46 (1).jpg`) are not frames, nor is a link that leads nowhere or round in circles. Raises DataError where
    `folder` may not be read.
    """
    names = [
        e.name for e in _entries(folder) if not e.name.startswith((".", "~")) and _leads_to(e, os.DirEntry.is_file)
    ]
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


def folder_names(folder: Path, root: Path) -> tuple[str, ...]:
    """Lower-case names from below `root` down to `folder`; the root's own name where they are the same folder."""
    return tuple(name.lower() for name in folder.relative_to(root).parts) or (root.resolve().name.lower(),)


def is_cropped(folder: Path, root: Path) -> bool:
    """Whether the subjects in `folder` are a cropped release: the folder says so, or frames are called `reg_...`."""
    return any("crop" in name for name in folder_names(folder, root)) or next(_pictures_below(folder), "").startswith(
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


def files_called(pattern: re.Pattern[str], folders: Iterable[Path]) -> list[Path]:
    """The files in `folders` whose name fits, each once, by name."""
    found = {
        (folder / entry.name).resolve(): folder / entry.name
        for folder in folders
        for entry in _entries(folder)
        if pattern.fullmatch(entry.name) and _leads_to(entry, os.DirEntry.is_file)
    }
    return sorted(found.values(), key=lambda path: (path.name, path))


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
    """What lies in `folder`, by name, without names that are not UTF-8: no table and no page could hold them."""
    return [entry for entry in _scan(folder) if _is_text(entry.name)]


def _is_text(name: str) -> bool:
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def _leads_to(entry: os.DirEntry[str], kind: Callable[[os.DirEntry[str]], bool]) -> bool:
    """Whether the entry is a file or folder; no for a link that goes round in circles."""
    try:
        return kind(entry)
    except OSError:
        return False


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); allow it or move it away") from error


def _sheets_in(folder: Path) -> list[Path]:
    return [
        folder / e.name
        for e in _entries(folder)
        if e.name.lower().endswith(FORMATS) and not e.name.startswith((".", "~")) and _leads_to(e, os.DirEntry.is_file)
    ]


def _pictures_below(folder: Path) -> Iterator[str]:
    for _, inner, names in os.walk(folder):
        inner.sort()
        yield from sorted(name for name in names if name.lower().endswith(tuple(PICTURES)) and name[0] != ".")


FolderKey = tuple[str, str]
"""(subject, clip) in normal form, or (subject, video) where a folder holds a whole recording."""


@dataclass(frozen=True)
class FrameFolders:
    """The folders of frames in one tree."""

    folders: Mapping[FolderKey, Path]
    doubled: Mapping[Path, Path]
    """A further folder of an id -> the one that is used."""
    remarks: tuple[Remark, ...]
    """On folders that are none."""


def frame_folders(data_set: DataSet, parent: Path, tree: Tree) -> FrameFolders:
    """All folders of frames of `tree` below `parent`, and a remark on each folder in their place that is none."""
    found: list[tuple[FolderKey, Path]] = []
    strays: list[Remark] = []

    def descend(folder: Path, depth: int, subject: str, place: str) -> None:
        pattern = tree.levels[depth]
        names_a_place = {"clip", "video"} & pattern.groupindex.keys()
        for inner in subfolders(folder):
            fits = pattern.fullmatch(inner.name)
            try:
                if fits is None:
                    raise ValueError(f"'{inner.name}' is not of this tree")
                told = fits.groupdict()
                whose = data_set.subject_id(told["subject"]) if "subject" in told else subject
                which = data_set.clip_id(told["clip"]) if "clip" in told else place
                which = data_set.video_id(told["video"]) if "video" in told else which
            except ValueError:
                if depth and names_a_place:
                    reason = f"{inner} is no clip; ignored"
                    strays.append(Remark(data_set.name, subject, inner.name, "stray_folder", reason, "ignored"))
                continue
            if depth == len(tree.levels) - 1:
                found.append(((whose, which), inner))
            else:
                descend(inner, depth + 1, whose, which)

    descend(parent, 0, "", "")
    return FrameFolders(*by_id(found), tuple(strays))
