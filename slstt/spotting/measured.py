"""What is measured in one recording, once, and kept in a folder of its own: face motion, patches, a method's signals.

`face_motion.npz` and `patches.npz` cost seconds for every second of video and serve every method; `<method>.npz` is
made of them. Each file says what it was made from and is made again where that has changed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slstt import __version__
from slstt.datasets.clips import KINDS, Kind
from slstt.errors import SlsttError
from slstt.face.landmarks import LandmarkDetector
from slstt.prediction.face_motion import FaceMotion, track_face_motion
from slstt.prediction.recording import identity
from slstt.prediction.results import read_arrays, read_face_motion, write_arrays, write_face_motion
from slstt.spotting.methods import METHODS, VERSION, Choice, Pieces, Signals
from slstt.spotting.recordings import AnnotatedRecording

PATCHES = "patches.npz"
TRACK_VERSION = 2
"""Raised whenever the same frames begin to give other face motion."""


@dataclass(frozen=True)
class MeasuringTask:
    """One recording to be measured."""

    recording: AnnotatedRecording
    folder: Path
    """Its folder of measured files."""
    method: str
    least: Mapping[Kind, Choice]
    model: str
    """SHA-256 of the landmark model."""


@dataclass(frozen=True)
class MeasuringOutcome:
    """What comes of it."""

    key: tuple[str, str, str]
    signals: Signals | None
    """None where it cannot be measured."""
    failure: str = ""
    remarks: tuple[str, ...] = ()
    kept: bool = False
    """Whether everything was there already."""


def measured_folder(root: Path, key: tuple[str, str, str]) -> Path:
    """Where the measured files of a recording lie."""
    return root.joinpath(*key)


def track_determinants(recording: AnnotatedRecording, model: str) -> dict[str, Any]:
    """Everything that determines the face motion of a recording. Raises DataError where a frame's file is gone."""
    files = identity(recording.recording)
    return {"version": TRACK_VERSION, "files": files, "rate": recording.rate, "landmark_model": model}


def signal_determinants(task: MeasuringTask) -> dict[str, Any]:
    """Everything that determines a method's signals."""
    least = {kind: asdict(choice) for kind, choice in task.least.items()} if task.method == "slstt" else None
    about = {"slstt": __version__, "method": task.method, "version": VERSION, "least": least}
    return {**track_determinants(task.recording, task.model), **about}


def kept_signals(task: MeasuringTask) -> MeasuringOutcome | None:
    """The signals that lie in the folder, where nothing that determines them has changed since."""
    try:
        found = read_arrays(task.folder / f"{task.method}.npz", signal_determinants(task))
        # Without the face motion the intervals could not be classified.
        if found is None or read_face_motion(task.folder, track_determinants(task.recording, task.model)) is None:
            return None
    except SlsttError:
        return None
    arrays, about = found
    return MeasuringOutcome(task.recording.key, _by_kind(arrays), remarks=tuple(about["remarks"]), kept=True)


def measure(task: MeasuringTask, detector: LandmarkDetector) -> MeasuringOutcome:
    """Measure what is not kept. A recording that cannot be read or shows no face is an outcome with `failure`."""
    recording = task.recording.recording
    try:
        determinants = track_determinants(task.recording, task.model)
        motion, pieces = _track(task, determinants, detector)
        signals = METHODS[task.method].measure(recording, motion, pieces, task.least)
        remarks = tuple(line.removeprefix(f"{recording.path}: ") for line in motion.remarks)
        arrays = {str(kind): signal for kind, signal in signals.items()}
        write_arrays(task.folder / f"{task.method}.npz", signal_determinants(task), arrays, {"remarks": list(remarks)})
    except SlsttError as error:
        return MeasuringOutcome(task.recording.key, None, "; ".join(error.problems))
    return MeasuringOutcome(task.recording.key, signals, remarks=remarks)


def _track(
    task: MeasuringTask, determinants: Mapping[str, Any], detector: LandmarkDetector
) -> tuple[FaceMotion, Pieces]:
    motion = read_face_motion(task.folder, determinants)
    found = read_arrays(task.folder / PATCHES, determinants)
    if motion is not None and found is not None:
        arrays, _ = found
        return motion, list(zip(arrays["begins"].tolist(), np.split(arrays["moved"], arrays["cuts"]), strict=True))
    motion, pieces = track_face_motion(task.recording.recording, detector=detector)
    lengths = [len(moved) for _, moved in pieces]
    arrays = {
        "moved": np.concatenate([moved for _, moved in pieces]),
        "begins": np.array([begin for begin, _ in pieces], np.int64),
        "cuts": np.cumsum(lengths)[:-1],
    }
    write_arrays(task.folder / PATCHES, determinants, arrays, {})
    write_face_motion(task.folder, motion, determinants)
    return motion, pieces


def _by_kind(arrays: Mapping[str, np.ndarray]) -> Signals:
    return {kind: arrays[kind] for kind in KINDS}
