"""Apex spotting, for a clip whose sheet gives no apex: the frame of greatest onset-flow strength in the face."""

import math
from collections.abc import Iterable
from itertools import chain

import numpy as np
from jaxtyping import Float32, Float64, Num, UInt8
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d

from slstt.face.crop import face_mask
from slstt.flow.optical_flow import onset_fields

STRONGEST = 0.2
"""Share of the face whose flow counts: an expression moves a part of it, and the rest holds only noise."""


def apex_place(
    frames: Iterable[UInt8[ndarray, "h w"]], landmarks: Num[ndarray, "68 2"], smoothing: float = 0.04
) -> tuple[int, Float64[ndarray, " n"]]:
    """The place of the apex among the n `frames` (the onset is place 0) and the smoothed strength of every place.

    `frames` are grey cuts of one square; they are read once, and only the onset is kept, so a long clip may be read as
    it is needed. `landmarks` are the face's points (x, y) in pixels of the cuts. `smoothing` is the standard deviation
    of the Gaussian over the strength curve as a share of the clip's length. The onset is never the apex. Strength is
    the mean length of the strongest flow in the face, after the head's drift is taken off.
    Raises ValueError for fewer than two frames.
    """
    later = iter(frames)
    onset = next(later, None)
    if onset is None:
        raise ValueError("an apex is spotted among at least two frames")
    inside = face_mask(landmarks, onset.shape)
    fields = onset_fields(chain([onset], later))
    strength = np.array([0.0, *(_strength(field, inside) for field in fields)])
    if len(strength) < 2:
        raise ValueError("an apex is spotted among at least two frames")
    sigma = smoothing * len(strength)
    smoothed = strength
    if sigma > 0:
        smoothed = gaussian_filter1d(strength, sigma, mode="nearest", radius=math.ceil(3 * sigma))
    return 1 + int(np.argmax(smoothed[1:])), smoothed


def _strength(flow: Float32[ndarray, "2 h w"], inside: ndarray) -> float:
    field = flow[:, inside]
    # The head's drift moves the whole face alike: the median is that part, what remains is expression.
    expression = field - np.median(field, axis=1, keepdims=True)
    lengths = np.sort(np.hypot(*expression))
    return float(lengths[int((1 - STRONGEST) * len(lengths)) :].mean())
