"""Pretraining on flow fields of action units: no picture, no real clip, no label of any data set enters.

Each step draws new fields (`datasets/synthetic/flow_fields.py`), encodes and normalises them as fine-tuning does, and
learns which units are present on which side of the face, which emotion they make and, where asked for, whether the
motion is an expression at all. Everything random of a step
follows from (seed, step), so an interrupted and continued run ends with the bits of an uninterrupted one.

Shapes in this file: B fields, T frames, R = model.image_size, U units, K classes.
"""

import json
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from slstt import __version__
from slstt.config.load import CONFIG, differing_keys, dump_config, settings_in
from slstt.config.pretrain import PretrainConfig
from slstt.datasets.synthetic.flow_fields import FIELD_UNITS, combinations, draw
from slstt.errors import ConfigError
from slstt.evaluation.metrics import uf1_of
from slstt.files import sha256, write_csv, write_json, write_text
from slstt.flow.encoding import encode, normalize_each
from slstt.models.model_file import save_model
from slstt.models.readout import Readout
from slstt.models.slstt import SLSTT
from slstt.progress import Progress
from slstt.training.checkpoint import (
    Average,
    adamw,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
    warmup_cosine,
)
from slstt.training.folds import seed_of
from slstt.workers import Stop

PRESENT = 0.1
"""Intensity (0..1) from which a unit counts as present."""
PRETRAINING_FORMAT = 2

Row = dict[str, int | float]


@dataclass(frozen=True)
class Batch:
    """Fields as the network sees them, and what is to be learned."""

    pictures: Float[Tensor, "B T 3 R R"]
    units: Float[Tensor, "B U 2"]
    """1 where the unit is present on the picture's left, right half."""
    classes: Int[Tensor, " B"]
    none: Float[Tensor, " B"]
    """1 where the motion is no expression: then `classes` means nothing."""


