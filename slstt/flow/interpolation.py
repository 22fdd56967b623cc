"""Interpolation: which frames of a clip are taken, the order of the midpoints that are inserted, and RIFE.

SLSTT takes a fixed number of frames from every clip. A clip with enough frames gives a choice of its own; a shorter one
gives all it has, and middle frames are inserted from the apex outwards, where the expression says most. All positions
are frame numbers; an inserted one is a dyadic fraction (46.5, 46.25, ...), so it is exact in floating point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from slstt.config.preprocess import FrameSelection, InterpolationMethod
from slstt.downloads import rife_weights
from slstt.errors import ConfigError, DataError, WeightsError

Position = int | float
Image = UInt8[ndarray, "h w"] | UInt8[ndarray, "h w 3"]


@dataclass(frozen=True)
class FramePlan:
    """What stands for a clip: positions after the onset, ascending. Fractions are to be inserted."""

    positions: tuple[Position, ...]

    @property
    def inserted(self) -> tuple[Position, ...]:
        """The positions that no camera saw."""
        return tuple(p for p in self.positions if p != int(p))

    @property
    def needed(self) -> tuple[int, ...]:
        """The real frames that are chosen or that an inserted position is made from, ascending."""
        below = {int(p) for p in self.positions}
        above = {int(p) + 1 for p in self.inserted}
        return tuple(sorted(below | above))


def apex_first(onset: int, apex: int, offset: int, count: int) -> list[float]:
    """The first `count` positions to insert into the frames onset..offset, in order.

    All half positions strictly inside, nearest the apex first and on ties the one before it (when one side is used up
    the other goes on), then the odd quarters in the same way, then the odd eighths, and so on. Raises DataError where
    onset..offset has no room for any.
    """
    if count < 0:
        raise ValueError(f"count {count} is negative")
    if count and onset >= offset:
        raise DataError(f"nothing can be inserted between onset {onset} and offset {offset}; correct the annotation")
    order: list[float] = []
    parts = 2
    while len(order) < count:
        level = [onset + odd / parts for odd in range(1, (offset - onset) * parts, 2)]
        # A stable sort of ascending positions: of two equally near ones the earlier comes first.
        order += sorted(level, key=lambda position: abs(position - apex))
        parts *= 2
    return order[:count]


def choose_frames(onset: int, apex: int, offset: int, count: int, selection: str = "apex") -> FramePlan:
    """The `count` positions after the onset that stand for a clip (11 in the paper).

    A clip with at least `count` frames after its onset gives `apex`: a window of consecutive frames around the apex,
    from max(apex - count // 2, onset + 1) on, moved back where it would pass the offset; or `uniform`: evenly spaced
    frames from onset + 1 to the offset, both included, rounded half up. A shorter clip gives all its frames and
    `apex_first` insertions. `published` is `published_frames`, whatever the clip's length, where that has two frames to
    begin with. Numbers are positions: where files are missing, pass places in the list of frames.
    Raises DataError where the clip has no frame after its onset.
    """
    if selection not in get_args(FrameSelection):
        raise ConfigError(f"frames.selection={selection}: unknown; choose one of {', '.join(get_args(FrameSelection))}")
    if count < 1:
        raise ConfigError(f"frames.count={count}: at least 1 frame is needed")
    available = offset - onset
    if available < 1:
        raise DataError(f"no frame after the onset {onset} (offset {offset}); correct the annotation")
    if selection == "published" and max(apex - count // 2, onset + 1) < offset:
        return published_frames(onset, apex, offset, count)
    if available < count:
        inserted = apex_first(onset, apex, offset, count - available)
        return FramePlan(tuple(sorted([float(n) for n in range(onset + 1, offset + 1)] + inserted)))
    if count == 1:
        return FramePlan((float(min(max(apex, onset + 1), offset)),))
    if selection == "uniform":
        spans = count - 1
        steps = [(2 * i * (available - 1) + spans) // (2 * spans) for i in range(count)]
        return FramePlan(tuple(float(onset + 1 + step) for step in steps))
    start = min(max(apex - count // 2, onset + 1), offset - count + 1)
    return FramePlan(tuple(float(n) for n in range(start, start + count)))


def published_frames(onset: int, apex: int, offset: int, count: int) -> FramePlan:
    """The published program's choice: consecutive frames from max(apex - count // 2, onset + 1) on, `count` at most.

    Where the offset cuts them short, frames are inserted, equally many into every gap and one more into the gaps about
    the middle where the number does not come out even. A gap is halved again and again until it holds enough middle
    frames, of which the central ones are taken. Raises DataError where the first frame is not before the offset: then
    there is no gap (the program divides by zero).
    """
    start = max(apex - count // 2, onset + 1)
    if start >= offset:
        raise DataError(f"no two frames from {start} up to the offset {offset}, so nothing can be inserted")
    last = min(start + count - 1, offset)
    gaps = last - start
    each, more = divmod(count - 1 - gaps, gaps) if gaps else (0, 0)
    first_with_more = (gaps + 1) // 2 - more // 2
    positions: list[float] = []
    for gap in range(gaps):
        wanted = each + (first_with_more <= gap < first_with_more + more)
        parts = 2 ** wanted.bit_length()  # the fewest halves, quarters, ... with `wanted` marks between the two frames
        skipped = (parts - 1) // 2 - wanted // 2
        marks = range(1 + skipped, 1 + skipped + wanted)
        positions += [float(start + gap), *(start + gap + mark / parts for mark in marks)]
    return FramePlan((*positions, float(last)))


def fill(
    frames: Mapping[Position, Image],
    positions: Sequence[Position],
    method: str = "rife",
    rife: "Rife | None" = None,
) -> dict[Position, Image]:
    """A picture for every one of `positions`, from real `frames` at whole numbers (grey or RGB, one size).

    `rife` makes middle frames of neighbouring positions, halves first, then quarters from halves and so on, one level
    in one batch; `linear` weights the two real neighbours by distance; `none` repeats the nearest real frame (the
    earlier one for a half). Raises DataError naming real frames that are needed and missing.
    """
    if method not in get_args(InterpolationMethod):
        raise ConfigError(
            f"interpolation.method={method}: unknown; choose one of {', '.join(get_args(InterpolationMethod))}"
        )
    needed = FramePlan(tuple(positions)).needed
    if missing := [number for number in needed if number not in frames]:
        raise DataError(f"frames {', '.join(map(str, missing))} are needed and missing")
    if method == "rife":
        if rife is None:
            raise ValueError("method 'rife' needs a loaded Rife")
        made = dict(frames) | _midpoints(frames, positions, rife)
    else:
        single = _blend if method == "linear" else _nearest
        made = dict(frames) | {p: single(frames, p) for p in positions if p != int(p)}
    return {position: made[position] for position in positions}


def levels(positions: Sequence[Position]) -> list[list[Position]]:
    """The fractions among `positions` and all they are made from: halves, then quarters, and so on, each ascending."""
    found: dict[int, set[Position]] = {}
    waiting = [p for p in positions if p != int(p)]
    while waiting:
        position = waiting.pop()
        parts = _parts(position)
        if position in found.setdefault(parts, set()):
            continue
        found[parts].add(position)
        waiting += [p for p in (position - 1 / parts, position + 1 / parts) if p != int(p)]
    return [sorted(found[parts]) for parts in sorted(found)]


def _parts(position: Position) -> int:
    """The denominator of a dyadic fraction."""
    return float(position).as_integer_ratio()[1]


def _midpoints(frames: Mapping[Position, Image], positions: Sequence[Position], rife: "Rife") -> dict[Position, Image]:
    made: dict[Position, Image] = dict(frames)
    for level in levels(positions):
        step = 1 / _parts(level[0])
        before = np.stack([_rgb(made[p - step]) for p in level])
        after = np.stack([_rgb(made[p + step]) for p in level])
        for position, middle in zip(level, rife.midpoint(before, after), strict=True):
            made[position] = middle
    grey = next(iter(frames.values())).ndim == 2
    # A grey pair may come back with channels a grey level apart: their mean is the grey picture.
    return {
        p: np.round(image.mean(axis=-1)).astype(np.uint8) if grey else image
        for p, image in made.items()
        if p not in frames
    }


def _rgb(image: Image) -> UInt8[ndarray, "h w 3"]:
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image


def _blend(frames: Mapping[Position, Image], position: Position) -> Image:
    below = int(position)
    share = position - below
    mixed = (1 - share) * frames[below].astype(np.float32) + share * frames[below + 1].astype(np.float32)
    return np.floor(mixed + 0.5).astype(np.uint8)


def _nearest(frames: Mapping[Position, Image], position: Position) -> Image:
    below = int(position)
    return frames[below] if position - below <= 0.5 else frames[below + 1]


WIDTH = 90
SCALES = (4, 2, 1)
# The coarsest block halves the picture twice more (stride 4) after shrinking it by 4: 16; 32 is the release's multiple.
MULTIPLE = 32
Precision = Literal["fp32", "bf16"]


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.PReLU(outputs))


def _head(outputs: int) -> nn.Sequential:
    half = WIDTH // 2
    return nn.Sequential(
        nn.ConvTranspose2d(WIDTH, half, 4, 2, 1), nn.PReLU(half), nn.ConvTranspose2d(half, outputs, 4, 2, 1)
    )


class IFBlock(nn.Module):
    """One refinement at one scale: corrections to the two flows and to the mask (parameter names as published)."""

    def __init__(self) -> None:
        super().__init__()
        half = WIDTH // 2
        self.conv0 = nn.Sequential(_convolution(11, half, 2), _convolution(half, WIDTH, 2))
        self.convblock0 = nn.Sequential(_convolution(WIDTH, WIDTH), _convolution(WIDTH, WIDTH))
        self.convblock1 = nn.Sequential(_convolution(WIDTH, WIDTH), _convolution(WIDTH, WIDTH))
        self.convblock2 = nn.Sequential(_convolution(WIDTH, WIDTH), _convolution(WIDTH, WIDTH))
        self.convblock3 = nn.Sequential(_convolution(WIDTH, WIDTH), _convolution(WIDTH, WIDTH))
        self.conv1 = _head(4)
        self.conv2 = _head(1)

    def forward(
        self, pictures: Float[Tensor, "n 7 h w"], flow: Float[Tensor, "n 4 h w"], scale: int
    ) -> tuple[Float[Tensor, "n 4 h w"], Float[Tensor, "n 1 h w"]]:
        """Corrections (flow, mask) at full size, from the warped pictures with the mask and the flow so far."""
        x = torch.cat([_resize(pictures, 1 / scale), _resize(flow, 1 / scale) / scale], dim=1)
        x = self.conv0(x)  # (n, 90, h / (4 scale), w / (4 scale))
        for residual in (self.convblock0, self.convblock1, self.convblock2, self.convblock3):
            x = x + residual(x)
        return _resize(self.conv1(x), scale) * scale, _resize(self.conv2(x), scale)


class IFNet(nn.Module):
    """The flow and mask that make the middle frame of two pictures (arXiv 2011.06294)."""

    def __init__(self) -> None:
        super().__init__()
        self.block0, self.block1, self.block2 = IFBlock(), IFBlock(), IFBlock()

    def forward(self, first: Float[Tensor, "n 3 h w"], second: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """The frame halfway between `first` and `second`; values in 0..1, h and w multiples of 32."""
        flow = first.new_zeros(len(first), 4, *first.shape[2:])  # to the first picture (u, v), to the second (u, v)
        mask = first.new_zeros(len(first), 1, *first.shape[2:])
        warped = (first, second)
        for block, scale in zip((self.block0, self.block1, self.block2), SCALES, strict=True):
            # Each block sees the pair in both orders in one batch; the mean makes the result symmetric in time.
            forth = torch.cat([*warped, mask], dim=1)
            back = torch.cat([*reversed(warped), -mask], dim=1)
            flow_steps, mask_steps = block(torch.cat([forth, back]), torch.cat([flow, _swapped(flow)]), scale)
            flow_forth, flow_back = flow_steps.chunk(2)
            mask_forth, mask_back = mask_steps.chunk(2)
            flow = flow + (flow_forth + _swapped(flow_back)) / 2
            mask = mask + (mask_forth - mask_back) / 2
            warped = (warp_backward(first, flow[:, :2]), warp_backward(second, flow[:, 2:]))
        share = torch.sigmoid(mask)
        return warped[0] * share + warped[1] * (1 - share)


def warp_backward(picture: Float[Tensor, "n c h w"], flow: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n c h w"]:
    """Fetch `picture` at each pixel moved by `flow` (u right, v down, pixels), bilinearly; the border repeats."""
    height, width = picture.shape[2:]
    # Positions in float32 even under bf16, whose 8 bits cannot tell neighbouring pixels apart.
    flow = flow.float()
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    fetched = F.grid_sample(picture.float(), grid, mode="bilinear", padding_mode="border", align_corners=True)
    return fetched.to(picture.dtype)


def _swapped(flow: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n 4 h w"]:
    return torch.cat([flow[:, 2:], flow[:, :2]], dim=1)


def _resize(x: Float[Tensor, "n c h w"], factor: int | float) -> Tensor:
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False, recompute_scale_factor=False)


class Rife:
    """The interpolation network on one device, ready to make middle frames."""

    def __init__(self, network: IFNet, precision: Precision = "fp32", device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.precision = precision

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        precision: Precision = "fp32",
        device: str | torch.device = "cpu",
    ) -> "Rife":
        """The official network; `path` as in `slstt.downloads.rife_weights`. `bf16` runs the convolutions in bfloat16.

        Raises WeightsError where the weights cannot be had or do not fit exactly.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        stored = rife_weights(path)
        try:
            tensors = load_file(stored)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{stored}: unreadable RIFE weights ({error}); delete the file to fetch it") from error
        network = IFNet()
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if expected != found:
            odd = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            raise WeightsError(
                f"{stored}: not RIFE HDv3 weights ({len(odd)} tensors differ, the first is {odd[0]}); "
                "delete the file to fetch the official ones, or correct the path"
            )
        network.load_state_dict(tensors)
        return cls(network, precision, device)

    @torch.inference_mode()
    def midpoint(
        self,
        a: UInt8[ndarray, "h w 3"] | UInt8[ndarray, "n h w 3"],
        b: UInt8[ndarray, "..."],
    ) -> UInt8[ndarray, "h w 3"] | UInt8[ndarray, "n h w 3"]:
        """The frame halfway between `a` and `b`, uint8 RGB of any size, alone or as a batch of N pairs.

        A batch gives the same frames as its pairs one by one (up to one grey level of float rounding).
        """
        if a.shape != b.shape:
            raise ValueError(f"two pictures of one size are needed, not {a.shape} and {b.shape}")
        if a.ndim == 3:
            return self.midpoint(a[None], b[None])[0]
        first, second = self._tensor(a), self._tensor(b)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            middle = self.network(first, second)
        height, width = a.shape[1:3]
        grey_levels = (middle[:, :, :height, :width].float() * 255).round().clamp(0, 255).to(torch.uint8)
        return grey_levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _tensor(self, pictures: UInt8[ndarray, "n h w 3"]) -> Float[Tensor, "n 3 h2 w2"]:
        """Values 0..1, padded at the right and at the bottom to multiples of 32 by repeating the border."""
        tensor = torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device).permute(0, 3, 1, 2).float() / 255
        height, width = tensor.shape[2:]
        return F.pad(tensor, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
