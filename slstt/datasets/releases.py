"""One data set under a root: its frames and its coding sheet found, and the sheet's rows matched with the folders."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slstt.datasets.annotations import Annotation, DataSet, Tree, read_annotations
from slstt.datasets.clips import Clip, Release, Remark, Video
from slstt.datasets.folders import (
    DEPTH,
    FolderKey,
    FrameFolders,
    Survey,
    frame_folders,
    frames_in,
    pick_sheet,
    survey,
)
from slstt.errors import DataError

Rows = tuple[list[Annotation], list[Remark]]
"""What a sheet says, and remarks on rows that cannot be used."""


def read_native(
    data_set: DataSet,
    root: Path,
    annotations: Path | None,
    *,
    rank: Callable[[Path], Any] = lambda folder: 0,
    title: Callable[[Path], str] = lambda folder: "",
    rows: "Callable[[LocatedRelease, FrameFolders], Rows] | None" = None,
    folders: Callable[[FrameFolders], FrameFolders] = lambda found: found,
) -> Release:
    """The release of `data_set` at `root`: what nearly all readers do.

    Finds the frames (the folder of lowest `rank`) and the coding sheet, reads the sheet (`rows`, else
    `read_annotations`), finds the folders of frames (`folders` may correct them) and matches the two. `title` of the
    folder stands behind the data set's own title. Raises DataError where root, frames or sheet are missing or
    unreadable.
    """
    found = locate(data_set, root, annotations, rank)
    there = folders(frame_folders(data_set, found.folder, found.tree))
    if rows is None:
        assert found.sheet is not None  # a data set without sheets says how its rows come
        coded, unusable = read_annotations(data_set, found.sheet)
    else:
        coded, unusable = rows(found, there)
    clips, remarks = match(data_set, coded, there)
    kind = title(found.folder) or found.tree.title
    videos = sorted(there.folders.items()) if any("video" in p.groupindex for p in found.tree.levels) else ()
    return Release(
        data_set.name,
        f"{data_set.title}{f', {kind}' if kind else ''} ({found.folder})",
        root,
        found.sheet,
        tuple(clips),
        (*unusable, *remarks, *found.remarks, *there.remarks),
        tuple(Video(data_set.name, subject, name, folder) for (subject, name), folder in videos),
    )


@dataclass(frozen=True)
class LocatedRelease:
    """Where the frames and the coding sheet lie, and what else was there."""

    root: Path
    folder: Path
    """Below it begins the tree of frames."""
    tree: Tree
    sheet: Path | None
    """None in a data set without sheets, where none was given."""
    sheets: tuple[Path, ...]
    """All spreadsheets at, below and above the root."""
    remarks: tuple[Remark, ...]
    """Further releases and sheets, not used."""


def locate(
    data_set: DataSet, root: Path, annotations: Path | None, rank: Callable[[Path], Any] = lambda folder: 0
) -> LocatedRelease:
    """Find the frames (the folder of lowest `rank`) and the coding sheet of a data set.

    Raises DataError that lists all of: root missing or empty, no frames below it, no coding sheet.
    """
    found = survey(data_set, root)
    problems = []
    folders = sorted(found.parents, key=lambda folder: (rank(folder), _order(data_set, found, folder)))
    if not folders:
        problems.append(no_frames(data_set, root))
    sheet, further = (
        (annotations, []) if annotations else pick_sheet(found.sheets, data_set.sheet_pattern, data_set.sheets)
    )
    if sheet is not None:
        problems += sheet_problems(sheet)
    elif data_set.sheets:
        problems.append(no_sheet(data_set, root, found))
    if problems:
        raise DataError(*problems)
    unused = [("other_release", path) for path in folders[1:]] + [("other_sheet", path) for path in further]
    remarks = [
        Remark(data_set.name, "", "", kind, f"{path} found as well; not used", "ignored") for kind, path in unused
    ]
    remarks += unnamed_remarks(data_set.name, found)
    return LocatedRelease(root, folders[0], found.parents[folders[0]], sheet, tuple(found.sheets), tuple(remarks))


def _order(data_set: DataSet, found: Survey, folder: Path) -> tuple[int, int, Path]:
    """The data set's own order of its trees, then the nearest to the root."""
    return data_set.trees.index(found.parents[folder]), len(folder.parts), folder


