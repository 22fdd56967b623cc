"""Our model files, and how an SLSTT is filled from them or from what others published.

A model file is safetensors: the network's weights, and a header that says its sizes, what input it wants and what its
answers mean. A header is never believed: its sizes are compared with the tensors before a network is built.
"""

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from slstt.errors import WeightsError, listed
from slstt.files import whole_file
from slstt.flow.encoding import ENCODINGS
from slstt.models.readout import PREFIX, Readout, without_readout
from slstt.models.slstt import SLSTT
from slstt.models.vit import resample_positions
from slstt.models.weight_files import (
    IMAGENET,
    TO_GET,
    cached_download,
    read_header_of,
    read_weights,
    recognise,
    torchvision_sizes,
    torchvision_weights,
    translate,
)

SYNTHETIC = Path(__file__).parent / "weights" / "synthetic.safetensors"
SHIPPED = {
    "synthetic": "6b6b52ec1712299a0df3c8623f26204044316a35cf5a4ddcf654d8dd188f022f",
    "synthetic_displaced": "9933998eeac7643992df097986f673483a5b864e2522506c6056831753b30af2",
    "synthetic_clip": "e351848f4503b45478e1ad4768c4dc0b7c864a60d86be989230cf08bcbda48f3",
    "synthetic_recording": "73555e2bcd07074ccabce65d943d64b542d6152e728440efd0790ff5cd42ddaa",
}
"""Name and SHA-256 of what comes with the package; made by slstt-pretrain (see the model cards beside the files)."""
HEAD_WIDTH_OF_ATTENTION = 64  # of every ViT-S, -B and -L; a released file does not say
LONGEST_ENTRY = 100_000
"""Characters of one entry of a header; real ones have a few hundred."""
LARGEST = {
    "image_size": 10_000,
    "patch_size": 10_000,
    "width": 100_000,
    "depth": 1_000,
    "heads": 1_000,
    "mlp_ratio": 100,
    "classes": 1_000,
    "lstm_width": 100_000,
    "lstm_layers": 100,
    "head_width": 100_000,
    "channels": 1_000,
}
"""The largest sizes that a header may name; the smallest is above 0."""
MOST_FRAMES = 10_000


def read_header(path: str | Path) -> dict[str, str]:
    """The header of one of our model files: "arguments" (JSON) and what `save_model` was given as `extra`.

    Raises WeightsError where the file is missing, damaged or not one of ours.
    """
    path = Path(path)
    header = read_header_of(path)
    model_arguments(path, header)
    return header


