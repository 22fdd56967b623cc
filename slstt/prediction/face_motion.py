"""What watching a recording finds: where the face is on every frame, how much it moves, and the spotted intervals.

Frames are numbered from 0 in the order of the recording. Lengths are in pixels of the frame unless said otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from slstt.config.preprocess import Spotting
from slstt.errors import ConfigError, DataError, listed
from slstt.face.landmarks import LandmarkDetector
from slstt.face.stabilization import FaceStabilizer
from slstt.face.tracking import FaceTracker
from slstt.prediction.recording import Recording
from slstt.prediction.spotting import Interval, find_intervals, lagged, strength


@dataclass(frozen=True)
class FaceMotion:
    """One recording, watched from end to end.

    n is the number of frames. `rate` is in frames per second, on average; `times` (n,) float64: when each frame is
    shown, in seconds from the first. `landmarks` (n, 68, 2) float32, (x, y), NaN where no
    face was found. `still` (n, 2, 3) float64: the similarity that maps a frame's pixels onto the first frame with a
    face (which keeps its size), NaN likewise. `intensity` (n,) float32: motion inside the stilled face against the
    frame some time before, in thousandths of the interocular distance, NaN where unknown. `faces` (n,) int: how many
    faces were seen when last looked for. `remarks`: lines for the user (lost face, several faces, slow or uneven rate).
    """

    rate: float
    times: np.ndarray
    landmarks: np.ndarray
    still: np.ndarray
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
"""Smoothing of the curve on which the apex of a given interval is looked for, as a share of its length."""


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
    settings = settings or Spotting()
    seen = _MotionRecorder(recording)
    follower, stiller = FaceTracker(recording.rate, detector), FaceStabilizer(recording.rate)
    for number, picture in recording.frames(remark=seen.remarks.append):
        seen.add(number, cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), follower, stiller)
        advance(1)
    return seen.watched(settings)


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
    order or outside the recording, DataError as `watch` does and where the onset or the apex shows no face.
    """
    problems = []
    last = recording.count - 1
    if not 0 <= onset < last:
        problems.append(f"--onset {onset}: not in {recording.path}, frames 0 to {last}; leave one after it")
    if offset is not None and offset <= onset:
        problems.append(f"--offset {offset}: must come after --onset {onset}")
    if offset is not None and offset > last:
        problems.append(f"--offset {offset}: beyond the last frame of {recording.path}, {last}")
    if apex is not None and not (onset < apex and (offset is None or apex <= offset)):
        problems.append(f"--apex {apex}: must come after --onset {onset} and not after --offset {_or_end(offset)}")
    if problems:
        raise ConfigError(*problems)
    seen = _MotionRecorder(recording, onset)
    follower, stiller = FaceTracker(recording.rate, detector), FaceStabilizer(recording.rate)
    stop = None if offset is None else offset + 1
    for number, picture in recording.frames(onset, stop, seen.remarks.append):
        seen.add(number, cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), follower, stiller)
        advance(1)
    end = len(seen.moved) - 1
    if end < max(onset + 1, apex or 0, offset or 0):
        wanted = ", ".join(f"--{k} {v}" for k, v in (("onset", onset), ("apex", apex), ("offset", offset)) if v)
        raise ConfigError(f"{wanted}: {recording.path} ends with frame {end}")
    return seen.watched_between(onset, apex, end)


def _or_end(number: int | None) -> str:
    return "the end" if number is None else str(number)


