"""What was found in one recording, and the files that hold it: intervals.csv, predictions.csv, intensity.csv,
result.json.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slstt.files import write_csv, write_json
from slstt.prediction.face_motion import FaceMotion
from slstt.prediction.spotting import Interval

RESULT = "result.json"
INTERVAL_COLUMNS = (
    "recording", "interval", "onset", "apex", "offset", "onset_s", "apex_s", "offset_s", "duration_ms", "strength",
    "source",
)  # fmt: skip


@dataclass(frozen=True)
class FoundInterval:
    """One interval and its class."""

    interval: Interval
    label: str = ""
    """Empty where it cannot be classified."""
    probabilities: tuple[float, ...] = ()
    """In the order of the classes; empty likewise."""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictionResult:
    """One finished recording."""

    name: str
    rate: float
    frames: int
    classes: tuple[str, ...]
    found: tuple[FoundInterval, ...]
    remarks: tuple[str, ...]
    files: tuple[str, ...] = ()
    """Names of what was written beside it."""
    note: str = ""
    """On the annotated video."""

    @property
    def begin(self) -> int:
        """The first frame that was looked at: of a given interval its onset."""
        given = [one.interval.onset for one in self.found if one.interval.source == "given"]
        return given[0] if given else 0

    @property
    def unclassified(self) -> int:
        """How many intervals have no class."""
        return sum(not one.label for one in self.found)


def interval_rows(result: PredictionResult) -> list[tuple[object, ...]]:
    """The rows of intervals.csv; intervals are numbered from 1, frames from 0."""
    rows = []
    for number, one in enumerate(result.found, start=1):
        i, rate = one.interval, result.rate
        seconds = [f"{frame / rate:.4f}" for frame in (i.onset, i.apex, i.offset)]
        length = f"{1000 * (i.offset - i.onset) / rate:.1f}"
        rows.append((result.name, number, i.onset, i.apex, i.offset, *seconds, length, f"{i.strength:.3f}", i.source))
    return rows


def prediction_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """The header of predictions.csv."""
    names = ("recording", "interval", "onset", "apex", "offset", "predicted_label")
    return (*names, *(f"p_{name}" for name in classes))


def prediction_rows(result: PredictionResult) -> list[tuple[object, ...]]:
    """The rows of predictions.csv; label and probabilities are empty where an interval could not be classified."""
    return [
        (
            result.name,
            number,
            one.interval.onset,
            one.interval.apex,
            one.interval.offset,
            one.label,
            *([f"{p:.6g}" for p in one.probabilities] or [""] * len(result.classes)),
        )
        for number, one in enumerate(result.found, start=1)
    ]


def write_tables(folder: Path, results: Sequence[PredictionResult], classes: Sequence[str]) -> None:
    """Write intervals.csv and predictions.csv of one recording or of several."""
    write_csv(folder / "intervals.csv", INTERVAL_COLUMNS, [row for one in results for row in interval_rows(one)])
    rows = [row for one in results for row in prediction_rows(one)]
    write_csv(folder / "predictions.csv", prediction_columns(classes), rows)


def with_face(watched: FaceMotion) -> np.ndarray:
    """(n,) True where the frame shows the face."""
    return np.array([np.isfinite(points).all() for points in watched.landmarks], bool)


def write_intensity(folder: Path, watched: FaceMotion, begin: int = 0) -> None:
    """Write intensity.csv: the curve of the report, frame by frame from `begin` on; empty where it is unknown."""
    face = with_face(watched)
    rows = [
        (n, f"{n / watched.rate:.4f}", "" if np.isnan(level) else f"{level:.4f}", int(face[n]))
        for n, level in enumerate(watched.intensity[begin:], start=begin)
    ]
    write_csv(folder / "intensity.csv", ("frame", "seconds", "intensity", "face"), rows)


def write_result(folder: Path, result: PredictionResult, determinants: Mapping[str, Any]) -> None:
    """Write result.json, which marks the recording as done."""
    write_json(folder / RESULT, {"determinants": determinants, **asdict(result)})


def read_result(folder: Path, determinants: Mapping[str, Any]) -> PredictionResult | None:
    """The finished result in `folder`; None where there is none, or what determines it or one of its files differs."""
    try:
        about = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        if about.pop("determinants") != json.loads(json.dumps(determinants)):
            return None
        found = tuple(
            FoundInterval(Interval(**one["interval"]), one["label"], tuple(one["probabilities"]), tuple(one["remarks"]))
            for one in about.pop("found")
        )
        lists = {name: tuple(about.pop(name)) for name in ("classes", "remarks", "files")}
        result = PredictionResult(found=found, **lists, **about)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if all((folder / name).is_file() for name in result.files) else None
