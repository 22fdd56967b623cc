"""One clip, from its frames to its flow file, in steps.

Each step returns its value together with the settings that had a say in it, so what a flow file depends on is the
union over its steps, and a step's signature shows what it reads.
"""

import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np

from slstt.config.preprocess import PreprocessConfig, SquarePlace
from slstt.datasets.clips import Clip, Remark
from slstt.errors import DataError, SlsttError
from slstt.face.crop import MEASURED_SIDE, cut, face_square, runs_past
from slstt.face.landmarks import LandmarkDetector, find_landmarks
from slstt.files import fingerprint, is_video
from slstt.flow.flow_files import storable, write_flow
from slstt.flow.interpolation import FramePlan, Rife, choose_frames, fill
from slstt.flow.optical_flow import consecutive_flow, onset_flow
from slstt.images import Picture, common_bits, draw_strip, read_full_depth, to_8_bits
from slstt.preprocessing.apex_spotting import apex_place
from slstt.preprocessing.provenance import ClipOutcome, FlowRecord, Task
from slstt.video import pictures


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


Value = TypeVar("Value")
Flag = tuple[str, str]
"""(kind, reason), for flags.csv."""
Square = tuple[int, int, int]
OUTLIER_SHARE = 0.1
"""DIS leaves patches of a few per cent of a sound frame with wrong vectors; the longest 1 % are often those."""
OUTLIER_RATIO = 2.5
"""On 112 sound rendered clips (SMIC, CASME II and SAMM layout, difficulty 0 and 0.9) the ratio reached 1.8 with DIS
and 1.6 with Farneback; over the longest 1 %, on 57 of them, 2.8 and 3.0. With one frame of each of these 57 damaged
it passed 2.5 in all clips for 40 changed bytes of the JPEG, for a frame of another clip and for a half shifted by 8
pixels; in a third for one changed byte; in 19 % (DIS) and 7 % for a grey block of 64 pixels, too small for it."""
OUTLIER_LENGTH = 1.0
"""Pixels of the cut; what is shorter may be noise."""
SMALLEST_SIDE = 16
"""Pixels of the frame: DIS needs 12, and in a smaller face there is no micro-expression to measure."""
ALWAYS = frozenset({"version", "clip", "files", "landmarks", "crop.place"})
"""What has a say in every clip."""


@dataclass(frozen=True)
class Step(Generic[Value]):
    """What one step gives: its value, the names of the dependencies that had a say in it, and what is to be flagged."""

    value: Value
    used: frozenset[str] = frozenset()
    flags: tuple[Flag, ...] = ()


class StageTimes:
    """Seconds spent in each stage of one clip's work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = 0.0  # time taken by the stages inside the one that is running

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent in the block to the stage `name`; what an inner stage takes counts for that one only."""
        started, inner = time.perf_counter(), self._inner
        self._inner = 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self._inner
            self._inner = inner + took


class FrameReader:
    """The frames of one clip by number, each decoded at most once, and only when asked for."""

    def __init__(self, clip: Clip, times: StageTimes) -> None:
        self.clip, self.times = clip, times
        self.decoded: dict[int, Picture] = {}
        self.deep = False
        """Whether a frame had 16 bits a channel."""

    def __getitem__(self, number: int) -> Picture:
        if number not in self.decoded:
            path = self.clip.frames[number]
            if is_video(path):
                return self._of_video(path, number)
            with self.times.stage("decode"):
                try:
                    picture = read_full_depth(path)
                except DataError as error:
                    raise Unusable("undecodable_frame", f"frame {number} is needed: {error}") from error
                if picture.dtype != np.uint8:
                    self.deep = True
                self.decoded[number] = to_8_bits(picture, self.bits if self.deep else 8)
        return self.decoded[number]

    def _of_video(self, path: Path, number: int) -> Picture:
        """A frame of a video file: one pass decodes those from onset to offset, since going back costs a pass each."""
        with self.times.stage("decode"):
            try:
                self.decoded.update(pictures(path, present(self.clip)))
            except DataError as error:
                raise Unusable("undecodable_frame", f"frame {number} is needed: {error}") from error
        if number not in self.decoded:
            raise Unusable("undecodable_frame", f"frame {number} is needed: {path} holds it damaged or not at all")
        return self.decoded[number]

    @cached_property
    def bits(self) -> int:
        """The bits that 16-bit frames fill, the same for the whole clip; every frame is decoded for it."""
        return common_bits(self.clip.frames[number] for number in present(self.clip))

    def forget(self, number: int) -> None:
        """Let go of a decoded frame."""
        self.decoded.pop(number, None)


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
    times = StageTimes()
    clip = task.clip
    work = ClipWork(clip, task.landmarks, config, models, present(clip), FrameReader(clip, times), times)
    try:
        record = _make_flow_file(task, work)
    except Unusable as unusable:
        kind, reason = unusable.args
    except SlsttError:
        raise
    except Exception as error:  # one odd clip must not cost the others
        kind, reason = "fault", f"{type(error).__name__}: {error} (a fault in slstt, please report it)"
    else:
        return ClipOutcome(clip.key, record, None, times.seconds)
    with suppress(OSError, ValueError):  # a name that no file can have has no file
        task.path.unlink(missing_ok=True)  # of earlier settings: a failed clip has no flow file
    failure = Remark(clip.dataset, clip.subject, clip.name, kind, reason, "failure")
    return ClipOutcome(clip.key, None, failure, times.seconds)