def unnamed_remarks(dataset: str, found: Survey) -> list[Remark]:
    """One remark for each folder that holds names which are not UTF-8."""
    reason = "holds a name that is not UTF-8 or has control characters; not read, rename it"
    return [Remark(dataset, "", "", "unreadable_name", f"{path} {reason}", "ignored") for path in found.unnamed]


def sheet_problems(sheet: Path) -> list[str]:
    """Why a coding sheet cannot be read, before it is opened."""
    try:
        sheet.stat()
    except FileNotFoundError:
        return [f"{sheet}: no such coding sheet (--annotations)"]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return [f"{sheet}: the coding sheet (--annotations) cannot be read ({reason})"]
    return [] if sheet.is_file() else [f"{sheet}: no such coding sheet (--annotations)"]


def no_frames(data_set: DataSet, root: Path) -> str:
    """The error line for a root without frames of the data set."""
    other = _looks_like(data_set, root)
    hint = f"; its folders look like --dataset {other}" if other else ""
    return f"{root}: no {data_set.title} frames within {DEPTH} levels (expected e.g. {data_set.example}){hint}"


def _looks_like(data_set: DataSet, root: Path) -> str | None:
    """Another data set of which folders of frames lie under `root`, for the error that says so."""
    from slstt.datasets import DATASETS  # the list of all, which imports every reader

    for other in DATASETS.values():
        parents = survey(other, root).parents if other is not data_set else {}
        if any(frame_folders(other, folder, tree).folders for folder, tree in parents.items()):
            return other.name
    return None


def no_sheet(data_set: DataSet, root: Path, found: Survey) -> str:
    """The error line for a root without a coding sheet."""
    seen = f"; other tables there: {', '.join(path.name for path in found.sheets[:5])}" if found.sheets else ""
    return (
        f"{root}: no {data_set.title} coding sheet at, below or above it (expected e.g. {data_set.sheets[0]}.xlsx); "
        f"give it with --annotations FILE{seen}"
    )


def match(data_set: DataSet, annotations: Iterable[Annotation], there: FrameFolders) -> tuple[list[Clip], list[Remark]]:
    """One clip per annotated folder with an onset frame; a remark for everything else.

    Nothing is dropped in silence: each row ends as a clip or as a remark with action `failure`, each folder without a
    row as one with action `ignored`. An apex that is unknown or outside onset..offset is left as the sheet has it.
    """
    dataset, folders = data_set.name, there.folders
    remarks = [
        Remark(dataset, *_normal_key(folders, used), "duplicate_folder", f"{folder} not used, {used} is", "flag")
        for folder, used in there.doubled.items()
    ]
    rows: dict[FolderKey, list[Annotation]] = {}
    for annotation in annotations:
        rows.setdefault((annotation.subject, annotation.clip), []).append(annotation)
    clips, wanted, read = [], set(), _FrameLists()
    for key, same in rows.items():
        row = same[0]
        wanted |= {one.place for one in same}
        lines = " and ".join(str(row.line) for row in same)
        if any(_content(row) != _content(same[0]) for row in same):
            reason = f"rows {lines} of the sheet differ; keep the one that holds"
            remarks.append(Remark(dataset, *key, "duplicate_row", reason, "failure", row.kind))
            continue
        if len(same) > 1:
            reason = f"rows {lines} of the sheet are equal; used once"
            remarks.append(Remark(dataset, *key, "duplicate_row", reason, "flag", row.kind))
        clip, noticed = _clip(data_set, row, folders.get(row.place), read)
        remarks += noticed
        if clip is not None:
            clips.append(clip)
    remarks += [
        Remark(dataset, *key, "folder_without_row", f"{folder} has no row in the sheet; ignored", "ignored")
        for key, folder in folders.items()
        if key not in wanted
    ]
    return sorted(clips, key=lambda clip: clip.key), remarks


