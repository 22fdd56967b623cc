"""Finding the apex of a clip whose sheet does not give it: the frame of greatest onset-flow strength in the face."""

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Num, UInt8
from numpy import ndarray

from slstt.preprocessing.flow import onset_flow

SIZE = 256
"""Side of the picture on which strength is measured; on a smaller one Farneback spreads a blink over half the face."""
STRONGEST = 0.2
"""Share of the face whose flow counts: an expression moves a part of it, and the rest holds only noise."""

EYES = 0.08
"""How far around the eyes flow is left out, as a share of the side: Farneback's window spreads a blink that far."""


def spot(
    frames: UInt8[ndarray, "n h w"], landmarks: Num[ndarray, "68 2"], smoothing: float = 0.04
) -> tuple[int, Float64[ndarray, " n"]]:
    """The place of the apex among `frames` (the onset is place 0) and the smoothed strength of every place.

    `frames` are grey cuts of one square, `landmarks` the face's points (x, y) in pixels of the cuts. `smoothing` is the
    standard deviation of the Gaussian over the strength curve as a share of the clip's length. The onset is never the
    apex. Strength is the mean length of the strongest flow in the face, after the head's own drift is taken off.
    Raises ValueError for fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError("an apex is looked for among at least two frames")
    inside = face_mask(landmarks, frames.shape[1:3])
    strength = np.concatenate([[0.0], [_strength(field, inside) for field in onset_flow(frames)]])
    smoothed = _smooth(strength, smoothing * len(frames))
    return 1 + int(np.argmax(smoothed[1:])), smoothed


def face_mask(landmarks: Num[ndarray, "68 2"], shape: tuple[int, ...]) -> ndarray:
    """True inside the hull of the landmarks, False on the rest and around the eyes, whose blinks are no expression."""
    points = np.round(np.asarray(landmarks)).astype(np.int32)
    face, eyes = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(points), 1)
    for eye in (points[36:42], points[42:48]):
        cv2.fillConvexPoly(eyes, cv2.convexHull(eye), 1)
    reach = 2 * round(EYES * shape[0]) + 1
    eyes = cv2.dilate(eyes, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    return (face > 0) & (eyes == 0)


def _strength(flow: Float32[ndarray, "2 h w"], inside: ndarray) -> float:
    field = flow[:, inside]
    # The head's own drift moves the whole face alike: the median is that part, the rest is expression.
    rest = field - np.median(field, axis=1, keepdims=True)
    lengths = np.sort(np.hypot(*rest))
    return float(lengths[int((1 - STRONGEST) * len(lengths)) :].mean())


def _smooth(values: ndarray, sigma: float) -> ndarray:
    if sigma <= 0:
        return values
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, weights / weights.sum(), mode="valid")
