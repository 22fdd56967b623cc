"""Stabilization: small patches of the face tracked from the key frame, and the similarity that removes head motion.

dlib's points jitter by about half a pixel, as much as a micro-expression moves; patches tracked by Lucas and Kanade's
method do not. Their motion against a key frame is split in two: the similarity that most of the face shares is head
motion, what remains is face motion. Key frames are joined end to end, so face motion is one curve for every patch.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from slstt.face.crop import MEASURED_SIDE, face_mask, face_square

STEP = 12
"""Pixels of the square between two patches."""
WINDOW = 21
"""Side of a patch, pixels of the square."""
LEVELS = 2
KEY = 1.0
"""Seconds after which a new key frame is taken; near ones are like the present frame, and their light is too."""
FLAT = 1e-5
"""Smallest eigenvalue of a patch's gradients (grey levels 0..1, a pixel) with which it is tracked."""
AGREE = 1.0
"""Forward and backward motion of a patch may differ by this many pixels of the square."""
SPREAD = 16.0
"""Standard deviation, pixels of the square, of the Gaussian over neighbouring patches, whose motion is alike and whose
noise is not. Without it fewer expressions under a pixel are found (docs/predict.md)."""
FEWEST = 0.4
"""Share of patches that must be tracked; with fewer the frame does not show this face."""
ASTRAY = 0.15
"""Sides of the square by which the stabilized landmarks may lie beside the first frame's; more is a lost face."""
EXPRESSIVE_WEIGHT = 0.1
"""Weight, in the head's motion, of patches of mouth and brows against those of nose, cheeks and forehead."""
LIGHT = 14.0
"""Standard deviation, pixels of the square, of the surroundings against which a detail's brightness counts."""
_LOGARITHMS = np.log(np.arange(256, dtype=np.float32) + 8)
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 0.01)


@dataclass(frozen=True)
class Stabilized:
    """One stabilized frame.

    `matrix` (2, 3) maps its pixels onto the first frame with a face. `moved` (R, 2) float32 is the motion of each
    patch on the stabilized face, in thousandths of the interocular distance, against an unknown but constant start.
    `start` is True where that start is new (first frame, face found again): motion before and after cannot be compared.
    """

    matrix: np.ndarray
    moved: np.ndarray
    start: bool


