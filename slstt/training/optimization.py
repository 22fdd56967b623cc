"""The recipe: class weights, sampling, loss, optimizer, learning rate (warm-up, steps, cosine), averaged weights."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from slstt.config.train import Training


def class_weights(labels: Sequence[int], classes: int) -> Float[Tensor, " K"]:
    """Weights inversely proportional to the classes' sizes, 1 on average over the clips; 0 for an absent class."""
    counts = torch.bincount(torch.tensor(labels), minlength=classes).float()
    present = (counts > 0).sum()
    return torch.where(counts > 0, len(labels) / (present * counts.clamp_min(1)), 0.0)


def epoch_order(labels: Sequence[int], balance: str, generator: torch.Generator) -> list[int]:
    """The order of one epoch: each clip once, or with balance "sampling" as many draws, every class equally likely."""
    if balance != "sampling":
        return torch.randperm(len(labels), generator=generator).tolist()
    weights = class_weights(labels, max(labels) + 1)[torch.tensor(labels)]
    return torch.multinomial(weights, len(labels), replacement=True, generator=generator).tolist()


def batches(order: Sequence[int], size: int) -> list[Sequence[int]]:
    """`order` cut into batches of `size`, the last one maybe smaller."""
    return [order[start : start + size] for start in range(0, len(order), size)]


def loss_sum(
    logits: Float[Tensor, "B K"], labels: Int[Tensor, " B"], weights: Float[Tensor, " K"], smoothing: float
) -> Float[Tensor, ""]:
    """The summed cross entropy of some clips, each weighted by its class.

    Divided by the sum of a whole batch's weights it is the batch's loss, in however many pieces it was computed.
    """
    return F.cross_entropy(logits.float(), labels, weight=weights, label_smoothing=smoothing, reduction="sum")


@dataclass(frozen=True)
class ClassLoss:
    """Cross entropy over classes, each clip weighted by its class."""

    weights: Float[Tensor, " K"]
    smoothing: float

    def whole(self, wanted: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """What the summed loss of a batch is divided by."""
        return self.weights[wanted].sum()

    def summed(self, logits: Float[Tensor, "B K"], wanted: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """The summed loss of some clips."""
        return loss_sum(logits, wanted, self.weights, self.smoothing)


@dataclass(frozen=True)
class UnitLoss:
    """Binary cross entropy over action units; undecided ones (nan) teach nothing."""

    presence: Float[Tensor, " K"]
    """How much a unit that is there weighs against one that is not."""
    smoothing: float

    def whole(self, wanted: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
        """What the summed loss of a batch is divided by: the number of decided units."""
        return (~wanted.isnan()).sum().clamp_min(1).float()

    def summed(self, logits: Float[Tensor, "B K"], wanted: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
        """The summed loss of some clips."""
        decided = ~wanted.isnan()
        smoothed = wanted.nan_to_num() * (1 - self.smoothing) + self.smoothing / 2
        each = F.binary_cross_entropy_with_logits(logits.float(), smoothed, pos_weight=self.presence, reduction="none")
        return each.where(decided, 0.0).sum()


def unit_presence(units: Float[Tensor, "N K"]) -> Float[Tensor, " K"]:
    """Weights of presence that make present and absent count the same for each unit; 1 for one never seen present."""
    present, absent = (units == 1).sum(0).float(), (units == 0).sum(0).float()
    return torch.where(present > 0, absent / present.clamp_min(1), 1.0)


def make_optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameters that learn, in torch's fused form."""
    if training.optimizer == "adamw":
        return adamw(model, training.learning_rate, training.weight_decay)
    return torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        fused=True,
    )


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the parameters that learn; it decays matrices and kernels only, not norms, biases and tokens."""
    learning = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in learning if p.dim() < 2 or name.endswith(("positions", "class_token"))]
    decayed = [p for name, p in learning if not (p.dim() < 2 or name.endswith(("positions", "class_token")))]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=True)


def learning_rate(training: Training, epoch: float | int) -> float:
    """The learning rate at `epoch`, counted in passes from 0 and with the steps as fractions."""
    top, warmup = training.learning_rate, training.warmup_epochs
    if training.schedule == "cosine":
        return warmup_cosine(top, epoch, warmup, training.epochs)
    if epoch < warmup:
        return _rising(top, epoch, warmup)
    return top * training.step_factor ** int(epoch // training.step_epochs) if training.schedule == "step" else top


def warmup_cosine(top: float, at: float | int, warmup: float | int, end: float | int) -> float:
    """A learning rate that rises to `top` until `warmup` and then falls to zero at `end` as a cosine does."""
    if at < warmup:
        return _rising(top, at, warmup)
    return top * (1 + math.cos(math.pi * (at - warmup) / (end - warmup))) / 2


def _rising(top: float, at: float | int, warmup: float | int) -> float:
    return top * (at + 1e-3) / warmup  # never exactly zero, or the first step would be lost


class Average:
    """Exponential moving average of a network's numbers; the decay grows to `decay`, so early steps fade soon.

    Whole numbers (how many batches BatchNorm has seen) are taken as they are.
    """

    def __init__(self, tensors: Iterable[tuple[str, Tensor]], decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.values = {name: tensor.detach().clone() for name, tensor in tensors}

    @torch.no_grad()
    def update(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Move the average towards the tensors, after each step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in tensors:
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor.detach(), 1 - decay)
            else:
                self.values[name].copy_(tensor)
