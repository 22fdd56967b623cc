"""Data sets in native layouts with one fault of each kind planted, made from a healthy synthetic clip.

Every faulty clip is a copy of one rendered clip under a name of its own, so that many faults cost one rendering.
"""

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from slstt.datasets import read_release
from slstt.datasets.clips import Clip


@dataclass
class Planted:
    """A data set and what must be reported about it."""

    dataset: str
    root: Path
    healthy: set[str] = field(default_factory=set)
    """Clips without any remark."""
    flags: dict[str, str] = field(default_factory=dict)
    """Clip -> kind of a flag it must get; it has flow."""
    failures: dict[str, str] = field(default_factory=dict)
    """Clip -> kind of its failure; it has no flow."""

    @property
    def kept(self) -> set[str]:
        return self.healthy | set(self.flags)


def plant(source: Path, dataset: str, root: Path) -> Planted:
    """Copy the first clip of the release at `source` below `root` once per fault, and plant the fault."""
    clip = read_release(dataset, source).clips[0]
    return {"casme2": _casme2, "samm": _samm, "smic": _smic}[dataset](clip, Planted(dataset, root))


def overwrite(path: Path, picture: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


# --- faults in the frames: each takes the folder and the healthy clip -------------------------------------------------


def _nothing(folder: Path, clip: Clip) -> None:
    pass


def _file(folder: Path, clip: Clip, number: int) -> Path:
    return folder / clip.frames[number].name


def _inner(clip: Clip) -> int:
    """A frame between onset and offset that no plan needs: the last before the offset, far behind the apex."""
    return clip.offset - 1


def _no_onset(folder: Path, clip: Clip) -> None:
    _file(folder, clip, clip.onset).unlink()


def _gap(folder: Path, clip: Clip) -> None:
    _file(folder, clip, _inner(clip)).unlink()


def _damaged_apex(folder: Path, clip: Clip) -> None:
    assert clip.apex is not None
    _file(folder, clip, clip.apex).write_bytes(b"not a picture")


def _damaged_onset(folder: Path, clip: Clip) -> None:
    path = _file(folder, clip, clip.onset)
    path.write_bytes(path.read_bytes()[:100])


def _damaged_unneeded(folder: Path, clip: Clip) -> None:
    _file(folder, clip, _inner(clip)).write_bytes(b"")


def _other_size(folder: Path, clip: Clip) -> None:
    path = _file(folder, clip, clip.onset)
    overwrite(path, cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5))


def _no_face(folder: Path, clip: Clip) -> None:
    for number, path in clip.frames.items():
        overwrite(_file(folder, clip, number), np.full_like(cv2.imread(str(path)), 90))


def _no_face_on_apex(folder: Path, clip: Clip) -> None:
    assert clip.apex is not None
    path = _file(folder, clip, clip.apex)
    overwrite(path, np.full_like(cv2.imread(str(path)), 90))


FRAME_FAILURES: dict[str, Callable[[Path, Clip], None]] = {
    "no_onset_frame": _no_onset,
    "undecodable_frame": _damaged_apex,
    "undecodable_frame ": _damaged_onset,
    "unequal_sizes": _other_size,
    "no_face": _no_face,
}
FRAME_FLAGS: dict[str, Callable[[Path, Clip], None]] = {
    "frames_missing": _gap,
    "face_on_neighbour": _no_face_on_apex,
}


# --- the layouts ------------------------------------------------------------------------------------------------------


def _casme2(clip: Clip, planted: Planted) -> Planted:
    base = planted.root / "CASME2_RAW_selected" / "sub01"

    def add(name: str) -> Path:
        return Path(shutil.copytree(clip.folder, base / name))

    rows = _sheet_faults(clip, planted, add, [f"EP{number:02d}_01f" for number in range(1, 40)])
    (base / "EP01_01f" / "Thumbs.db").write_bytes(b"stray")
    (base / "EP02_01f.lnk").write_bytes(b"stray")
    (planted.root / ".DS_Store").write_bytes(b"stray")
    header = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion"]
    _write_sheet(planted.root / "CASME2-coding-20140508.csv", header, [("1", *row) for row in rows])
    return planted