class _FrameLists:
    """The frames of each folder or video, listed once: several clips may lie in one recording."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[dict[int, Path], list[Path], float | None]] = {}
        self._problems: dict[Path, str] = {}

    def __getitem__(self, place: Path) -> tuple[dict[int, Path], list[Path], float | None]:
        """(number -> file, further files of a number, the frame rate of a video)."""
        if place not in self._known:
            self._known[place] = self._of_video(place) if not place.is_dir() else (*frames_in(place), None)
        return self._known[place]

    def problem(self, place: Path) -> str:
        """Why there are no frames."""
        return self._problems.get(place, f"{place} holds no frame (a picture whose name ends in a number)")

    def _of_video(self, path: Path) -> tuple[dict[int, Path], list[Path], float | None]:
        from slstt.video import look_into  # PyAV, which few data sets need

        try:
            content = look_into(path)
        except DataError as error:
            self._problems[path] = str(error)
            return {}, [], None
        return dict.fromkeys(range(content.count), path), [], content.rate


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


def _clip(
    data_set: DataSet, row: Annotation, folder: Path | None, read: _FrameLists
) -> tuple[Clip | None, list[Remark]]:
    dataset = data_set.name

    def remark(kind: str, reason: str) -> Remark:
        return Remark(dataset, row.subject, row.clip, kind, reason, "flag", row.kind)

    def failure(kind: str, reason: str) -> tuple[None, list[Remark]]:
        return None, [Remark(dataset, row.subject, row.clip, kind, reason, "failure", row.kind)]

    if folder is None:
        where = f" ({row.video})" if row.video else ""
        return failure("no_folder", f"{row.source} has no folder of frames{where}")
    frames, doubled, rate = read[folder]
    if not frames:
        return failure("no_frames", read.problem(folder))
    remarks = []
    if row.offset is None:
        row, noticed = _with_offset(row, frames)
        if noticed is None:
            return failure("no_offset", f"{row.source} gives neither apex nor offset")
        remarks.append(remark("offset_missing", noticed))
    assert row.offset is not None
    if row.onset >= row.offset:
        relation = "after" if row.onset > row.offset else "at"
        reason = f"by {row.source}, onset {row.onset} is not before offset {row.offset}"
        return failure(f"onset_{relation}_offset", reason)
    onset, apex, offset = row.onset, row.apex, row.offset
    if row.video and onset == 0 and min(frames) == 1:
        onset = 1
        remarks.append(remark("onset_at_0", "the sheet's onset is 0 and frames are counted from 1; frame 1 is taken"))
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
        remarks.append(replace(noticed, about=row.kind))
    unknown = row.emotion not in data_set.emotions if data_set.emotions else not row.emotion
    if unknown and not (row.kind == "macro" and not row.emotion):
        given = f"emotion '{row.emotion}'" if row.emotion else "no emotion is given: it"
        reason = f"{given} is none of {', '.join(data_set.emotions) or 'any'}; kept, but in no protocol"
        remarks.append(remark("unknown_emotion", reason))
    if doubled:
        names = ", ".join(path.name for path in doubled)
        remarks.append(remark("duplicate_frame", f"number already taken by another file; not used: {names}"))
    if row.second:
        reason = f"{row.source} lists a further expression in the same clip; the first one is used"
        remarks.append(remark("second_expression", reason))
    clip = Clip(dataset, row.subject, row.clip, row.emotion, onset, apex, offset, folder, frames)
    return replace(
        clip, action_units=row.units, kind=row.kind, video=row.video, fps=row.fps or rate, split=row.split
    ), remarks


def _with_offset(row: Annotation, frames: Mapping[int, Path]) -> tuple[Annotation, str | None]:
    """The row with an offset where its sheet has none, and what was taken; None where nothing can be.

    A folder of its own ends with the expression. In a recording the expression is taken to fall as long as it rose,
    as programs of the field do.
    """
    if not row.video:
        return replace(row, offset=max(frames)), f"the sheet gives no offset; the last frame {max(frames)} is taken"
    if row.apex is None:
        return row, None
    offset = min(row.apex + max(0, row.apex - row.onset), max(frames))
    return replace(
        row, offset=offset
    ), f"the sheet gives no offset; {offset}, as far behind the apex as the onset is before it, is taken"


def _content(row: Annotation) -> tuple[object, ...]:
    return (row.emotion, row.onset, row.apex, row.offset, row.kind, row.video)


def _normal_key(folders: Mapping[FolderKey, Path], used: Path) -> FolderKey:
    return next(key for key, folder in folders.items() if folder == used)
