"""The Vision Transformer (ViT) that encodes each flow picture: patches, position embeddings and their resampling.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929), eqs. 1-4; used per frame by SLSTT
(arXiv 2112.05851). The numbers agree with torchvision's and timm's models of the same weights.

Shapes in this file: N frames; C channels; H = W = image_size; G = image_size / patch_size patches along a side;
L = G * G + 1 tokens (the class token first); D = width; A heads of D / A numbers each.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slstt.errors import ConfigError


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


EPSILON = 1e-6  # of every LayerNorm, as in torchvision's, timm's and the released SLSTT's ViT
GELU = {"exact": "none", "tanh": "tanh"}  # our name -> torch's


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection to queries, keys and values (ViT, appendix A)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = 0.0
        """Rate of Dropout on the attention's weights in training."""
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "N L D"], queries: int | None = None) -> Float[Tensor, "N Q D"]:
        """Attend from the first `queries` tokens (all when None) to all tokens.

        x (N, L, D) -> (N, Q, D), with Q = `queries` or L.
        """
        n, length, width = x.shape
        per_head = (self.heads, width // self.heads)
        if queries is None:
            q, k, v = self.qkv(x).view(n, length, 3, *per_head).permute(2, 0, 3, 1, 4)  # each (N, A, L, D / A)
        else:
            # Only what is asked for is computed: the same sums, with the rows of the fused matrix taken apart.
            weight, bias = self.qkv.weight, self.qkv.bias
            q = F.linear(x[:, :queries], weight[:width], bias[:width]).view(n, queries, *per_head).transpose(1, 2)
            k, v = F.linear(x, weight[width:], bias[width:]).view(n, length, 2, *per_head).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)  # (N, A, Q, D / A), scaled by 1 / sqrt(D / A)
        return self.projection(y.transpose(1, 2).reshape(n, -1, width))


class MLP(nn.Module):
    """Two linear layers with a GELU between them, on each token alone."""

    def __init__(self, width: int, hidden: int, gelu: Literal["exact", "tanh"]) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.gelu = nn.GELU(approximate=GELU[gelu])
        self.contract = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "N L D"]) -> Float[Tensor, "N L D"]:
        """x (N, L, D) -> (N, L, hidden) -> (N, L, D)."""
        return self.contract(self.gelu(self.expand(x)))


class TransformerBlock(nn.Module):
    """One encoder block: attention, then MLP, each a residual branch with its LayerNorm and its DropPath.

    norm="pre" (ViT eqs. 2-3): x + branch(norm(x)); norm="post" (the first Transformer): norm(x + branch(x)).
    regularizer="dropout" drops single numbers of the branch, at the same rate, instead of the whole branch.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        rate: float | int = 0.0,
        regularizer: Literal["drop_path", "dropout"] = "drop_path",
        norm: Literal["pre", "post"] = "pre",
        gelu: Literal["exact", "tanh"] = "exact",
    ) -> None:
        super().__init__()
        self.pre = norm == "pre"
        self.attention_norm = nn.LayerNorm(width, eps=EPSILON)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = MLP(width, hidden, gelu)
        self.drop = DropPath(rate) if regularizer == "drop_path" else nn.Dropout(rate)
        self.dropout = 0.0

    def set_dropout(self, rate: float | int) -> None:
        """Above 0: in training drop single numbers of the attention's weights and of both branches at this rate.

        It stands in the place of `drop`, as the published program has it in its frozen blocks; 0 gives `drop` back.
        """
        self.dropout = self.attention.dropout = float(rate)

    def _dropped(self, branch: Tensor) -> Tensor:
        return F.dropout(branch, self.dropout, self.training) if self.dropout else self.drop(branch)

    def forward(self, x: Float[Tensor, "N L D"], queries: int | None = None) -> Float[Tensor, "N Q D"]:
        """x (N, L, D) -> the first `queries` tokens of the block's output (all when None), (N, Q, D)."""
        kept = x if queries is None else x[:, :queries]
        if self.pre:
            x = kept + self._dropped(self.attention(self.attention_norm(x), queries))
            return x + self._dropped(self.mlp(self.mlp_norm(x)))
        x = self.attention_norm(kept + self._dropped(self.attention(x, queries)))
        return self.mlp_norm(x + self._dropped(self.mlp(x)))


