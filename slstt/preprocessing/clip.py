"""The frames of one clip: which are there, which are needed, decoded when asked for; and what is noted on the way."""

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from slstt.config.preprocess import PreprocessConfig
from slstt.datasets.clips import Clip, Remark
from slstt.errors import DataError, SlsttError
from slstt.face.crop import MEASURED_SIDE, cut, face_square, runs_past
from slstt.face.landmarks import LandmarkDetector, find_landmarks
from slstt.files import fingerprint
from slstt.flow.flow_files import storable, write_flow
from slstt.flow.interpolation import FramePlan, Rife, choose_frames, fill
from slstt.flow.optical_flow import consecutive_flow, onset_flow
from slstt.images import Picture, read_image
from slstt.preprocessing.apex_spotting import spot
from slstt.preprocessing.provenance import ClipOutcome, FlowRecord, Task
from slstt.preprocessing.strip import draw_strip


def present(clip: Clip) -> list[int]:
    """The numbers of the frames onset..offset that are there, ascending.

    Plans are made of places in this list, not of numbers: a missing frame leaves a gap in the numbers, not in the plan.
    """
    return [number for number in clip.frames if clip.onset <= number <= clip.offset]


def nearest_place(numbers: list[int], wanted: int) -> int:
    """The place whose number is nearest to `wanted`; of two equally near the earlier one."""
    return min(range(len(numbers)), key=lambda place: (abs(numbers[place] - wanted), place))


def plan_frames(numbers: list[int], apex_place: int, config: PreprocessConfig) -> FramePlan:
    """The plan in places (the onset is place 0)."""
    return choose_frames(0, apex_place, len(numbers) - 1, config.frames.count, config.frames.selection)


def needed_frames(clip: Clip, config: PreprocessConfig) -> Collection[int]:
    """The frame numbers that a run decodes and cannot do without, as far as the sheet alone tells."""
    numbers = present(clip)
    if len(numbers) < 2 or clip.apex is None or not clip.onset <= clip.apex <= clip.offset:
        return {clip.onset}
    place = nearest_place(numbers, clip.apex)
    return {numbers[at] for at in (0, place, *plan_frames(numbers, place, config).needed)}


class Unusable(Exception):
    """The clip cannot be used: (kind, reason)."""


