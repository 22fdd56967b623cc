"""The settings of `slstt-train`, each described where it is defined."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from slstt.config.load import NameOrPath, OneOrMorePaths, Section
from slstt.config.preprocess import MOST_WORKERS

Encoding = Literal["uv_magnitude", "uv_strain", "hsv_frame", "hsv_clip"]
"""How flow becomes three channels."""

FLOW_MAP_NETWORKS = ("ststnet", "off_apexnet", "sssnet", "htnet")
"""Values of classifier.name: networks that others published for flow maps."""
CLIP_NETWORKS = {"r3d_18": "R3D_18_", "resnet18": "ResNet18_"}
"""Values of classifier.name: torchvision's networks, for clips; and how the names of their weights begin."""
MOST_PARAMETERS = 2e9
MOST_TOKENS = 128**2
MOST_NUMBERS = 1e9  # in the pictures of one batch, per frame; 4 GB


UNIT_PROTOCOLS = ("cd6me", "cd6me_subjects")
"""Protocols of action units; all others are of classes."""
FLOW_MAP_PROTOCOLS = ("cde", "cde_casme2_smic", "hde", "casme2_3", "samm_3", "smic_sde")
"""Protocols whose classes are those of the published flow maps."""


class Data(Section):
    """Which clips are learned from, what of them, and how their flow becomes pictures."""

    kind: Literal["cache", "flow_maps"] = Field(
        default="cache",
        description="`cache`: what slstt-preprocess wrote; `flow_maps`: published onset-to-apex maps (u, v, strain).",
    )
    root: OneOrMorePaths | None = Field(
        default=None, description="Folder with the flow; several folders of `cache` may be given as a list."
    )
    target: Literal["emotion", "units"] = Field(
        default="emotion",
        description="What is learned: `emotion`, one class of the protocol a clip; `units`, whether each of 12 action "
        "units moves (the protocol is then cd6me unless another is given).",
    )
    protocol: Literal[
        "casme2_sde",
        "samm_sde",
        "smic_sde",
        "cde",
        "cde_casme2_smic",
        "hde",
        "casme2_3",
        "samm_3",
        "casme3_3",
        "casme3_4",
        "casme3_7",
        "mmew_3",
        "mmew_4",
        "mmew_5",
        "mmew_6",
        "mmew_7",
        "casme_4",
        "casme_square_3",
        "samm_long_3",
        "dfme",
        "cd6me",
        "cd6me_subjects",
        "own",
    ] = Field(
        default="casme2_sde",
        description="Which clips count, as which class, and what a fold leaves out: a subject; a data set (`hde`, "
        "`cd6me`); the owners' test sets (`dfme`). `own`: the emotions in `classes`, of any data set.",
    )
    classes: tuple[str, ...] = Field(
        default=(),
        max_length=64,
        description="With `data.protocol: own`: the emotions to tell apart, as index.csv has them, in the order of "
        "predictions, e.g. `[happiness, fear]`.",
    )
    encoding: Encoding = Field(
        default="uv_magnitude",
        description="Three channels out of cached flow: `uv_magnitude` (u, v, length); `uv_strain` (u, v, optical "
        "strain); `hsv_frame` colour wheel, length scaled to 0..1 in each frame (as published); `hsv_clip` in "
        "each clip, which keeps the rise and fall. Flow maps are taken as they are.",
    )
    normalize: Literal["none", "map", "train", "imagenet"] = Field(
        default="none",
        description="`map`: each clip's channels minus their median, divided by their deviation; `train`: minus the "
        "mean, divided by the deviation of the fold's training subjects; `imagenet`: pictures in -1..1 as 0..1, minus "
        "ImageNet's mean, divided by its deviation, as published; `none`: as encoded.",
    )
    memory_gb: float = Field(
        default=4.0, ge=0, le=65536, description="Flow kept in memory per process at most; the rest is read as needed."
    )

    @model_validator(mode="before")
    @classmethod
    def _units_have_a_protocol(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("target") == "units":
            return {"protocol": "cd6me", **given}
        return given


class Model(Section):
    """The network's sizes; the paper's by default. The number of classes is the protocol's."""

    image_size: int = Field(
        default=384, ge=1, le=2048, description="Side of the pictures in pixels; flow of another size is resized."
    )
    patch_size: int = Field(default=16, ge=1, le=2048, description="Side of a patch in pixels; must divide image_size.")
    width: int = Field(default=768, ge=1, le=16384, description="Numbers per token; a multiple of heads.")
    depth: int = Field(default=12, ge=1, le=256, description="Encoder blocks.")
    heads: int = Field(default=12, ge=1, le=256, description="Attention heads.")
    mlp_ratio: float = Field(default=4.0, gt=0, le=64, description="Hidden width of a block's MLP in units of width.")
    aggregator: Literal["lstm", "mean"] = Field(
        default="lstm", description="How the frames' features become one answer."
    )
    drop_path: float = Field(
        default=0.1, ge=0, lt=1, description="Rate of the last block's DropPath; the others' rise to it."
    )
    regularizer: Literal["drop_path", "dropout"] = Field(
        default="drop_path", description="Drop whole branches or single numbers."
    )
    norm: Literal["pre", "post"] = Field(
        default="pre", description="LayerNorm before (ViT) or after (first Transformer) a branch."
    )
    gelu: Literal["exact", "tanh"] = Field(
        default="exact", description="`tanh` is what the released SLSTT weights expect."
    )
    lstm_width: int = Field(default=512, ge=1, le=16384, description="Hidden width of the LSTM.")
    lstm_layers: int = Field(default=3, ge=1, le=64, description="Layers of the LSTM.")
    head_width: int = Field(default=256, ge=1, le=16384, description="Width of the layer between LSTM and classes.")
    checkpointing: bool = Field(
        default=False, description="Less memory for about a third more time (activation checkpointing)."
    )
    pretrained: NameOrPath | None = Field(
        default=None,
        description="Encoder weights to start from: `synthetic`, `synthetic_displaced`, `synthetic_clip`, "
        "`synthetic_recording` (come with slstt: one flow map, one cut anyhow, clips of frames, one flow map of an "
        "interval in a recording), `imagenet`, a torchvision name, a file, or null for random ones. "
        "`r3d_18` and `resnet18` take R3D_18_Weights.KINETICS400_V1, "
        "ResNet18_Weights.IMAGENET1K_V1, or a file.",
    )

    @model_validator(mode="after")
    def _fits_a_machine(self) -> "Model":
        tokens = (self.image_size // self.patch_size) ** 2 + 1
        if tokens > MOST_TOKENS + 1:
            raise ValueError(
                f"{tokens - 1} patches of {self.patch_size} px in a picture of {self.image_size} px are more than "
                f"{MOST_TOKENS}; raise patch_size or lower image_size"
            )
        blocks = self.depth * (4 + 2 * self.mlp_ratio) * self.width**2
        lstm = 4 * self.lstm_width * (self.width + (2 * self.lstm_layers - 1) * self.lstm_width)
        parameters = blocks + (tokens + 3 * self.patch_size**2) * self.width
        parameters += lstm + self.lstm_width * self.head_width if self.aggregator == "lstm" else 0
        if parameters > MOST_PARAMETERS:
            raise ValueError(
                f"about {parameters:.1e} parameters are more than {MOST_PARAMETERS:.0e}, which take "
                f"{MOST_PARAMETERS * 4 / 1e9:.0f} GB in single precision; lower width, depth, mlp_ratio or lstm_width"
            )
        return self


class Encoder(Section):
    """Which part of the encoder learns."""

    trainable: str = Field(
        default="all",
        pattern=r"^(all|last:[1-9][0-9]{0,2}|norm|none)$",
        description="`all`; `last:<n>` blocks and the last norm; `norm` alone; `none`. What is frozen is computed once "
        "per frame and kept in `features` in the run folder.",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Dropout in the frozen blocks (attention and both branches) while training; the published program "
        "has 0.1. Their features then differ from step to step, so none are kept: every step runs the whole encoder.",
    )

    @property
    def keeps_features(self) -> bool:
        """Whether what the frozen part computes is kept on disk, to be computed once."""
        return self.trainable != "all" and self.dropout == 0


class ClassifierSettings(Section):
    """What classifies: SLSTT, or what it is compared with, on the same folds."""

    name: Literal[
        "slstt",
        "pretrained",
        "ststnet",
        "off_apexnet",
        "sssnet",
        "htnet",
        "r3d_18",
        "resnet18",
        "svm_linear",
        "svm_rbf",
        "committee",
    ] = Field(
        default="slstt",
        description="`slstt`; `pretrained`: the classifier inside model.pretrained, nothing is learned (zero-shot); "
        "`ststnet`, `off_apexnet`, `sssnet`, `htnet`: the published networks for flow maps; `r3d_18`, `resnet18`: "
        "torchvision's networks, on the whole clip and on each of its frames; `svm_*`: a support vector "
        "machine on the pictures' numbers, or on the frozen encoder's features where encoder.trainable is none; "
        "`committee`: discriminant analysis and two support vector machines on flow maps.",
    )
    start: Literal["random", "pretrained"] = Field(
        default="random",
        description="`slstt`: aggregator and classifier begin at random, or as model.pretrained holds them, which must "
        "then tell the same classes apart.",
    )
    penalty: float = Field(default=1.0, gt=0, le=1e9, description="`svm_*`: C, the price of an error, by class size.")
    inner: bool = Field(
        default=False, description="`committee`: choose each member's strength by five folds over training subjects."
    )

    @property
    def trained_at_once(self) -> bool:
        """Whether there are no epochs: nothing is learned, or everything in one go."""
        return self.name in ("pretrained", "svm_linear", "svm_rbf", "committee")


class Augment(Section):
    """Random changes of the training flow that keep it a possible flow. Zero and false are off."""

    mirror: bool = Field(default=False, description="Left-right mirroring of half the clips; u changes its sign.")
    rotate: float = Field(
        default=0.0, ge=0, le=45, description="Turn by up to this many degrees; the vectors turn too."
    )
    zoom: float = Field(
        default=0.0, ge=0, lt=1, description="Scale by up to this share; the vectors grow and shrink too."
    )
    shift: float = Field(default=0.0, ge=0, lt=0.5, description="Move by up to this share of the side.")
    intensity: float = Field(
        default=0.0, ge=0, lt=1, description="Multiply the vectors alone by 1 plus or minus up to this."
    )
    jitter: float = Field(
        default=0.0, ge=0, le=5, description="Move each frame's time by up to this many frames, order kept."
    )


class Training(Section):
    """The recipe of one fold."""

    epochs: int = Field(default=40, ge=1, le=100_000, description="Passes over the training clips; fixed beforehand.")
    batch_size: int = Field(default=16, ge=1, le=4096, description="Clips per optimizer step.")
    accumulate: int = Field(
        default=1, ge=1, le=4096, description="Split each batch into this many pieces: less memory, same gradient."
    )
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="SGD with momentum, or AdamW.")
    learning_rate: float = Field(default=0.01, gt=0, le=1e6, description="Highest learning rate.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="SGD's momentum.")
    weight_decay: float = Field(
        default=1e-4, ge=0, le=100, description="SGD: on all parameters; AdamW: not on norms, biases and tokens."
    )
    schedule: Literal["constant", "step", "cosine"] = Field(
        default="step", description="Learning rate after the warm-up."
    )
    warmup_epochs: float = Field(
        default=0.0, ge=0, le=100_000, description="Linear rise of the learning rate over this many epochs."
    )
    step_epochs: int = Field(
        default=30, ge=1, le=100_000, description="`step`: multiply by step_factor every so many epochs."
    )
    step_factor: float = Field(default=0.1, gt=0, le=1, description="`step`: the factor.")
    balance: Literal["none", "loss", "sampling"] = Field(
        default="none", description="Against unequal classes: weight the loss, or draw clips, inversely to class size."
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of the target spread over all classes.")
    clip_norm: float | None = Field(
        default=None, gt=0, le=1e9, description="Largest length of the whole gradient; null for none."
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="Decay of the averaged weights used for predicting; null: off."
    )
    augment: Augment = Augment()


class Selection(Section):
    """Which epoch's model predicts the test subject. Looking at the test subject is no choice here."""

    method: Literal["last", "inner"] = Field(
        default="last",
        description="`last` epoch, or the epoch best on validation subjects taken from the training subjects.",
    )
    subjects: float = Field(
        default=0.2, gt=0, lt=1, description="`inner`: share of the training subjects kept for validation."
    )


class Ray(Section):
    """The Ray executor."""

    address: str | None = Field(
        default=None, description="Address of a running cluster (`auto` finds it); null starts Ray here."
    )
    cpus_per_fold: float = Field(default=1.0, gt=0, le=1024, description="CPUs reserved per fold.")
    gpus_per_fold: float = Field(
        default=0.0, ge=0, le=1024, description="GPUs reserved per fold; 0.25 lets four folds share one."
    )
    retries: int = Field(
        default=3, ge=0, le=1000, description="How often a fold is tried again after its node or process died."
    )


class TrainRun(Section):
    """How and where the folds are computed."""

    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Of weights, data order, augmentation and DropPath.")
    executor: Literal["serial", "processes", "ray"] = Field(
        default="serial", description="One fold after another, or several at once."
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=MOST_WORKERS,
        description="`processes`: how many; null: one per GPU, or CPU cores / threads_per_fold.",
    )
    threads_per_fold: int = Field(
        default=1, ge=1, le=1024, description="CPU threads of one fold. Part of the result: sums depend on it."
    )
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$", description="`auto` takes a GPU where there is one."
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="Arithmetic of forward and backward (autocast), frozen part included."
    )
    compile: bool = Field(default=False, description="torch.compile the model (GPU, encoder.trainable: all).")
    checkpoint_seconds: float = Field(
        default=60.0, ge=0, le=1e6, description="Save a fold's state at least this often; 0: after each step."
    )
    save_models: bool = Field(default=False, description="Write model.safetensors per fold, for slstt-predict.")
    peek: bool = Field(
        default=False, description="Also write peek.csv: test predictions after every epoch, a diagnosis only."
    )
    ray: Ray = Ray()


class TrainConfig(Section):
    """All settings of `slstt-train`."""

    data: Data = Data()
    model: Model = Model()
    encoder: Encoder = Encoder()
    classifier: ClassifierSettings = ClassifierSettings()
    training: Training = Training()
    selection: Selection = Selection()
    run: TrainRun = TrainRun()


WITHOUT_EFFECT = (
    "data.root",
    "data.memory_gb",
    "run.executor",
    "run.workers",
    "run.checkpoint_seconds",
    "run.ray",
)
"""Settings that change where, when and how fast, but no prediction; they may differ when a run is continued.

`data.root` is among them because the clips themselves are compared, wherever they lie.
"""


def identity(settings: TrainConfig) -> dict[str, Any]:
    """The settings that determine the result, as plain values: what two starts of one run must share."""
    values = settings.model_dump(mode="json")
    for name in WITHOUT_EFFECT:
        *sections, key = name.split(".")
        node = values
        for section in sections:
            node = node[section]
        del node[key]
    return values


def with_absolute_roots(settings: TrainConfig) -> TrainConfig:
    """`settings` with `data.root` absolute, so that a run folder can be read from wherever its reader stands."""
    root = settings.data.root
    if root is None:
        return settings
    absolute = tuple(map(_absolute, root)) if isinstance(root, tuple) else _absolute(root)
    return settings.model_copy(update={"data": settings.data.model_copy(update={"root": absolute})})


def _absolute(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike Path.resolve it takes a circle of symbolic links for a plain name


def roots(data: Data) -> tuple[Path, ...]:
    """`data.root` as a tuple, empty where it is not given."""
    if data.root is None:
        return ()
    return data.root if isinstance(data.root, tuple) else (data.root,)
