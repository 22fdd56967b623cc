"""Folders of a release: subjects, coding sheets, frames by number (`006_05562.jpg`), and rows matched with folders."""

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slstt.datasets.annotations import DATASETS, EMOTIONS, Annotation, clip_id, is_subject_folder, subject_id
from slstt.datasets.clips import Clip, Remark
from slstt.datasets.worksheets import FORMATS
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
    unnamed: tuple[Path, ...] = ()
    """Folders that hold a file or folder whose name is not UTF-8; such are not looked at."""


def survey(dataset: str, root: Path) -> Survey:
    """Look through `root` for subjects of `dataset` and for spreadsheets.

    Raises DataError where `root` is missing, is a file, or is empty.
    """
    _check_root(root)
    parents, sheets, unnamed, level, seen = [], [], [], [root], set()
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
            subjects = [path for path in inner if is_subject_folder(dataset, path.name)]
            if any(subfolders(subject) for subject in subjects):
                parents.append(folder)
            sheets += _sheets_in(folder)
            below += [path for path in inner if path not in subjects]
        level = below
    above = [folder for folder in list(root.resolve().parents)[:PARENTS] if os.access(folder, os.R_OK | os.X_OK)]
    sheets += [sheet for folder in above for sheet in _sheets_in(folder)]
    return Survey(tuple(parents), tuple(sheets), tuple(unnamed))


def _check_root(root: Path) -> None:
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


def similar_data_set(root: Path, dataset: str) -> str | None:
    """Another data set whose subject folders lie under `root`, for the error that says so."""
    others = (other for other in DATASETS if other != dataset)
    return next((other for other in others if survey(other, root).parents), None)


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


@dataclass(frozen=True)
class ReleaseLayout:
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
class LocatedRelease:
    """Where the frames and the coding sheet lie, and what else was there."""

    folder: Path
    """Holds the subject folders."""
    sheet: Path
    remarks: tuple[Remark, ...]
    """Further releases and sheets, not used."""


def locate(layout: ReleaseLayout, root: Path, annotations: Path | None, rank: Callable[[Path], Any]) -> LocatedRelease:
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
    else:
        problems += _sheet_problems(sheet)
    if problems or sheet is None:
        raise DataError(*problems)
    unused = [("other_release", path) for path in folders[1:]] + [("other_sheet", path) for path in further]
    remarks = [
        Remark(layout.dataset, "", "", kind, f"{path} found as well; not used", "ignored") for kind, path in unused
    ]
    return LocatedRelease(folders[0], sheet, (*remarks, *unnamed_remarks(layout.dataset, found)))


def unnamed_remarks(dataset: str, found: Survey) -> list[Remark]:
    """One remark for each folder that holds names which are not UTF-8."""
    reason = "holds a name that is not UTF-8 or has control characters; not read, rename it"
    return [Remark(dataset, "", "", "unreadable_name", f"{path} {reason}", "ignored") for path in found.unnamed]


def _sheet_problems(sheet: Path) -> list[str]:
    try:
        sheet.stat()
    except FileNotFoundError:
        return [f"{sheet}: no such coding sheet (--annotations)"]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return [f"{sheet}: the coding sheet (--annotations) cannot be read ({reason})"]
    return [] if sheet.is_file() else [f"{sheet}: no such coding sheet (--annotations)"]


def no_subjects(layout: ReleaseLayout, root: Path) -> str:
    """The error line for a root without subjects of the data set."""
    other = similar_data_set(root, layout.dataset)
    hint = f"; its folders look like --dataset {other}" if other else ""
    return f"{root}: no {layout.title} frames within {DEPTH} levels (expected e.g. {layout.example}){hint}"


def no_sheet(layout: ReleaseLayout, root: Path, found: Survey) -> str:
    """The error line for a root without a coding sheet."""
    seen = f"; other tables there: {', '.join(path.name for path in found.sheets[:5])}" if found.sheets else ""
    return (
        f"{root}: no {layout.title} coding sheet at, below or above it (expected e.g. {layout.sheets[0]}.xlsx); "
        f"give it with --annotations FILE{seen}"
    )


def clip_folders(dataset: str, parent: Path) -> tuple[dict[tuple[str, str], Path], Mapping[Path, Path], list[Remark]]:
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


ClipKey = tuple[str, str]
"""(subject, clip), in normal form."""


