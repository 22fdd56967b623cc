"""Weights in and out: ImageNet's ViTs, the released SLSTT checkpoints, and our own model files.

Our model files are safetensors; the header carries the model's arguments, so `load_model(path)` needs nothing else.
How files are found and read: `slstt.models.weight_files`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from slstt.errors import WeightsError
from slstt.files import whole_file
from slstt.models.naming import recognise, resample_positions, translate
from slstt.models.slstt import SLSTT
from slstt.models.weight_files import (
    IMAGENET,
    find_weights,
    model_arguments,
    read_header,
    read_weights,
    some_of,
    torchvision_weights,
)

__all__ = [
    "find_weights",
    "load_aggregator",
    "load_encoder",
    "load_model",
    "load_released_slstt",
    "read_header",
    "read_weights",
    "save_model",
]

HEAD_WIDTH_OF_ATTENTION = 64  # of every ViT-S, -B and -L; a released file does not say


def load_encoder(model: SLSTT, source: str | Path) -> str:
    """Fill `model`'s encoder from `source`; the aggregator stays as it is. Returns a line that says what was loaded.

    `source`: "synthetic", "synthetic_clip" (come with slstt); "imagenet"; a name of torchvision's such as
    "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1"; or a file in the
    naming of torchvision, timm, the released SLSTT or our own. Position embeddings are resampled to the model's grid.
    Raises WeightsError where it is missing, damaged or of another architecture; the model is then unchanged.
    """
    enum = torchvision_weights(source)
    if enum is not None:
        _check_torchvision_model(model, str(source))
    path = find_weights(source)
    state, header = read_weights(path)
    naming = recognise(state)
    if naming is None:
        raise WeightsError(
            f"{path}: no ViT in the naming of torchvision, timm, the released SLSTT or slstt "
            f"(first keys: {', '.join(list(state)[:3]) or 'none'}); give one of those"
        )
    if naming == "slstt":
        _check_header(path, header, model)
    ours, surplus = translate(state, naming)
    encoder = {key.removeprefix("encoder."): value for key, value in ours.items() if key.startswith("encoder.")}
    remark = _resample(path, encoder, model.encoder.grid)
    _check_fit(path, encoder, model.encoder.state_dict(), surplus)
    model.encoder.load_state_dict(encoder)
    if naming == "released" and model.arguments["gelu"] != "tanh":
        remark += "; it was trained with the tanh form of GELU (model.gelu), this model has the exact one"
    return f"encoder from {source} ({naming} naming){remark}"


def load_aggregator(model: SLSTT, source: str | Path) -> None:
    """Fill `model`'s aggregator and classifier from `source`, one of our model files; the encoder stays as it is.

    Raises WeightsError where the file has none or one of other sizes; the model is then unchanged.
    """
    path = find_weights(source)
    state, _ = read_weights(path)
    held = {key.removeprefix("aggregator."): value for key, value in state.items() if key.startswith("aggregator.")}
    wanted = {key: value.shape for key, value in model.aggregator.state_dict().items()}
    if {key: value.shape for key, value in held.items()} != wanted:
        raise WeightsError(
            f"{path}: holds no {model.arguments['aggregator']} aggregator of the model's sizes for "
            f"{model.arguments['classes']} classes; change the model's settings, or leave classifier.start out"
        )
    model.aggregator.load_state_dict(held)


def load_released_slstt(
    path: str | Path,
    aggregator: Literal["lstm", "mean"] = "lstm",
    image_size: int | None = None,
    heads: int | None = None,
) -> SLSTT:
    """Rebuild a published SLSTT from its checkpoint (`.pth.tar`), in evaluation mode.

    The file holds both heads and does not say which was trained, so `aggregator` must. Sizes and the number of classes
    are read off the weights; `heads` (default: width / 64) and another `image_size` than the file's may be given.
    Raises WeightsError where the file is missing, damaged, or lacks or exceeds what the model needs.
    """
    path = Path(path)
    state, _ = read_weights(path)
    if recognise(state) != "released":
        raise WeightsError(
            f"{path}: not a released SLSTT checkpoint (no key 'vit.patch_embedding.weight'); "
            "read other files with load_model or load_encoder"
        )
    ours, surplus = translate(state, "released")
    chosen, kept = f"{aggregator}_aggregator.", ("encoder.", f"{aggregator}_aggregator.")
    ours = {key.replace(chosen, "aggregator."): value for key, value in ours.items() if key.startswith(kept)}
    try:
        width, channels, patch_size, _ = ours["encoder.patch_embedding.weight"].shape
        grid = round((ours["encoder.positions"].shape[1] - 1) ** 0.5)
        depth = 1 + max(int(key.split(".")[2]) for key in ours if key.startswith("encoder.blocks."))
        arguments: dict[str, Any] = {
            "image_size": image_size or grid * patch_size,
            "patch_size": patch_size,
            "width": width,
            "depth": depth,
            "heads": heads or max(1, width // HEAD_WIDTH_OF_ATTENTION),
            "mlp_ratio": ours["encoder.blocks.0.mlp.expand.weight"].shape[0] / width,
            "classes": ours["aggregator.classifier.weight"].shape[0],
            "aggregator": aggregator,
            "channels": channels,
            "gelu": "tanh",
        }
        if aggregator == "lstm":
            arguments |= {
                "lstm_width": ours["aggregator.lstm.weight_hh_l0"].shape[1],
                "lstm_layers": sum(key.startswith("aggregator.lstm.weight_hh_l") for key in ours),
                "head_width": ours["aggregator.hidden.weight"].shape[0],
            }
    except (KeyError, ValueError, IndexError) as error:
        missing = error.args[0] if isinstance(error, KeyError) else "a weight of the expected shape"
        raise WeightsError(
            f"{path}: an SLSTT with the {aggregator} aggregator needs {missing}, which is missing; "
            "choose the other aggregator or another file"
        ) from error
    encoder_positions = {"positions": ours["encoder.positions"]}
    _resample(path, encoder_positions, arguments["image_size"] // patch_size)
    ours["encoder.positions"] = encoder_positions["positions"]
    return _build(path, arguments, ours, surplus)


def save_model(model: SLSTT, path: str | Path, extra: Mapping[str, str] | None = None) -> None:
    """Write the model as safetensors, whole or not at all; `extra` (text to text) goes into the header beside it."""
    header = {**(extra or {}), "arguments": json.dumps(model.arguments)}
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with whole_file(Path(path)) as part:
        save_file(state, part, metadata=header)


def load_model(path: str | Path) -> SLSTT:
    """The model that `save_model` wrote, in evaluation mode. Raises WeightsError where the file is not such a one."""
    path = Path(path)
    state, header = read_weights(path)
    return _build(path, model_arguments(path, header), state, [])


def _check_torchvision_model(model: SLSTT, source: str) -> None:
    """Raise WeightsError before anything is downloaded if the model has other sizes than torchvision's."""
    name = (IMAGENET if source == "imagenet" else source).split("_Weights")[0].lower()
    with torch.device("meta"):
        theirs: Any = torchvision.models.get_model(name)
    found = {
        "patch_size": theirs.patch_size,
        "width": theirs.hidden_dim,
        "depth": len(theirs.encoder.layers),
        "heads": theirs.encoder.layers[0].num_heads,
        "mlp_ratio": theirs.mlp_dim / theirs.hidden_dim,
        "channels": 3,
        "norm": "pre",
    }
    _compare(source, found, model)


