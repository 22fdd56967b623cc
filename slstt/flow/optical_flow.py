"""Dense optical flow between the frames of a clip, and the strain of a flow field.

Long-term flow refers every frame to the onset, as SLSTT does (arXiv 2112.05851): its direction stays and its length
rises and falls with the expression. Consecutive flow refers every frame to the one before it and is here for
comparison: it turns round after the apex. Flow is (u right, v down) in pixels.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import get_args

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

from slstt.config.preprocess import NO_TVL1, FlowMethod, Grey
from slstt.errors import ConfigError

# Pyramid scale, levels, window, iterations, neighbourhood, its sigma, flags: the published preprocessing's values.
FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)

Frame = UInt8[ndarray, "h w"] | UInt8[ndarray, "h w 3"]
Frames = UInt8[ndarray, "t h w"] | UInt8[ndarray, "t h w 3"]
Field = Float32[ndarray, "2 h w"]
Flow = Float32[ndarray, "t-1 2 h w"]
# From two grey frames to the flow (h, w, 2) from the first to the second.
Pair = Callable[[ndarray, ndarray], ndarray]


def onset_flow(frames: Frames, method: str = "farneback", grey: Grey = "standard") -> Flow:
    """The flow (T, 2, H, W) from the onset, `frames[0]`, to each of the T frames after it; RGB or grey, uint8.

    `grey` "swapped" gives red the weight of blue and blue that of red when RGB becomes grey.
    Raises ConfigError for an unknown method.
    """
    return _stacked(onset_fields(frames, method, grey), frames)


def onset_fields(frames: Iterable[Frame], method: str = "farneback", grey: Grey = "standard") -> Iterator[Field]:
    """The fields of `onset_flow` one after the other; frames are read as needed, and only the onset is kept."""
    pair = flow_between(method)
    pictures = _grey(frames, grey)
    onset = next(pictures, None)
    return (pair(onset, picture).transpose(2, 0, 1) for picture in pictures)  # pyright: ignore[reportArgumentType]


def consecutive_flow(frames: Frames, method: str = "farneback", grey: Grey = "standard") -> Flow:
    """The flow (T, 2, H, W) from each frame to the next, of T + 1 frames; otherwise like `onset_flow`."""
    pair = flow_between(method)
    fields = (pair(before, after).transpose(2, 0, 1) for before, after in pairwise(_grey(frames, grey)))
    return _stacked(fields, frames)


def strain(flow: Float[ndarray, "... 2 h w"]) -> Float32[ndarray, "... h w"]:
    """The optical strain of a flow field: the Frobenius norm of the symmetric part of its spatial derivative.

    sqrt(u_x^2 + v_y^2 + (u_y + v_x)^2 / 2), per pixel, by central differences; 0 for any shift, and for small turns.
    """
    u, v = np.asarray(flow[..., 0, :, :], np.float32), np.asarray(flow[..., 1, :, :], np.float32)
    u_y, u_x = np.gradient(u, axis=(-2, -1))
    v_y, v_x = np.gradient(v, axis=(-2, -1))
    return np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 2).astype(np.float32)


def _grey(frames: Iterable[Frame], grey: Grey) -> Iterator[ndarray]:
    weights = cv2.COLOR_BGR2GRAY if grey == "swapped" else cv2.COLOR_RGB2GRAY
    return (cv2.cvtColor(frame, weights) if frame.ndim == 3 else frame for frame in frames)


def _stacked(fields: Iterator[Field], frames: Frames) -> Flow:
    if len(frames) < 2:
        raise ValueError("flow needs the onset and at least one frame after it")
    stacked = np.empty((len(frames) - 1, 2, *frames.shape[1:3]), np.float32)
    for target, field in zip(stacked, fields, strict=True):
        target[...] = field
    return stacked


def flow_between(method: str) -> Pair:
    """The function from two grey frames (H, W) uint8 to the flow (H, W, 2) float32 from the first to the second.

    Raises ConfigError for an unknown method, or one that this OpenCV does not have.
    """
    match method:
        case "farneback":
            return lambda a, b: cv2.calcOpticalFlowFarneback(a, b, None, *FARNEBACK)  # pyright: ignore
        case "dis":
            estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            return lambda a, b: estimator.calc(a, b, None)  # pyright: ignore
        case "tvl1":
            contrib = getattr(cv2, "optflow", None)
            if contrib is None:
                raise ConfigError(f"flow.method=tvl1: {NO_TVL1}")
            duality = contrib.DualTVL1OpticalFlow_create()
            return lambda a, b: duality.calc(a, b, None)
        case _:
            raise ConfigError(f"flow.method={method}: unknown; choose one of {', '.join(get_args(FlowMethod))}")
