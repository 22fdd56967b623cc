"""Face motion in a recording: where the face is on every frame, how much it moves, and the spotted intervals.

Frames are numbered from 0 in the order of the recording. Lengths are in pixels of the frame unless said otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from slstt.config.preprocess import PredictConfig, Spotting
from slstt.errors import ConfigError, DataError, Problems, listed
from slstt.face.landmarks import LandmarkDetector
from slstt.face.stabilization import FaceStabilizer, Stabilized
from slstt.face.tracking import FaceTracker, TrackedFace, unclear
from slstt.prediction.recording import Recording
from slstt.prediction.spotting import Interval, find_intervals, judged, lagged, strength


@dataclass(frozen=True)
class FaceMotion:
    """What is measured in one recording.

    n is the number of frames. `rate` is in frames per second, on average; `times` (n,) float64: when each frame is
    shown, in seconds from the first. `landmarks` (n, 68, 2) float32, (x, y), NaN where no face was found.
    `stabilization` (n, 2, 3) float64: the similarity that takes the head's motion off a frame, from its pixels onto
    the first frame with a face (which keeps its size), NaN likewise. `intensity` (n,) float32: motion inside the
    stabilized face against the frame some time before, in thousandths of the interocular distance, NaN where unknown.
    `faces` (n,) int: how many faces the detector last found. `judged` (n,) bool: where an interval could have been
    spotted, the face known for long enough before and after. `remarks`: lines for the user (lost face, several faces,
    slow or uneven rate, movements too large).
    """

    rate: float
    times: np.ndarray
    landmarks: np.ndarray
    stabilization: np.ndarray
    intensity: np.ndarray
    faces: np.ndarray
    judged: np.ndarray
    intervals: tuple[Interval, ...]
    remarks: tuple[str, ...]

    @property
    def begin(self) -> int:
        """The first frame that was measured: of given intervals the first onset."""
        given = [interval.onset for interval in self.intervals if interval.source == "given"]
        return min(given, default=0)

    @property
    def interocular(self) -> float:
        """Median distance between the eyes' middles, in pixels of the frame; NaN without a face."""
        eyes = self.landmarks[:, 36:42].mean(axis=1) - self.landmarks[:, 42:48].mean(axis=1)
        lengths = np.hypot(*eyes.T)
        return float(np.median(lengths[np.isfinite(lengths)])) if np.isfinite(lengths).any() else float("nan")

    def seconds(self, interval: Interval) -> tuple[float, float, float]:
        """When onset, apex and offset are shown, in seconds from the first frame."""
        onset, apex, offset = (float(self.times[n]) for n in (interval.onset, interval.apex, interval.offset))
        return onset, apex, offset


LAG = 0.12
"""Seconds between the two frames whose difference is the intensity."""
APEX_SMOOTHING = 0.04
"""Smoothing of the curve on which the apex of a given interval is spotted, as a share of its length."""


def _nothing(count: int) -> None:
    """Report no progress."""


def measure_face_motion(
    recording: Recording,
    settings: PredictConfig | None = None,
    advance: Callable[[int], object] = _nothing,
    detector: LandmarkDetector | None = None,
) -> FaceMotion:
    """Read the recording once and spot the intervals; `advance` is called with 1 after every frame.

    Intervals above `spotting.strongest` are left out, and a remark says how many.

    In memory lie one frame and, for each frame, about two kilobytes of what was measured. Raises DataError where the
    recording cannot be read or shows no face, WeightsError without the landmark model.
    """
    settings = settings or PredictConfig()
    limits = settings.spotting
    motion, pieces = track_face_motion(recording, settings, advance, detector)
    spotted = find_intervals(pieces, recording.rate, limits)
    kept = tuple(interval for interval in spotted if interval.strength <= limits.strongest)
    remarks = motion.remarks
    if len(kept) < len(spotted):
        large = sorted(interval.strength for interval in spotted if interval not in kept)
        what = f"{len(large)} larger movement{'s' * (len(large) > 1)} (strength {large[0]:.0f} to {large[-1]:.0f})"
        remarks = (*remarks, f"{recording.path}: {what} left out; spotting.strongest={limits.strongest:g} is the limit")
    return replace(motion, intervals=kept, remarks=remarks)


