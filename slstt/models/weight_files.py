"""Weight files of any origin: the tensors in them, and one clear error when they are not what they should be.

Reads safetensors and torch's own format; the latter always with `weights_only=True`, so that a file can bring numbers
but never code.
"""

import http.client
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from slstt.errors import WeightsError, listed
from slstt.files import sha256

_W = r"\.(weight|bias)"

# Key as found -> key as ours; None: belongs to the naming, but SLSTT has no use for it (another task's classifier).
PATTERNS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "slstt": ((r"encoder\.(.+)", r"encoder.\1"), (r"aggregator\.(.+)", r"aggregator.\1"), (r"readout\..+", None)),
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

# The ImageNet file that the published SLSTT starts from has the names of the encoder inside it.
PATTERNS["pytorch_pretrained_vit"] = (
    *((old.removeprefix(r"vit\."), new) for old, new in PATTERNS["released"] if new and new.startswith("encoder.")),
    (r"(?:fc|pre_logits)" + _W, None),
)

# One key that only this naming has.
MARKS = {
    "slstt": "encoder.patch_embedding.weight",
    "torchvision": "conv_proj.weight",
    "timm": "patch_embed.proj.weight",
    "released": "vit.patch_embedding.weight",
    "pytorch_pretrained_vit": "patch_embedding.weight",
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


# Training scripts like to keep a best score as a numpy number beside the weights; these three let such a file in.
_SCALAR = (np._core if hasattr(np, "_core") else np.core).multiarray.scalar  # type: ignore[attr-defined]
_NUMPY_NUMBERS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it, and numpy 2
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
]


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Any weight file -> (its tensors by name, the header of a safetensors file).

    Looks into a `state_dict` or `model` entry and takes off DataParallel's `module.`. Raises WeightsError where the
    file is missing, damaged, holds anything but plain tensors, or holds numbers that are not finite.
    """
    path = Path(path)
    header: dict[str, str] = {}
    try:
        with path.open("rb") as stream:
            is_safetensors = stream.read(9)[8:] == b"{"  # eight bytes of length, then JSON
        if is_safetensors:
            content: Any = load_file(path)
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
        else:
            with torch.serialization.safe_globals(_NUMPY_NUMBERS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file can fail anywhere inside the unpickler, with any exception; all mean the same to the user.
    except Exception as error:
        raise unreadable(path, error) from error
    for entry in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(entry), dict):
            content = content[entry]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(f"{path}: holds no state dict; save one with torch.save(model.state_dict(), file)")
    state = {str(key).removeprefix("module."): value for key, value in content.items()}
    if odd := [key for key, value in state.items() if not _is_plain(value)]:
        raise WeightsError(f"{path}: {listed(odd, 3)} not stored number by number; save contiguous tensors on the CPU")
    if broken := [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise WeightsError(f"{path}: {listed(broken, 3)} not finite (NaN or infinite); get the file again")
    return state, header


def _is_plain(tensor: Tensor) -> bool:
    """Whether all its numbers lie in the file: none shared between places, sparse, quantised or left out.

    A file of a few bytes can otherwise claim a tensor that no memory holds.
    """
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def read_header_of(path: Path) -> dict[str, str]:
    """The header of a safetensors file, text by name. Raises WeightsError where the file is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> WeightsError:
    """The error for a file that could not be read: what is wrong with it in one line, and the fix."""
    if isinstance(error, FileNotFoundError):
        return WeightsError(f"{path}: no such file; check the path")
    text = str(error).rsplit("WeightsUnpickler error: ", 1)[-1]  # torch wraps the cause in a page of advice
    if "unsupported global" in text.lower() or "unsupported class" in text.lower():
        return WeightsError(
            f"{path}: holds Python objects beside the weights, which are not read for safety; where you trust it, "
            "keep only the weights: torch.save(torch.load(file, weights_only=False)['state_dict'], new_file)"
        )
    reason = text.strip().splitlines()[0][:120] if text.strip() else type(error).__name__
    return WeightsError(f"{path}: unreadable as a weight file, perhaps truncated ({reason}); get it again")


TO_GET = {
    "vit_base_patch16_384.safetensors": "it is timm's vit_base_patch16_384.orig_in21k_ft_in1k (ViT-B/16 at 384 px, "
    "ImageNet-21k, then ImageNet-1k): save model.safetensors of huggingface.co/timm/"
    "vit_base_patch16_384.orig_in21k_ft_in1k under that name and give its path as model.pretrained, or give "
    "B_16_imagenet1k.pth of PyTorch-Pretrained-ViT, which the published program takes; model.pretrained=imagenet takes "
    "torchvision's weights for 224 px, which are not those of the published recipe",
}
"""Files that shipped settings name and slstt does not fetch: how to get each."""
IMAGENET = "ViT_B_16_Weights.IMAGENET1K_V1"
"""What "imagenet" means: torchvision's ViT-B/16, 224 pixels."""


def _models() -> Any:
    import torchvision.models

    return torchvision.models


def torchvision_weights(source: str | Path) -> Any | None:
    """torchvision's entry for `source`, None where `source` is a file. Raises WeightsError for an unknown name."""
    name = IMAGENET if str(source) == "imagenet" else str(source)
    if not name.startswith(("ViT_", "R3D_18_", "ResNet18_")):
        return None
    try:
        return _models().get_weight(name)
    except (ValueError, KeyError) as error:
        raise WeightsError(f"model.pretrained: torchvision has no weights {name}; try {IMAGENET}") from error


def torchvision_sizes(source: str | Path) -> dict[str, Any]:
    """The sizes of the network that torchvision's weights `source` are of, by the names of SLSTT's arguments."""
    name = (IMAGENET if str(source) == "imagenet" else str(source)).split("_Weights")[0].lower()
    with torch.device("meta"):
        theirs: Any = _models().get_model(name)
    return {
        "patch_size": theirs.patch_size,
        "width": theirs.hidden_dim,
        "depth": len(theirs.encoder.layers),
        "heads": theirs.encoder.layers[0].num_heads,
        "mlp_ratio": theirs.mlp_dim / theirs.hidden_dim,
        "channels": 3,
        "norm": "pre",
    }


def cached_download(url: str, folder: Path, fetch: bool = True) -> Path:
    """`url` as a file in `folder`, downloaded if need be; its name ends in the first digits of its SHA-256.

    Raises WeightsError where it cannot be had or its hash differs.
    """
    path = folder / url.rsplit("/", 1)[-1]
    expected = path.stem.rsplit("-", 1)[-1]
    remedy = f"download {url} elsewhere and put it at {path}, or give a file as model.pretrained"
    if path.is_file():
        if not sha256(path).startswith(expected):
            raise WeightsError(f"{path}: damaged (its SHA-256 does not start with {expected}); delete it and try again")
        return path
    if not fetch:
        raise WeightsError(f"{path}: not downloaded yet; {remedy}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise WeightsError(f"{url}: cannot be downloaded ({error}); {remedy}") from error
    return path