def model_arguments(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """The model's arguments out of a header. Raises WeightsError where there are none, or sizes no model has."""
    if "arguments" not in header:
        raise WeightsError(f"{path}: not an slstt model file (its header has no arguments)")
    arguments = _entry(path, header, "arguments")
    if not isinstance(arguments, dict):
        raise WeightsError(f"{path}: not an slstt model file (its header's arguments are no names with values)")
    if unknown := sorted(arguments.keys() - inspect.signature(SLSTT).parameters.keys()):
        raise WeightsError(f"{path}: describes no SLSTT of this version (arguments {listed(unknown, 3)}); update slstt")
    wrong = [name for name, largest in LARGEST.items() if name in arguments and not _is_size(arguments, name, largest)]
    if wrong:
        named = ", ".join(f"{name} {str(arguments[name])[:40]}" for name in wrong)
        raise WeightsError(f"{path}: its header names sizes that no model has ({named}); get the file again")
    return arguments


def _entry(path: Path, header: Mapping[str, str], name: str) -> Any:
    """One JSON entry of a header, None where it is absent. Raises WeightsError where it is damaged or far too long."""
    text = header.get(name, "null")
    if len(text) > LONGEST_ENTRY:
        raise WeightsError(f"{path}: '{name}' in its header has over {LONGEST_ENTRY} characters; get the file again")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise WeightsError(f"{path}: '{name}' in its header is damaged ({reason}); get the file again") from error


def _is_size(arguments: Mapping[str, Any], name: str, largest: int) -> bool:
    value = arguments[name]
    kinds = int | float if name == "mlp_ratio" else int
    return isinstance(value, kinds) and not isinstance(value, bool) and 0 < value <= largest


def find_weights(source: str | Path, fetch: bool = True) -> Path:
    """The file that `source` (see `load_encoder`) means; torchvision's are downloaded once into torch's cache folder.

    Raises WeightsError where there is none: no such file, a damaged one, no network, or not downloaded yet and `fetch`
    is False (so that a check touches nothing).
    """
    if str(source) in SHIPPED:
        return SYNTHETIC.with_stem(str(source))
    weights = torchvision_weights(source)
    if weights is None:
        if not Path(source).is_file():
            if how := TO_GET.get(Path(source).name):
                raise WeightsError(f"{source}: no such weight file; {how}")
            raise WeightsError(
                f"{source}: no such weight file; give a file, imagenet, {', '.join(SHIPPED)} or a "
                f"torchvision name such as {IMAGENET}"
            )
        return Path(source)
    return cached_download(weights.url, Path(torch.hub.get_dir()) / "checkpoints", fetch)


def load_encoder(model: SLSTT, source: str | Path) -> str:
    """Fill `model`'s encoder from `source`; the aggregator stays as it is. Returns a line that says what was loaded.

    `source`: one of `SHIPPED`; "imagenet"; a name of torchvision's such as
    "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1"; or a file in the naming of torchvision, timm, pytorch_pretrained_vit, the
    released SLSTT or our own. Position embeddings are resampled to the model's grid.
    Raises WeightsError where it is missing, damaged or of another architecture; the model is then unchanged.
    """
    if torchvision_weights(source) is not None:
        _compare(str(source), torchvision_sizes(source), model)  # before anything is downloaded
    path = find_weights(source)
    state, header = read_weights(path)
    naming = recognise(state)
    if naming is None:
        raise WeightsError(
            f"{path}: no ViT in the naming of torchvision, timm, pytorch_pretrained_vit, the released SLSTT or slstt "
            f"(first keys: {', '.join(list(state)[:3]) or 'none'}); give one of those"
        )
    if naming == "slstt":
        _check_header(path, header, model)
    ours, surplus = translate(state, naming)
    encoder = {key.removeprefix("encoder."): value for key, value in ours.items() if key.startswith("encoder.")}
    remark = _resample(path, encoder, model.encoder.grid)
    _check_fit(path, encoder, model.encoder.state_dict(), surplus)
    model.encoder.load_state_dict(encoder)
    if naming in ("released", "pytorch_pretrained_vit") and model.arguments["gelu"] != "tanh":
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


def save_model(
    model: SLSTT, path: str | Path, extra: Mapping[str, str] | None = None, readout: Readout | None = None
) -> None:
    """Write the model as safetensors, whole or not at all; `extra` (text to text) goes into the header beside it, and
    the tensors of `readout` beside the model's.
    """
    header = {**(extra or {}), "arguments": json.dumps(model.arguments)}
    tensors = dict(model.state_dict())
    if readout is not None:
        header |= readout.header
        tensors |= {PREFIX + key: value for key, value in readout.state_dict().items()}
    state = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with whole_file(Path(path)) as part:
        save_file(state, part, metadata=header)


def load_model(path: str | Path) -> SLSTT:
    """The model that `save_model` wrote, in evaluation mode. Raises WeightsError where the file is not such a one."""
    path = Path(path)
    state, header = read_weights(path)
    return _build(path, model_arguments(path, header), without_readout(state), [])


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
    held = {
        "depth": len({key.split(".")[2] for key in state if key.startswith("encoder.blocks.")}),
        "lstm_layers": sum(key.startswith("aggregator.lstm.weight_hh_l") for key in state),
    }
    if arguments.get("aggregator", "lstm") != "lstm":
        del held["lstm_layers"]
    different = [f"{name} {arguments[name]}, the file {n}" for name, n in held.items() if arguments.get(name, n) != n]
    if different:
        raise WeightsError(f"{path}: its header says {' and '.join(different)}; get the file again")
    try:
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            model = SLSTT(**arguments)
    except Exception as error:
        raise WeightsError(f"{path}: describes no SLSTT of this version ({str(error)[:200]}); update slstt") from error
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
    """`none`, `map`, `train` or `imagenet` (`data.normalize`)."""
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
    """The facts in the header of a model file of ours.

    Raises WeightsError where it lacks them, where they contradict each other, or where the file is none of ours.
    """
    path = Path(path)
    header = read_header(path)
    missing = [name for name in ("classes", "kind", "encoding", "normalize", "frames") if name not in header]
    if missing:
        raise WeightsError(
            f"{path}: its header does not say {', '.join(missing)}, so its input and its answers are unknown; "
            "give a model file of slstt-train (run.save_models=true) or slstt-pretrain"
        )
    if header.get("target") == "units":
        raise WeightsError(
            f"{path}: answers with action units, each by itself; this command needs a model of emotions "
            "(data.target: emotion)"
        )
    arguments = model_arguments(path, header)
    kind, normalize = header["kind"], header["normalize"]
    known = header["encoding"] in ENCODINGS and normalize in ("none", "map", "train", "imagenet")
    if not known or kind not in ("cache", "flow_maps"):
        raise WeightsError(f"{path}: wants input of a kind this version does not know; update slstt")
    classes, preprocessing = _entry(path, header, "classes"), _entry(path, header, "preprocessing")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) and name for name in classes):
        raise WeightsError(f"{path}: the classes in its header are no list of names; get the file again")
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise WeightsError(f"{path}: names the class {listed(twice, 3)} more than once; get the file again")
    if len(classes) != arguments["classes"]:
        raise WeightsError(
            f"{path}: names {len(classes)} classes and has {arguments['classes']} outputs; get the file again"
        )
    frames = header["frames"]
    if not (frames.isdecimal() and len(frames) <= 9 and 1 <= int(frames) <= MOST_FRAMES):
        raise WeightsError(f"{path}: the frames in its header are not from 1 to {MOST_FRAMES}; get the file again")
    if preprocessing is not None and not isinstance(preprocessing, dict):
        raise WeightsError(f"{path}: the preprocessing in its header is no settings; get the file again")
    crop = _numbers(path, header, "crop", 4)
    if crop is not None and not (crop[0] < crop[1] and crop[2] < crop[3]):
        raise WeightsError(f"{path}: the crop in its header is empty; get the file again")
    mean = deviation = None
    if normalize == "train":
        mean, deviation = _numbers(path, header, "mean", 3), _numbers(path, header, "deviation", 3)
        if mean is None or deviation is None or min(deviation) <= 0:
            raise WeightsError(f"{path}: its header lacks mean and deviation above 0; get the file again")
    return ModelInput(
        classes=tuple(classes),
        kind=kind,
        encoding=header["encoding"],
        normalize=normalize,
        frames=int(frames),
        image_size=int(arguments["image_size"]),
        crop=None if crop is None else (crop[0], crop[1], crop[2], crop[3]),
        mean=mean,
        deviation=deviation,
        preprocessing=preprocessing,
        trained_on=header.get("trained_on", ""),
        left_out=header.get("left_out", ""),
    )


def _numbers(path: Path, header: Mapping[str, str], name: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers of a header, None where it has none."""
    values = _entry(path, header, name)
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != count or not all(_is_number(value) for value in values):
        raise WeightsError(f"{path}: '{name}' in its header is no list of {count} numbers; get the file again")
    return tuple(map(float, values))


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e30 and math.isfinite(value)
