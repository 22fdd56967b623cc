"""One clip through all of it: apex, landmarks, square, cut, interpolation, flow, file. This runs in the workers."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from slstt.config.preprocess import ApexPolicy, PreprocessConfig
from slstt.datasets.cache import write_flow
from slstt.datasets.clip import Clip, Remark
from slstt.errors import DataError, SlsttError
from slstt.files import fingerprint
from slstt.pictures import Picture, draw_landmarks, flow_wheel, read_image
from slstt.preprocessing.crop import cut, face_square, runs_past
from slstt.preprocessing.flow import consecutive_flow, onset_flow
from slstt.preprocessing.interpolation import FramePlan, choose_frames, fill
from slstt.preprocessing.landmarks import LandmarkDetector, find_landmarks
from slstt.preprocessing.record import Record
from slstt.preprocessing.rife import Rife
from slstt.preprocessing.spotting import SIZE, spot

STRIP_HEIGHT = 160
"""Height in pixels of the report's strip; with its JPEG quality it bounds the report to some 20 kB a clip."""
STRIP_QUALITY = 80


@dataclass(frozen=True)
class Task:
    """What a worker needs to know about one clip."""

    clip: Clip
    path: Path
    determinants: Mapping[str, Any]
    """See `record.determinants`."""
    landmarks: np.ndarray | None
    """Given ones (68, 2), or None to look for them."""


@dataclass(frozen=True)
class Outcome:
    """What became of one clip: a record, or a failure."""

    key: tuple[str, str, str]
    record: Record | None
    failure: Remark | None
    seconds: Mapping[str, float]


class _Unusable(Exception):
    """The clip cannot be used; (kind, reason)."""


