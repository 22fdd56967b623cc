"""One start of `slstt-train`: what must hold beforehand, the folds, and the result at the end."""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from slstt.config.train import TrainConfig
from slstt.errors import ConfigError, DataError
from slstt.evaluation.metrics import confusion, summary, uf1_of
from slstt.evaluation.predictions import read_predictions
from slstt.evaluation.run import EvaluatedRun
from slstt.evaluation.saliency import AttentionInput
from slstt.evaluation.tables import as_text, score_table
from slstt.evaluation.unit_metrics import macro_f1_of, unit_confusions, unit_summary
from slstt.evaluation.unit_predictions import UnitPredictions, read_unit_predictions
from slstt.evaluation.unit_tables import unit_score_table
from slstt.files import locked
from slstt.flow.encoding import resized
from slstt.models.model_file import load_model
from slstt.models.slstt import SLSTT, set_trainable
from slstt.progress import Progress
from slstt.training.flow_data import FlowData, protocol_lines, read_data
from slstt.training.folds import Fold, audit, choose
from slstt.training.inputs import FlowInputs, compute_features, open_features
from slstt.training.loso import FoldOutcome, TrainingJob, make_folds, make_work, where_to_train
from slstt.training.run_folder import begin, fold_folder, is_done, pool_finished
from slstt.training.trainer import make_slstt
from slstt.workers import Died, Here, Stop, at_work

ORPHAN_SECONDS = 60.0
"""How long the only command at a run waits for a fold: a worker of a killed predecessor may still be saving it.

Under Ray a task waits for ever: the fold's holder is either alive, and then finishes it, or the kernel lets go of it.
"""


def machine_problems(settings: TrainConfig) -> list[str]:
    """What the network's sizes or this installation rule out, each with the fix."""
    found = []
    try:
        with torch.device("meta"):
            model = SLSTT(**settings.model.model_dump(exclude={"pretrained"}))
        set_trainable(model, settings.encoder.trainable)
    except ConfigError as error:
        found += error.problems
    if settings.run.device.startswith("cuda") and not torch.cuda.is_available():
        found.append(f"'run.device': {settings.run.device}, but torch sees no GPU; use run.device=cpu or auto")
    if settings.run.executor == "ray" and importlib.util.find_spec("ray") is None:
        found.append("'run.executor': ray is not installed; pip install 'slstt[ray]'")
    return found


def device_of(settings: TrainConfig) -> str:
    """`run.device` with `auto` decided."""
    if settings.run.device != "auto":
        return settings.run.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def check(settings: TrainConfig, run: Path, wanted: Sequence[str] | None, shard: tuple[int, int] | None) -> None:
    """Print what a start would do; touches nothing. Raises what would keep it from starting."""
    from slstt.training.check import check as check_run

    for line in check_run(settings, run, wanted, shard, device_of(settings)):
        print(line)
    print("nothing was written (--check)")


def train(
    settings: TrainConfig,
    run: Path,
    wanted: Sequence[str] | None,
    shard: tuple[int, int] | None,
    stop: Stop,
    quiet: bool,
) -> int:
    """Train what is not done, pool, print; returns the exit code: 1 where a chosen fold failed or was left.

    Raises KeyboardInterrupt after a good early end.
    """
    if settings.model.pretrained is not None:
        from slstt.models.model_file import find_weights

        find_weights(settings.model.pretrained)
    data = read_data(settings.data, settings.model.image_size)
    folds = make_folds(settings, data)
    chosen = choose(folds, wanted, shard)
    for fold in folds:
        audit(fold, data.keys, fold.train)
    if not quiet:
        for line in protocol_lines(data, settings.data.protocol):
            print(f"protocol {settings.data.protocol}: {line}", file=sys.stderr)
    partial = wanted is not None or shard is not None
    device = device_of(settings)
    with ExitStack() as stack:
        busy = f"{run}: another slstt-train is at work there; wait for it, or share the folds with --shard i/n"
        stack.enter_context(locked(run / ".lock", shared=partial, wait=0.0, busy=busy))
        begin(run, settings, data, folds, device)
        if settings.encoder.keeps_features:
            prepare_features(settings, data, run, torch.device(device), quiet)
        patience = None if settings.run.executor == "ray" else 0.0 if partial else ORPHAN_SECONDS
        job = TrainingJob(settings, run, tuple(folds), data.fingerprint, device, patience)
        failed = _train_folds(job, data, folds, chosen, stop, quiet)
        pooled, unfinished = pool_finished(run, folds, bool(data.units))
    left = sum(not is_done(run, fold.name) for fold in chosen)
    if stop() and left > failed:
        raise KeyboardInterrupt
    if pooled is not None:
        count = len(folds) - len(unfinished)
        title = f"PARTIAL: {count} of {len(folds)} folds" if unfinished else f"All {count} folds"
        if isinstance(pooled, UnitPredictions):
            print(as_text(unit_score_table(unit_summary(pooled), title)))
        else:
            print(as_text(score_table(summary(pooled, settings.data.protocol, settings.selection.method), title)))
        print(f"\nreport and figures: slstt-eval {run}", flush=True)
    return 1 if left else 0