def match(
    dataset: str, annotations: Iterable[Annotation], folders: Mapping[ClipKey, Path], doubled: Mapping[Path, Path]
) -> tuple[list[Clip], list[Remark]]:
    """One clip per annotated folder with an onset frame; a remark for everything else.

    Nothing is dropped in silence: each row ends as a clip or as a remark with action `failure`, each folder without a
    row as one with action `ignored`. An apex that is unknown or outside onset..offset is left as the sheet has it.
    """
    remarks = [
        Remark(dataset, *_normal_key(folders, used), "duplicate_folder", f"{folder} not used, {used} is", "flag")
        for folder, used in doubled.items()
    ]
    rows: dict[ClipKey, list[Annotation]] = {}
    for annotation in annotations:
        rows.setdefault((annotation.subject, annotation.clip), []).append(annotation)
    clips = []
    for key, same in rows.items():
        lines = " and ".join(str(row.line) for row in same)
        if any(_content(row) != _content(same[0]) for row in same):
            reason = f"rows {lines} of the sheet differ; keep the one that holds"
            remarks.append(Remark(dataset, *key, "duplicate_row", reason, "failure"))
            continue
        if len(same) > 1:
            remarks.append(
                Remark(dataset, *key, "duplicate_row", f"rows {lines} of the sheet are equal; used once", "flag")
            )
        clip, noticed = _clip(dataset, same[0], folders.get(key))
        remarks += noticed
        if clip is not None:
            clips.append(clip)
    remarks += [
        Remark(dataset, *key, "folder_without_row", f"{folder} has no row in the sheet; ignored", "ignored")
        for key, folder in folders.items()
        if key not in rows
    ]
    return sorted(clips, key=lambda clip: clip.key), remarks


def apex_remark(dataset: str, subject: str, name: str, onset: int, apex: int, offset: int) -> Remark | None:
    """The remark on a known apex that is outside onset..offset or at one of its ends."""
    if not onset <= apex <= offset:
        reason = f"apex {apex} lies outside onset {onset} .. offset {offset}"
        return Remark(dataset, subject, name, "apex_outside", reason, "flag")
    if apex in (onset, offset):
        end = "onset" if apex == onset else "offset"
        return Remark(
            dataset, subject, name, f"apex_at_{end}", f"apex {apex} is the {end} frame; kept as it is", "flag"
        )
    return None


def ranges(numbers: Iterable[int]) -> str:
    """`5, 6, 7, 9` as `5-7, 9`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _clip(dataset: str, row: Annotation, folder: Path | None) -> tuple[Clip | None, list[Remark]]:
    def remark(kind: str, reason: str) -> Remark:
        return Remark(dataset, row.subject, row.clip, kind, reason, "flag")

    def failure(kind: str, reason: str) -> tuple[None, list[Remark]]:
        return None, [Remark(dataset, row.subject, row.clip, kind, reason, "failure")]

    if folder is None:
        return failure("no_folder", f"{row.source} has no folder of frames")
    frames, doubled = frames_in(folder)
    if not frames:
        return failure("no_frames", f"{folder} holds no frame (a picture whose name ends in a number)")
    if row.onset >= row.offset:
        relation = "after" if row.onset > row.offset else "at"
        reason = f"by {row.source}, onset {row.onset} is not before offset {row.offset}"
        return failure(f"onset_{relation}_offset", reason)
    onset, apex, offset, remarks = row.onset, row.apex, row.offset, []
    if onset not in frames and row.first is not None:
        # Some copies of SMIC-E-HS number a long clip's frames from its start; the sheet keeps the camera's count.
        shift = row.first - min(frames)
        if onset - shift in frames and offset - shift in frames:
            onset, offset, apex = onset - shift, offset - shift, None if apex is None else apex - shift
            remarks.append(
                remark("frames_renumbered", f"frames are numbered {shift} below the sheet; counted from FirstF")
            )
    if onset not in frames:
        reason = f"onset frame {onset} is missing; {folder} holds frames {min(frames)}..{max(frames)}"
        return failure("no_onset_frame", reason)
    if absent := [number for number in range(onset, offset + 1) if number not in frames]:
        reason = (
            f"{len(absent)} of {offset - onset + 1} frames missing between onset and offset: {ranges(absent)}; kept"
        )
        remarks.append(remark("frames_missing", reason))
    if apex is None:
        remarks.append(remark("apex_missing", f"the sheet gives no apex ('{row.apex_text}')"))
    elif noticed := apex_remark(dataset, row.subject, row.clip, onset, apex, offset):
        remarks.append(noticed)
    if row.emotion not in EMOTIONS[dataset]:
        reason = f"emotion '{row.emotion}' is none of {', '.join(EMOTIONS[dataset])}; kept, but in no protocol"
        remarks.append(remark("unknown_emotion", reason))
    if doubled:
        names = ", ".join(path.name for path in doubled)
        remarks.append(remark("duplicate_frame", f"number already taken by another file; not used: {names}"))
    if row.second:
        reason = f"{row.source} lists a further expression in the same clip; the first one is used"
        remarks.append(remark("second_expression", reason))
    return Clip(dataset, row.subject, row.clip, row.emotion, onset, apex, offset, folder, frames), remarks


def _content(row: Annotation) -> tuple[object, ...]:
    return (row.emotion, row.onset, row.apex, row.offset)


def _normal_key(folders: Mapping[ClipKey, Path], used: Path) -> ClipKey:
    return next(key for key, folder in folders.items() if folder == used)
