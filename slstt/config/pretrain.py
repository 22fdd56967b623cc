"""The settings of `slstt-pretrain`, each described where it is defined; `problems` finds what does not go together."""

import math
from typing import Annotated, Literal

from pydantic import Field

from slstt.config.load import Section
from slstt.config.train import MOST_NUMBERS, Encoding, Model

Size = Annotated[float, Field(ge=0, le=100)]
Coordinate = Annotated[float, Field(ge=-100, le=100)]
Range = tuple[Size, Size]
Shown = Annotated[tuple[str, ...], Field(max_length=1000)]

MOST_DEALT = 10_000
"""Entries of the list that emotions are dealt from, so that every class is equally likely."""


class Fields(Section):
    """How flow fields are drawn. Lengths in interocular distances; a range is (smallest, largest)."""

    frames: int = Field(default=1, ge=1, le=64, description="T: 1 is the apex alone, 11 what slstt-preprocess makes.")
    window: Range = Field(
        default=(1.0, 1.0), description="Share of the clip that the frames cover around the apex; 1: onset to offset."
    )
    classes: dict[str, Shown] = Field(
        max_length=1000,
        default={"negative": ("negative",), "positive": ("positive",), "surprise": ("surprise",)},
        description="Class -> the emotions or units (4+7) it is made of in equal parts; every class is equally likely.",
    )
    crop: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = Field(
        default=None, description="Left, right, top, bottom of the crop from the eyes' middle; null: the face's square."
    )
    peak: Range = Field(default=(0.006, 0.045), description="Largest displacement by the units at the apex.")
    stray: float = Field(default=0.3, ge=0, le=1, description="Chance of one more unit, weaker than the emotion's.")
    dropped: float = Field(
        default=0.15, ge=0, lt=1, description="Chance of each unit of a combination to be missing (never all)."
    )
    one_sided: float = Field(default=0.0, ge=0, le=1, description="Chance of a clip by one half of the face alone.")
    head: float = Field(
        default=0.006,
        ge=0,
        le=100,
        description="Standard deviation of the head's shift at the apex; turning and growing move the face's rim as "
        "much, nodding and turning in depth the nose half as much.",
    )
    blink: float = Field(default=0.15, ge=0, le=1, description="Chance of a blink.")
    noise: float = Field(default=0.1, ge=0, le=100, description="Deviation of smooth noise in shares of the peak.")
    shrinkage: Range = Field(
        default=(0.6, 1.0),
        description="Flow programs underestimate: factor on each field, less where skin has little texture.",
    )
    none: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of fields that are no expression (speech, chewing, blinks, gaze, head, light, motion "
        "anywhere); above 0 the network learns to tell them.",
    )
    background: float = Field(
        default=0.0, ge=0, le=100, description="Deviation of the shift of what lies behind the face, against it."
    )
    place: float = Field(default=0.05, ge=0, le=100, description="Deviation of the face's place and size in the crop.")
    shape: float = Field(default=0.04, ge=0, le=100, description="Deviation of where on a face a unit pulls.")
    spread: Range = Field(default=(0.85, 1.25), description="How wide a pull reaches against the table.")


class Learning(Section):
    """The recipe: AdamW, linear warm-up, cosine to zero; every step sees newly drawn fields."""

    steps: int = Field(default=4000, ge=1, le=10_000_000, description="Optimizer steps.")
    batch_size: int = Field(default=128, ge=1, le=65536, description="Fields per step.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1e6, description="Highest learning rate.")
    weight_decay: float = Field(default=0.05, ge=0, le=100, description="AdamW's, not on norms, biases and tokens.")
    warmup_steps: int = Field(default=200, ge=0, le=10_000_000, description="Linear rise of the learning rate.")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="Of the emotion's target.")
    units: float = Field(default=1.0, ge=0, le=1e6, description="Weight of the units' binary cross entropy.")
    emotion: float = Field(default=1.0, ge=0, le=1e6, description="Weight of the emotion's cross entropy.")
    none: float = Field(
        default=1.0, ge=0, le=1e6, description="Weight of the cross entropy of expression or none (`fields.none`)."
    )
    clip_norm: float = Field(default=1.0, gt=0, le=1e9, description="Largest length of the whole gradient.")
    average: float = Field(
        default=0.998, gt=0, lt=1, description="Decay of the averaged weights, which are the result."
    )


class Held(Section):
    """How the result is measured: on fields that were never learned from."""

    fields: int = Field(default=3000, ge=10, le=1_000_000, description="Newly drawn fields.")


class PretrainRun(Section):
    """How it is computed."""

    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Of weights, fields and DropPath.")
    threads: int = Field(default=1, ge=1, le=1024, description="CPU threads. Part of the result: sums depend on it.")
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:[0-9]{1,3})?)$", description="Where it is computed.")
    checkpoint_seconds: float = Field(default=60.0, ge=0, le=1e6, description="Save the state at least this often.")


class PretrainConfig(Section):
    """All settings of `slstt-pretrain`."""

    fields: Fields = Fields()  # type: ignore[assignment]
    normalize: Literal["none", "map"] = Field(
        default="map", description="As data.normalize of slstt-train; use the same there."
    )
    encoding: Literal["flow_map", Encoding] = Field(
        default="flow_map",
        description="`flow_map`: u, v, strain scaled as published maps are; else as data.encoding of slstt-train.",
    )
    model: Model = Model()
    training: Learning = Learning()
    held_out: Held = Held()
    run: PretrainRun = PretrainRun()


def problems(settings: PretrainConfig) -> list[str]:
    """Every combination of settings that cannot work, each with the fix; [] where all go together."""
    found, training = [], settings.training
    if settings.model.pretrained is not None:
        found.append("'model.pretrained': pretraining starts from random weights; remove it")
    if len(settings.fields.classes) < 2 or not all(settings.fields.classes.values()):
        found.append("'fields.classes' must name two classes or more, each with an emotion")
    if math.lcm(*(len(shown) or 1 for shown in settings.fields.classes.values())) > MOST_DEALT:
        found.append("'fields.classes': write about the same number of entries for each class, and fewer of them")
    box = settings.fields.crop
    if box is not None and not (box[0] < box[1] and box[2] < box[3]):
        found.append("'fields.crop': write [left, right, top, bottom], left below right and top below bottom")
    if training.units == training.emotion == 0:
        found.append("'training.units' and 'training.emotion' are both 0, so nothing is learned; raise one")
    if training.warmup_steps >= training.steps:
        found.append(f"'training.warmup_steps': {training.warmup_steps} leaves nothing of {training.steps} steps")
    for name in ("peak", "shrinkage", "spread", "window"):
        low, high = getattr(settings.fields, name)
        if not 0 < low <= high:
            found.append(f"'fields.{name}': write [smallest, largest], both above 0")
    numbers = 3 * training.batch_size * settings.fields.frames * settings.model.image_size**2
    if numbers > MOST_NUMBERS:
        found.append(
            f"'training.batch_size': {training.batch_size} clips of {settings.fields.frames} frames of "
            f"{settings.model.image_size} px take {numbers * 4 / 1e9:.0f} GB; lower one of them"
        )
    return found