class _MotionRecorder:
    """What was measured on the frames so far."""

    def __init__(self, recording: Recording, begin: int = 0) -> None:
        self.recording, self.begin = recording, begin
        self.remarks = list(recording.remarks)
        self.landmarks: list[np.ndarray] = []
        self.still: list[np.ndarray] = []
        self.moved: list[np.ndarray | None] = []
        self.faces: list[int] = []
        self.starts: list[int] = []
        self.confirmed = -1
        self.changes: list[int] = []

    def add(self, number: int, grey: np.ndarray, follower: FaceTracker, stiller: FaceStabilizer) -> None:
        while len(self.moved) < number:  # frames that the file skipped
            self._unknown(self.faces[-1] if self.faces else 0)
        sight = follower.follow(grey)
        anew = sight.changed or not self.moved or self.moved[-1] is None
        stilled = None if sight.landmarks is None else stiller.still(grey, sight.landmarks, anew)
        if sight.landmarks is not None and stilled is None:
            sight = follower.follow(grey, doubt=True)
            stilled = None if sight.landmarks is None else stiller.still(grey, sight.landmarks, anew=True)
        if sight.landmarks is None or stilled is None:
            for before in range(self.confirmed + 1, number):  # nobody knows since when it was gone
                self.landmarks[before], self.moved[before] = _NO_POINTS, None
                self.still[before] = _NO_MATRIX
            self.confirmed = number
            self._unknown(sight.faces)
            return
        if sight.changed:
            self.changes.append(number)
        if sight.confirmed:
            self.confirmed = number
        if stilled.start:
            self.starts.append(number)
        self.landmarks.append(sight.landmarks.astype(np.float32))
        self.still.append(stilled.matrix)
        self.moved.append(stilled.moved.astype(np.float16))
        self.faces.append(sight.faces)

    def _unknown(self, faces: int) -> None:
        self.landmarks.append(_NO_POINTS)
        self.still.append(_NO_MATRIX)
        self.moved.append(None)
        self.faces.append(faces)

    def watched(self, settings: Spotting) -> FaceMotion:
        """All of it, with the intervals spotted."""
        self._check()
        stretches = [(begin, self._stack(begin, end)) for begin, end in self._stretches()]
        return self._made(tuple(find_intervals(stretches, self.recording.rate, settings)))

    def watched_between(self, onset: int, apex: int | None, offset: int) -> FaceMotion:
        """All of it, with the one interval given."""
        self._check()
        stretch = next(((b, e) for b, e in self._stretches() if b <= onset < e), None)
        if stretch is None:
            raise DataError(f"{self.recording.path}: no face on frame {onset}, the onset; give another --onset")
        end = min(offset + 1, stretch[1])
        moved = self._stack(onset, end).astype(np.float32)
        curve = gaussian_filter1d(strength(moved - moved[0]), APEX_SMOOTHING * len(moved), mode="nearest")
        if len(curve) < 2 or (apex is not None and apex >= end):
            raise DataError(f"{self.recording.path}: the face is lost after frame {end - 1}; give another interval")
        place = 1 + int(np.argmax(curve[1:])) if apex is None else apex - onset
        return self._made((Interval(onset, onset + place, offset, float(curve[place]), source="given"),))

    def _check(self) -> None:
        count, path = len(self.moved), self.recording.path
        if count < 2:
            raise DataError(f"{path}: only {count} frames can be read; restore or convert it")
        if all(moved is None for moved in self.moved):
            raise DataError(
                f"{path}: no face found on any of {count} frames; it must be seen from the front, upright, and be at "
                "least a fifth as wide as the picture's shorter side"
            )

    def _stack(self, begin: int, end: int) -> np.ndarray:
        return np.stack([moved for moved in self.moved[begin:end] if moved is not None])

    def _made(self, intervals: tuple[Interval, ...]) -> FaceMotion:
        rate = self.recording.rate
        intensity, lag = np.full(len(self.moved), np.nan, np.float32), max(1, round(LAG * rate))
        for begin, end in self._stretches():
            intensity[begin:end] = lagged(self._stack(begin, end), lag)
        landmarks, still = np.stack(self.landmarks), np.stack(self.still)
        times, faces = self.recording.times[: len(self.moved)], np.array(self.faces, int)
        remarks = (*self.remarks, *self._noticed())
        return FaceMotion(rate, times, landmarks, still, intensity, faces, intervals, remarks)

    def _noticed(self) -> list[str]:
        """Lines about faces lost, changed, or more than one."""
        path, lines = self.recording.path, []
        times = np.append(self.recording.times, self.recording.times[-1] + 1 / self.recording.rate)
        known = np.array([moved is not None for moved in self.moved])
        edges = np.flatnonzero(np.diff(np.concatenate([[1], known.astype(int), [1]])))
        gaps = [f"{times[b]:.2f} to {times[e]:.2f} s" for b, e in edges.reshape(-1, 2) if b >= self.begin]
        if gaps:
            lines.append(f"{path}: no face at {listed(gaps, 5)}; nothing is spotted there")
        broken = [n for n in self.starts if n > self.begin and known[n - 1] and n not in self.changes]
        if broken:
            at = ", ".join(f"{times[n]:.2f} s" for n in broken[:5]) + (", ..." if len(broken) > 5 else "")
            lines.append(
                f"{path}: the face cannot be held still at {at} ({len(broken)} times; quick or blurred motion); "
                "no interval spans these"
            )
        if self.changes:
            at = ", ".join(f"{times[n]:.2f} s" for n in self.changes[:5])
            lines.append(f"{path}: another face is followed from {at} on; record one person at a time")
        if max(self.faces) > 1:
            lines.append(f"{path}: up to {max(self.faces)} faces are seen; the largest at the start is followed")
        return lines

    def _stretches(self) -> list[tuple[int, int]]:
        """(first, end) of the stretches in which motion can be compared: the face is there and its hold unbroken."""
        known = np.array([moved is not None for moved in self.moved])
        cuts = {0, len(known), *self.starts, *(np.flatnonzero(np.diff(known.astype(int))) + 1).tolist()}
        return [(begin, end) for begin, end in pairwise(sorted(cuts)) if known[begin]]


_NO_POINTS = np.full((68, 2), np.nan, np.float32)
_NO_MATRIX = np.full((2, 3), np.nan)
