"""One annotated clip, and the table of clips (`index.csv`) that preprocessing leaves and training reads."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from slstt.errors import DataError
from slstt.files import data_frame, read_csv, write_csv

if TYPE_CHECKING:
    import pandas

FIRST_INDEX_COLUMNS = ("dataset", "subject", "clip", "emotion", "onset", "apex", "offset", "frames", "folder")
"""The columns that every `index.csv` has; older ones have no others."""

INDEX_COLUMNS = (*FIRST_INDEX_COLUMNS, "action_units", "kind", "video", "fps", "split")

Kind = Literal["micro", "macro"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LONGEST_ID = 100
"""Bytes of an id in UTF-8. File systems allow 255 for a name, and files are called after a data set and a subject, or
after a clip with a suffix."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def id_problem(text: str) -> str | None:
    """Why `text` cannot be the id of a data set, subject or clip, which name files and folders; None where it can.

    The one place where this is decided: whoever reads an id from a file asks here before it becomes part of a path.
    """
    shown = _UNPRINTABLE.sub("?", text if len(text) <= 40 else f"{text[:40]}...")
    if not text.strip():
        return "an id is empty"
    if found := _UNPRINTABLE.search(text):
        return f"'{shown}' holds the control character {found[0]!a}"
    if "/" in text or "\\" in text:
        return f"'{shown}' holds a path separator"
    if text.startswith("."):
        return f"'{shown}' begins with a dot"
    if (length := len(text.encode())) > LONGEST_ID:
        return f"'{shown}' is {length} characters long, at most {LONGEST_ID} are allowed"
    return None


def key_problems(key: Sequence[str]) -> list[str]:
    """What is wrong with (dataset, subject, clip), one line each; [] where all three can name files and folders."""
    named = zip(("dataset", "subject", "clip"), key, strict=True)
    return [f"{name}: {problem}" for name, text in named if (problem := id_problem(text)) is not None]


def same_but_for_case(keys: Iterable[Sequence[str]]) -> list[tuple[Sequence[str], Sequence[str]]]:
    """Pairs of different keys that are one once capitals are ignored: one clip twice, and one file on many systems."""
    first: dict[tuple[str, ...], Sequence[str]] = {}
    pairs = []
    for key in keys:
        known = first.setdefault(tuple(part.casefold() for part in key), key)
        if known != key:
            pairs.append((known, key))
    return pairs


@dataclass(frozen=True)
class Clip:
    """One expression as its data set's annotation gives it.

    Frame numbers are those of the data set (in the frame files' names), not positions in a list.
    """

    dataset: str
    """A key of `slstt.datasets.READERS`."""
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
    action_units: str = ""
    """As the sheet has them (`4+L10`, `12`), without blanks around; empty where it has none."""
    kind: Kind = "micro"
    video: str = ""
    """The id of the recording that the clip lies in, whose frames `folder` then holds; empty where the clip has a
    folder of its own."""
    fps: float | None = None
    """Frames a second, where the clip's own is known; None: that of its data set."""
    split: str = ""
    """The owners' training or test set that lists the clip (DFME: `train`, `testA`, `testB`); empty where none does."""

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
    about: Kind = "micro"
    """The kind of expression it is about, where that matters."""


@dataclass(frozen=True)
class Video:
    """A recording in which clips lie, or none."""

    dataset: str
    subject: str
    name: str
    """As `Clip.video` has it."""
    folder: Path
    """Where its frames lie."""


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
    videos: tuple[Video, ...] = ()
    """All recordings found, those without an expression included; empty where each clip has a folder of its own."""

    def to_pandas(self) -> "pandas.DataFrame":
        """The clips, one row each, with the columns of index.csv. Raises ConfigError where pandas is absent."""
        return data_frame(INDEX_COLUMNS, [index_values(clip) for clip in self.clips])


def of_kinds(release: Release, kinds: Collection[Kind]) -> Release:
    """The release with the clips of these kinds alone, and without what was said about others."""
    clips = tuple(clip for clip in release.clips if clip.kind in kinds)
    remarks = tuple(remark for remark in release.remarks if remark.action == "ignored" or remark.about in kinds)
    return replace(release, clips=clips, remarks=remarks)


