"""SLSTT: a ViT for each frame's flow picture, an LSTM (or the mean) over the frames (arXiv 2112.05851).

Shapes in this file: B clips, T frames each, N = B * T frames; C channels; H = W = image_size; L tokens, the class
token first; D = width; K classes.
"""

import hashlib
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slstt.errors import ConfigError
from slstt.models.vit import TransformerBlock, VisionTransformer


class LSTMAggregator(nn.Module):
    """LSTM over the frames; the last layer's output at the last frame -> Linear -> ReLU -> Linear.

    The sizes are the published checkpoints': three layers of 512, 512 -> 256 -> classes.
    """

    def __init__(
        self, width: int, classes: int, lstm_width: int = 512, lstm_layers: int = 3, head_width: int = 256
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, lstm_width, lstm_layers, batch_first=True)
        self.hidden = nn.Linear(lstm_width, head_width)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(head_width, classes)

    def forward(self, features: Float[Tensor, "B T D"]) -> Float[Tensor, "B K"]:
        """Features (B, T, D) -> LSTM outputs (B, T, lstm_width) -> last frame (B, lstm_width) -> logits (B, K)."""
        if features.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # oneDNN has a bfloat16 LSTM for some CPUs only; float32 is the same on all of them.
            with torch.autocast("cpu", enabled=False):
                outputs, _ = self.lstm(features.float())
        else:
            outputs, _ = self.lstm(features)
        return self.classifier(self.relu(self.hidden(outputs[:, -1])))