def track_face_motion(
    recording: Recording,
    settings: PredictConfig | None = None,
    advance: Callable[[int], object] = _nothing,
    detector: LandmarkDetector | None = None,
) -> tuple[FaceMotion, list[tuple[int, np.ndarray]]]:
    """`measure_face_motion` without the intervals, and the motion from which they are found: its unbroken pieces, each
    (first frame, moved (n, R, 2) float16 in thousandths of the interocular distance).
    """
    measured = _measure(recording, 0, None, settings or PredictConfig(), advance, detector)
    measured.check()
    pieces = measured.pieces(clear=True)
    return measured.face_motion([]), [(begin, measured.moved(begin, end)) for begin, end in pieces]


@dataclass(frozen=True)
class GivenInterval:
    """An interval that the user names: frame numbers, counted from 0, all three included."""

    onset: int
    apex: int | None = None
    """None: the frame of strongest motion against the onset."""
    offset: int | None = None
    """None: the recording's last frame."""
    source: str = ""
    """Where it was given, for messages: `--onset 12`, `found.csv line 3`."""


def check_given_intervals(recording: Recording, given: Sequence[GivenInterval]) -> None:
    """Raise ConfigError, naming each, where the numbers are out of order or outside the recording."""
    problems, last = [], recording.count - 1
    for one in given:
        onset, apex, offset = one.onset, one.apex, one.offset
        if not 0 <= onset < last:
            problems.append(f"{one.source}: onset {onset} is not in {recording.path}, frames 0 to {last - 1}")
        if offset is not None and offset <= onset:
            problems.append(f"{one.source}: offset {offset} must come after onset {onset}")
        if offset is not None and offset > last:
            problems.append(f"{one.source}: offset {offset} is beyond the last frame of {recording.path}, {last}")
        if apex is not None and not (onset < apex and (offset is None or apex <= offset)):
            end = "the end" if offset is None else f"offset {offset}"
            problems.append(f"{one.source}: apex {apex} must come after onset {onset} and not after {end}")
    if problems:
        raise ConfigError(*problems)


def motion_in_given_intervals(
    recording: Recording,
    given: Sequence[GivenInterval],
    settings: PredictConfig | None = None,
    advance: Callable[[int], object] = _nothing,
    detector: LandmarkDetector | None = None,
) -> FaceMotion:
    """Read the recording from the first onset to the last offset that the user gives; nothing is spotted.

    What is returned ends with the last offset, and nothing is known before the first onset. `intensity` is the motion
    against the onset of the interval that a frame lies in. Raises ConfigError for numbers out of order or outside the
    recording, DataError as `measure_face_motion` does and, naming each, where an onset or apex shows no face.
    """
    check_given_intervals(recording, given)
    settings = settings or PredictConfig()
    stop = None if any(one.offset is None for one in given) else max(one.offset or 0 for one in given) + 1
    measured = _measure(recording, min(one.onset for one in given), stop, settings, advance, detector)
    last = len(measured.frames) - 1
    if late := [one for one in given if last < max(one.onset + 1, one.apex or 0, one.offset or 0)]:
        raise ConfigError(*(f"{one.source}: {recording.path} ends with frame {last}" for one in late))
    measured.check()
    problems, intervals, curve = Problems(), [], np.full(last + 1, np.nan, np.float32)
    for one in given:
        with problems.collecting():
            interval, strengths = measured.given_interval(one, last, settings.spotting)
            intervals.append(interval)
            curve[one.onset : one.onset + len(strengths)] = strengths
    problems.raise_if_any()
    return measured.face_motion(sorted(intervals, key=lambda interval: interval.onset), curve)


@dataclass(frozen=True)
class _MeasuredFrame:
    """One frame that could be read."""

    face: TrackedFace
    stabilized: Stabilized | None
    """None where the face is lost."""


def _measure(
    recording: Recording,
    begin: int,
    stop: int | None,
    settings: PredictConfig,
    advance: Callable[[int], object],
    detector: LandmarkDetector | None,
) -> "_MeasuredRecording":
    """Track and stabilize the face on the frames begin..stop - 1."""
    tracker = FaceTracker(recording.rate, detector, settings.tracking.smallest_face)
    stabilizer = FaceStabilizer(recording.rate)
    remarks, frames, before = list(recording.remarks), [], None
    for number, picture in recording.frames(begin, stop, remarks.append):
        if number > len(frames):  # frames before `begin`, or frames that the file skipped
            frames += [None] * (number - len(frames))
            before = None
        restart = before is None or before.stabilized is None
        before = _measure_frame(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), tracker, stabilizer, restart)
        frames.append(before)
        advance(1)
    return _MeasuredRecording(recording, settings, begin, frames, remarks)