@dataclass(frozen=True)
class ClipWork:
    """What the steps of one clip work on. Places count the frames that are there, from the onset (0) on."""

    clip: Clip
    given: np.ndarray | None
    """Given landmarks (68, 2), or None to look for them."""
    config: PreprocessConfig
    models: ClipModels
    numbers: list[int]
    """The frame number of each place."""
    frames: FrameReader
    times: StageTimes


def _make_flow_file(task: Task, work: ClipWork) -> FlowRecord:
    """The steps one after the other; the record lists the dependencies that any of them used."""
    _check_usable(task, work)
    numbers, times = work.numbers, work.times
    apex = find_apex(work)
    number, apex_from = apex.value
    place = nearest_place(numbers, number)
    face = find_face(work, place)
    landmarks, face_frame = face.value
    square = _square(landmarks, work.config.crop.place)
    side = min(square[2], work.config.crop.at_most)
    apex_picture = work.frames[numbers[place]]
    height, width = apex_picture.shape[:2]
    _check_inside(landmarks, width, height)
    plan = choose_plan(work, place)
    cuts = crop_frames(work, plan.value, square, side, (height, width))
    frames = interpolate(work, cuts.value, plan.value)
    flow = measure_flow(work, frames.value, plan.value)

    with times.stage("picture"):
        positions = plan.value.positions
        shown = min(range(len(positions)), key=lambda t: abs(positions[t] - place))
        apex_cut = cut(apex_picture, square, side)
        strip = draw_strip(apex_picture, landmarks, square, apex_cut, flow.value[shown])
    flags = list(apex.flags)
    if numbers[place] != number:
        what = f"apex frame {number} is not there; frame {numbers[place]} stands for it"
        flags.append(("apex_frame_missing", what))
    flags += face.flags
    if runs_past(square, width, height):
        flags.append(("square_past_border", "the face square runs past the frame; the border is repeated to fill it"))
    flags += [*cuts.flags, *flow.flags]
    used = ALWAYS.union(*(step.used for step in (apex, face, plan, cuts, frames, flow)))
    intensity = [float(cv2.magnitude(u, v).mean()) for u, v in flow.value]
    about = {
        "depends": {name: task.dependencies[name] for name in sorted(used)},
        "apex": numbers[place],
        "apex_from": apex_from,
        "face_frame": face_frame,
        "square": square,
        "scale": side / square[2],
        "frame_size": (width, height),
        "positions": [_number(numbers, position) for position in positions],
        "inserted": len(plan.value.inserted),
        "intensity": [round(value, 4) for value in intensity],
        "remarks": list(dict.fromkeys(flags)),  # the same thing noticed twice is listed once
    }
    about = json.loads(json.dumps(about))  # as it will be read back
    points = landmarks.astype(np.float32)
    with times.stage("write"):
        tensors = {"landmarks": points, "picture": np.frombuffer(strip, np.uint8)}
        write_flow(task.path, flow.value, fingerprint(about["depends"]), about, tensors)
    return FlowRecord(about, points, strip)


def _check_usable(task: Task, work: ClipWork) -> None:
    clip = work.clip
    if "\0" in str(task.path) or any(len(os.fsencode(part)) > 255 for part in task.path.parts):
        raise Unusable("bad_name", "no file can have the clip's name (255 bytes, no NUL); rename it")
    if clip.onset not in clip.frames:
        raise Unusable("no_onset_frame", f"onset frame {clip.onset} is not in {clip.folder}; restore the file")
    if len(work.numbers) < 2:
        what = f"no frame after onset {clip.onset} up to offset {clip.offset}; correct the annotation"
        raise Unusable("too_short", what)