class Source:
    """Draws batches after the settings. Raises ConfigError for an unknown emotion."""

    def __init__(self, settings: PretrainConfig) -> None:
        fields, self.settings = settings.fields, settings
        unknown = []
        for emotion in sorted({e for chosen in fields.classes.values() for e in chosen}):
            try:
                combinations(emotion)
            except ValueError as error:
                unknown.append(f"'fields.classes': {error}")
        if unknown:
            raise ConfigError(*unknown)
        # `draw` deals emotions with equal chances: repeated until every class has as many entries as the others.
        equal = math.lcm(*(len(chosen) for chosen in fields.classes.values()))
        emotions = [(e, k) for k, c in enumerate(fields.classes.values()) for e in c * (equal // len(c))]
        self.class_of = np.array([k for _, k in emotions])
        self.emotions = tuple(e for e, _ in emotions)

    def batch(self, count: int, *names: object) -> Batch:
        """`count` fields that follow from run.seed and `names` alone."""
        drawn = draw(
            self.settings.fields,
            count,
            seed_of(self.settings.run.seed, "fields", *names),
            resolution=self.settings.model.image_size,
            emotions=self.emotions,
            scaled=self.settings.encoding == "flow_map",
        )
        maps = torch.from_numpy(drawn.maps)
        if self.settings.encoding == "flow_map":
            pictures = 2 * maps - 1  # as slstt.datasets.flow_maps centres the published ones
        else:
            pictures = encode(maps[:, :, :2], self.settings.encoding)
        if self.settings.normalize == "map":
            pictures = normalize_each(pictures)
        present = torch.from_numpy(drawn.units >= PRESENT).float()
        classes, none = torch.from_numpy(self.class_of[drawn.emotions]), torch.from_numpy(drawn.none).float()
        return Batch(pictures, present, classes, none)


class Pretrained(nn.Module):
    """An SLSTT and, beside its own classifier, a readout of the units."""

    def __init__(self, settings: PretrainConfig) -> None:
        super().__init__()
        classes = len(settings.fields.classes)
        self.slstt = SLSTT(classes=classes, **settings.model.model_dump(exclude={"pretrained"}))
        self.readout = Readout(settings.model.width, FIELD_UNITS, none=settings.fields.none > 0)

    def forward(
        self, pictures: Float[Tensor, "B T 3 R R"]
    ) -> tuple[Float[Tensor, "B U 2"], Float[Tensor, "B K"], Float[Tensor, " B"] | None]:
        """Pictures (B, T, 3, R, R) -> features (B, T, D) -> logits of units (B, U, 2), classes (B, K) and none (B,)."""
        features = self.slstt.encode(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        units, none = self.readout(features)
        return units, self.slstt.aggregate(features), none


def make(settings: PretrainConfig) -> Pretrained:
    """The network before the first step; its weights follow from run.seed alone."""
    torch.manual_seed(seed_of(settings.run.seed, "weights"))
    return Pretrained(settings)


def pretrain(
    settings: PretrainConfig,
    folder: Path,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[int, Row], None] = lambda step, row: None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Pretrained, Row, list[Row]] | None:
    """Pretrain from the last checkpoint in `folder`, or from the start; None where `stop` asked for it (state saved).

    Returns the network with its averaged weights, in evaluation mode, its scores on held-out fields, and the history.
    Raises ConfigError for wrong settings or where the loss is not finite, DataError where nothing can be written.
    """
    torch.set_num_threads(settings.run.threads)
    training, device = settings.training, torch.device(settings.run.device)
    source = Source(settings)
    model = make(settings).to(device)
    optimizer = adamw(model, training.learning_rate, training.weight_decay)
    average = Average(model.named_parameters(), training.average)
    state, remarks = load_checkpoint(folder)
    for remark in remarks:
        say(remark)
    step, history, losses = 0, [], []
    if state is not None and state.get("format") == PRETRAINING_FORMAT:
        step, history, losses = state["step"], state["history"], state["losses"]
        model.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        average.steps, average.values = state["average"]["steps"], state["average"]["values"]
        average.values = {name: value.to(device) for name, value in average.values.items()}
    report(step, {})
    saved, every = time.monotonic(), max(1, training.steps // 50)
    model.train()
    while step < training.steps:
        batch = source.batch(training.batch_size, "step", step)
        torch.manual_seed(seed_of(settings.run.seed, "drop path", step))
        rate = warmup_cosine(training.learning_rate, step, training.warmup_steps, training.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _loss(model, batch, settings, device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
        optimizer.step()
        average.update(model.named_parameters())
        step += 1
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise ConfigError(f"the loss is {losses[-1]} in step {step}; lower 'training.learning_rate'")
        row: Row = {}
        if step % every == 0 or step == training.steps:
            row = {"step": step, "loss": float(np.mean(losses)), "learning_rate": rate}
            history.append(row)
            losses = []
        report(step, row)
        stopping = stop()
        if stopping or time.monotonic() - saved >= settings.run.checkpoint_seconds:
            save_checkpoint(folder, _state(step, history, losses, model, optimizer, average))
            saved = time.monotonic()
        if stopping:
            return None
    model.load_state_dict(average.values)
    model.eval()
    return model, evaluate(model, source, settings, device), history


@torch.no_grad()
def evaluate(model: Pretrained, source: Source, settings: PretrainConfig, device: torch.device) -> Row:
    """Scores on newly drawn fields: accuracy and UF1 of the emotion, mean F1 of the units over units and sides, and how
    often the likelier side is right of a unit that one side shows; of the fields that are no expression the share
    found, and of the others that taken for none.
    """
    guesses, units, wanted, present, nones, none = [], [], [], [], [], []
    count = settings.held_out.fields
    for start in range(0, count, 500):
        batch = source.batch(min(500, count - start), "held out", start)
        unit_logits, logits, none_logits = model(batch.pictures.to(device))
        shown = batch.none == 0
        guesses.append(logits.argmax(1).cpu()[shown])
        units.append(unit_logits.cpu())
        wanted.append(batch.classes[shown])
        present.append(batch.units > 0)
        none.append(~shown)
        nones.append(~shown if none_logits is None else none_logits.cpu() > 0)
    guess, want, size = torch.cat(guesses), torch.cat(wanted), len(settings.fields.classes)
    matrix = np.bincount((want * size + guess).numpy(), minlength=size * size).reshape(size, size)
    unit_logits, true = torch.cat(units), torch.cat(present)
    predicted, alone = unit_logits > 0, true.sum(2) == 1
    likelier = unit_logits[..., 0] > unit_logits[..., 1]
    hits = (predicted & true).sum(0).double()
    f1 = 2 * hits / (predicted.sum(0) + true.sum(0)).clamp_min(1)
    scores: Row = {
        "emotion_accuracy": float((guess == want).double().mean()),
        "emotion_uf1": float(uf1_of(matrix)),
        "units_mean_f1": float(f1[true.any(0)].mean()),
    }
    if alone.any():
        scores["sides_right"] = float((likelier == true[..., 0])[alone].double().mean())
    if model.readout.none is not None:
        told, is_none = torch.cat(nones), torch.cat(none)
        scores |= {
            "none_found": float(told[is_none].double().mean()),
            "expressions_taken_for_none": float(told[~is_none].double().mean()),
        }
    return scores


def _loss(model: Pretrained, batch: Batch, settings: PretrainConfig, device: torch.device) -> Tensor:
    units, logits, none = model(batch.pictures.to(device))
    training = settings.training
    presence = F.binary_cross_entropy_with_logits(units, batch.units.to(device))
    shown = (batch.none == 0).to(device)
    classes = batch.classes.to(device)
    if none is None:
        emotion = F.cross_entropy(logits, classes, label_smoothing=training.label_smoothing)
        return training.units * presence + training.emotion * emotion
    emotion = F.cross_entropy(logits[shown], classes[shown], label_smoothing=training.label_smoothing)
    told = F.binary_cross_entropy_with_logits(none, batch.none.to(device))
    return training.units * presence + training.emotion * emotion + training.none * told


def _state(
    step: int,
    history: list[Row],
    losses: list[float],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average,
) -> dict[str, Any]:
    return {
        "format": PRETRAINING_FORMAT,
        "step": step,
        "history": history,
        "losses": losses,
        "weights": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": {"steps": average.steps, "values": average.values},
    }


MODEL, SCORES, HISTORY = "model.safetensors", "scores.json", "history.csv"


def check(settings: PretrainConfig, folder: Path) -> list[str]:
    """What a start would do, line by line; touches nothing. Raises ConfigError for what would keep it from starting."""
    Source(settings)
    _device(settings)
    model = make(settings).slstt
    refuse_other(settings, folder)
    count = sum(p.numel() for p in model.parameters())
    fields = settings.training.steps * settings.training.batch_size
    return [
        f"network: {count:,} parameters, {count * 4 / 1e6:.1f} MB",
        f"fields: {settings.training.steps:,} steps of {settings.training.batch_size}, {fields:,} in all, "
        f"{settings.fields.frames} frame(s) of {settings.model.image_size}x{settings.model.image_size}",
        f"classes: {', '.join(settings.fields.classes)}",
        f"{folder / MODEL}: " + ("exists, nothing to do" if (folder / MODEL).exists() else "would be written"),
        "nothing was written (--check)",
    ]


def run(settings: PretrainConfig, folder: Path, stop: Stop, quiet: bool) -> None:
    """Pretrain into `folder`, continuing what is there, and print the scores.

    Raises ConfigError where the folder is another run's, KeyboardInterrupt after a good early end.
    """
    Source(settings)
    _device(settings)
    make(settings)  # impossible sizes are found before anything is written
    refuse_other(settings, folder)
    if (folder / MODEL).exists():
        print(f"{folder / MODEL} is there already; choose another --out to make it again")
        return
    write_text(folder / CONFIG, dump_config(settings))
    started, used = time.monotonic(), time.process_time()
    with Progress("steps", settings.training.steps, unit="step", quiet=quiet) as bar:
        stop.graceful = True

        def report(step: int, row: Row) -> None:
            bar.advance(step - bar.done, **({"loss": f"{row['loss']:.3f}"} if row else {}))

        found = pretrain(settings, folder, stop, report, bar.say)
    if found is None:
        raise KeyboardInterrupt
    model, scores, history = found
    write_csv(folder / HISTORY, list(history[0]), [list(row.values()) for row in history])
    save_model(model.slstt, folder / MODEL, _header(settings), model.readout)
    write_json(
        folder / SCORES,
        {
            "held_out": scores,
            "sha256": sha256(folder / MODEL),
            "seconds": round(time.monotonic() - started, 1),
            "cpu_seconds": round(time.process_time() - used, 1),
            "command": sys.argv,
            "slstt": __version__,
            "torch": torch.__version__,
            "platform": platform.platform(),
        },
    )
    remove_checkpoints(folder)
    print(f"held-out synthetic fields: {', '.join(f'{name} {value:.3f}' for name, value in scores.items())}")
    print(f"{folder / MODEL} ({(folder / MODEL).stat().st_size / 1e6:.1f} MB); use it as model.pretrained")


def refuse_other(settings: PretrainConfig, folder: Path) -> None:
    """Raise ConfigError where `folder` holds something else than an equal run."""
    if not folder.exists():
        return
    if not (folder / CONFIG).exists():
        if any(not file.name.startswith(".") for file in folder.iterdir()):
            raise ConfigError(f"{folder}: holds other things than a pretraining; choose another --out")
        return
    theirs = settings_in(folder, PretrainConfig).model_dump(mode="json")
    ours = settings.model_dump(mode="json")
    for values in (ours, theirs):
        del values["run"]["checkpoint_seconds"]
    if found := differing_keys(ours, theirs):
        raise ConfigError(
            f"{folder}: was started with other settings; continue with the same ones or choose another --out",
            *(f"{folder}: {line}" for line in found),
        )


def _device(settings: PretrainConfig) -> None:
    if settings.run.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"'run.device': {settings.run.device}, but torch sees no GPU; use run.device=cpu")


def _header(settings: PretrainConfig) -> dict[str, str]:
    """What the model file says beside its sizes: enough to feed it and to read its answers."""
    flow_map = settings.encoding == "flow_map"
    return {
        "classes": json.dumps(list(settings.fields.classes)),
        "kind": "flow_maps" if flow_map else "cache",
        "encoding": "uv_magnitude" if flow_map else settings.encoding,
        "normalize": settings.normalize,
        "frames": str(settings.fields.frames),
        "crop": json.dumps(settings.fields.crop),
        "trained_on": "synthetic flow of action units; no real clip",
        "seed": str(settings.run.seed),
    }
