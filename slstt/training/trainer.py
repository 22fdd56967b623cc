"""One fold: the training loop with its recipe, and the predictions on the subject left out.

The recipe here is class weights, sampling and loss; optimizer and learning rate stand with the state, in checkpoint.py.

Everything random of an epoch follows from (seed, fold, epoch), so a fold does not depend on what was computed before
it in the same process; within an epoch the random states are part of the checkpoint. On a CPU with the same number of
threads an interrupted and continued fold therefore ends with the very bits of an uninterrupted one.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from slstt.config.train import TrainConfig
from slstt.datasets.protocols import protocol_of
from slstt.datasets.units import UNIT_NAMES
from slstt.errors import ConfigError
from slstt.evaluation.metrics import uf1_of
from slstt.files import write_csv
from slstt.models import baselines
from slstt.models.slstt import SLSTT, set_trainable
from slstt.training.checkpoint import (
    STATE_FORMAT,
    FoldHistory,
    FoldState,
    Row,
    learning_rate,
    load_checkpoint,
    make_optimizer,
    save_checkpoint,
)
from slstt.training.flow_data import FlowData
from slstt.training.folds import Fold, seed_of
from slstt.training.inputs import FlowInputs, FrozenFeatures


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


Inputs = FlowInputs | FrozenFeatures


class FoldFailed(Exception):
    """This fold cannot be finished (its loss is not finite); the others can."""


@dataclass(frozen=True)
class FoldSetup:
    """What one fold is trained with."""

    fold: Fold
    data: FlowData
    settings: TrainConfig
    inputs: Inputs
    folder: Path
    """Its checkpoints and history."""
    device: torch.device


@dataclass(frozen=True)
class Callbacks:
    """What the training of a fold asks and tells."""

    stop: Callable[[], bool] = lambda: False
    """Asked after each step; once it says yes the state is saved."""
    on_epoch: Callable[[int, Row], None] = lambda epoch, row: None
    """Told the number of finished epochs and the last one's row of history.csv."""
    say: Callable[[str], None] = lambda line: None
    """Told remarks for the user."""


SILENT = Callbacks()


@dataclass(frozen=True)
class Trained:
    """A finished fold."""

    model: nn.Module
    probabilities: np.ndarray
    """(N, K) float64 of the test clips, in the fold's order."""
    history: FoldHistory
    epoch: int
    """The epoch, from 1, whose weights predict."""


def make_model(settings: TrainConfig, classes: int) -> nn.Module:
    """What classifier.name calls for, before it learns; SLSTT comes from `make_slstt`.

    Raises ConfigError where classifier.name is pretrained and the file tells other classes apart or wants other input.
    """
    name, source = settings.classifier.name, settings.model.pretrained
    if name in baselines.NAMES:
        torch.manual_seed(seed_of(settings.run.seed, "weights"))
        network = baselines.baseline(name, settings.model.image_size, classes)
        if source is not None:
            baselines.load_pretrained(network, source)
        return network
    if name == "pretrained" and source is not None:
        from slstt.models.model_file import find_weights, load_model

        _check_header(source, settings, ("classes", "kind", "normalize", "encoding"))
        known = load_model(find_weights(source))
        for key, wanted in (("classes", classes), ("image_size", settings.model.image_size)):
            if known.arguments[key] != wanted:
                raise ConfigError(
                    f"classifier.name: pretrained, but {source} has {key} {known.arguments[key]} and this run needs "
                    f"{wanted}; change data.protocol or model.image_size, or train"
                )
        return known
    return make_slstt(settings, classes)


def make_slstt(settings: TrainConfig, classes: int) -> SLSTT:
    """The SLSTT every fold starts from: its weights follow from run.seed and model.pretrained alone."""
    torch.manual_seed(seed_of(settings.run.seed, "weights"))
    model = SLSTT(classes=classes, **settings.model.model_dump(exclude={"pretrained"}))
    if settings.model.pretrained is not None:
        from slstt.models.model_file import load_aggregator, load_encoder

        load_encoder(model, settings.model.pretrained)
        if settings.classifier.start == "pretrained":
            _check_header(settings.model.pretrained, settings, ("classes",))
            load_aggregator(model, settings.model.pretrained)
    set_trainable(model, settings.encoder.trainable, settings.encoder.dropout)
    return model