@dataclass
class _Notes:
    """What is learnt about one clip on the way."""

    task: Task
    used: set[str] = field(default_factory=lambda: {"version", "clip", "files", "landmarks"})
    """Names of the determinants that had a say."""
    remarks: list[tuple[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def make_worker(config: PreprocessConfig) -> Callable[[Task], Outcome]:
    """The function that a worker applies to each clip; models are loaded when first needed, once."""
    return Worker(config).process


class Worker:
    """Settings and loaded models of one worker process."""

    def __init__(self, config: PreprocessConfig) -> None:
        self.config = config

    @cached_property
    def detector(self) -> LandmarkDetector:
        """dlib's models."""
        return LandmarkDetector()

    @cached_property
    def rife(self) -> Rife:
        """The interpolation network."""
        return Rife.load(precision=self.config.interpolation.precision)

    def process(self, task: Task) -> Outcome:
        """Make the flow file; what is wrong with the clip becomes a failure, a full disk or missing weights raise."""
        notes = _Notes(task)
        try:
            record = self._process(task, notes)
        except _Unusable as unusable:
            kind, reason = unusable.args
        except SlsttError:
            raise
        except Exception as error:  # one odd clip must not cost the others
            kind, reason = "fault", f"{type(error).__name__}: {error} (a fault in slstt, please report it)"
        else:
            return Outcome(task.clip.key, record, None, notes.seconds)
        task.path.unlink(missing_ok=True)  # of earlier settings: a failed clip has no flow file
        return Outcome(task.clip.key, None, Remark(*task.clip.key, kind, reason, "failure"), notes.seconds)

    def _process(self, task: Task, notes: _Notes) -> Record:
        clip, config = task.clip, self.config
        if clip.onset not in clip.frames:
            raise _Unusable("no_onset_frame", f"onset frame {clip.onset} is not in {clip.folder}; restore the file")
        # Places, not numbers: a frame missing inside the clip leaves a gap in the numbers, not in the plan.
        numbers = [number for number in clip.frames if clip.onset <= number <= clip.offset]
        if len(numbers) < 2:
            raise _Unusable(
                "too_short", f"no frame after onset {clip.onset} up to offset {clip.offset}; correct the annotation"
            )
        pictures = _Pictures(clip, notes)
        apex, apex_from = self._apex(numbers, pictures, notes)
        place = min(range(len(numbers)), key=lambda at: (abs(numbers[at] - apex), at))
        if numbers[place] != apex:
            notes.remarks.append(
                ("apex_frame_missing", f"apex frame {apex} is not there; frame {numbers[place]} stands for it")
            )
        landmarks, face_frame = self._landmarks(numbers, place, pictures, notes)
        square = _square(landmarks)
        apex_picture = pictures[numbers[place]]
        height, width = apex_picture.shape[:2]
        x, y = np.median(landmarks, axis=0)
        if not (0 <= x < width and 0 <= y < height):
            raise _Unusable(
                "landmarks_outside", f"the landmarks lie outside the {width} x {height} frame; correct them"
            )
        if runs_past(square, width, height):
            notes.remarks.append(
                ("square_past_border", "the face square runs past the frame; the border was repeated to fill it")
            )

        notes.used |= {"frames.count", "crop.size", "flow.method", "flow.reference"}
        if len(numbers) - 1 >= config.frames.count:
            notes.used.add("frames.selection")
        plan = choose_frames(0, place, len(numbers) - 1, config.frames.count, config.frames.selection)
        cuts: dict[float, Picture] = {}
        for at in (0, *(needed for needed in plan.needed if needed != 0)):
            picture = pictures[numbers[at]]
            if picture.shape[:2] != (height, width):
                what = f"frame {numbers[at]} has another size than frame {numbers[place]}; restore the file"
                raise _Unusable("unequal_sizes", what)
            with notes.stage("cut"):
                cuts[float(at)] = cut(picture, square, config.crop.size)
        flow = self._flow(cuts, plan, notes)
        if not np.isfinite(flow.astype(np.float16)).all():
            raise _Unusable("flow_not_finite", "the flow holds values that are not finite; look at the frames")
        intensity = np.hypot(flow[:, 0], flow[:, 1]).mean(axis=(1, 2))

        with notes.stage("picture"):
            strongest = min(range(len(plan.positions)), key=lambda t: abs(plan.positions[t] - place))
            apex_cut = cut(apex_picture, square, config.crop.size)
            strip = _strip(apex_picture, landmarks, square, apex_cut, flow[strongest])
        about = {
            "depends": {name: task.determinants[name] for name in sorted(notes.used)},
            "apex": numbers[place],
            "apex_from": apex_from,
            "face_frame": face_frame,
            "square": list(square),
            "frame_size": [width, height],
            "positions": [_number(numbers, position) for position in plan.positions],
            "inserted": len(plan.inserted),
            "intensity": [round(float(value), 4) for value in intensity],
            "remarks": notes.remarks,
        }
        about = json.loads(json.dumps(about))  # as it will be read back
        encoded = np.frombuffer(strip, np.uint8)
        with notes.stage("write"):
            tensors = {"landmarks": landmarks.astype(np.float32), "picture": encoded}
            write_flow(task.path, flow, fingerprint(about["depends"]), about, tensors)
        return Record(about, landmarks.astype(np.float32), strip)

    def _apex(self, numbers: list[int], pictures: "_Pictures", notes: _Notes) -> tuple[int, str]:
        """(frame number, where it is from: sheet, spotted, middle), by the policies."""
        clip, config = notes.task.clip, self.config
        if clip.apex is not None and clip.onset <= clip.apex <= clip.offset:
            return clip.apex, "sheet"
        if clip.apex is None:
            kind, policy, what = "apex_missing", config.apex.missing, "the sheet gives no apex"
        else:
            kind, policy = "apex_outside", config.apex.outside
            what = f"the sheet's apex {clip.apex} lies outside {clip.onset}..{clip.offset}"
        setting = kind.replace("_", ".")
        notes.used.add(setting)
        return self._other_apex(policy, kind, what, setting, numbers, pictures, notes)

    def _other_apex(
        self,
        policy: ApexPolicy,
        kind: str,
        what: str,
        setting: str,
        numbers: list[int],
        pictures: "_Pictures",
        notes: _Notes,
    ) -> tuple[int, str]:
        match policy:
            case "fail":
                raise _Unusable(kind, f"{what}; correct the sheet, or set {setting}=spot or middle")
            case "middle":
                apex = numbers[len(numbers) // 2]
                notes.remarks.append((kind, f"{what}; the middle frame {apex} was taken"))
                return apex, "middle"
            case "spot":
                notes.used.add("apex.smoothing")
                apex = self._spot(numbers, pictures, notes)
                notes.remarks.append((kind, f"{what}; spotted at frame {apex}"))
                return apex, "spotted"

    def _spot(self, numbers: list[int], pictures: "_Pictures", notes: _Notes) -> int:
        landmarks, _ = self._landmarks(numbers, 0, pictures, notes)
        square = _square(landmarks)
        kept, cuts, lost = [], [], []
        for number in numbers:
            try:
                picture = pictures[number]
            except _Unusable:
                lost.append(number)
                continue
            with notes.stage("cut"):
                cuts.append(cv2.cvtColor(cut(picture, square, SIZE), cv2.COLOR_RGB2GRAY))
            kept.append(number)
            if number != numbers[0]:
                pictures.forget(number)  # a long clip need not lie in memory whole
        if numbers[0] in lost or len(kept) < 2:
            raise _Unusable("undecodable_frame", f"frame {numbers[0]} cannot be decoded; restore the file")
        if lost:
            what = f"frame {', '.join(map(str, lost))} cannot be decoded; left out of apex spotting"
            notes.remarks.append(("undecodable_frame", what))
        x0, y0, side = square
        points = (landmarks - (x0, y0)) * (SIZE / side)
        with notes.stage("spot"):
            place, _ = spot(np.stack(cuts), points, self.config.apex.smoothing)
        return kept[place]

    def _landmarks(
        self, numbers: list[int], place: int, pictures: "_Pictures", notes: _Notes
    ) -> tuple[np.ndarray, int]:
        """(68 points, the frame they were found on): given ones, or dlib's on the wanted place or its neighbours."""
        if notes.task.landmarks is not None:
            return np.asarray(notes.task.landmarks, np.float32), numbers[place]
        reach = self.config.crop.neighbours
        nearest = sorted(range(len(numbers)), key=lambda at: (abs(at - place), at))
        near = [numbers[at] for at in nearest if abs(at - place) <= reach]

        def readable() -> Iterator[tuple[float, np.ndarray]]:
            yield near[0], pictures[near[0]]
            for number in near[1:]:
                try:
                    picture = pictures[number]
                except _Unusable:
                    continue
                yield number, picture

        notes.used.add("landmark_model")
        decoding = notes.seconds.get("decode", 0.0)
        with notes.stage("landmarks"):
            try:
                found = find_landmarks(self.detector, readable(), self.config.crop.upsample)
            except DataError as error:
                raise _Unusable("no_face", str(error)) from error
        notes.seconds["landmarks"] -= notes.seconds.get("decode", 0.0) - decoding  # pictures were read in between
        number = int(found.frame)
        if number != near[0]:
            notes.used |= {"crop.neighbours", "crop.upsample"}
            notes.remarks.append(("face_on_neighbour", f"no face on frame {near[0]}; landmarks are those of {number}"))
        if found.upsampled:
            notes.used.add("crop.upsample")
            notes.remarks.append(("face_after_upsampling", f"the face was found only after enlarging frame {number}"))
        if found.faces > 1:
            notes.remarks.append(("several_faces", f"{found.faces} faces on frame {number}; the largest was taken"))
        return found.face.landmarks, number

    def _flow(self, cuts: dict[float, Picture], plan: FramePlan, notes: _Notes) -> np.ndarray:
        method = self.config.interpolation.method
        rife = None
        if plan.inserted:
            notes.used.add("interpolation.method")
            if method == "rife":
                notes.used |= {"interpolation.precision", "rife"}
                with notes.stage("load"):
                    rife = self.rife
        with notes.stage("interpolation"):
            filled = fill(cuts, plan.positions, method if plan.inserted else "none", rife)
        frames = np.stack([cuts[0.0], *(filled[position] for position in plan.positions)])
        between = onset_flow if self.config.flow.reference == "onset" else consecutive_flow
        with notes.stage("flow"):
            return between(frames, self.config.flow.method)


class _Pictures:
    """The frames of one clip by number, each decoded at most once, and only when asked for."""

    def __init__(self, clip: Clip, notes: _Notes) -> None:
        self.clip, self.notes = clip, notes
        self.decoded: dict[int, Picture] = {}

    def __getitem__(self, number: int) -> Picture:
        if number not in self.decoded:
            with self.notes.stage("decode"):
                try:
                    self.decoded[number] = read_image(self.clip.frames[number])
                except DataError as error:
                    raise _Unusable("undecodable_frame", f"frame {number} is needed: {error}") from error
        return self.decoded[number]

    def forget(self, number: int) -> None:
        self.decoded.pop(number, None)


def _square(landmarks: np.ndarray) -> tuple[int, int, int]:
    try:
        return face_square(landmarks)
    except DataError as error:
        raise _Unusable("no_square", f"{error}; give landmarks with --landmarks FILE") from error


def _number(numbers: list[int], position: float) -> float:
    """The frame number of a place; between two frames in proportion."""
    below = int(position)
    if position == below:
        return numbers[below]
    return numbers[below] + (position - below) * (numbers[below + 1] - numbers[below])


def _strip(
    frame: Picture, landmarks: np.ndarray, square: tuple[int, int, int], apex_cut: Picture, flow: np.ndarray
) -> bytes:
    """Apex frame with points and square, its cut, and the flow onset -> apex, side by side, as JPEG."""
    scale = STRIP_HEIGHT / frame.shape[0]
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x0, y0, side = (round(value * scale) for value in square)
    drawn = draw_landmarks(np.asarray(small, np.uint8), landmarks * scale, (x0, y0, side))
    cell = (STRIP_HEIGHT, STRIP_HEIGHT)
    tiles = [
        drawn[:STRIP_HEIGHT],
        cv2.resize(apex_cut, cell, interpolation=cv2.INTER_AREA),
        cv2.resize(flow_wheel(flow), cell, interpolation=cv2.INTER_AREA),
    ]
    strip = cv2.cvtColor(np.concatenate(tiles, axis=1), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, STRIP_QUALITY])[1].tobytes()
