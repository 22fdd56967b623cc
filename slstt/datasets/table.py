"""A collection of one's own, as a table: csv, xlsx or xls with a row for each expression.

Columns: `subject, clip, folder` (or `video`), `onset, apex, offset, emotion` and, if wanted, `action_units, kind, fps`.
A folder holds frames, their numbers at the end of their names; a video is a file, its frames counted from 0. Both are
given relative to the table and lie below its folder, or absolutely. Rows that share a folder lie in one recording.
"""

import re
from collections import Counter
from pathlib import Path

from slstt.datasets.annotations import COLUMNS, Cells, DataSet, as_annotations, as_written, read_rows
from slstt.datasets.clips import Release, Remark, Video
from slstt.datasets.folders import FrameFolders, check_root, files_called
from slstt.datasets.releases import match, sheet_problems
from slstt.errors import DataError

DATA_SET = DataSet(
    name="table",
    title="own table",
    rate=None,
    emotions=(),
    subject=as_written(r".+", "p01"),
    clip=as_written(r".+", "p01_smile"),
    video=as_written(r".+", "p01_recording"),
    trees=(),
    example="table.csv with the columns subject, clip, folder, onset, apex, offset, emotion",
    columns={
        **COLUMNS,
        "clip": ("clip", "filename"),
        "folder": ("folder",),
        "film": ("video",),
        "kind": ("kind",),
        "fps": ("fps",),
    },
)

_TABLES = re.compile(r"(?![.~]).*\.(xlsx|xls|csv)", re.IGNORECASE)


def read(root: Path, annotations: Path | None = None) -> Release:
    """The clips of the table at `root`: the file itself, or the only table in that folder; or of `annotations`.

    Raises DataError where there is no table, several, or one without the columns.
    """
    path = _find(root, annotations)
    rows, others = read_rows(path, DATA_SET.columns, DATA_SET.required)
    if not any(name in cells for _, cells in rows for name in ("folder", "film")):
        raise DataError(f"{path}: has neither a column 'folder' nor 'video'; one of them says where the frames are")
    uses = Counter(_place(cells) for _, cells in rows)
    folders: dict[tuple[str, str], Path] = {}
    remarks: list[Remark] = []
    usable: list[tuple[int, Cells]] = []
    for line, cells in rows:
        written, place = _place(cells), path.parent / _place(cells)
        subject, clip = cells["subject"].strip(), cells["clip"].strip()
        problem, video = _problem(written), ""
        if problem is None and (uses[written] > 1 or not place.is_dir()):
            video = _video_id(written)  # frames of a video are those of a recording, whoever else lies in it
            if (other := folders.get((subject, video), place)) != place:
                problem = f"{place} and {other} would both be called {video}; rename one"
        if problem:
            reason = f"{path.name} row {line}: {problem}; row not used"
            remarks.append(Remark(DATA_SET.name, subject, clip, "bad_row", reason, "failure"))
            continue
        usable.append((line, {**cells, **({"video": video} if video else {})}))
        if place.exists():
            folders[subject, video or clip] = place
    coded, unusable = as_annotations(DATA_SET, path, usable, others) if usable else ([], [])
    clips, noticed = match(DATA_SET, coded, FrameFolders(folders, {}, ()))
    videos = {(clip.subject, clip.video): clip.folder for clip in clips if clip.video}
    return Release(
        DATA_SET.name,
        f"{DATA_SET.title} ({path})",
        root,
        path,
        tuple(clips),
        (*remarks, *unusable, *noticed),
        tuple(Video(DATA_SET.name, *key, place) for key, place in sorted(videos.items())),
    )


def _find(root: Path, annotations: Path | None) -> Path:
    if annotations is not None or root.is_file():
        path = annotations or root
        if problems := sheet_problems(path):
            raise DataError(*problems)
        return path
    check_root(root)
    found = files_called(_TABLES, [root])
    if not found:
        raise DataError(f"{root}: holds no table (csv, xlsx, xls); --root names it or the folder it lies in")
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:5])
        raise DataError(f"{root}: holds several tables ({names}); give the one that counts as --root")
    return found[0]


def _place(cells: Cells) -> str:
    return (cells.get("folder", "").strip() or cells.get("film", "").strip()).replace("\\", "/").rstrip("/")


def _problem(place: str) -> str | None:
    """Why the frames of a row cannot be looked for; None where they can."""
    if not place:
        return "folder and video are empty"
    if "\0" in place or len(place) > 1000:
        return "folder or video is no path"
    if ".." in place.split("/"):
        return f"'{place[:60]}' leaves the folder of the table; move the table above the frames, or give the whole path"
    return None


def _video_id(place: str) -> str:
    """An id for a recording: its path below the table with `_` for separators, without the ending of a file."""
    return re.sub(r"\.\w{1,5}$", "", place).strip("./").replace("/", "_")