class FaceStabilizer:
    """Takes the head motion off one face. Patches lie at `points` (R, 2), pixels of the square on its first frame."""

    def __init__(self, rate: float) -> None:
        self.key_every = max(1, round(KEY * rate))
        self.points = np.zeros((0, 2), np.float32)

    def stabilize(self, grey: np.ndarray, landmarks: np.ndarray, restart: bool = False) -> Stabilized | None:
        """Stabilize the next frame (H, W) uint8 with its `landmarks` (68, 2); `restart` after frames without the face.

        None where most patches are not found again: the landmarks are doubtful. Raises DataError where the first
        landmarks are no upright face.
        """
        if not len(self.points):
            self._begin(landmarks)
            return self._start(grey, np.eye(3))
        by_landmarks = _similarity(landmarks, self.first, np.ones(68))
        if restart:
            return self._start(grey, by_landmarks)
        for guess in (self.matrix, by_landmarks):
            if (found := self._track(grey, guess)) is not None:
                break
        else:
            return None
        matrix, moved = found
        beside = np.abs(_mapped(matrix, landmarks) - self.first).mean()
        if beside > ASTRAY * self.side:
            return self._start(grey, by_landmarks)
        self.matrix, self.moved, self.age = matrix, moved, self.age + 1
        if self.age >= self.key_every:
            self._take_key(grey)
        return Stabilized(matrix[:2].copy(), self.milli_iod_per_px * (self.smoothing_matrix @ moved), start=False)

    def _begin(self, landmarks: np.ndarray) -> None:
        """Lay the square and the patches on the first face."""
        x0, y0, self.side = face_square(landmarks)
        scale = MEASURED_SIDE / self.side
        self.first = np.asarray(landmarks, np.float64)
        self.to_square = np.array(
            [[scale, 0, (0.5 - x0) * scale - 0.5], [0, scale, (0.5 - y0) * scale - 0.5], [0, 0, 1]]
        )
        self.from_square = np.linalg.inv(self.to_square)
        on_square = _mapped(self.to_square, self.first)
        mask = face_mask(on_square, (MEASURED_SIDE, MEASURED_SIDE))
        hull = cv2.fillConvexPoly(
            np.zeros((MEASURED_SIDE, MEASURED_SIDE), np.uint8), cv2.convexHull(np.rint(on_square).astype(np.int32)), 1
        )
        self.outside_eyes = 1 - ((hull > 0) & ~mask).astype(np.float32)
        self.fill = 1 / np.maximum(_blurred(self.outside_eyes), 0.05)
        places = np.arange(STEP // 2, MEASURED_SIDE, STEP)
        grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
        self.points = grid[mask[grid[:, 1], grid[:, 0]]].astype(np.float32)
        expressive_points = np.concatenate([on_square[17:27], on_square[48:68]])
        beside = np.hypot(*(self.points[:, None] - expressive_points).transpose(2, 0, 1)).min(axis=1)
        self.weights = np.where(beside < 0.08 * MEASURED_SIDE, EXPRESSIVE_WEIGHT, 1.0)
        apart = ((self.points[:, None] - self.points) ** 2).sum(axis=-1)
        near = np.exp(-0.5 * apart / SPREAD**2)
        self.smoothing_matrix = (near / near.sum(axis=1, keepdims=True)).astype(np.float32)
        eyes = on_square[36:42].mean(axis=0) - on_square[42:48].mean(axis=0)
        self.milli_iod_per_px = np.float32(1000 / np.hypot(*eyes))

    def _start(self, grey: np.ndarray, matrix: np.ndarray) -> Stabilized:
        self.matrix, self.moved = matrix, np.zeros_like(self.points)
        self._take_key(grey)
        return Stabilized(matrix[:2].copy(), self.moved.copy(), start=True)

    def _take_key(self, grey: np.ndarray) -> None:
        self.key, self.base, self.age = self._on_square(grey, self.matrix), self.moved, 0

    def _on_square(self, grey: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """(MEASURED_SIDE, MEASURED_SIDE): the face as `matrix` would stabilize it, on the square."""
        to_square = self.to_square @ matrix
        shrink = int(1 / np.hypot(*to_square[:2, 0]))  # warping alone would skip pixels
        if shrink > 1:
            height, width = grey.shape
            size = width // shrink, height // shrink
            grey = np.asarray(
                cv2.resize(grey[: size[1] * shrink, : size[0] * shrink], size, None, 0, 0, cv2.INTER_AREA)
            )
            shift = (shrink - 1) / 2
            to_square = to_square @ np.array([[shrink, 0, shift], [0, shrink, shift], [0, 0, 1.0]])
        face = cv2.warpAffine(
            grey, to_square[:2], (MEASURED_SIDE, MEASURED_SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return self._without_light(face)

    def _without_light(self, face: np.ndarray) -> np.ndarray:
        """The detail of a face: logarithms, in which light is a sum, less their surroundings; 128 where there is none.

        In changing light a patch seems to move: without this a flash of 5 % passes for an expression. The eyes are no
        surroundings, or a blink would change the detail beside them.
        """
        logarithms = cv2.LUT(face, _LOGARITHMS)
        detail = logarithms - _blurred(logarithms * self.outside_eyes) * self.fill
        return cv2.convertScaleAbs(np.maximum(detail + 0.5, 0), alpha=255.0)

    def _track(self, grey: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """(matrix, moved in pixels of the square) by the patches of the key frame, near `guess`; None where lost."""
        now = self._on_square(grey, guess)
        options = {"winSize": (WINDOW, WINDOW), "maxLevel": LEVELS, "criteria": _CRITERIA, "minEigThreshold": FLAT}
        there, good, _ = cv2.calcOpticalFlowPyrLK(self.key, now, self.points, None, **options)  # pyright: ignore
        back, good_back, _ = cv2.calcOpticalFlowPyrLK(now, self.key, there, None, **options)  # pyright: ignore
        kept = (good[:, 0] > 0) & (good_back[:, 0] > 0) & (np.hypot(*(back - self.points).T) < AGREE)
        if kept.mean() < FEWEST:
            return None
        there = np.where(kept[:, None], there, self.points).astype(np.float64)
        head = _similarity(there, self.points, self.weights * kept)
        moved = np.where(kept[:, None], self.base + _mapped(head, there) - self.points, self.moved)
        return self.from_square @ head @ self.to_square @ guess, moved.astype(np.float32)


def _blurred(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), LIGHT, borderType=cv2.BORDER_REPLICATE), np.float32)


def _similarity(at: np.ndarray, onto: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(3, 3) similarity that brings points `at` (N, 2) onto `onto`, by least squares with outliers weighted down.

    Geman and McClure's weights 1 / (1 + (r / s)^2)^2, s the weighted median residual, in a few rounds.
    """
    z, target, w = at[:, 0] + 1j * at[:, 1], onto[:, 0] + 1j * onto[:, 1], weights
    a, b = 1 + 0j, 0j
    for _ in range(6):
        middle, goal = (w @ z) / w.sum(), (w @ target) / w.sum()
        a = (w * np.conj(z - middle)) @ (target - goal) / (w @ np.abs(z - middle) ** 2)
        b = goal - a * middle
        residual = np.abs(a * z + b - target)
        spread = max(float(np.median(residual[weights > 0])), 1e-6)
        w = weights / (1 + (residual / (2 * spread)) ** 2) ** 2
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])


def _mapped(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2, :2].T + matrix[:2, 2]