def _check_header(source: str, settings: TrainConfig, names: Sequence[str]) -> None:
    """Refuse a model file whose header says something else than the run: its answers would mean other classes."""
    from slstt.models.model_file import find_weights, read_header

    header, data = read_header(find_weights(source)), settings.data
    wanted = {
        "classes": json.dumps(
            list(UNIT_NAMES if data.target == "units" else protocol_of(data.protocol, data.classes).classes)
        ),
        "kind": data.kind,
        "normalize": data.normalize,
        "encoding": data.encoding if data.kind == "cache" else header.get("encoding"),  # maps are taken as they are
    }
    found = [
        f"model.pretrained: {source} has {name} {header[name]}, this run {wanted[name]}; make the run's settings agree"
        for name in names
        if name in header and header[name] != wanted[name]
    ]
    if found:
        raise ConfigError(*found)


def train_fold(setup: FoldSetup, callbacks: Callbacks = SILENT) -> Trained | None:
    """Train one fold from its last checkpoint, or from the start; None where it was asked to stop.

    Raises FoldFailed where the loss is not finite, DataError where something cannot be read or written.
    """
    fold, data, settings, inputs = setup.fold, setup.data, setup.settings, setup.inputs
    folder, device = setup.folder, setup.device
    torch.set_num_threads(settings.run.threads_per_fold)
    training, seed = settings.training, settings.run.seed
    model = make_model(settings, len(data.classes)).to(device)
    state = FoldState(model, make_optimizer(model, training), training.ema)
    found, remarks = load_checkpoint(folder)
    for remark in remarks:
        callbacks.say(remark)
    if found is not None and found.get("format") == STATE_FORMAT:
        state.restore(found)
    callbacks.on_epoch(state.epoch, {})

    train_labels = [0 if data.units else data.labels[i] for i in fold.train]  # units: no class to draw by
    loss = make_loss(data, fold.train, settings, device)
    if settings.run.compile:
        model.compile()
    saved = time.monotonic()

    while state.epoch < training.epochs:
        generator = torch.Generator().manual_seed(seed_of(seed, fold.name, state.epoch))
        order = [fold.train[i] for i in epoch_order(train_labels, training.balance, generator)]
        steps = batches(order, training.batch_size)
        state.start_epoch(generator, seed_of(seed, fold.name, state.epoch, "dropout"))
        model.train()
        for indices, raw in inputs.read(steps[state.step :]):
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(training, state.epoch + state.step / len(steps))
            one_step(
                state, inputs.training(raw, generator), inputs.forward, wanted(data, indices, device), loss, settings
            )
            stopping = callbacks.stop()
            if stopping or time.monotonic() - saved >= settings.run.checkpoint_seconds:
                save_checkpoint(folder, state.to_checkpoint(generator))
                write_history(folder, state.history.epochs)
                saved = time.monotonic()
            if stopping:
                return None
        row = {
            "epoch": state.epoch + 1,
            "train_loss": state.losses / state.weight,
            "learning_rate": learning_rate(training, state.epoch),
        }
        if fold.validation or settings.run.peek:
            with state.averaged():
                row |= _validate(state, setup)
        state.finish_epoch(row)
        callbacks.on_epoch(state.epoch, row)

    epoch, best = training.epochs, state.history.best
    if best is not None:
        epoch = best["epoch"]
        state.load(best["weights"])
    elif state.average is not None:
        state.load(state.average.values)
    probabilities, _ = predict(model, inputs, fold.test, settings, device)
    if not np.isfinite(probabilities).all():
        raise FoldFailed("the predictions are not finite; lower training.learning_rate or set training.clip_norm")
    return Trained(model, probabilities, state.history, epoch)


def make_loss(
    data: FlowData, train: Sequence[int], settings: TrainConfig, device: torch.device
) -> ClassLoss | UnitLoss:
    """The loss of a fold with these training clips; training.balance weighs classes, or a unit's presence."""
    training, count = settings.training, len(data.classes)
    weights = torch.ones(count)
    if data.units:
        if training.balance == "loss":
            weights = unit_presence(torch.tensor([data.units[i] for i in train]))
        return UnitLoss(weights.to(device), training.label_smoothing)
    if training.balance == "loss":
        weights = class_weights([data.labels[i] for i in train], count)
    return ClassLoss(weights.to(device), training.label_smoothing)


