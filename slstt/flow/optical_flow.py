"""Dense optical flow between the frames of a clip, and the strain of a flow field.

Long-term flow refers every frame to the onset, as SLSTT does (arXiv 2112.05851): its direction stays and its length
rises and falls with the expression. Consecutive flow refers every frame to the one before it and is here for
comparison: it turns round after the apex. Flow is (u right, v down) in pixels.
"""

import os
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

from slstt.errors import ConfigError, WeightsError

METHODS = ("farneback", "dis", "tvl1", "raft")
# Pyramid scale, levels, window, iterations, neighbourhood, its sigma, flags: the published preprocessing's values.
FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)

Frames = UInt8[ndarray, "t h w"] | UInt8[ndarray, "t h w 3"]
Flow = Float32[ndarray, "t-1 2 h w"]
# From a reference and a list of frames (grey for OpenCV's methods, RGB for RAFT), each pair's flow (h, w, 2).
Pair = Callable[[ndarray, ndarray], ndarray]


def onset_flow(frames: Frames, method: str = "farneback") -> Flow:
    """The flow (T, 2, H, W) from the onset, `frames[0]`, to each of the T frames after it; RGB or grey, uint8.

    Raises ConfigError for an unknown or unavailable method, WeightsError where RAFT's weights are not at hand.
    """
    pictures, pair = _prepared(frames, method)
    return _stacked([pair(pictures[0], picture) for picture in pictures[1:]], frames)


def consecutive_flow(frames: Frames, method: str = "farneback") -> Flow:
    """The flow (T, 2, H, W) from each frame to the next, of T + 1 frames; otherwise like `onset_flow`."""
    pictures, pair = _prepared(frames, method)
    return _stacked([pair(a, b) for a, b in pairwise(pictures)], frames)


def strain(flow: Float[ndarray, "... 2 h w"]) -> Float32[ndarray, "... h w"]:
    """The optical strain of a flow field: the Frobenius norm of the symmetric part of its spatial derivative.

    sqrt(u_x^2 + v_y^2 + (u_y + v_x)^2 / 2), per pixel, by central differences; 0 for any shift, and for small turns.
    """
    u, v = np.asarray(flow[..., 0, :, :], np.float32), np.asarray(flow[..., 1, :, :], np.float32)
    u_y, u_x = np.gradient(u, axis=(-2, -1))
    v_y, v_x = np.gradient(v, axis=(-2, -1))
    return np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 2).astype(np.float32)


def check_method(method: str) -> None:
    """Raise ConfigError or WeightsError, naming the fix, where `method` is unknown or cannot run here."""
    _pair(method)


def _prepared(frames: Frames, method: str) -> tuple[list[ndarray], Pair]:
    if len(frames) < 2:
        raise ValueError("flow needs the onset and at least one frame after it")
    pair = _pair(method)
    if method == "raft":
        pictures = [frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=-1) for frame in frames]
    else:
        pictures = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim == 3 else frame for frame in frames]
    return pictures, pair


def _stacked(fields: list[ndarray], frames: Frames) -> Flow:
    stacked = np.empty((len(fields), 2, *frames.shape[1:3]), np.float32)
    for target, field in zip(stacked, fields, strict=True):
        target[...] = field.transpose(2, 0, 1)
    return stacked


def _pair(method: str) -> Pair:
    match method:
        case "farneback":
            return lambda a, b: cv2.calcOpticalFlowFarneback(a, b, None, *FARNEBACK)  # pyright: ignore
        case "dis":
            estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            return lambda a, b: estimator.calc(a, b, None)  # pyright: ignore
        case "tvl1":
            contributed = getattr(cv2, "optflow", None)
            if contributed is None:
                raise ConfigError(
                    "flow.method=tvl1: this OpenCV has no cv2.optflow; replace opencv-python-headless by "
                    "opencv-contrib-python-headless, or choose farneback or dis"
                )
            solver = contributed.DualTVL1OpticalFlow_create()
            return lambda a, b: solver.calc(a, b, None)
        case "raft":
            return _raft()
        case _:
            raise ConfigError(f"flow.method={method}: unknown; choose one of {', '.join(METHODS)}")


@cache
def _raft() -> Pair:
    """RAFT (small) of torchvision, with weights that are already on this machine; nothing is fetched here."""
    import torch
    from torch.nn import functional as F
    from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

    official = Raft_Small_Weights.DEFAULT
    name = official.url.rsplit("/", 1)[-1]
    given = os.environ.get("SLSTT_RAFT_WEIGHTS")
    stored = Path(given) if given else Path(torch.hub.get_dir()) / "checkpoints" / name
    if not stored.is_file():
        raise WeightsError(
            f"{stored}: RAFT weights not found; fetch {official.url} and put it there, or set SLSTT_RAFT_WEIGHTS, "
            "or choose flow.method=farneback"
        )
    network = raft_small(weights=None).eval()
    try:
        network.load_state_dict(torch.load(stored, weights_only=True, map_location="cpu"))
    except Exception as error:
        raise WeightsError(f"{stored}: not the weights of torchvision's raft_small; fetch {official.url}") from error

    @torch.inference_mode()
    def pair(a: ndarray, b: ndarray) -> ndarray:
        height, width = a.shape[:2]
        pictures = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).float() / 127.5 - 1
        # RAFT works at an eighth of the size and needs at least 16 cells there: multiples of 8, 128 pixels or more.
        down, right = (max(128, side + -side % 8) - side for side in (height, width))
        pictures = F.pad(pictures, (0, right, 0, down), mode="replicate")
        flow = network(pictures[:1], pictures[1:])[-1]
        return flow[0, :, :height, :width].permute(1, 2, 0).numpy()

    return pair