def within_intervals(release: Release) -> Release:
    """The release whose clips in recordings have the frames from onset to offset alone, not those of the whole."""
    return replace(release, clips=tuple(_within_interval(clip) for clip in release.clips))


def _within_interval(clip: Clip) -> Clip:
    if not clip.video:
        return clip
    frames = {number: path for number, path in clip.frames.items() if clip.onset <= number <= clip.offset}
    return replace(clip, frames=frames)


def index_values(clip: Clip) -> tuple[object, ...]:
    """What the table of clips says of a clip, in the order of INDEX_COLUMNS; apex and frame rate may be None."""
    place = (*clip.key, clip.emotion, clip.onset, clip.apex, clip.offset, len(clip.frames), str(clip.folder))
    return (*place, clip.action_units, clip.kind, clip.video, clip.fps, clip.split)


def index_row(clip: Clip) -> tuple[str, ...]:
    """The cells of a clip in `index.csv`, in the order of INDEX_COLUMNS; what is unknown is an empty cell."""
    values = index_values(clip)
    return tuple("" if v is None else f"{v:g}" if isinstance(v, float) else str(v) for v in values)


def write_index(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips as `index.csv`, sorted by key."""
    write_csv(path, INDEX_COLUMNS, (index_row(clip) for clip in sorted(clips, key=lambda clip: clip.key)))


def read_index(path: Path) -> list[Clip]:
    """Read `index.csv` back; `frames` stays empty. An older one without the later columns is read as well.

    Raises DataError with every row that cannot be used: an id that cannot name a file, a clip listed twice (also in
    other capitals), a frame that is no whole number, an unknown kind, a cell that runs over several lines.
    """
    clips, problems, seen = [], [], set()
    for line, row in enumerate(read_csv(path, FIRST_INDEX_COLUMNS, one_line=True), start=2):
        where, key = f"{path}: line {line}", (row["dataset"], row["subject"], row["clip"])
        if wrong := key_problems(key):
            problems += [f"{where}: {problem}; correct it or run slstt-preprocess again" for problem in wrong]
            continue
        if any("\0" in cell for cell in row.values()):
            problems.append(f"{where} ({' '.join(key)}): a cell holds a NUL character; correct it")
            continue
        numbers = {name: _frame_number(row[name]) for name in ("onset", "apex", "offset")}
        onset, offset = numbers["onset"], numbers["offset"]
        if onset is None or offset is None or (numbers["apex"] is None and row["apex"]):
            problems.append(f"{where} ({' '.join(key)}): onset, apex and offset are whole numbers")
            continue
        kind, fps = row.get("kind") or "micro", frame_rate(row.get("fps", ""))
        if kind not in KINDS or fps is None:
            problems.append(f"{where} ({' '.join(key)}): kind is one of {', '.join(KINDS)}, fps a number above 0")
            continue
        if key in seen:
            problems.append(f"{where}: clip {' '.join(key)} is listed twice")
        seen.add(key)
        units, video, split = (row.get(name, "") for name in ("action_units", "video", "split"))
        numbered = Clip(*key, row["emotion"], onset, numbers["apex"], offset, Path(row["folder"]))
        more = {"action_units": units, "kind": cast(Kind, kind), "video": video, "fps": fps or None, "split": split}
        clips.append(replace(numbered, **more))
    problems += [
        f"{path}: clips {' '.join(one)} and {' '.join(other)} differ in capitals only; keep one row"
        for one, other in same_but_for_case(clip.key for clip in clips)
    ]
    if problems:
        raise DataError(*problems)
    return clips


def _frame_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*[+-]?\d{1,12}\s*", text, re.ASCII) else None


def frame_rate(text: str) -> float | None:
    """The number in the cell, 0 where it is empty; None where it is no frame rate."""
    if not text.strip():
        return 0.0
    return float(text) if re.fullmatch(r"\s*\d{1,6}(\.\d{1,9})?\s*", text, re.ASCII) and float(text) > 0 else None


def name_of(key: Sequence[str]) -> str:
    """How messages name a clip: `casme2/sub01/EP02_01f`."""
    return "/".join(key)