@dataclass
class Notes:
    """What is learnt about one clip on the way."""

    used: set[str] = field(default_factory=lambda: {"version", "clip", "files", "landmarks"})
    """Names of the determinants that had a say."""
    remarks: list[tuple[str, str]] = field(default_factory=list)
    """(kind, reason) of what is to be flagged."""
    seconds: dict[str, float] = field(default_factory=dict)
    inner: float = 0.0
    """Time taken by the stages inside the one that is running."""

    def flag(self, kind: str, reason: str) -> None:
        """List the clip in flags.csv; the same thing noticed twice is listed once."""
        if (kind, reason) not in self.remarks:
            self.remarks.append((kind, reason))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent in the block to the stage `name`; what an inner stage takes counts for that one only."""
        started, inner = time.perf_counter(), self.inner
        self.inner = 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self.inner
            self.inner = inner + took


class FrameReader:
    """The frames of one clip by number, each decoded at most once, and only when asked for."""

    def __init__(self, clip: Clip, notes: Notes) -> None:
        self.clip, self.notes = clip, notes
        self.decoded: dict[int, Picture] = {}

    def __getitem__(self, number: int) -> Picture:
        if number not in self.decoded:
            with self.notes.stage("decode"):
                try:
                    self.decoded[number] = read_image(self.clip.frames[number])
                except DataError as error:
                    raise Unusable("undecodable_frame", f"frame {number} is needed: {error}") from error
        return self.decoded[number]

    def forget(self, number: int) -> None:
        """Let go of a decoded frame."""
        self.decoded.pop(number, None)


Square = tuple[int, int, int]


class ClipModels:
    """The models of one worker process, each loaded when first needed, once."""

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


def make_worker(config: PreprocessConfig) -> Callable[[Task], ClipOutcome]:
    """The function that a worker applies to each clip."""
    models = ClipModels(config)
    return lambda task: process(task, config, models)


def process(task: Task, config: PreprocessConfig, models: ClipModels) -> ClipOutcome:
    """Make the flow file; what is wrong with the clip becomes a failure, a full disk or missing weights raise."""
    notes = Notes()
    try:
        record = _Work(task, config, models, notes).do()
    except Unusable as unusable:
        kind, reason = unusable.args
    except SlsttError:
        raise
    except Exception as error:  # one odd clip must not cost the others
        kind, reason = "fault", f"{type(error).__name__}: {error} (a fault in slstt, please report it)"
    else:
        return ClipOutcome(task.clip.key, record, None, notes.seconds)
    task.path.unlink(missing_ok=True)  # of earlier settings: a failed clip has no flow file
    clip = task.clip
    return ClipOutcome(
        clip.key, None, Remark(clip.dataset, clip.subject, clip.name, kind, reason, "failure"), notes.seconds
    )


class _Work:
    """One clip in the making. Places count the frames that are there, from the onset (0) on."""

    def __init__(self, task: Task, config: PreprocessConfig, models: ClipModels, notes: Notes) -> None:
        self.task, self.clip, self.config, self.models, self.notes = task, task.clip, config, models, notes
        self.numbers = present(task.clip)
        self.pictures = FrameReader(task.clip, notes)

    def do(self) -> FlowRecord:
        clip, config, notes, numbers = self.clip, self.config, self.notes, self.numbers
        if clip.onset not in clip.frames:
            raise Unusable("no_onset_frame", f"onset frame {clip.onset} is not in {clip.folder}; restore the file")
        if len(numbers) < 2:
            what = f"no frame after onset {clip.onset} up to offset {clip.offset}; correct the annotation"
            raise Unusable("too_short", what)
        apex, apex_from = self.apex()
        place = nearest_place(numbers, apex)
        if numbers[place] != apex:
            notes.flag("apex_frame_missing", f"apex frame {apex} is not there; frame {numbers[place]} stands for it")
        landmarks, face_frame = self.landmarks(place)
        square = _square(landmarks)
        apex_picture = self.pictures[numbers[place]]
        height, width = apex_picture.shape[:2]
        x, y = np.median(landmarks, axis=0)
        if not (0 <= x < width and 0 <= y < height):
            raise Unusable("landmarks_outside", f"the landmarks lie outside the {width} x {height} frame; correct them")
        if runs_past(square, width, height):
            notes.flag("square_past_border", "the face square runs past the frame; the border is repeated to fill it")

        notes.used |= {"frames.count", "crop.size", "flow.method", "flow.reference"}
        if len(numbers) - 1 >= config.frames.count:
            notes.used.add("frames.selection")
        plan = plan_frames(numbers, place, config)
        flow = self.flow(self.cuts(plan, square, (height, width)), plan)
        if not storable(flow):
            raise Unusable("flow_not_finite", "the flow holds values that are not finite; look at the frames")

        with notes.stage("picture"):
            shown = min(range(len(plan.positions)), key=lambda t: abs(plan.positions[t] - place))
            apex_cut = cut(apex_picture, square, config.crop.size)
            strip = draw_strip(apex_picture, landmarks, square, apex_cut, flow[shown])
        intensity = [float(cv2.magnitude(u, v).mean()) for u, v in flow]
        about = {
            "depends": {name: self.task.determinants[name] for name in sorted(notes.used)},
            "apex": numbers[place],
            "apex_from": apex_from,
            "face_frame": face_frame,
            "square": square,
            "frame_size": (width, height),
            "positions": [_number(numbers, position) for position in plan.positions],
            "inserted": len(plan.inserted),
            "intensity": [round(value, 4) for value in intensity],
            "remarks": notes.remarks,
        }
        about = json.loads(json.dumps(about))  # as it will be read back
        points = landmarks.astype(np.float32)
        with notes.stage("write"):
            tensors = {"landmarks": points, "picture": np.frombuffer(strip, np.uint8)}
            write_flow(self.task.path, flow, fingerprint(about["depends"]), about, tensors)
        return FlowRecord(about, points, strip)

    def apex(self) -> tuple[int, str]:
        """(frame number, where it is from: sheet, spotted, middle), by the policies."""
        clip, config = self.clip, self.config
        if clip.apex is not None and clip.onset <= clip.apex <= clip.offset:
            return clip.apex, "sheet"
        if clip.apex is None:
            kind, setting, policy, what = "apex_missing", "apex.missing", config.apex.missing, "the sheet gives no apex"
        else:
            kind, setting, policy = "apex_outside", "apex.outside", config.apex.outside
            what = f"the sheet's apex {clip.apex} lies outside {clip.onset}..{clip.offset}"
        self.notes.used.add(setting)
        match policy:
            case "fail":
                raise Unusable(kind, f"{what}; correct the sheet, or set {setting}=spot or middle")
            case "middle":
                apex, apex_from = self.numbers[len(self.numbers) // 2], "middle"
            case "spot":
                apex, apex_from = self.spotted(), "spotted"
        self.notes.flag(kind, f"{what}; {'middle' if apex_from == 'middle' else 'spotted'} frame {apex} taken")
        return apex, apex_from

    def spotted(self) -> int:
        """The frame number of greatest onset-flow strength, in the square of the onset frame's face."""
        self.notes.used.add("apex.smoothing")
        landmarks, _ = self.landmarks(0)
        square = _square(landmarks)
        kept, cuts, lost = [], [], []
        for number in self.numbers:
            try:
                picture = self.pictures[number]
            except Unusable:
                if number == self.clip.onset:
                    raise
                lost.append(number)
                continue
            with self.notes.stage("cut"):
                cuts.append(cv2.cvtColor(cut(picture, square, MEASURED_SIDE), cv2.COLOR_RGB2GRAY))
            kept.append(number)
            if number != self.clip.onset:
                self.pictures.forget(number)  # a long clip need not lie in memory whole
        if len(kept) < 2:
            raise Unusable("undecodable_frame", "no frame after the onset can be decoded; restore the files")
        if lost:
            what = f"frame {', '.join(map(str, lost))} cannot be decoded; left out of apex spotting"
            self.notes.flag("undecodable_frame", what)
        points = (landmarks - square[:2]) * (MEASURED_SIDE / square[2])
        with self.notes.stage("spot"):
            place, _ = spot(np.stack(cuts), points, self.config.apex.smoothing)
        return kept[place]

    def landmarks(self, place: int) -> tuple[np.ndarray, int]:
        """(68 points, the frame they are from): given ones, or dlib's on the wanted place or its neighbours."""
        if self.task.landmarks is not None:
            return np.asarray(self.task.landmarks, np.float32), self.numbers[place]
        notes, reach = self.notes, self.config.crop.neighbours
        nearest = sorted(range(len(self.numbers)), key=lambda at: (abs(at - place), at))
        near = [self.numbers[at] for at in nearest if abs(at - place) <= reach]
        notes.used.add("landmark_model")
        with notes.stage("load"):
            detector = self.models.detector
        with notes.stage("landmarks"):
            try:
                found = find_landmarks(detector, self.readable(near), self.config.crop.upsample)
            except DataError as error:
                raise Unusable("no_face", str(error)) from error
        number = int(found.frame)
        if number != near[0]:
            notes.used |= {"crop.neighbours", "crop.upsample"}
            notes.flag("face_on_neighbour", f"no face on frame {near[0]}; the landmarks are those of frame {number}")
        if found.upsampled:
            notes.used.add("crop.upsample")
            notes.flag("face_after_upsampling", f"the face was found only after enlarging frame {number}")
        if found.faces > 1:
            notes.flag("several_faces", f"{found.faces} faces on frame {number}; the largest was taken")
        return found.face.landmarks, number

    def readable(self, wanted: list[int]) -> Iterator[tuple[int, Picture]]:
        """The wanted frames that can be decoded; the first of them must be."""
        for number in wanted:
            try:
                picture = self.pictures[number]
            except Unusable:
                if number == wanted[0]:
                    raise
                continue
            yield number, picture

    def cuts(self, plan: FramePlan, square: Square, shape: tuple[int, int]) -> dict[int | float, Picture]:
        """The face on every frame the plan needs, by place, the onset included."""
        made: dict[int | float, Picture] = {}
        for place in sorted({0, *plan.needed}):
            number = self.numbers[place]
            picture = self.pictures[number]
            if picture.shape[:2] != shape:
                raise Unusable(
                    "unequal_sizes", f"frame {number} has another size than the apex frame; restore the file"
                )
            with self.notes.stage("cut"):
                made[place] = cut(picture, square, self.config.crop.size)
        return made

    def flow(self, cuts: dict[int | float, Picture], plan: FramePlan) -> np.ndarray:
        """(T, 2, size, size) float32, pixels of the cut."""
        method, rife = self.config.interpolation.method, None
        if plan.inserted:
            self.notes.used.add("interpolation.method")
            if method == "rife":
                self.notes.used |= {"interpolation.precision", "rife"}
                with self.notes.stage("load"):
                    rife = self.models.rife
        else:
            method = "none"
        with self.notes.stage("interpolation"):
            filled = fill(cuts, plan.positions, method, rife)
        frames = np.stack([cuts[0], *(filled[position] for position in plan.positions)])
        between = onset_flow if self.config.flow.reference == "onset" else consecutive_flow
        with self.notes.stage("flow"):
            return between(frames, self.config.flow.method)


def _square(landmarks: np.ndarray) -> Square:
    try:
        return face_square(landmarks)
    except DataError as error:
        raise Unusable("no_square", f"{error}; give landmarks with --landmarks FILE") from error


def _number(numbers: list[int], position: float) -> int | float:
    """The frame number of a place; between two frames in proportion."""
    below = int(position)
    if position == below:
        return numbers[below]
    return numbers[below] + (position - below) * (numbers[below + 1] - numbers[below])
