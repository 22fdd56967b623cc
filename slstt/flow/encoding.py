"""From flow to the network's pictures: u, v and magnitude or strain, the colour wheel and its scaling, normalisation.

Flow is turned into a picture at the size of the face square, S, in the frame's own pixels, and only the finished
picture is resized to the network's size: flow measured on an enlarged face is worse (docs/flow.md).

Shapes in this file: B clips, T frames, H x W pixels. Flow is (B, T, 2, H, W) in pixels, u right and v down.
"""

import math
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from slstt.config.train import Encoding

ENCODINGS = get_args(Encoding)
EPSILON = 1e-6
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of ImageNet's red, green and blue in 0..1, as torchvision gives them."""


def encode(flow: Float[Tensor, "B T C S S"], encoding: str) -> Float[Tensor, "B T 3 S S"]:
    """Flow of the face square, in pixels, as pictures of the same size.

    `uv_magnitude` (u, v, length) and `uv_strain` (u, v, optical strain): lengths in percent of the square's side, so
    that the same movement gives the same numbers whatever the camera's resolution; strain, which has no unit, in
    percent too. `hsv_frame`, `hsv_clip`: a colour wheel in -1..1, scaled by the frame's or the clip's own lengths.
    Flow maps, which have three channels already, come back as they are. Raises ValueError for an unknown encoding.
    """
    if flow.shape[2] == 3:
        return flow
    percent = 100 / flow.shape[-1]
    match encoding:
        case "uv_magnitude":
            return percent * torch.cat((flow, length(flow)), dim=2)
        case "uv_strain":
            return torch.cat((percent * flow, 100 * strain(flow)), dim=2)
        case "hsv_frame":
            return colour_wheel(flow, per_frame=True)
        case "hsv_clip":
            return colour_wheel(flow, per_frame=False)
    raise ValueError(f"unknown encoding '{encoding}'")


def resize_pictures(pictures: Float[Tensor, "B T C S S"], size: int) -> Float[Tensor, "B T C size size"]:
    """Encoded pictures at the network's size, bilinear, smoothed where they shrink; the numbers mean the same."""
    if pictures.shape[-1] == size:
        return pictures
    flat = F.interpolate(pictures.flatten(0, 1), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return flat.unflatten(0, pictures.shape[:2])


def length(flow: Float[Tensor, "B T 2 H W"]) -> Float[Tensor, "B T 1 H W"]:
    """The length of the vectors, in pixels."""
    return torch.hypot(flow[:, :, :1], flow[:, :, 1:2])  # vector_norm over that axis takes 100 times longer on a CPU


def strain(flow: Float[Tensor, "B T 2 H W"]) -> Float[Tensor, "B T 1 H W"]:
    """Optical strain sqrt(exx^2 + eyy^2 + 2 exy^2) (Shreve et al. 2011; Liong et al. 2014), per pixel."""
    (u_y, u_x), (v_y, v_x) = (torch.gradient(flow[:, :, i], dim=(-2, -1)) for i in (0, 1))
    shear = (u_y + v_x) / 2
    return (u_x**2 + v_y**2 + 2 * shear**2).sqrt().unsqueeze(2)


def colour_wheel(flow: Float[Tensor, "B T 2 H W"], per_frame: bool) -> Float[Tensor, "B T 3 H W"]:
    """Direction as hue (red right, going round by way of v down), length as brightness; RGB in -1..1.

    The length is scaled to 0..1 between its least and greatest value in each frame, as the published implementation
    does, or in each clip.
    """
    size = length(flow)
    over = (2, 3, 4) if per_frame else (1, 2, 3, 4)
    low, high = size.amin(over, keepdim=True), size.amax(over, keepdim=True)
    value = (size - low) / (high - low).clamp_min(EPSILON)
    hue = torch.atan2(flow[:, :, 1:2], flow[:, :, :1]) / (math.pi / 3) % 6  # 0..6, a sixth of the wheel each
    # Fully saturated HSV: each primary is bright within 60 degrees of its own hue and falls off linearly beyond.
    sixths = torch.cat([(hue + offset) % 6 for offset in (5.0, 3.0, 1.0)], dim=2)
    rgb = 1 - torch.minimum(sixths, 4 - sixths).clamp(0, 1)
    return 2 * value * rgb - 1


def normalize_each(pictures: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T C H W"]:
    """Each clip's channels minus their median over frames and pixels, divided by their deviation from the mean.

    Taken over all frames together, so that the rise and fall of the motion stays.
    """
    flat = pictures.transpose(1, 2).flatten(2)  # (B, C, T * H * W)
    median = flat.median(dim=2).values[:, None, :, None, None]
    deviation = flat.std(dim=2, correction=0)[:, None, :, None, None]
    return (pictures - median) / deviation.clamp_min(EPSILON)


def normalize_imagenet(pictures: Float[Tensor, "... 3 H W"]) -> Float[Tensor, "... 3 H W"]:
    """Pictures in -1..1 as 0..1, minus the mean and divided by the deviation of ImageNet's pictures (RGB)."""
    mean, deviation = (pictures.new_tensor(numbers)[:, None, None] for numbers in IMAGENET)
    return ((pictures + 1) / 2 - mean) / deviation


def normalized(pictures: Float[Tensor, "B T C H W"], how: str) -> Float[Tensor, "B T C H W"]:
    """Encoded pictures as `data.normalize` says where no statistics are needed: `map`, `imagenet`, else as they are."""
    if how == "map":
        return normalize_each(pictures)
    return normalize_imagenet(pictures) if how == "imagenet" else pictures


def resized(flow: Float[Tensor, "T C H W"], size: int) -> Float[Tensor, "T C S S"]:
    """Flow brought to `size` x `size` pixels; its vectors, counted in pixels, shrink or grow with the picture."""
    height, width = flow.shape[-2:]
    if (height, width) == (size, size):
        return flow
    scaled = F.interpolate(flow[:, :2].float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return (scaled * torch.tensor([size / width, size / height])[None, :, None, None]).to(flow.dtype)


def min_max(maps: np.ndarray) -> np.ndarray:
    """Scale each channel of each clip (N, T, C, R, R) to 0..1 over frames and pixels, as published flow maps are."""
    low, high = maps.min(axis=(1, 3, 4), keepdims=True), maps.max(axis=(1, 3, 4), keepdims=True)
    return (maps - low) / np.maximum(high - low, 1e-12)