def _check_header(path: Path, header: Mapping[str, str], model: SLSTT) -> None:
    names = ("patch_size", "width", "depth", "heads", "mlp_ratio", "channels", "norm", "gelu")
    arguments = model_arguments(path, header)
    _compare(str(path), {name: arguments[name] for name in names if name in arguments}, model)


def _compare(source: str, found: Mapping[str, Any], model: SLSTT) -> None:
    different = [f"{k} {v} (the model: {model.arguments[k]})" for k, v in found.items() if model.arguments[k] != v]
    if different:
        raise WeightsError(f"{source}: of another architecture: {', '.join(different)}; change the model's settings")


def _resample(path: Path, encoder: dict[str, Tensor], grid: int) -> str:
    """Bring the positions to `grid` patches a side, in place; a remark if that changed them."""
    positions = encoder.get("positions")
    if positions is None or positions.dim() != 3:
        return ""  # `_check_fit` names it
    try:
        encoder["positions"] = resample_positions(positions, grid)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}; only square pictures are supported") from error
    side = round((positions.shape[1] - 1) ** 0.5)
    return "" if side == grid else f", positions resampled from {side}x{side} to {grid}x{grid}"


def _build(path: Path, arguments: Mapping[str, Any], state: dict[str, Tensor], surplus: list[str]) -> SLSTT:
    try:
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            model = SLSTT(**arguments)
    except Exception as error:
        raise WeightsError(f"{path}: describes no SLSTT of this version ({error}); update slstt") from error
    _check_fit(path, state, model.state_dict(), surplus)
    state = {key: value.to(torch.float32) for key, value in state.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def _check_fit(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], surplus: list[str]) -> None:
    missing = [key for key in expected if key not in state]
    surplus = [*surplus, *(key for key in state if key not in expected)]
    shapes = [
        f"{key} is {tuple(value.shape)}, expected {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    problems = [f"{kind}: {some_of(keys)}" for kind, keys in (("missing", missing), ("surplus", surplus)) if keys]
    problems += [some_of(shapes)] if shapes else []
    if problems:
        raise WeightsError(f"{path}: does not fit the model; {'; '.join(problems)}; check the model's sizes")
