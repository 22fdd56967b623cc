"""Face motion in a recording: where the face is on every frame, how much it moves, and the spotted intervals.

Frames are numbered from 0 in the order of the recording. Lengths are in pixels of the frame unless said otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from slstt.config.preprocess import Spotting
from slstt.errors import ConfigError, DataError, listed
from slstt.face.landmarks import LandmarkDetector
from slstt.face.stabilization import FaceStabilizer, Stabilized
from slstt.face.tracking import FaceTracker, TrackedFace
from slstt.prediction.recording import Recording
from slstt.prediction.spotting import Interval, find_intervals, lagged, strength


@dataclass(frozen=True)
class FaceMotion:
    """What is measured in one recording.

    n is the number of frames. `rate` is in frames per second, on average; `times` (n,) float64: when each frame is
    shown, in seconds from the first. `landmarks` (n, 68, 2) float32, (x, y), NaN where no face was found.
    `stabilization` (n, 2, 3) float64: the similarity that takes the head's motion off a frame, from its pixels onto
    the first frame with a face (which keeps its size), NaN likewise. `intensity` (n,) float32: motion inside the
    stabilized face against the frame some time before, in thousandths of the interocular distance, NaN where unknown.
    `faces` (n,) int: how many faces the detector last found. `remarks`: lines for the user (lost face, several faces,
    slow or uneven rate).
    """

    rate: float
    times: np.ndarray
    landmarks: np.ndarray
    stabilization: np.ndarray
    intensity: np.ndarray
    faces: np.ndarray
    intervals: tuple[Interval, ...]
    remarks: tuple[str, ...]

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
    settings: Spotting | None = None,
    advance: Callable[[int], object] = _nothing,
    detector: LandmarkDetector | None = None,
) -> FaceMotion:
    """Read the recording once and spot the intervals; `advance` is called with 1 after every frame.

    In memory lie one frame and, for each frame, about two kilobytes of what was measured. Raises DataError where the
    recording cannot be read or shows no face, WeightsError without the landmark model.
    """
    motion, pieces = track_face_motion(recording, advance, detector)
    return replace(motion, intervals=tuple(find_intervals(pieces, recording.rate, settings or Spotting())))


def track_face_motion(
    recording: Recording, advance: Callable[[int], object] = _nothing, detector: LandmarkDetector | None = None
) -> tuple[FaceMotion, list[tuple[int, np.ndarray]]]:
    """`measure_face_motion` without the intervals, and the motion from which they are found: its unbroken pieces, each
    (first frame, moved (n, R, 2) float16 in thousandths of the interocular distance).
    """
    measured = _measure(recording, 0, None, advance, detector)
    measured.check()
    return measured.face_motion(), [(begin, measured.moved(begin, end)) for begin, end in measured.pieces()]


def check_given_interval(recording: Recording, onset: int, apex: int | None, offset: int | None) -> None:
    """Raise ConfigError, naming each, where the numbers are out of order or outside the recording."""
    problems = []
    last = recording.count - 1
    if not 0 <= onset < last:
        problems.append(f"--onset {onset}: not in {recording.path}, frames 0 to {last}; leave one after it")
    if offset is not None and offset <= onset:
        problems.append(f"--offset {offset}: must come after --onset {onset}")
    if offset is not None and offset > last:
        problems.append(f"--offset {offset}: beyond the last frame of {recording.path}, {last}")
    end = "the end" if offset is None else str(offset)
    if apex is not None and not (onset < apex and (offset is None or apex <= offset)):
        problems.append(f"--apex {apex}: must come after --onset {onset} and not after --offset {end}")
    if problems:
        raise ConfigError(*problems)


def motion_in_given_interval(
    recording: Recording,
    onset: int,
    apex: int | None = None,
    offset: int | None = None,
    advance: Callable[[int], object] = _nothing,
    detector: LandmarkDetector | None = None,
) -> FaceMotion:
    """Read the one interval that the user gives; `apex` None: the strongest motion against the onset, `offset` None:
    the last frame.

    What is returned ends with the offset, and nothing is known before the onset. Raises ConfigError for numbers out of
    order or outside the recording, DataError as `measure_face_motion` does and where onset or apex shows no face.
    """
    check_given_interval(recording, onset, apex, offset)
    measured = _measure(recording, onset, None if offset is None else offset + 1, advance, detector)
    last = len(measured.frames) - 1
    if last < max(onset + 1, apex or 0, offset or 0):
        wanted = ", ".join(f"--{k} {v}" for k, v in (("onset", onset), ("apex", apex), ("offset", offset)) if v)
        raise ConfigError(f"{wanted}: {recording.path} ends with frame {last}")
    measured.check()
    return measured.face_motion(measured.given_interval(onset, apex, last))


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
    advance: Callable[[int], object],
    detector: LandmarkDetector | None,
) -> "_MeasuredRecording":
    """Track and stabilize the face on the frames begin..stop - 1."""
    tracker, stabilizer = FaceTracker(recording.rate, detector), FaceStabilizer(recording.rate)
    remarks, frames, before = list(recording.remarks), [], None
    for number, picture in recording.frames(begin, stop, remarks.append):
        if number > len(frames):  # frames before `begin`, or frames that the file skipped
            frames += [None] * (number - len(frames))
            before = None
        restart = before is None or before.stabilized is None
        before = _measure_frame(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), tracker, stabilizer, restart)
        frames.append(before)
        advance(1)
    return _MeasuredRecording(recording, begin, frames, remarks)


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
                "least a fifth as wide as the picture's shorter side"
            )

    def pieces(self) -> list[tuple[int, int]]:
        """(first, end) of the pieces in which motion can be compared: the face is there, its stabilization unbroken."""
        edges = np.flatnonzero(np.diff(self.known.astype(int))) + 1
        cuts = sorted({0, len(self.known), *self.starts, *edges.tolist()})
        return [(begin, end) for begin, end in pairwise(cuts) if self.known[begin]]

    def moved(self, begin: int, end: int) -> np.ndarray:
        """(end - begin, R, 2) float16: the motion of the patches on frames of one piece."""
        return np.stack([frame.stabilized.moved for frame in self.frames[begin:end] if frame and frame.stabilized])

    def given_interval(self, onset: int, apex: int | None, offset: int) -> Interval:
        """The interval that the user names. Raises DataError where its onset or apex shows no face."""
        path = self.recording.path
        piece = next(((begin, end) for begin, end in self.pieces() if begin <= onset < end), None)
        if piece is None:
            raise DataError(f"{path}: no face on frame {onset}, the onset; give another --onset")
        end = min(offset + 1, piece[1])
        moved = self.moved(onset, end).astype(np.float32)
        curve = gaussian_filter1d(strength(moved - moved[0]), APEX_SMOOTHING * len(moved), mode="nearest")
        if len(curve) < 2 or (apex is not None and apex >= end):
            raise DataError(f"{path}: the face is lost after frame {end - 1}; give another interval")
        place = 1 + int(np.argmax(curve[1:])) if apex is None else apex - onset
        return Interval(onset, onset + place, offset, float(curve[place]), source="given")

    def face_motion(self, *intervals: Interval) -> FaceMotion:
        """All of it as arrays."""
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
        for begin, end in self.pieces():
            intensity[begin:end] = lagged(self.moved(begin, end), max(1, round(LAG * rate)))
        times, remarks = self.recording.times[:count], (*self.remarks, *self._remarks_on_faces(int(faces.max())))
        return FaceMotion(rate, times, landmarks, stabilization, intensity, faces, intervals, remarks)

    def _remarks_on_faces(self, most: int) -> list[str]:
        """Lines about faces lost, changed, or more than one (`most`)."""
        path, known, lines = self.recording.path, self.known, []
        times = np.append(self.recording.times, self.recording.times[-1] + 1 / self.recording.rate)
        edges = np.flatnonzero(np.diff(np.concatenate([[1], known.astype(int), [1]])))
        gaps = [f"{times[b]:.2f} to {times[e]:.2f} s" for b, e in edges.reshape(-1, 2) if b >= self.begin]
        if gaps:
            lines.append(f"{path}: no face at {listed(gaps, 5)}; nothing is spotted there")
        changes = [n for n, frame in enumerate(self.frames) if frame and frame.stabilized and frame.face.changed]
        broken = [n for n in self.starts if n > self.begin and known[n - 1] and n not in changes]
        if broken:
            at = ", ".join(f"{times[n]:.2f} s" for n in broken[:5]) + (", ..." if len(broken) > 5 else "")
            lines.append(
                f"{path}: stabilization failed at {at} ({len(broken)} times; quick or blurred motion); "
                "no interval spans these"
            )
        if changes:
            at = ", ".join(f"{times[n]:.2f} s" for n in changes[:5])
            lines.append(f"{path}: another face is tracked from {at} on; record one person at a time")
        if most > 1:
            lines.append(f"{path}: up to {most} faces are seen; the largest at the start is tracked")
        return lines
