"""What is kept about a clip beside its flow, and whether a flow file is still what the settings ask for.

A flow file lists, under `depends`, the settings that had a say in it, each with its value: `interpolation.method` only
where a frame was made up, `apex.missing` only where the sheet has none. It is current as long as those values are, so a
changed setting recomputes exactly the clips it touches.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slstt.config.preprocess import PreprocessConfig
from slstt.datasets.clips import Clip, Remark
from slstt.errors import DataError
from slstt.flow.flow_files import FLOW_VERSION, read_whole


@dataclass(frozen=True)
class FlowRecord:
    """One finished clip, without its flow."""

    about: Mapping[str, Any]
    """`depends`, `apex`, `apex_from`, `face_frame`, `square`, `scale` (cut against frame), `frame_size`, `positions`,
    `intensity`, `remarks`."""
    landmarks: np.ndarray
    """(68, 2) float32, (x, y) in pixels of the frame."""
    picture: bytes
    """The strip of the report, a JPEG."""


@dataclass(frozen=True)
class Task:
    """What a worker needs to know about one clip."""

    clip: Clip
    path: Path
    dependencies: Mapping[str, Any]
    """Everything that may have a say in its flow, with its value: see `dependencies`."""
    landmarks: np.ndarray | None
    """Given ones (68, 2), or None to look for them."""


@dataclass(frozen=True)
class ClipOutcome:
    """What became of one clip: a record, or a failure."""

    key: tuple[str, str, str]
    record: FlowRecord | None
    failure: Remark | None
    seconds: Mapping[str, float]


def read_record(path: Path) -> FlowRecord:
    """The record in a flow file. Raises DataError where the file is missing, damaged or of another making."""
    tensors, about = read_whole(path)
    try:
        return FlowRecord(about, tensors["landmarks"], tensors["picture"].tobytes())
    except KeyError as error:
        raise DataError(f"{path}: holds no {error}; run slstt-preprocess again, it rebuilds it") from error


def dependencies(
    config: PreprocessConfig, clip: Clip, landmarks: np.ndarray | None, models: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that may have a say in a clip's flow, by name, as JSON values.

    `landmarks` are given ones, or None where dlib is to find them; `models` maps `rife` and `landmark_model` to their
    SHA-256. Frame files count by name, size and time of last change.
    """
    sections = config.model_dump(mode="json", include={"frames", "apex", "crop", "interpolation", "flow"})
    values = {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
    values |= {
        "version": FLOW_VERSION,
        "clip": [clip.onset, clip.apex, clip.offset],
        "files": _identity(clip),
        "landmarks": None if landmarks is None else _digest(np.asarray(landmarks, np.float32).tobytes()),
        **models,
    }
    return json.loads(json.dumps(values))


def is_current(record: FlowRecord, now: Mapping[str, Any]) -> bool:
    """Whether everything the record depends on has the value it has now."""
    return all(now.get(name) == value for name, value in record.about["depends"].items())


def _identity(clip: Clip) -> str:
    lines = []
    for number, path in clip.frames.items():
        if clip.onset <= number <= clip.offset:
            try:
                state = path.stat()
                lines.append(f"{number} {path.name} {state.st_size} {state.st_mtime_ns}")
            except (OSError, ValueError) as error:  # ValueError: a NUL in the name
                lines.append(f"{number} {path.name} {getattr(error, 'errno', error)}")
    return _digest("\n".join(lines).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