def _check_inside(landmarks: np.ndarray, width: int, height: int) -> None:
    x, y = np.median(landmarks, axis=0)
    if not (0 <= x < width and 0 <= y < height):
        raise Unusable("landmarks_outside", f"the landmarks lie outside the {width} x {height} frame; correct them")


def find_apex(work: ClipWork) -> Step[tuple[int, str]]:
    """(frame number, where it is from: sheet, spotted, middle), by the policies."""
    clip, policies = work.clip, work.config.apex
    if clip.apex is not None and clip.onset <= clip.apex <= clip.offset:
        return Step((clip.apex, "sheet"))
    if clip.apex is None:
        kind, setting, policy, what = "apex_missing", "apex.missing", policies.missing, "the sheet gives no apex"
    else:
        kind, setting, policy = "apex_outside", "apex.outside", policies.outside
        what = f"the sheet's apex {clip.apex} lies outside {clip.onset}..{clip.offset}"
    match policy:
        case "fail":
            raise Unusable(kind, f"{what}; correct the sheet, or set {setting}=spot or middle")
        case "middle":
            found, apex_from = Step(work.numbers[len(work.numbers) // 2]), "middle"
        case "spot":
            found, apex_from = spot_apex(work), "spotted"
    flag = (kind, f"{what}; {apex_from} frame {found.value} taken")
    return Step((found.value, apex_from), found.used | {setting}, (*found.flags, flag))


def spot_apex(work: ClipWork) -> Step[int]:
    """The frame number of greatest onset-flow strength, in the square of the onset frame's face."""
    face = find_face(work, 0)
    landmarks, _ = face.value
    square = _square(landmarks, work.config.crop.place)
    points = (landmarks - square[:2]) * (MEASURED_SIDE / square[2])
    kept, lost = [], []

    def cuts() -> Iterator[np.ndarray]:
        for number in work.numbers:
            try:
                picture = work.frames[number]
            except Unusable:
                if number == work.clip.onset:
                    raise
                lost.append(number)
                continue
            with work.times.stage("cut"):
                grey = cv2.cvtColor(cut(picture, square, MEASURED_SIDE), cv2.COLOR_RGB2GRAY)
            kept.append(number)
            if number != work.clip.onset:
                work.frames.forget(number)  # a long clip need not lie in memory whole
            yield grey
        if len(kept) < 2:
            raise Unusable("undecodable_frame", "no frame after the onset can be decoded; restore the files")

    with work.times.stage("spot"):
        place, _ = apex_place(cuts(), points, work.config.apex.smoothing)
    flags = face.flags
    if lost:
        what = f"frame {', '.join(map(str, lost))} cannot be decoded; left out of apex spotting"
        flags = (*flags, ("undecodable_frame", what))
    return Step(kept[place], face.used | {"apex.smoothing"}, flags)


def find_face(work: ClipWork, place: int) -> Step[tuple[np.ndarray, int]]:
    """(68 points, the frame they are from): given ones, or dlib's on the wanted place or its neighbours."""
    numbers, crop = work.numbers, work.config.crop
    if work.given is not None:
        return Step((np.asarray(work.given, np.float32), numbers[place]))
    nearest = sorted(range(len(numbers)), key=lambda at: (abs(at - place), at))
    near = [numbers[at] for at in nearest if abs(at - place) <= crop.neighbours]
    with work.times.stage("load"):
        detector = work.models.detector
    with work.times.stage("landmarks"):
        try:
            found = find_landmarks(detector, _readable(work.frames, near), crop.upsample, crop.smallest_face)
        except DataError as error:
            raise Unusable("no_face", str(error)) from error
    used, flags = {"landmark_model", "crop.smallest_face"}, []
    number = int(found.frame)
    if number != near[0]:
        used |= {"crop.neighbours", "crop.upsample"}
        flags.append(("face_on_neighbour", f"no face on frame {near[0]}; the landmarks are those of frame {number}"))
    if found.upsampled:
        used.add("crop.upsample")
        flags.append(("face_after_upsampling", f"the face was found only after enlarging frame {number}"))
    if found.faces > 1:
        flags.append(("several_faces", f"{found.faces} faces on frame {number}; the largest was taken"))
    return Step((found.face.landmarks, number), frozenset(used), tuple(flags))


def _readable(frames: FrameReader, wanted: list[int]) -> Iterator[tuple[int, Picture]]:
    """The wanted frames that can be decoded; the first of them must be. The others are not kept."""
    for number in wanted:
        try:
            picture = frames[number]
        except Unusable:
            if number == wanted[0]:
                raise
            continue
        yield number, picture
        if number != wanted[0]:
            frames.forget(number)


def choose_plan(work: ClipWork, place: int) -> Step[FramePlan]:
    """The frames that stand for the clip whose apex is at `place`."""
    return Step(plan_frames(work.numbers, place, work.config), frozenset({"frames.count", "frames.selection"}))


def crop_frames(
    work: ClipWork, plan: FramePlan, square: Square, side: int, shape: tuple[int, int]
) -> Step[dict[int | float, Picture]]:
    """The face on every frame the plan needs, by place, the onset included, `side` pixels wide and high.

    `shape` is (height, width) of the apex frame, which all others must have.
    """
    made: dict[int | float, Picture] = {}
    for place in sorted({0, *plan.needed}):
        number = work.numbers[place]
        picture = work.frames[number]
        if picture.shape[:2] != shape:
            raise Unusable("unequal_sizes", f"frame {number} has another size than the apex frame; restore the file")
        with work.times.stage("cut"):
            made[place] = cut(picture, square, side)
        work.frames.forget(number)
    flags = []
    if all(np.array_equal(made[0], picture) for picture in made.values()):
        flags.append(("identical_frames", "all frames that are used show the same picture; there is no motion"))
    if work.frames.deep and work.frames.bits < 16:
        flags.append(
            ("unused_bits", f"16-bit frames whose values fill {work.frames.bits} bits; the upper 8 of these are used")
        )
    return Step(made, frozenset({"crop.at_most"}), tuple(flags))


def interpolate(work: ClipWork, cuts: dict[int | float, Picture], plan: FramePlan) -> Step[np.ndarray]:
    """The onset and the plan's T frames, (T + 1, side, side, 3) uint8; frames between the real ones are made up."""
    method, rife, used = "none", None, set()
    if plan.inserted:
        method = work.config.interpolation.method
        used.add("interpolation.method")
        if method == "rife":
            used |= {"interpolation.precision", "rife"}
            with work.times.stage("load"):
                rife = work.models.rife
    with work.times.stage("interpolation"):
        filled = fill(cuts, plan.positions, method, rife)
    return Step(np.stack([cuts[0], *(filled[position] for position in plan.positions)]), frozenset(used))


def measure_flow(work: ClipWork, frames: np.ndarray, plan: FramePlan) -> Step[np.ndarray]:
    """(T, 2, side, side) float32, pixels of the cut, of T + 1 frames: the onset and those of the plan."""
    settings = work.config.flow
    between = onset_flow if settings.reference == "onset" else consecutive_flow
    with work.times.stage("flow"):
        flow = between(frames, settings.method, settings.grey)
    if not storable(flow):
        raise Unusable("flow_not_finite", "the flow holds values that are not finite; look at the frames")
    flags = []
    # Consecutive flow has sudden peaks of its own.
    for t in flow_outliers(flow) if settings.reference == "onset" else ():
        number = _number(work.numbers, plan.positions[t])
        flags.append(
            ("flow_outlier", f"the flow of frame {number:g} is far beyond that of the frames beside it; look at it")
        )
    return Step(flow, frozenset({"flow.method", "flow.reference", "flow.grey"}), tuple(flags))


def flow_outliers(flow: np.ndarray) -> list[int]:
    """The frames of an onset flow (T, 2, H, W) that stand out from those beside them, as a damaged picture does.

    Of each frame the length that a tenth of the flow exceeds is compared with the median of the three frames on either
    side. Motion that begins, peaks and goes stays below twice that median.
    """
    # One pixel in sixteen is enough: damage covers whole blocks.
    lengths = np.hypot(flow[:, 0, ::4, ::4], flow[:, 1, ::4, ::4])
    peaks = np.quantile(lengths, 1 - OUTLIER_SHARE, axis=(1, 2))
    found = []
    for t, peak in enumerate(peaks):
        beside = np.concatenate([peaks[max(0, t - 3) : t], peaks[t + 1 : t + 4]])
        if len(beside) and peak > max(OUTLIER_LENGTH, OUTLIER_RATIO * float(np.median(beside))):
            found.append(t)
    return found


def _square(landmarks: np.ndarray, place: SquarePlace) -> Square:
    try:
        square = face_square(landmarks, place)
    except DataError as error:
        raise Unusable("no_square", f"{error}; give landmarks with --landmarks FILE") from error
    if square[2] < SMALLEST_SIDE:
        what = f"the face square is {square[2]} pixels wide, below {SMALLEST_SIDE}; give larger frames or landmarks"
        raise Unusable("no_square", what)
    return square


def _number(numbers: list[int], position: float) -> int | float:
    """The frame number of a place; between two frames in proportion."""
    below = int(position)
    if position == below:
        return numbers[below]
    return numbers[below] + (position - below) * (numbers[below + 1] - numbers[below])
