"""The face square of the paper, and cutting it out of a frame.

The square's side is s = (y8 - y19) + (y8 - y57), centred on the nose tip (point 30): the face from brow to chin plus
the distance from lower lip to chin, which stands for the forehead (arXiv 2112.05851, section on pre-processing).
Indices count dlib's 68 points from 0: 8 the chin, 19 the middle of the brow on the picture's left, 30 the nose tip,
57 the lower edge of the lower lip.
"""

import math

import cv2
import numpy as np
from jaxtyping import Num, UInt8
from numpy import ndarray

from slstt.config.preprocess import SquarePlace
from slstt.errors import DataError

CHIN, BROW, NOSE_TIP, LOWER_LIP = 8, 19, 30, 57
EYES = 0.08
"""How far around the eyes flow is left out, as a share of the side: Farneback's window spreads a blink that far."""
MEASURED_SIDE = 256
"""Side of the picture on which strength is measured; on a smaller one Farneback spreads a blink over half the face."""


def face_square(landmarks: Num[ndarray, "68 2"], place: SquarePlace = "centred") -> tuple[int, int, int]:
    """The square (x0, y0, side) in pixels around a face whose 68 points are given as (x, y).

    Side and nose tip are rounded to the nearest whole pixel (halves up) and the corner is nose - side // 2, so an odd
    side has the nose tip's pixel at its exact centre; with `place` "published" that corner is one pixel further left
    and up. The square may run past the picture; `cut` pads. Raises DataError
    where the side is below 2 pixels: then the points are not an upright face.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    chin = points[CHIN, 1]
    length = (chin - points[BROW, 1]) + (chin - points[LOWER_LIP, 1])
    if not np.isfinite(points).all() or length < 2:
        raise DataError(f"the landmarks are not an upright face (brow to chin plus lip to chin is {length:g} pixels)")
    side = math.floor(length + 0.5)
    x, y = points[NOSE_TIP]
    before = (side + 1) // 2 if place == "published" else side // 2
    return math.floor(x + 0.5) - before, math.floor(y + 0.5) - before, side


def runs_past(square: tuple[int, int, int], width: int, height: int) -> bool:
    """Whether any part of the square (x0, y0, side) lies outside a picture of `width` x `height`."""
    x0, y0, side = square
    return x0 < 0 or y0 < 0 or x0 + side > width or y0 + side > height


def cut(
    image: UInt8[ndarray, "h w"] | UInt8[ndarray, "h w c"],
    square: tuple[int, int, int],
    size: int | None = None,
) -> UInt8[ndarray, "s s"] | UInt8[ndarray, "s s c"]:
    """Cut the square (x0, y0, side) out of a picture; what lies outside repeats the nearest border pixel.

    With `size` the cut is resized to size x size: area averaging when it shrinks, bicubic when it grows (bilinear
    enlargement blurs, and flow then loses more of a small motion; see docs/flow.md).
    """
    x0, y0, side = square
    height, width = image.shape[:2]
    rows = np.clip(np.arange(y0, y0 + side), 0, height - 1)
    columns = np.clip(np.arange(x0, x0 + side), 0, width - 1)
    if runs_past(square, width, height):
        piece = image[rows[:, None], columns]
    else:
        piece = np.ascontiguousarray(image[y0 : y0 + side, x0 : x0 + side])
    if size is None or size == side:
        return piece
    method = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(piece, (size, size), interpolation=method), dtype=np.uint8)


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