class VisionTransformer(nn.Module):
    """Patch embedding, class token, learned positions, `depth` blocks and a last LayerNorm; no classifier.

    `drop_path` is the rate of the last block; the others' rise to it linearly. `checkpointing` keeps only the blocks'
    inputs for the backward pass and computes the rest again: less memory, about a third more time.
    Raises ConfigError, naming every impossible combination at once.
    """

    def __init__(
        self,
        image_size: int = 384,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float | int = 4,
        channels: int = 3,
        drop_path: float | int = 0.1,
        regularizer: Literal["drop_path", "dropout"] = "drop_path",
        norm: Literal["pre", "post"] = "pre",
        gelu: Literal["exact", "tanh"] = "exact",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check_arguments(image_size, patch_size, width, depth, heads, drop_path, regularizer, norm, gelu)
        self.checkpointing = checkpointing
        self.grid = image_size // patch_size
        self.patch_embedding = nn.Conv2d(channels, width, kernel_size=patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, self.grid**2 + 1, width))
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, int(width * mlp_ratio), rate, regularizer, norm, gelu)
            for rate in linear_rates(drop_path, depth)
        )
        # Kept for norm="post" too, where it changes little, so that `trainable: norm` means the same in both.
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self._initialise()

    def _initialise(self) -> None:
        if self.class_token.is_meta:
            return  # nothing to fill; and torch would load its compiler to find that out
        # As in torchvision and timm: narrow truncated normals, biases zero; the convolution by its fan-in.
        nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.patch_embedding.weight, std=self.patch_embedding.weight[0].numel() ** -0.5)
        nn.init.zeros_(self.patch_embedding.bias)  # type: ignore[arg-type]
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def embed(self, frames: Float[Tensor, "N C H W"]) -> Float[Tensor, "N L D"]:
        """Frames (N, C, H, W) -> tokens (N, L, D) before the first block (ViT eq. 1)."""
        patches = self.patch_embedding(frames)  # (N, D, G, G)
        patches = patches.flatten(2).transpose(1, 2)  # (N, G * G, D)
        class_token = self.class_token.expand(frames.shape[0], -1, -1)  # not len: it would fix the number in an export
        return torch.cat((class_token, patches), dim=1) + self.positions

    def run_blocks(self, tokens: Float[Tensor, "N L D"], start: int, stop: int) -> Float[Tensor, "N L D"]:
        """Tokens (N, L, D) through the blocks start <= index < stop, all tokens kept."""
        for block in self.blocks[start:stop]:
            tokens = self._run(block, tokens, None)
        return tokens

    def class_token_from(self, tokens: Float[Tensor, "N L D"], start: int = 0) -> Float[Tensor, "N D"]:
        """Tokens (N, L, D) before block `start` -> the class token (N, D) after the last block, before the last norm.

        Nothing reads the last block's other tokens, so that block computes the class token alone.
        """
        last = len(self.blocks) - 1
        tokens = self.run_blocks(tokens, start, last)
        return self._run(self.blocks[last], tokens, 1)[:, 0]

    def forward(self, frames: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"]:
        """Frames (N, C, H, W) -> features (N, D): the class token after the last norm (ViT eq. 4)."""
        return self.norm(self.class_token_from(self.embed(frames)))

    def _run(self, block: nn.Module, tokens: Tensor, queries: int | None) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled() and any(p.requires_grad for p in block.parameters()):
            return checkpoint(block, tokens, queries, use_reentrant=False)  # type: ignore[return-value]
        return block(tokens, queries)


def resample_positions(positions: Float[Tensor, "1 L D"], grid: int) -> Float[Tensor, "1 M D"]:
    """Position embeddings of a square grid of patches -> of `grid` x `grid` patches; the class token's stays.

    positions (1, 1 + g * g, D) -> (1, 1 + grid * grid, D), bicubic, antialiased when the grid shrinks, as timm does it.
    Raises ValueError where the patches do not form a square.
    """
    count = positions.shape[1] - 1
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(f"{count} patch positions do not form a square")
    if side == grid:
        return positions
    patches = positions[:, 1:].float().transpose(1, 2).unflatten(2, (side, side))  # (1, D, g, g)
    patches = F.interpolate(patches, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    patches = patches.flatten(2).transpose(1, 2).to(positions.dtype)  # (1, grid * grid, D)
    return torch.cat((positions[:, :1], patches), dim=1)


def _check_arguments(
    image_size: int,
    patch_size: int,
    width: int,
    depth: int,
    heads: int,
    drop_path: float | int,
    regularizer: str,
    norm: str,
    gelu: str,
) -> None:
    """Raise ConfigError with one line per impossible value or combination."""
    sizes = {"image_size": image_size, "patch_size": patch_size, "width": width, "depth": depth, "heads": heads}
    problems = [f"model.{name}: {value} is not a positive number" for name, value in sizes.items() if value < 1]
    positive = not problems
    if positive and image_size % patch_size:
        problems.append(f"model.image_size: {image_size} is not a multiple of patch_size {patch_size}")
    if positive and width % heads:
        problems.append(f"model.width: {width} is not a multiple of heads {heads}")
    if not 0.0 <= drop_path < 1.0:
        problems.append(f"model.drop_path: {drop_path} is not in [0, 1)")
    choices = {
        "regularizer": (regularizer, ("drop_path", "dropout")),
        "norm": (norm, ("pre", "post")),
        "gelu": (gelu, tuple(GELU)),
    }
    problems += [
        f"model.{name}: '{value}' is unknown; choose {' or '.join(allowed)}"
        for name, (value, allowed) in choices.items()
        if value not in allowed
    ]
    if problems:
        raise ConfigError(*problems)