def _samm(clip: Clip, planted: Planted) -> Planted:
    base = planted.root / "SAMM" / "006"

    def add(name: str) -> Path:
        return Path(shutil.copytree(clip.folder, base / name))

    rows = _sheet_faults(clip, planted, add, [f"006_{number}_1" for number in range(1, 40)])
    header = ["Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Estimated Emotion"]
    _write_sheet(planted.root / "SAMM_Micro_FACS_Codes_v2.csv", header, [("006", *row) for row in rows])
    return planted


def _smic(clip: Clip, planted: Planted) -> Planted:
    """SMIC has no sheet: what can be wrong is wrong with the frames."""
    base = planted.root / "SMIC_all_raw" / "HS" / "s1"
    names = iter(f"s1_ne_{number:02d}" for number in range(1, 40))

    def add() -> tuple[str, Path]:
        name = next(names)
        return f"s01{name[2:]}", Path(shutil.copytree(clip.folder, base / "micro" / "negative" / name))

    planted.healthy = {add()[0] for _ in range(2)}
    for kind, fault in (FRAME_FAILURES | FRAME_FLAGS).items():
        if kind == "no_onset_frame":
            continue  # the first frame there is, is the onset
        name, folder = add()
        fault(folder, clip)
        (planted.flags if kind in FRAME_FLAGS else planted.failures)[name] = kind.strip()
    name, folder = add()
    _damaged_unneeded(folder, clip)
    planted.healthy.add(name)
    name, folder = add()
    for path in folder.iterdir():
        path.unlink()
    planted.failures[name] = "no_frames"
    for sibling in ("non_micro", "NIR"):
        shutil.copytree(clip.folder, base / sibling / "negative" / "s1_ne_01")
    return planted


Row = tuple[str, object, object, object, str]


def _sheet_faults(clip: Clip, planted: Planted, add: Callable[[str], Path], names: list[str]) -> list[Row]:
    onset, apex, offset, waiting = clip.onset, clip.apex, clip.offset, iter(names)
    assert apex is not None
    rows: list[Row] = []

    def row(name: str, *, numbers: tuple[object, object, object] = (onset, apex, offset), emotion: str = "") -> None:
        rows.append((name, *numbers, emotion or clip.emotion))

    for _ in range(2):
        name = next(waiting)
        add(name)
        row(name)
        planted.healthy.add(name)
    for kind, numbers in {
        "apex_missing": (onset, "/", offset),
        "apex_outside": (onset, offset + 40, offset),
        "apex_at_onset": (onset, onset, offset),
        "apex_at_offset": (onset, offset, offset),
    }.items():
        name = next(waiting)
        add(name)
        row(name, numbers=numbers)
        planted.flags[name] = kind
    for kind, fault in (FRAME_FAILURES | FRAME_FLAGS).items():
        name = next(waiting)
        fault(add(name), clip)
        row(name)
        (planted.flags if kind in FRAME_FLAGS else planted.failures)[name] = kind.strip()
    name = next(waiting)
    _damaged_unneeded(add(name), clip)
    row(name)
    planted.healthy.add(name)

    name = next(waiting)
    add(name)
    row(name, numbers=(offset, apex, onset))
    planted.failures[name] = "onset_after_offset"
    name = next(waiting)
    row(name)
    planted.failures[name] = "no_folder"
    name = next(waiting)
    add(name)
    row(name)
    row(name)
    planted.flags[name] = "duplicate_row"
    name = next(waiting)
    add(name)
    row(name)
    row(name, numbers=(onset, apex, offset - 3))
    planted.failures[name] = "duplicate_row"
    name = next(waiting)
    add(name)
    row(name, emotion="bewilderment")
    planted.flags[name] = "unknown_emotion"
    add(next(waiting))  # a folder without a row
    return rows


def _write_sheet(path: Path, header: list[str], rows: list[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