def wanted(data: FlowData, indices: Sequence[int], device: torch.device) -> Tensor:
    """What the network should answer: classes (B,) int64, or units (B, K) float32, 1, 0 or nan."""
    if data.units:
        return torch.tensor([data.units[i] for i in indices], device=device)
    return torch.tensor([data.labels[i] for i in indices], device=device)


def write_history(folder: Path, history: Sequence[Row]) -> None:
    """Write history.csv: one row per finished epoch."""
    if history:
        write_csv(folder / "history.csv", list(history[0]), [list(row.values()) for row in history])


def predict(
    model: nn.Module, inputs: Inputs, indices: Sequence[int], settings: TrainConfig, device: torch.device
) -> tuple[np.ndarray, Tensor]:
    """The clips' probabilities, (N, K) float64, and logits (N, K) float32 on the CPU, in evaluation mode.

    Of classes they sum to one; of action units each is that unit's own.
    """
    model.eval()
    found = []
    with torch.no_grad():
        for _, raw in inputs.read(batches(indices, settings.training.batch_size)):
            x = inputs.plain(raw)
            # The network alone, as in training: autocast on the CPU cannot stack the float16 of stored flow.
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.run.precision == "bf16"):
                logits = inputs.forward(model, x)
            found.append(logits.float().cpu())
    logits = torch.cat(found)
    answers = logits.double()
    return (answers.sigmoid() if settings.data.target == "units" else answers.softmax(1)).numpy(), logits


def one_step(
    state: FoldState,
    x: Tensor,
    forward: Callable[[Any, Tensor], Tensor],
    targets: Tensor,
    loss: ClassLoss | UnitLoss,
    settings: TrainConfig,
) -> None:
    """One optimizer step on one batch."""
    training = settings.training
    state.optimizer.zero_grad(set_to_none=True)
    mean = add_gradients(state.model, x, forward, targets, loss, settings)
    if not math.isfinite(mean):
        raise FoldFailed(
            f"the loss is {mean} in epoch {state.epoch + 1}, step {state.step + 1}; "
            "lower training.learning_rate or set training.clip_norm"
        )
    if training.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_([p for _, p in state.learning()], training.clip_norm)
    state.optimizer.step()
    if state.average is not None:
        state.average.update(state.changing())
    whole = float(loss.whole(targets))
    state.step += 1
    state.losses += mean * whole
    state.weight += whole


def add_gradients(
    model: nn.Module,
    x: Tensor,
    forward: Callable[[Any, Tensor], Tensor],
    targets: Tensor,
    loss: ClassLoss | UnitLoss,
    settings: TrainConfig,
) -> float:
    """Add one batch's gradients to the model's, in `accumulate` pieces that sum up to the whole batch's.

    Returns the batch's mean loss.
    """
    training, whole, total = settings.training, loss.whole(targets), 0.0
    for part, answers in zip(x.chunk(training.accumulate), targets.chunk(training.accumulate), strict=True):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=settings.run.precision == "bf16"):
            logits = forward(model, part)
        share = loss.summed(logits, answers) / whole
        share.backward()
        total += share.item()
    return total


def _validate(state: FoldState, setup: FoldSetup) -> Row:
    """After an epoch: the validation subjects' scores and the best epoch so far; the peek, which decides nothing."""
    fold, data, settings, inputs, device = setup.fold, setup.data, setup.settings, setup.inputs, setup.device
    if settings.run.peek:
        probabilities, _ = predict(state.model, inputs, fold.test, settings, device)
        state.history.peek.append(probabilities.argmax(1).tolist())
    if not fold.validation:
        return {}
    probabilities, logits = predict(state.model, inputs, fold.validation, settings, device)
    true = torch.tensor([data.labels[i] for i in fold.validation])
    loss = float(F.cross_entropy(logits, true))
    size = len(data.classes)
    cells = true.numpy() * size + probabilities.argmax(1)
    uf1 = float(uf1_of(np.bincount(cells, minlength=size * size).reshape(size, size)))
    best = state.history.best
    # Few validation clips give many equal scores: among equals the lower loss decides, then the earlier epoch.
    if best is None or (uf1, -loss) > (best["uf1"], -best["loss"]):
        weights = state.weights()
        state.history.best = {"epoch": state.epoch + 1, "uf1": uf1, "loss": loss, "weights": weights}
    return {"inner_loss": loss, "inner_uf1": uf1}
