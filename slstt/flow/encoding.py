"""From flow to the network's pictures: augmentation, encoding (u, v, strain, colour wheel), size, normalisation.

Flow is turned into a picture at the size of the face square, S, in the frame's own pixels, and only the finished
picture is resized to the network's size: flow measured on an enlarged face is worse (docs/flow.md).

Augmentation changes the vectors as it changes the picture: a mirrored face moves the other way in u, a turned face has
turned vectors, an enlarged face longer ones. A third channel, if any, is a scalar that only moves with the picture
(strain, which neither mirroring nor turning nor uniform scaling changes).

Shapes in this file: B clips, T frames, H x W pixels. Flow is (B, T, 2, H, W) in pixels, u right and v down.
"""

import math
from dataclasses import dataclass, fields
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from slstt.config.train import Augment, Encoding

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


@dataclass(frozen=True)
class Changes:
    """What is done to each of B clips: None where the settings leave that out."""

    times: Float[Tensor, "B T"] | None
    """How far each frame moves in time, in frames."""
    mirrored: Bool[Tensor, " B"] | None
    angle: Float[Tensor, " B"] | None
    """Radians, from right towards down."""
    zoom: Float[Tensor, " B"] | None
    shift: Float[Tensor, "B 2"] | None
    """(x, y) as a share of the side."""
    intensity: Float[Tensor, " B"] | None

    def of(self, clip: int) -> "Changes":
        """The changes of one clip, as a batch of one."""
        values = (getattr(self, field.name) for field in fields(self))
        return Changes(*(None if value is None else value[clip : clip + 1] for value in values))


def draw_changes(count: int, frames: int, settings: Augment, generator: torch.Generator) -> Changes:
    """Random changes of `count` clips of `frames` frames; the numbers come from `generator` (CPU), in a fixed order."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    times = mirrored = angle = zoom = shift = intensity = None
    if settings.jitter and frames > 1:
        times = (torch.rand(count, frames, generator=generator) * 2 - 1) * settings.jitter
    if settings.mirror:
        mirrored = torch.rand(count, generator=generator) < 0.5
    if settings.rotate or settings.zoom or settings.shift:
        angle, zoom = uniform(math.radians(settings.rotate)), 1 + uniform(settings.zoom)
        shift = torch.stack((uniform(settings.shift), uniform(settings.shift)), dim=1)
    if settings.intensity:
        intensity = 1 + uniform(settings.intensity)
    return Changes(times, mirrored, angle, zoom, shift, intensity)


def augment(flow: Float[Tensor, "B T C H W"], changes: Changes) -> Float[Tensor, "B T C H W"]:
    """Each clip with its changes, the same in all its frames."""
    if changes.times is not None:
        flow = retime(flow, changes.times)
    if changes.mirrored is not None:
        flow = torch.where(changes.mirrored.to(flow.device)[:, None, None, None, None], mirror(flow), flow)
    if changes.angle is not None and changes.zoom is not None and changes.shift is not None:
        flow = transform(flow, changes.angle, changes.zoom, changes.shift)
    if changes.intensity is not None:
        flow = intensify(flow, changes.intensity)
    return flow


def mirror(flow: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T C H W"]:
    """Left and right exchanged: the picture is flipped and u changes its sign. Exact; twice gives the same again."""
    flipped = flow.flip(-1)
    return torch.cat((-flipped[:, :, :1], flipped[:, :, 1:]), dim=2)


def transform(
    flow: Float[Tensor, "B T C H W"], angle: Float[Tensor, " B"], zoom: Float[Tensor, " B"], shift: Float[Tensor, "B 2"]
) -> Float[Tensor, "B T C H W"]:
    """Turn by `angle` (radians, from right towards down), enlarge by `zoom`, move by `shift` (x, y; share of the side).

    About the centre; the vectors are turned and enlarged likewise. What comes in from outside repeats the border.
    """
    count, frames, channels, height, width = flow.shape
    cosine, sine = torch.cos(angle), torch.sin(angle)
    # Where each output pixel comes from: the inverse of x -> zoom * R x + shift, in affine_grid's -1..1 coordinates.
    aspect = height / width
    inverse = (
        torch.stack((torch.stack((cosine, sine * aspect), 1), torch.stack((-sine / aspect, cosine), 1)), 1)
        / zoom[:, None, None]
    )
    offset = -(inverse @ (2 * shift[:, :, None]))
    theta = torch.cat((inverse, offset), dim=2).to(flow)
    grid = F.affine_grid(theta, [count, channels, height, width], align_corners=False)
    moved = F.grid_sample(flow.flatten(1, 2), grid, mode="bilinear", padding_mode="border", align_corners=False)
    moved = moved.unflatten(1, (frames, channels))
    a, b = ((zoom * part).to(flow)[:, None, None, None, None] for part in (cosine, sine))
    u, v = moved[:, :, :1], moved[:, :, 1:2]
    return torch.cat((a * u - b * v, b * u + a * v, moved[:, :, 2:]), dim=2)


def intensify(flow: Float[Tensor, "B T C H W"], factor: Float[Tensor, " B"]) -> Float[Tensor, "B T C H W"]:
    """The same motion, stronger or weaker: every channel times the clip's `factor`."""
    return flow * factor.to(flow)[:, None, None, None, None]


def retime(flow: Float[Tensor, "B T C H W"], offsets: Float[Tensor, "B T"]) -> Float[Tensor, "B T C H W"]:
    """Frames at the times t + offset, sorted, within the clip; between two frames the flow is interpolated."""
    count, frames = flow.shape[:2]
    times = (torch.arange(frames) + offsets).clamp(0, frames - 1).sort(dim=1).values
    before = times.floor().long().clamp(max=frames - 2)
    share = (times - before).to(flow)[:, :, None, None, None]
    rows = torch.arange(count, device=flow.device)[:, None]
    before = before.to(flow.device)
    return torch.lerp(flow[rows, before], flow[rows, before + 1], share)