def prepare_features(settings: TrainConfig, data: FlowData, run: Path, device: torch.device, quiet: bool) -> int:
    """Compute the frozen encoder's missing features, once for all folds; returns the number of frames encoded."""
    model = make_slstt(settings, len(data.classes))
    features = open_features(model, data, settings, run)
    with locked(features.folder / ".lock"):  # of several shards one computes, the others find it done
        missing = len(features.missing())
        if not missing:
            return 0
        inputs = FlowInputs(data, settings, device, ())
        with Progress("features", len(data), done=len(data) - missing, quiet=quiet) as bar:
            return compute_features(features, model, inputs.plain, settings, device, bar.advance)


def _train_folds(
    job: TrainingJob, data: FlowData, folds: Sequence[Fold], chosen: Sequence[Fold], stop: Stop, quiet: bool
) -> int:
    """Train the chosen folds that are not done; returns the number of failed ones."""
    todo = [fold.name for fold in chosen if not is_done(job.run, fold.name)]
    matrix = np.sum([_confusion(job.run, fold.name, data) for fold in folds if is_done(job.run, fold.name)], axis=0)
    epochs = job.settings.training.epochs
    reached = dict.fromkeys(todo, 0)
    failed = 0
    with (
        Progress("folds", len(chosen), done=len(chosen) - len(todo), unit="fold", quiet=quiet) as bar,
        Progress("epochs", len(todo) * epochs, unit="epoch", quiet=quiet, position=1) as steps,
    ):

        def report(name: str, epoch: int) -> None:
            steps.advance(epoch - reached[name], fold=name)
            reached[name] = epoch

        def on_message(name: str, message: int | str) -> None:
            if isinstance(message, int):
                report(name, message)
            else:
                bar.say(message)

        def on_retry(died: Died) -> None:
            bar.say(f"{died.task}: its process died ({died.how}); continuing from its last checkpoint")

        where = where_to_train(job, len(todo))
        arguments = (job, data) if isinstance(where, Here) else (job,)  # elsewhere each worker reads the data itself
        attempts = 1 + job.settings.run.ray.retries if job.settings.run.executor == "ray" else 2
        stop.graceful = True
        with at_work(
            make_work,
            arguments,
            todo,
            where,
            stop=stop,
            on_message=on_message,
            on_retry=on_retry,
            saves=True,
            attempts=attempts,
        ) as ended:
            for one in ended:
                if isinstance(one, Died):
                    outcome = FoldOutcome(one.task, "failed", f"its process died {attempts} times ({one.how})")
                else:
                    outcome = one.result
                match outcome.status:
                    case "done":
                        matrix = matrix + _confusion(job.run, outcome.name, data)
                        report(outcome.name, epochs)
                        score = macro_f1_of(matrix).mean() if data.units else uf1_of(matrix)
                        bar.advance(1, **{"macro_f1" if data.units else "uf1": f"{float(score):.3f}"})
                    case "failed":
                        failed += 1
                        bar.say(f"{outcome.name}: failed: {outcome.reason}")
                        bar.advance(0, failed=failed)
                    case "busy":
                        bar.say(f"{outcome.name}: {outcome.reason}")
    return failed


def _confusion(run: Path, name: str, data: FlowData) -> np.ndarray:
    """A finished fold's confusion matrix: (C, C), or of each unit (U, 2, 2)."""
    path = fold_folder(run, name) / "predictions.csv"
    if data.units:
        return unit_confusions(read_unit_predictions(path)).sum(0)
    predictions = read_predictions(path)
    return confusion(predictions.true, predictions.predicted, data.classes)


CLIPS_PER_FOLD = 12
"""At most, evenly taken: enough for a mean, bounded for large models on a laptop."""


def shown_clips(run: EvaluatedRun, quiet: bool = False) -> Iterator[AttentionInput]:
    """Each fold's model with its left-out subject's clips (of several seeds: the first seed's).

    Raises DataError where the run kept no models (`run.save_models`), no settings, or where its data is gone.
    """
    models = {path.parent.name: path for path in run.fold_files("model.safetensors")}
    if not models or not run.settings:
        raise DataError(
            f"{run.folder}: holds no models of its folds (folds/*/model.safetensors); "
            "train with run.save_models=true to look at their attention"
        )
    try:
        settings = TrainConfig.model_validate(dict(run.settings))
    except ValueError as error:
        raise DataError(f"{run.folder}/config.resolved.yaml: not the settings of this version") from error
    data = read_data(settings.data, settings.model.image_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with Progress("attention", len(models), unit="fold", quiet=quiet) as progress:
        for fold in make_folds(settings, data):
            if fold.name not in models:
                continue
            inputs = FlowInputs(data, settings, device, fold.train if settings.data.normalize == "train" else ())
            step = -(-len(fold.test) // CLIPS_PER_FOLD)
            chosen = fold.test[::step]
            flows = [data.clip(i).float().to(device) for i in chosen]
            classes = [data.classes[data.labels[i]] for i in chosen]
            model = load_model(models[fold.name]).to(device)
            shown = torch.stack([resized(flow, data.image_size) for flow in flows])
            yield AttentionInput(model, inputs.plain(flows), shown, classes)
            progress.advance()
