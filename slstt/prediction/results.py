"""What is found in one recording, and its files: intervals, predictions, units, intensity (csv), result.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slstt.datasets.synthetic.action_units import NAMES, code
from slstt.errors import DataError
from slstt.files import data_frame, whole_file, write_csv, write_json
from slstt.prediction.face_motion import FaceMotion
from slstt.prediction.spotting import Interval

if TYPE_CHECKING:
    import pandas

RESULT, FACE_MOTION, ELAN = "result.json", "face_motion.npz", "intervals.eaf"
MOTION_ARRAYS = ("times", "landmarks", "stabilization", "intensity", "faces", "judged")
INTERVAL_COLUMNS = (
    "recording", "interval", "onset", "apex", "offset", "onset_s", "apex_s", "offset_s", "duration_ms", "strength",
    "source", "p_no_expression",
)  # fmt: skip
UNIT_COLUMNS = ("recording", "interval", "unit", "name", "p_left", "p_right")
"""Left and right are the person's own, as coders write them: the left is on the picture's right."""


@dataclass(frozen=True)
class FoundInterval:
    """One interval and its class."""

    interval: Interval
    seconds: tuple[float, float, float]
    """Of onset, apex and offset, from the recording's first frame on."""
    label: str = ""
    """Empty where it cannot be classified."""
    probabilities: tuple[float, ...] = ()
    """In the order of the classes; empty likewise."""
    units: tuple[tuple[float, float], ...] = ()
    """Probability of each action unit on the person's left and right, in the order of the result's units."""
    none: float | None = None
    """Probability that the motion is no expression; None where the weights do not tell."""
    remarks: tuple[str, ...] = ()

    @property
    def unlikely(self) -> bool:
        """Whether the motion is likelier no expression than one."""
        return self.none is not None and self.none >= 0.5


@dataclass(frozen=True)
class PredictionResult:
    """One finished recording."""

    name: str
    rate: float
    frames: int
    classes: tuple[str, ...]
    found: tuple[FoundInterval, ...]
    remarks: tuple[str, ...]
    judged: float = 1.0
    """Share of the frames on which an interval could have been spotted, or that the given ones hold."""
    files: tuple[str, ...] = ()
    """Names of what was written beside it."""
    note: str = ""
    """On the annotated video."""
    units: tuple[int, ...] = ()
    """Action units that the weights tell; () where they tell none."""
    tells_none: bool = False
    """Whether the weights tell an expression from other motion."""

    def coded(self, one: FoundInterval) -> str:
        """The units of `one` that are likelier there than not, as a coder writes them: `6+12`, `R14`."""
        likely = {unit: (right >= 0.5, left >= 0.5) for unit, (left, right) in zip(self.units, one.units, strict=False)}
        return code({unit: sides for unit, sides in likely.items() if any(sides)})

    @property
    def unclassified(self) -> int:
        """How many intervals have no class."""
        return sum(not one.label for one in self.found)

    def to_pandas(self) -> "pandas.DataFrame":
        """The intervals, one row each: the columns of intervals.csv, then class and probabilities as predictions.csv
        has them. Raises ConfigError where pandas is absent."""
        rows = []
        for number, one in enumerate(self.found, start=1):
            i, (onset, apex, offset) = one.interval, one.seconds
            place = (self.name, number, i.onset, i.apex, i.offset, onset, apex, offset, 1000 * (offset - onset))
            answer = one.probabilities or (np.nan,) * len(self.classes)
            none = np.nan if one.none is None else one.none
            rows.append((*place, i.strength, i.source, none, one.label, *answer))
        return data_frame((*INTERVAL_COLUMNS, *prediction_columns(self.classes)[5:]), rows)


def interval_rows(result: PredictionResult) -> list[tuple[object, ...]]:
    """The rows of intervals.csv; intervals are numbered from 1, frames from 0."""
    rows = []
    for number, one in enumerate(result.found, start=1):
        i, seconds = one.interval, [f"{second:.4f}" for second in one.seconds]
        length = f"{1000 * (one.seconds[2] - one.seconds[0]):.1f}"
        none = "" if one.none is None else f"{one.none:.4f}"
        where = (result.name, number, i.onset, i.apex, i.offset, *seconds, length)
        rows.append((*where, f"{i.strength:.3f}", i.source, none))
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


