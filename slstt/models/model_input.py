"""What a model file says about its own input: enough to feed the network and to read its answers.

`slstt-train` and `slstt-pretrain` write these facts into the header of every model file, as text beside the sizes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slstt.errors import WeightsError
from slstt.models.weight_files import model_arguments, read_header


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
