"""Apex spotting, for a clip whose sheet gives no apex: the frame of greatest onset-flow strength in the face."""

import math

import numpy as np
from jaxtyping import Float32, Float64, Num, UInt8
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d

from slstt.face.crop import face_mask
from slstt.flow.optical_flow import onset_flow

STRONGEST = 0.2
"""Share of the face whose flow counts: an expression moves a part of it, and the rest holds only noise."""


def apex_place(
    frames: UInt8[ndarray, "n h w"], landmarks: Num[ndarray, "68 2"], smoothing: float = 0.04
) -> tuple[int, Float64[ndarray, " n"]]:
    """The place of the apex among `frames` (the onset is place 0) and the smoothed strength of every place.

    `frames` are grey cuts of one square, `landmarks` the face's points (x, y) in pixels of the cuts. `smoothing` is the
    standard deviation of the Gaussian over the strength curve as a share of the clip's length. The onset is never the
    apex. Strength is the mean length of the strongest flow in the face, after the head's drift is taken off.
    Raises ValueError for fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError("an apex is spotted among at least two frames")
    inside = face_mask(landmarks, frames.shape[1:3])
    strength = np.concatenate([[0.0], [_strength(field, inside) for field in onset_flow(frames)]])
    sigma = smoothing * len(frames)
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
