"""Weight files: where they are, what they hold, and one clear error when they are not what they should be.

Reads safetensors and torch's own format; the latter always with `weights_only=True`, so that a file can bring numbers
but never code. torchvision's published weights are downloaded once, by name, and checked by their hash.
"""

import http.client
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from slstt.errors import WeightsError, listed
from slstt.files import sha256, whole_file
from slstt.models.slstt import SLSTT
from slstt.models.weight_naming import recognise, resample_positions, translate

SYNTHETIC = Path(__file__).parent / "weights" / "synthetic.safetensors"
"""Comes with the package, as does `synthetic_clip`; made by slstt-pretrain (see the model card beside them)."""
IMAGENET = "ViT_B_16_Weights.IMAGENET1K_V1"  # what "imagenet" means: torchvision's ViT-B/16, 224 pixels

# Training scripts like to keep a best score as a numpy number beside the weights; these three let such a file in.
_NUMPY_NUMBERS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
]


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Any weight file -> (its tensors by name, the header of a safetensors file).

    Looks into a `state_dict` or `model` entry and takes off DataParallel's `module.`. Raises WeightsError where the
    file is missing, damaged, holds anything but numbers, or holds numbers that are not finite.
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
        raise _unreadable(path, error) from error
    for entry in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(entry), dict):
            content = content[entry]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(f"{path}: holds no state dict; save one with torch.save(model.state_dict(), file)")
    state = {str(key).removeprefix("module."): value for key, value in content.items()}
    if broken := [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise WeightsError(f"{path}: {listed(broken, 3)} not finite (NaN or infinite); get the file again")
    return state, header


def read_header(path: str | Path) -> dict[str, str]:
    """The header of one of our model files: "arguments" (JSON) and what `save_model` was given as `extra`.

    Raises WeightsError where the file is missing, damaged or not one of ours.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except Exception as error:
        raise _unreadable(path, error) from error
    model_arguments(path, header)
    return header


def model_arguments(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """The model's arguments out of a header. Raises WeightsError where there are none."""
    try:
        return dict(json.loads(header["arguments"]))
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: not an slstt model file (its header has no arguments)") from error


def find_weights(source: str | Path, fetch: bool = True) -> Path:
    """The file that `source` (see `load_encoder`) means; torchvision's are downloaded once into torch's cache folder.

    Raises WeightsError where there is none: no such file, a damaged one, no network, or not downloaded yet and `fetch`
    is False (so that a check touches nothing).
    """
    if str(source) in ("synthetic", "synthetic_clip"):
        return SYNTHETIC.with_stem(str(source))
    weights = torchvision_weights(source)
    if weights is None:
        if not Path(source).is_file():
            raise WeightsError(
                f"{source}: no such weight file; give a file, imagenet, synthetic, synthetic_clip or a "
                f"torchvision name such as {IMAGENET}"
            )
        return Path(source)
    return cached_download(weights.url, Path(torch.hub.get_dir()) / "checkpoints", fetch)


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


def torchvision_weights(source: str | Path) -> Any | None:
    """torchvision's entry for `source`, None where `source` is a file. Raises WeightsError for an unknown name."""
    name = IMAGENET if str(source) == "imagenet" else str(source)
    if not name.startswith("ViT_"):
        return None
    try:
        return torchvision.models.get_weight(name)
    except (ValueError, KeyError) as error:
        raise WeightsError(f"model.pretrained: torchvision knows no weights {name}; try {IMAGENET}") from error


def _unreadable(path: Path, error: Exception) -> WeightsError:
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
    problems = [f"{kind}: {listed(keys, 3)}" for kind, keys in (("missing", missing), ("surplus", surplus)) if keys]
    problems += [listed(shapes, 3)] if shapes else []
    if problems:
        raise WeightsError(f"{path}: does not fit the model; {'; '.join(problems)}; check the model's sizes")


@dataclass(frozen=True)
class ModelInput:
    """One clip as the network wants it: (frames, 3, image_size, image_size)."""

    classes: tuple[str, ...]
    """In the order of the logits."""
    kind: str
    """`cache`: flow in pixels of the picture; `flow_maps`: u, v and strain of the apex, each scaled to -1..1."""
    encoding: str
    """How `cache` flow becomes three channels (`data.encoding` of slstt-train)."""
    normalize: str
    """`none`, `map` or `train` (`data.normalize`)."""
    frames: int
    image_size: int
    crop: tuple[float, float, float, float] | None = None
    """Left, right, top, bottom from the eyes' middle in interocular distances; None: the face square of the paper,
    or, of published flow maps, not on record."""
    mean: tuple[float, ...] | None = None
    """Of each channel, where normalize is `train`; `deviation` likewise."""
    deviation: tuple[float, ...] | None = None
    preprocessing: Mapping[str, Any] | None = None
    """Settings of slstt-preprocess, by section, that its clips were made with, where the file says so."""
    trained_on: str = ""
    left_out: str = ""
    """The subject whose clips it never saw."""


def read_model_input(path: str | Path) -> ModelInput:
    """The facts in the header of a model file of ours. Raises WeightsError where it lacks them or is none of ours."""
    path = Path(path)
    header = read_header(path)
    missing = [name for name in ("classes", "kind", "encoding", "normalize", "frames") if name not in header]
    if missing:
        raise WeightsError(
            f"{path}: its header does not say {', '.join(missing)}, so its input and its answers are unknown; "
            "give a model file of slstt-train (run.save_models=true) or slstt-pretrain"
        )
    try:
        arguments = model_arguments(path, header)
        kind, normalize = header["kind"], header["normalize"]
        crop = json.loads(header.get("crop", "null"))
        found = ModelInput(
            classes=tuple(map(str, json.loads(header["classes"]))),
            kind=kind,
            encoding=header["encoding"],
            normalize=normalize,
            frames=int(header["frames"]),
            image_size=int(arguments["image_size"]),
            crop=None if crop is None else (float(crop[0]), float(crop[1]), float(crop[2]), float(crop[3])),
            mean=_numbers(header, "mean") if normalize == "train" else None,
            deviation=_numbers(header, "deviation") if normalize == "train" else None,
            preprocessing=json.loads(header.get("preprocessing", "null")),
            trained_on=header.get("trained_on", ""),
            left_out=header.get("left_out", ""),
        )
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: its header is damaged ({error}); get the file again") from error
    if kind not in ("cache", "flow_maps") or normalize not in ("none", "map", "train"):
        raise WeightsError(f"{path}: wants input of a kind this version does not know; update slstt")
    if len(found.classes) != arguments["classes"]:
        raise WeightsError(
            f"{path}: names {len(found.classes)} classes and has {arguments['classes']} outputs; get the file again"
        )
    return found


def _numbers(header: Mapping[str, str], name: str) -> tuple[float, ...]:
    return tuple(float(value) for value in json.loads(header[name]))
