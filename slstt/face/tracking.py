"""One face tracked through a recording: dlib's 68 points on every frame, its costly detector only now and then."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from slstt.face.landmarks import FaceBox, LandmarkDetector, upright

DETECTED = 80
"""Pixels: the narrowest face that dlib's detector finds. The picture is reduced so far that the face that is looked for
has this width."""
LARGE_FACE = 0.2
"""Share of the shorter side: faces at least so wide are looked for first, on a smaller picture."""
CHECK = 0.5
"""Seconds between two runs of the detector while a face is tracked."""
SEARCH = 0.05
"""Seconds between two runs while none is."""
LARGEST_STEP = 0.25
"""Widths of its box that a face may move or grow from one frame to the next; more is a wrong fit."""
SAME = 0.6
"""Widths of its box within which a face found again is the tracked one."""
CLEAR = 0.5
"""Share of the detector's usual score below which a face is not clearly seen: a hand before it costs about half."""
FEWEST_SCORES = 4
"""Detections that tell what is usual."""
SURE = 1.0
"""Usual score from which the detector is sure of a face (`FaceBox`); where it never is, a low one says nothing."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class TrackedFace:
    """The tracked face on one frame.

    `landmarks` (68, 2) float32 or None where it is lost. `faces`: how many the detector last found. `confirmed`:
    the detector found the tracked face on this very frame, with `score` on a picture reduced by `scale`; scores at
    different scales cannot be compared. `changed`: another face is tracked from here on.
    """

    landmarks: np.ndarray | None
    faces: int
    confirmed: bool = False
    changed: bool = False
    score: float = float("nan")
    scale: float = 1.0


class FaceTracker:
    """Tracks the largest face of the first frame that shows one; a lost one is searched again.

    The same person is taken to be where the face was last; when no face is near, the largest one is tracked.
    """

    def __init__(self, rate: float, detector: LandmarkDetector | None = None, smallest: float = LARGE_FACE) -> None:
        """`rate` in frames per second; `smallest`: narrowest face, as a share of the picture's shorter side.

        Raises WeightsError as `LandmarkDetector` does.
        """
        self.detector, self.smallest = detector or LandmarkDetector(), smallest
        self.check, self.search = max(1, round(CHECK * rate)), max(1, round(SEARCH * rate))
        self.landmarks: np.ndarray | None = None
        self.last: FaceBox | None = None
        self.faces = 0
        self.since = self.search  # frames since the detector ran, and since it ran on the larger picture
        self.since_fine = self.check
        # The detector's box against the points it led to: how a box for the next frame is made of this frame's points.
        self.box_shift, self.box_sides = np.zeros(2), np.ones(2)

    def track(self, grey: np.ndarray, doubt: bool = False) -> TrackedFace:
        """The face on the next frame (H, W) uint8; `doubt` has it detected again, whatever the points say."""
        self.since += 1
        self.since_fine += 1
        if self.landmarks is not None:
            points = self.detector.fit(grey, self._box(self.landmarks))
            if not doubt and self.since < self.check and self._plausible(points, grey.shape):
                self.landmarks = points
                return TrackedFace(points, self.faces)
        elif self.since < self.search:
            return TrackedFace(None, self.faces)
        return self._detect(grey)

    def _detect(self, grey: np.ndarray) -> TrackedFace:
        self.since = 0
        scale = min(1.0, DETECTED / (LARGE_FACE * min(grey.shape)))
        found = self.detector.detect(_reduced(grey, scale), smallest=self.smallest)
        # A small face needs a larger picture, which costs four times as much: while none is tracked, now and then.
        if not found and scale < 1 and (self.landmarks is not None or self.since_fine >= self.check):
            scale = min(1.0, DETECTED / (min(LARGE_FACE / 2, self.smallest) * min(grey.shape)))
            found = self.detector.detect(_reduced(grey, scale), smallest=self.smallest)
            self.since_fine = 0
        self.faces = len(found)
        if not found:
            self.landmarks = None
            return TrackedFace(None, 0)
        faces = [FaceBox(f.landmarks, _scaled(f.box, 1 / scale), f.score) for f in found]
        face, changed = faces[0], False
        if self.last is not None:
            nearest = min(faces, key=lambda f: _distance(f.box, self._where()))
            if _distance(nearest.box, self._where()) <= SAME * _width(nearest.box):
                face = nearest
            else:
                changed = True
        points = self.detector.fit(grey, face.box)
        centre, size = _placed(points)
        box = np.reshape(face.box, (2, 2))
        self.box_shift, self.box_sides = (box.mean(axis=0) - centre) / size, (box[1] - box[0]) / size
        self.landmarks, self.last = points, face
        return TrackedFace(points, self.faces, confirmed=True, changed=changed, score=face.score, scale=scale)

    def _where(self) -> Box:
        """The box of the tracked face, or where it was last found."""
        if self.landmarks is not None:
            return self._box(self.landmarks)
        assert self.last is not None
        return self.last.box

    def _box(self, points: np.ndarray) -> Box:
        centre, size = _placed(points)
        middle, half = centre + self.box_shift * size, self.box_sides * size / 2
        x0, y0, x1, y1 = (int(v) for v in np.rint([*(middle - half), *(middle + half)]))
        return x0, y0, x1, y1

    def _plausible(self, points: np.ndarray, shape: tuple[int, ...]) -> bool:
        assert self.landmarks is not None
        (centre, size), (before, size_before) = _placed(points), _placed(self.landmarks)
        width = self.box_sides[0] * size_before
        inside = (points.mean(axis=0) >= 0).all() and (points.mean(axis=0) < shape[1::-1]).all()
        moved = float(np.hypot(*(centre - before)))
        return bool(
            inside and moved <= LARGEST_STEP * width and abs(size / size_before - 1) <= LARGEST_STEP and upright(points)
        )


def unclear(faces: Sequence[TrackedFace | None]) -> np.ndarray:
    """(n,) True where the detector is much less sure of the tracked face than elsewhere in the recording: a hand covers
    it, or it is turned or blurred. From the detection before to the one after, since nobody knows from when to when.
    The usual score is the upper quartile at the same scale. `faces`: of each frame, None where it has none.
    """
    found = [(number, face) for number, face in enumerate(faces) if face is not None and face.confirmed]
    usual: dict[float, float] = {}
    for scale in {face.scale for _, face in found}:
        scores = [face.score for _, face in found if face.scale == scale]
        usual[scale] = float(np.percentile(scores, 75)) if len(scores) >= FEWEST_SCORES else 0.0
    there = np.zeros(len(faces), bool)
    at = [-1, *(number for number, _ in found), len(faces)]
    for place, (_, face) in enumerate(found, start=1):
        if usual[face.scale] >= SURE and face.score < CLEAR * usual[face.scale]:
            there[at[place - 1] + 1 : at[place + 1]] = True
    return there


def _placed(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and size (root mean square distance from it) of a set of points."""
    centre = points.mean(axis=0, dtype=np.float64)
    return centre, float(np.sqrt(((points - centre) ** 2).sum(axis=1).mean()))


def _reduced(grey: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return grey
    size = round(grey.shape[1] * scale), round(grey.shape[0] * scale)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _scaled(box: Box, by: float) -> Box:
    x0, y0, x1, y1 = (round(v * by) for v in box)
    return x0, y0, x1, y1


def _width(box: Box) -> int:
    return box[2] - box[0]


def _distance(a: Box, b: Box) -> float:
    return float(np.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2))
