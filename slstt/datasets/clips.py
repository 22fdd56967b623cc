"""One annotated clip, and the table of clips (`index.csv`) that preprocessing leaves and training reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from slstt.errors import DataError
from slstt.files import read_csv, write_csv

INDEX_COLUMNS = ("dataset", "subject", "clip", "emotion", "onset", "apex", "offset", "frames", "folder")


@dataclass(frozen=True)
class Clip:
    """A micro-expression clip as its data set's annotation gives it.

    Frame numbers are those of the data set (in the frame files' names), not positions in a list.
    """

    dataset: str
    """`casme2`, `samm` or `smic`."""
    subject: str
    """Always text: `sub01`, `006`, `s01`."""
    name: str
    """The clip's folder name: `EP02_01f`, `006_1_2`, `s01_ne_01`."""
    emotion: str
    """Lower case, as annotated: `happiness`, `others`, `negative`, ..."""
    onset: int
    apex: int | None
    """None where the annotation has none (`/` in CASME II)."""
    offset: int
    folder: Path
    """Where the frames lie."""
    frames: Mapping[int, Path] = field(default_factory=dict, repr=False)
    """Frame number -> file, ascending. Empty on clips read back from `index.csv`."""

    @property
    def key(self) -> tuple[str, str, str]:
        """(dataset, subject, name): unique over all data sets."""
        return (self.dataset, self.subject, self.name)


@dataclass(frozen=True)
class Remark:
    """Something a reader, the check or the pipeline noticed about one clip, and what comes of it."""

    dataset: str
    subject: str
    clip: str
    kind: str
    """A short name from a fixed list, e.g. `apex_missing`, `no_folder`, `no_face`."""
    reason: str
    """One line for the user: what is wrong and what was or will be done."""
    action: Literal["failure", "flag", "ignored"]
    """failure: no flow file, `failures.csv`; flag: kept with a remark, `flags.csv`; ignored: only counted."""


@dataclass(frozen=True)
class Release:
    """What was found under one `--root`: a data set in one of its published layouts."""

    dataset: str
    layout: str
    """For people, e.g. `CASME II, selected raw frames (CASME2_RAW_selected)`."""
    root: Path
    annotations: Path | None
    clips: tuple[Clip, ...]
    remarks: tuple[Remark, ...] = ()


def index_row(clip: Clip) -> tuple[str, ...]:
    """The cells of a clip in `index.csv`, in the order of INDEX_COLUMNS; an unknown apex is an empty cell."""
    apex = "" if clip.apex is None else str(clip.apex)
    place = (clip.dataset, clip.subject, clip.name, clip.emotion, str(clip.onset), apex, str(clip.offset))
    return (*place, str(len(clip.frames)), str(clip.folder))


def write_index(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips as `index.csv`, sorted by key."""
    write_csv(path, INDEX_COLUMNS, (index_row(clip) for clip in sorted(clips, key=lambda clip: clip.key)))


def read_index(path: Path) -> list[Clip]:
    """Read `index.csv` back; `frames` stays empty. Raises DataError where the file is missing or malformed."""
    clips, problems, seen = [], [], set()
    for number, row in enumerate(read_csv(path, INDEX_COLUMNS), start=1):
        key = (row["dataset"], row["subject"], row["clip"])
        try:
            onset, offset = int(row["onset"]), int(row["offset"])
            apex = int(row["apex"]) if row["apex"] else None
        except ValueError as error:
            problems.append(
                f"{path}: row {number} ({' '.join(key)}): onset, apex and offset are whole numbers ({error})"
            )
            continue
        if not all(key):
            problems.append(f"{path}: row {number}: dataset, subject and clip must be given")
        if key in seen:
            problems.append(f"{path}: row {number}: clip {' '.join(key)} is listed twice")
        seen.add(key)
        clips.append(Clip(*key, row["emotion"], onset, apex, offset, Path(row["folder"])))
    if problems:
        raise DataError(*problems)
    return clips


def name_of(key: Sequence[str]) -> str:
    """How messages name a clip: `casme2/sub01/EP02_01f`."""
    return "/".join(key)
