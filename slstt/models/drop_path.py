"""DropPath (stochastic depth): in training whole residual branches are left out at random, sample by sample.

Huang et al., "Deep Networks with Stochastic Depth" (arXiv 1603.09382), eq. 2 for the survival of a branch and eq. 4 for
the rate that rises linearly with depth. As is usual since, the kept branches are divided by the keep probability in
training, so that evaluation needs no scaling at all.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DropPath(nn.Module):
    """Zero a residual branch for a random share `rate` of the samples; scale the others by 1 / (1 - rate).

    One decision per row of the first dimension (in SLSTT: per frame). The identity in evaluation and at rate 0.
    Raises ValueError where `rate` lies outside [0, 1).
    """

    def __init__(self, rate: float | int) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"DropPath rate {rate} is not in [0, 1)")
        self.rate = float(rate)

    def forward(self, branch: Float[Tensor, "samples ..."]) -> Float[Tensor, "samples ..."]:
        """`branch` (samples, ...) -> the same shape, some samples zero."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        mask = torch.empty(branch.shape[:1] + (1,) * (branch.dim() - 1), dtype=branch.dtype, device=branch.device)
        return branch * mask.bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        """The rate, as `print(model)` shows it."""
        return f"rate={self.rate:.3f}"


def linear_rates(rate: float | int, depth: int) -> list[float]:
    """`depth` rates rising linearly from 0 in the first block to `rate` in the last (stochastic depth, eq. 4)."""
    return [rate * index / max(depth - 1, 1) for index in range(depth)]
