"""Augmentation: mirrored (with the sign of u), turned, enlarged, shifted and reweighted flow that a face could show.

What moves the picture also moves its vectors: a mirrored face moves the other way in u, a turned face has turned
vectors, an enlarged face longer ones. Channels 0 and 1 are (u right, v down); a third one, if any, is a scalar that
only moves with the picture (strain, which neither mirroring nor turning nor uniform scaling changes).

Shapes in this file: B clips, T frames, C = 2 or 3 channels, H x W pixels.
"""

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from slstt.config.train import Augment


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
