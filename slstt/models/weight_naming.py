"""How others name a ViT's weights, and how those become ours.

Four namings: "slstt" (our own), "torchvision", "timm" and "released" (the checkpoints published with the SLSTT paper).
Each is a table of patterns; a key that no pattern takes is surplus. What is ours after translation:
`encoder.*` as in `slstt.models.vit.VisionTransformer`, and the heads as `lstm_aggregator.*` and `mean_aggregator.*`
(a released file holds both).
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_W = r"\.(weight|bias)"

# Key as found -> key as ours; None: belongs to the naming, but SLSTT has no use for it (another task's classifier).
PATTERNS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "slstt": ((r"encoder\.(.+)", r"encoder.\1"), (r"aggregator\.(.+)", r"aggregator.\1")),
    "torchvision": (
        (r"class_token", "encoder.class_token"),
        (r"conv_proj" + _W, r"encoder.patch_embedding.\1"),
        (r"encoder\.pos_embedding", "encoder.positions"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.ln_1" + _W, r"encoder.blocks.\1.attention_norm.\2"),
        (
            r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(weight|bias)",
            r"encoder.blocks.\1.attention.qkv.\2",
        ),
        (
            r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj" + _W,
            r"encoder.blocks.\1.attention.projection.\2",
        ),
        (r"encoder\.layers\.encoder_layer_(\d+)\.ln_2" + _W, r"encoder.blocks.\1.mlp_norm.\2"),
        # The published files still say linear_1 and linear_2; torchvision renames them when it loads them.
        (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)" + _W, r"encoder.blocks.\1.mlp.expand.\2"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)" + _W, r"encoder.blocks.\1.mlp.contract.\2"),
        (r"encoder\.ln" + _W, r"encoder.norm.\1"),
        (r"heads\..+", None),
    ),
    "timm": (
        (r"cls_token", "encoder.class_token"),
        (r"pos_embed", "encoder.positions"),
        (r"patch_embed\.proj" + _W, r"encoder.patch_embedding.\1"),
        (r"blocks\.(\d+)\.norm1" + _W, r"encoder.blocks.\1.attention_norm.\2"),
        (r"blocks\.(\d+)\.attn\.qkv" + _W, r"encoder.blocks.\1.attention.qkv.\2"),
        (r"blocks\.(\d+)\.attn\.proj" + _W, r"encoder.blocks.\1.attention.projection.\2"),
        (r"blocks\.(\d+)\.norm2" + _W, r"encoder.blocks.\1.mlp_norm.\2"),
        (r"blocks\.(\d+)\.mlp\.fc1" + _W, r"encoder.blocks.\1.mlp.expand.\2"),
        (r"blocks\.(\d+)\.mlp\.fc2" + _W, r"encoder.blocks.\1.mlp.contract.\2"),
        (r"norm" + _W, r"encoder.norm.\1"),
        (r"head\..+", None),
    ),
    "released": (
        (r"vit\.class_token", "encoder.class_token"),
        (r"vit\.positional_embedding\.pos_embedding", "encoder.positions"),
        (r"vit\.patch_embedding" + _W, r"encoder.patch_embedding.\1"),
        (r"vit\.transformer\.blocks\.(\d+)\.norm1" + _W, r"encoder.blocks.\1.attention_norm.\2"),
        (r"vit\.transformer\.blocks\.(\d+)\.attn\.proj_([qkv])" + _W, r"encoder.blocks.\1.attention.\2.\3"),
        (r"vit\.transformer\.blocks\.(\d+)\.proj" + _W, r"encoder.blocks.\1.attention.projection.\2"),
        (r"vit\.transformer\.blocks\.(\d+)\.norm2" + _W, r"encoder.blocks.\1.mlp_norm.\2"),
        (r"vit\.transformer\.blocks\.(\d+)\.pwff\.fc1" + _W, r"encoder.blocks.\1.mlp.expand.\2"),
        (r"vit\.transformer\.blocks\.(\d+)\.pwff\.fc2" + _W, r"encoder.blocks.\1.mlp.contract.\2"),
        (r"vit\.norm" + _W, r"encoder.norm.\1"),
        (r"vit\.fc" + _W, r"mean_aggregator.classifier.\1"),
        (r"lstm\.((?:weight|bias)_[ih]h_l\d+)", r"lstm_aggregator.lstm.\1"),
        (r"fc1" + _W, r"lstm_aggregator.hidden.\1"),
        (r"fc2" + _W, r"lstm_aggregator.classifier.\1"),
    ),
}

# One key that only this naming has.
MARKS = {
    "slstt": "encoder.patch_embedding.weight",
    "torchvision": "conv_proj.weight",
    "timm": "patch_embed.proj.weight",
    "released": "vit.patch_embedding.weight",
}


def recognise(keys: Mapping[str, object]) -> str | None:
    """The naming whose mark is among `keys`, or None."""
    return next((naming for naming, mark in MARKS.items() if mark in keys), None)


def translate(state: Mapping[str, Tensor], naming: str) -> tuple[dict[str, Tensor], list[str]]:
    """A state dict in `naming` -> (the same in our names, the keys that do not belong to the naming).

    Separate query, key and value projections become the one fused matrix: (D, D) three times -> (3 D, D).
    """
    ours: dict[str, Tensor] = {}
    surplus: list[str] = []
    for key, tensor in state.items():
        for pattern, name in PATTERNS[naming]:
            if match := re.fullmatch(pattern, key):
                if name is not None:
                    ours[match.expand(name)] = tensor
                break
        else:
            surplus.append(key)
    for key in [key for key in ours if ".attention.q." in key]:
        names = [key.replace(".attention.q.", f".attention.{part}.") for part in "qkv"]
        if all(name in ours for name in names):
            ours[key.replace(".q.", ".qkv.")] = torch.cat([ours.pop(name) for name in names])
    return ours, surplus


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
