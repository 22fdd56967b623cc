"""Models with identical random weights, ours and others'."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def fill() -> Callable[..., None]:
    """Fill every parameter with random numbers: norms' weights near 1, all else normal, biases included.

    Unlike a fresh initialisation it leaves nothing at 0 or 1, so that a mixed-up bias or norm cannot hide.
    """

    def fill_module(module: nn.Module, seed: int = 0, scale: float = 0.05) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                is_norm_weight = parameter.dim() == 1 and name.endswith("weight")
                parameter.copy_(1 + 0.1 * noise if is_norm_weight else scale * noise)

    return fill_module


@pytest.fixture
def frames() -> Callable[..., Tensor]:
    """Random pictures (count, 3, size, size), float32."""

    def make(count: int, size: int, seed: int = 1) -> Tensor:
        return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))

    return make
