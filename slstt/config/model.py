"""The settings of the network, of what is frozen of it, and of what classifies in its place."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from slstt.config.load import Section


class Model(Section):
    """The network's sizes; the paper's by default. The number of classes is the protocol's."""

    image_size: int = Field(
        default=384, ge=1, description="Side of the pictures in pixels; flow of another size is resized."
    )
    patch_size: int = Field(default=16, ge=1, description="Side of a patch in pixels; must divide image_size.")
    width: int = Field(default=768, ge=1, description="Numbers per token; a multiple of heads.")
    depth: int = Field(default=12, ge=1, description="Encoder blocks.")
    heads: int = Field(default=12, ge=1, description="Attention heads.")
    mlp_ratio: float = Field(default=4.0, gt=0, description="Hidden width of a block's MLP in units of width.")
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
    lstm_width: int = Field(default=512, ge=1, description="Hidden width of the LSTM.")
    lstm_layers: int = Field(default=3, ge=1, description="Layers of the LSTM.")
    head_width: int = Field(default=256, ge=1, description="Width of the layer between LSTM and classes.")
    checkpointing: bool = Field(
        default=False, description="Less memory for about a third more time (activation checkpointing)."
    )
    pretrained: str | None = Field(
        default=None,
        description="Encoder weights to start from: `synthetic`, `synthetic_clip` (come with slstt: one flow map, "
        "clips of frames), `imagenet`, a torchvision name, "
        "a file, or null for random ones.",
    )


class Encoder(Section):
    """Which part of the encoder learns."""

    trainable: str = Field(
        default="all",
        pattern=r"^(all|last:[1-9][0-9]*|norm|none)$",
        description="`all`; `last:<n>` blocks and the last norm; `norm` alone; `none`. What is frozen is computed once "
        "per frame and kept on disk.",
    )
    cache: Path | None = Field(
        default=None, description="Folder for frozen features; null for `features` in the run folder."
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="Arithmetic of the frozen part; bf16 pays on a GPU."
    )


class Classifier(Section):
    """Who gives the answer: SLSTT, or what it is compared with, on the same folds."""

    name: Literal["slstt", "pretrained", "ststnet", "off_apexnet", "svm_linear", "svm_rbf"] = Field(
        default="slstt",
        description="`slstt`; `pretrained`: the classifier inside model.pretrained, nothing is learned (zero-shot); "
        "`ststnet`, `off_apexnet`: the published networks for flow maps; `svm_*`: a support vector machine on the "
        "pictures' numbers, or on the frozen encoder's features where encoder.trainable is none.",
    )
    start: Literal["random", "pretrained"] = Field(
        default="random",
        description="`slstt`: aggregator and classifier begin at random, or as model.pretrained holds them, which must "
        "then tell the same classes apart.",
    )
    penalty: float = Field(default=1.0, gt=0, description="`svm_*`: C, the price of an error; balanced over classes.")
    gamma: float | Literal["scale"] = Field(
        default="scale", description="`svm_rbf`: width of the kernel exp(-gamma d^2); `scale`: 1 / number of features."
    )

    @property
    def trained_at_once(self) -> bool:
        """Whether there are no epochs: nothing is learned, or everything in one go."""
        return self.name in ("pretrained", "svm_linear", "svm_rbf")


def classifier_problems(classifier: Classifier, model: Model, encoder: Encoder) -> list[str]:
    """What does not go together with the chosen classifier, each with the fix."""
    name, found = classifier.name, []
    if name == "pretrained" and model.pretrained is None:
        found.append("'classifier.name': pretrained needs model.pretrained: synthetic, or a model file")
    if classifier.start == "pretrained" and (name != "slstt" or model.pretrained is None):
        found.append("'classifier.start': pretrained needs classifier.name: slstt and model.pretrained; leave it out")
    if name in ("pretrained", "ststnet", "off_apexnet") and encoder.trainable != "all":
        found.append(f"'encoder.trainable': {encoder.trainable} means nothing to classifier.name={name}; leave it out")
    if name in ("ststnet", "off_apexnet") and model.pretrained is not None:
        found.append(f"'model.pretrained': {name} has no SLSTT encoder to load it into; leave it out")
    if name.startswith("svm") and encoder.trainable not in ("all", "none"):
        found.append("'encoder.trainable': an SVM trains no part of the encoder; write none, or leave it out")
    if name.startswith("svm") and encoder.trainable == "all" and model.pretrained is not None:
        found.append("'model.pretrained': for an SVM on its features add encoder.trainable: none")
    if isinstance(classifier.gamma, float) and classifier.gamma <= 0:
        found.append("'classifier.gamma' must be above 0")
    return found