def _measure_frame(grey: np.ndarray, tracker: FaceTracker, stabilizer: FaceStabilizer, restart: bool) -> _MeasuredFrame:
    face = tracker.track(grey)
    stabilized = None
    if face.landmarks is not None:
        stabilized = stabilizer.stabilize(grey, face.landmarks, restart or face.changed)
        if stabilized is None:  # the landmarks are doubtful, so the detector has to find the face
            face = tracker.track(grey, doubt=True)
            if face.landmarks is not None:
                stabilized = stabilizer.stabilize(grey, face.landmarks, restart=True)
    if stabilized is not None:  # half precision: the motion of all frames is kept in memory
        stabilized = replace(stabilized, moved=stabilized.moved.astype(np.float16))
    return _MeasuredFrame(face, stabilized)


@dataclass(frozen=True)
class _MeasuredRecording:
    """All frames of a recording from `begin` on; None where there is none."""

    recording: Recording
    settings: PredictConfig
    begin: int
    frames: list[_MeasuredFrame | None]
    remarks: list[str]

    @cached_property
    def known(self) -> np.ndarray:
        """(n,) True where the face is known to be there.

        Where it is lost nobody knows since when, so all frames back to the last one that the detector confirmed are
        left out as well.
        """
        known, doubtful = np.zeros(len(self.frames), bool), False
        for number, frame in reversed(list(enumerate(self.frames))):
            if frame is None:
                continue
            if frame.stabilized is None:
                doubtful = True
            elif frame.face.confirmed:
                doubtful = False
            known[number] = frame.stabilized is not None and not doubtful
        return known

    @cached_property
    def starts(self) -> list[int]:
        """Frames whose motion cannot be compared with that of the frame before."""
        return [n for n, frame in enumerate(self.frames) if frame and frame.stabilized and frame.stabilized.start]

    def check(self) -> None:
        """Raise DataError where there are no two frames or no face."""
        count, path = len(self.frames), self.recording.path
        if count < 2:
            raise DataError(f"{path}: only {count} frames can be read; restore or convert it")
        if not self.known.any():
            raise DataError(
                f"{path}: no face found on any of {count} frames; it must be seen from the front, upright, and be at "
                f"least {self.settings.tracking.smallest_face:.0%} as wide as the picture's shorter side "
                "(tracking.smallest_face)"
            )

    @cached_property
    def unclear(self) -> np.ndarray:
        """(n,) True where the face is there but covered, turned or blurred, as far as the detector tells."""
        return unclear([None if frame is None else frame.face for frame in self.frames])

    def pieces(self, clear: bool = False) -> list[tuple[int, int]]:
        """(first, end) of the pieces in which motion can be compared: the face is there, its stabilization unbroken;
        with `clear` also seen well enough for spotting.
        """
        there = self.known & ~self.unclear if clear else self.known
        edges = np.flatnonzero(np.diff(there.astype(int))) + 1
        cuts = sorted({0, len(there), *self.starts, *edges.tolist()})
        return [(begin, end) for begin, end in pairwise(cuts) if there[begin]]

    def moved(self, begin: int, end: int) -> np.ndarray:
        """(end - begin, R, 2) float16: the motion of the patches on frames of one piece."""
        return np.stack([frame.stabilized.moved for frame in self.frames[begin:end] if frame and frame.stabilized])

    def given_interval(self, one: GivenInterval, last: int, settings: Spotting) -> tuple[Interval, np.ndarray]:
        """The interval that the user names, and the strength on its frames against the onset, while the face is known.

        Raises DataError where its onset or apex shows no face.
        """
        path, onset, apex = self.recording.path, one.onset, one.apex
        offset = last if one.offset is None else one.offset
        piece = next(((begin, end) for begin, end in self.pieces() if begin <= onset < end), None)
        if piece is None:
            raise DataError(f"{path}: {one.source}: no face on frame {onset}, the onset; give another onset")
        end = min(offset + 1, piece[1])
        moved = self.moved(onset, end).astype(np.float32)
        strengths = strength(moved - moved[0])
        curve = gaussian_filter1d(strengths, APEX_SMOOTHING * len(moved), mode="nearest")
        if len(curve) < 2 or (apex is not None and apex >= end):
            raise DataError(f"{path}: {one.source}: the face is lost after frame {end - 1}; give another interval")
        if end <= offset:
            self.remarks.append(
                f"{path}: {one.source}: the face is lost after frame {end - 1}, before the offset; the apex is looked "
                "for, and the strength measured, up to there"
            )
        place = 1 + int(np.argmax(curve[1:])) if apex is None else apex - onset
        interval = Interval(onset, onset + place, offset, float(curve[place]), source="given")
        if interval.strength < settings.weakest:
            self.remarks.append(
                f"{path}: {one.source}: the face hardly moves (strength {interval.strength:.1f}, below "
                f"spotting.weakest={settings.weakest:g}); its class means nothing"
            )
        return interval, strengths

    def face_motion(self, intervals: Sequence[Interval], given: np.ndarray | None = None) -> FaceMotion:
        """All of it as arrays; `given` (n,) is the intensity where intervals are given, and nothing is spotted."""
        count, rate = len(self.frames), self.recording.rate
        landmarks, stabilization = np.full((count, 68, 2), np.nan, np.float32), np.full((count, 2, 3), np.nan)
        intensity, faces = np.full(count, np.nan, np.float32), np.zeros(count, int)
        for number, frame in enumerate(self.frames):
            if frame is None:
                faces[number] = faces[number - 1] if number else 0
                continue
            faces[number] = frame.face.faces
            if self.known[number] and frame.stabilized:
                landmarks[number], stabilization[number] = frame.face.landmarks, frame.stabilized.matrix
        can_tell = np.zeros(count, bool)
        for begin, end in self.pieces():
            intensity[begin:end] = lagged(self.moved(begin, end), max(1, round(LAG * rate)))
        for begin, end in self.pieces(clear=True):
            can_tell[begin:end] = judged(end - begin, rate, self.settings.spotting)
        if given is not None:
            intensity, can_tell = given, np.isfinite(given)
        remarks = (*self.remarks, *self._remarks_on_faces(int(faces.max()), given is not None))
        times = self.recording.times[:count]
        return FaceMotion(rate, times, landmarks, stabilization, intensity, faces, can_tell, tuple(intervals), remarks)

    def _remarks_on_faces(self, most: int, given: bool) -> list[str]:
        """Lines about faces lost, changed, or more than one (`most`); whether the intervals are `given`."""
        path, known, lines = self.recording.path, self.known, []
        times = np.append(self.recording.times, self.recording.times[-1] + 1 / self.recording.rate)
        edges = np.flatnonzero(np.diff(np.concatenate([[1], known.astype(int), [1]])))
        gaps = [f"{times[b]:.2f} to {times[e]:.2f} s" for b, e in edges.reshape(-1, 2) if b >= self.begin]
        if gaps:
            lines.append(f"{path}: no face at {listed(gaps, 5)}" + ("" if given else "; nothing is spotted there"))
        hidden = known & self.unclear
        if hidden.any() and not given:
            edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]])))
            unclear = [f"{times[b]:.2f} to {times[e]:.2f} s" for b, e in edges.reshape(-1, 2)]
            lines.append(
                f"{path}: the face is covered, turned or blurred at {listed(unclear, 5)}; nothing is spotted there"
            )
        changes = [n for n, frame in enumerate(self.frames) if frame and frame.stabilized and frame.face.changed]
        broken = [n for n in self.starts if n > self.begin and known[n - 1] and n not in changes]
        if broken:
            at = ", ".join(f"{times[n]:.2f} s" for n in broken[:5]) + (", ..." if len(broken) > 5 else "")
            lines.append(
                f"{path}: stabilization failed at {at} ({len(broken)} times; quick or blurred motion)"
                + ("" if given else "; no interval spans these")
            )
        if changes:
            at = ", ".join(f"{times[n]:.2f} s" for n in changes[:5])
            lines.append(f"{path}: another face is tracked from {at} on; record one person at a time")
        if most > 1:
            lines.append(f"{path}: up to {most} faces are seen; the largest at the start is tracked")
        return lines