def unit_rows(result: PredictionResult) -> list[tuple[object, ...]]:
    """The rows of units.csv: one for each unit of each interval that could be classified."""
    return [
        (result.name, number, unit, NAMES.get(unit, ""), f"{left:.4f}", f"{right:.4f}")
        for number, one in enumerate(result.found, start=1)
        if one.units
        for unit, (left, right) in zip(result.units, one.units, strict=True)
    ]


def write_tables(folder: Path, results: Sequence[PredictionResult], classes: Sequence[str]) -> None:
    """Write intervals.csv, predictions.csv and units.csv of one recording or of several."""
    write_csv(folder / "intervals.csv", INTERVAL_COLUMNS, [row for one in results for row in interval_rows(one)])
    rows = [row for one in results for row in prediction_rows(one)]
    write_csv(folder / "predictions.csv", prediction_columns(classes), rows)
    write_csv(folder / "units.csv", UNIT_COLUMNS, [row for one in results for row in unit_rows(one)])


def with_face(motion: FaceMotion) -> np.ndarray:
    """(n,) True where the frame shows the face."""
    return np.array([np.isfinite(points).all() for points in motion.landmarks], bool)


def write_intensity(folder: Path, motion: FaceMotion) -> None:
    """Write intensity.csv: the report's curve, from the first frame that was measured; empty where it is unknown."""
    face = with_face(motion)
    rows = [
        (n, f"{motion.times[n]:.4f}", "" if np.isnan(level) else f"{level:.4f}", int(face[n]), int(motion.judged[n]))
        for n, level in enumerate(motion.intensity[motion.begin :], start=motion.begin)
    ]
    write_csv(folder / "intensity.csv", ("frame", "seconds", "intensity", "face", "judged"), rows)


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
            FoundInterval(
                Interval(**one["interval"]),
                tuple(one["seconds"]),
                one["label"],
                tuple(one["probabilities"]),
                tuple((left, right) for left, right in one["units"]),
                one["none"],
                tuple(one["remarks"]),
            )
            for one in about.pop("found")
        )
        lists = {name: tuple(about.pop(name)) for name in ("classes", "remarks", "files", "units")}
        result = PredictionResult(found=found, **lists, **about)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if all((folder / name).is_file() for name in result.files) else None


def write_face_motion(folder: Path, motion: FaceMotion, determinants: Mapping[str, Any]) -> None:
    """Write face_motion.npz, so that other weights or a video need not measure again."""
    about = {
        "rate": motion.rate,
        "intervals": [asdict(interval) for interval in motion.intervals],
        "remarks": list(motion.remarks),
    }
    write_arrays(folder / FACE_MOTION, determinants, {name: getattr(motion, name) for name in MOTION_ARRAYS}, about)


def read_face_motion(folder: Path, determinants: Mapping[str, Any]) -> FaceMotion | None:
    """What was measured under the same `determinants`; None where it is absent, damaged or of others."""
    if (found := read_arrays(folder / FACE_MOTION, determinants)) is None:
        return None
    arrays, about = found
    try:
        intervals = tuple(Interval(**interval) for interval in about["intervals"])
        measured = {name: arrays[name] for name in MOTION_ARRAYS}
        return FaceMotion(rate=about["rate"], intervals=intervals, remarks=tuple(about["remarks"]), **measured)
    except (KeyError, TypeError):
        return None


def write_arrays(
    path: Path, determinants: Mapping[str, Any], arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Write measured arrays as npz, with what determines them and what else is `about` them (JSON values)."""
    text = json.dumps({"determinants": determinants, **about})
    with whole_file(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, about=np.array(text), **arrays)  # pyright: ignore


def read_arrays(path: Path, determinants: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """(arrays, about) written under the same `determinants`; None where the file is absent, damaged or of others."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if about.pop("determinants") != json.loads(json.dumps(determinants)):
                return None
            return {name: arrays[name] for name in arrays.files if name != "about"}, about
    except (OSError, ValueError, KeyError, TypeError, EOFError, DataError):
        return None
    except Exception as error:  # zipfile's and zlib's own errors for a damaged archive
        if type(error).__module__ in ("zipfile", "zlib"):
            return None
        raise