class MeanAggregator(nn.Module):
    """One linear classifier for every frame, the logits averaged over the frames; order plays no part.

    Computed as the logit of the mean feature, which is the same number, since the classifier is linear.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, classes)

    def forward(self, features: Float[Tensor, "B T D"]) -> Float[Tensor, "B K"]:
        """Features (B, T, D) -> mean (B, D) -> logits (B, K)."""
        return self.classifier(features.mean(dim=1))


class SLSTT(nn.Module):
    """The whole network: clips of T flow pictures -> logits; the paper's sizes by default.

    `trainable` (see `set_trainable`) says which part learns. The frozen part stays in evaluation mode whatever
    `train()` is told, so `forward(x)` equals `forward_from(frozen_features(frames))`, and the features can be kept on
    disk for a whole leave-one-subject-out run. Only where `set_trainable` was given a `dropout` is the frozen part
    random in training.
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
        classes: int = 3,
        aggregator: Literal["lstm", "mean"] = "lstm",
        drop_path: float | int = 0.1,
        regularizer: Literal["drop_path", "dropout"] = "drop_path",
        norm: Literal["pre", "post"] = "pre",
        lstm_width: int = 512,
        lstm_layers: int = 3,
        head_width: int = 256,
        channels: int = 3,
        checkpointing: bool = False,
        gelu: Literal["exact", "tanh"] = "exact",
    ) -> None:
        # What a model file's header says, so that the file alone rebuilds the model.
        arguments: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        self.arguments = arguments
        self.trainable = "all"
        self.frozen_dropout = 0.0
        self.encoder = VisionTransformer(
            image_size=image_size,
            patch_size=patch_size,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            channels=channels,
            drop_path=drop_path,
            regularizer=regularizer,
            norm=norm,
            gelu=gelu,
            checkpointing=checkpointing,
        )
        match aggregator:
            case "lstm":
                self.aggregator = LSTMAggregator(width, classes, lstm_width, lstm_layers, head_width)
            case "mean":
                self.aggregator = MeanAggregator(width, classes)
            case _:
                raise ConfigError(f"model.aggregator: '{aggregator}' is unknown; choose lstm or mean")

    def forward(self, x: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B K"]:
        """Clips x (B, T, C, H, W) -> frames (B * T, C, H, W) -> features (B, T, D) -> logits (B, K)."""
        return self.aggregate(self.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2]))

    def encode(self, frames: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"]:
        """Frames (N, C, H, W) -> features (N, D): the class token after the last norm."""
        return self.encoder(frames)

    def aggregate(self, features: Float[Tensor, "B T D"]) -> Float[Tensor, "B K"]:
        """Features (B, T, D) in order of time -> logits (B, K)."""
        return self.aggregator(features)

    @torch.no_grad()
    def frozen_features(self, frames: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"] | Float[Tensor, "N L D"]:
        """The output of the part that does not learn, frame by frame; feed it to `forward_from`.

        trainable "norm" or "none": the class token before the last norm, (N, D). "last:<n>": all tokens before the
        n-th block from the end, (N, L, D). "all": ValueError, since nothing is frozen.
        """
        if self.trainable == "all":
            raise ValueError("nothing is frozen: the model was set_trainable('all')")
        tokens = self.encoder.embed(frames)
        if self.trainable in ("norm", "none"):
            return self.encoder.class_token_from(tokens)
        return self.encoder.run_blocks(tokens, 0, self.first_trainable_block)

    def forward_from(self, features: Float[Tensor, "B T D"] | Float[Tensor, "B T L D"]) -> Float[Tensor, "B K"]:
        """`frozen_features` of clips, (B, T, D) or (B, T, L, D) -> the logits (B, K) that `forward` would give."""
        clips = features.shape[:2]
        frames = features.flatten(0, 1)
        if frames.dim() == 3:
            frames = self.encoder.class_token_from(frames, self.first_trainable_block)
        return self.aggregate(self.encoder.norm(frames).unflatten(0, clips))

    @property
    def first_trainable_block(self) -> int:
        """Index of the first block that learns; `depth` where none does."""
        return first_trainable_block(self.trainable, len(self.encoder.blocks))

    def train(self, mode: bool = True) -> "SLSTT":
        """Training or evaluation mode for what learns and for frozen blocks with Dropout; others stay in evaluation."""
        super().train(mode)
        if not self.frozen_dropout:
            for block in self.encoder.blocks[: self.first_trainable_block]:
                block.eval()
        return self


def first_trainable_block(trainable: str, depth: int) -> int:
    """Index of the first of `depth` blocks that learns under `trainable`; `depth` where none does.

    Raises ConfigError where `trainable` is none of all, last:<n> with n in 1..depth, norm, none.
    """
    if trainable == "all":
        return 0
    if trainable in ("norm", "none"):
        return depth
    kind, _, count = trainable.partition(":")
    if kind == "last" and count.isdecimal() and 1 <= int(count) <= depth:
        return depth - int(count)
    raise ConfigError(
        f"encoder.trainable: '{trainable}' is unknown; choose all, last:<n> with n in 1..{depth}, norm or none"
    )


def set_trainable(model: SLSTT, trainable: str, dropout: float | int = 0.0) -> None:
    """Say what learns; the aggregator always does. Of the encoder:

    "all": everything. "last:<n>": the last n blocks and the last norm. "norm": the last norm. "none": nothing.
    `dropout` is the rate of Dropout in the frozen blocks in training; they get no gradient all the same.
    Raises ConfigError for anything else.
    """
    first = first_trainable_block(trainable, len(model.encoder.blocks))
    model.trainable, model.frozen_dropout = trainable, float(dropout)
    model.encoder.requires_grad_(trainable == "all")
    for index, block in enumerate(model.encoder.blocks):
        assert isinstance(block, TransformerBlock)
        block.set_dropout(dropout if index < first else 0.0)
        if index >= first:
            block.requires_grad_(True)
    model.encoder.norm.requires_grad_(trainable != "none")
    model.aggregator.requires_grad_(True)
    model.train(model.training)


def frozen_fingerprint(model: SLSTT) -> str:
    """A short hexadecimal name of what `frozen_features` computes: its weights, sizes and mode.

    Equal for models whose frozen parts are equal, whatever their trainable parts hold; keys cached features.
    """
    digest = hashlib.sha256()
    first = first_trainable_block(model.trainable, len(model.encoder.blocks))
    sizes = {name: model.arguments[name] for name in ("image_size", "patch_size", "heads", "norm", "gelu")}
    digest.update(repr((first, sorted(sizes.items()), model.trainable.startswith("last"))).encode())
    for name, tensor in model.encoder.state_dict().items():
        part = name.split(".")
        if part[0] == "norm" or (part[0] == "blocks" and int(part[1]) >= first):
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
