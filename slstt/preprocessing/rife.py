"""RIFE frame interpolation: IFNet as in the HDv3 release, with its official weights.

Source: Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022. Three blocks
refine, from coarse to fine, the two flows from the middle frame to its neighbours and a mask that blends what they
fetch. The network is written here from that description; the weights are the published ones (MIT), loaded strictly.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from slstt.errors import WeightsError
from slstt.weights import rife_weights

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


class Block(nn.Module):
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
        self.block0, self.block1, self.block2 = Block(), Block(), Block()

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
            warped = (warp(first, flow[:, :2]), warp(second, flow[:, 2:]))
        share = torch.sigmoid(mask)
        return warped[0] * share + warped[1] * (1 - share)


def warp(picture: Float[Tensor, "n c h w"], flow: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n c h w"]:
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
        """The official network; `path` as in `slstt.weights.rife_weights`. `bf16` runs the convolutions in bfloat16.

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
