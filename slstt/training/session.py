"""One start of `slstt-train`: what must hold beforehand, the folds, and the result at the end."""

import importlib.util
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from slstt.config.train import TrainConfig
from slstt.errors import ConfigError
from slstt.evaluation.metrics import confusion, summary, uf1_of
from slstt.evaluation.predictions import read_predictions
from slstt.evaluation.tables import as_text, score_table
from slstt.models.pretrained import find_weights
from slstt.models.slstt import SLSTT, set_trainable
from slstt.progress import Progress
from slstt.training.executors import run_serial
from slstt.training.flow_dataset import read_data
from slstt.training.folds import audit, choose
from slstt.training.loso import Job, make_folds
from slstt.training.run_folder import begin, fold_folder, is_done, locked, pool_finished
from slstt.training.stopping import Stop


def machine_problems(settings: TrainConfig) -> list[str]:
    """What this installation or the network's sizes rule out, each with the fix."""
    found = []
    try:
        with torch.device("meta"):
            set_trainable(SLSTT(**settings.model.model_dump(exclude={"pretrained"})), settings.encoder.trainable)
    except ConfigError as error:
        found += error.problems
    if settings.run.device.startswith("cuda") and not torch.cuda.is_available():
        found.append(f"'run.device': {settings.run.device}, but torch sees no GPU; use run.device=cpu or auto")
    if settings.run.executor == "ray" and importlib.util.find_spec("ray") is None:
        found.append("'run.executor': ray is not installed; pip install 'slstt[ray]'")
    if settings.run.tensorboard and importlib.util.find_spec("tensorboard") is None:
        found.append("'run.tensorboard': TensorBoard is not installed; pip install 'slstt[tensorboard]'")
    return found


def device_of(settings: TrainConfig) -> str:
    """`run.device` with `auto` decided."""
    if settings.run.device != "auto":
        return settings.run.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def train(
    settings: TrainConfig,
    run: Path,
    wanted: Sequence[str] | None,
    shard: tuple[int, int] | None,
    stop: Stop,
    quiet: bool,
) -> int:
    """Train what is not done, pool, print; returns the exit code. Raises KeyboardInterrupt after a good early end."""
    if settings.model.pretrained is not None:
        find_weights(settings.model.pretrained)
    data = read_data(settings.data, settings.model.image_size)
    folds = make_folds(settings, data)
    for fold in folds:
        audit(fold, data.keys, fold.train)
    device = device_of(settings)
    partial = wanted is not None or shard is not None
    with ExitStack() as stack:
        busy = f"{run}: another slstt-train is at work there; wait for it, or share the folds with --shard i/n"
        stack.enter_context(locked(run / ".lock", shared=partial, wait=0.0, busy=busy))
        begin(run, settings, data, folds, device)
        todo = [fold.name for fold in choose(folds, wanted, shard) if not is_done(run, fold.name)]
        matrix = sum(_confusion(run, fold.name, data.classes) for fold in folds if is_done(run, fold.name))
        epochs = settings.training.epochs
        failed, waiting = [], []
        with (
            Progress("folds", len(folds), done=len(folds) - len(todo), unit="fold", quiet=quiet) as bar,
            Progress("epochs", len(todo) * epochs, unit="epoch", quiet=quiet, position=1) as inner,
        ):
            reached = dict.fromkeys(todo, 0)

            def report(name: str, epoch: int) -> None:
                inner.advance(epoch - reached[name], fold=name)
                reached[name] = epoch

            stop.graceful = True
            job = Job(settings, run, data.fingerprint, device)
            for outcome in run_serial(job, todo, data, stop, report, bar.say):
                if outcome.status == "done":
                    matrix = matrix + _confusion(run, outcome.name, data.classes)
                    report(outcome.name, epochs)
                    bar.advance(1, uf1=f"{float(uf1_of(matrix)):.3f}", failed=len(failed))
                elif outcome.status == "failed":
                    failed.append(outcome)
                    bar.say(f"{outcome.name}: failed: {outcome.reason}")
                elif outcome.status == "busy":
                    waiting.append(outcome.name)
        pooled, unfinished = pool_finished(run, folds)
    if stop():
        raise KeyboardInterrupt
    if pooled is not None:
        partly = f"PARTIAL, {len(folds) - len(unfinished)} of {len(folds)} folds" if unfinished else "all folds"
        print(as_text(score_table(summary(pooled, settings.data.protocol, settings.selection.method), partly)))
        print(f"\nreport and figures: slstt-eval {run}")
    return 1 if failed else 0


def _confusion(run: Path, name: str, classes: Sequence[str]):
    predictions = read_predictions(fold_folder(run, name) / "predictions.csv")
    return confusion(predictions.true, predictions.predicted, classes)


def check(settings: TrainConfig, run: Path, wanted: Sequence[str] | None, shard: tuple[int, int] | None) -> None:
    """Validate everything and print what would be done; touches nothing."""
