"""One start of `slstt-train`: what must hold beforehand, the folds and who trains them, the result at the end."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from slstt import workers
from slstt.config.train import CLIP_NETWORKS, TrainConfig, roots
from slstt.datasets.protocols import PROTOCOLS
from slstt.errors import ConfigError, DataError
from slstt.evaluation.metrics import confusion, summary, uf1_of
from slstt.evaluation.predictions import (
    Predictions,
    UnitPredictions,
    read_predictions,
    read_unit_predictions,
    write_predictions,
    write_unit_predictions,
)
from slstt.evaluation.run import EvaluatedRun
from slstt.evaluation.saliency import AttentionInput
from slstt.evaluation.tables import as_text, score_table
from slstt.evaluation.unit_metrics import macro_f1_of, unit_confusions, unit_summary
from slstt.evaluation.unit_tables import UNIT_SCORE_TITLES
from slstt.files import locked, write_csv, write_text
from slstt.flow.encoding import resized
from slstt.flow.flow_files import read_manifest
from slstt.models.model_file import load_model
from slstt.models.slstt import SLSTT, set_trainable
from slstt.progress import Progress
from slstt.ray_workers import OnRay
from slstt.training.checkpoint import Row, remove_checkpoints
from slstt.training.classifiers import classify_fold
from slstt.training.flow_data import FlowData, protocol_lines, read_data
from slstt.training.folds import (
    ClipKey,
    Fold,
    audit,
    choose,
    leave_one_dataset_out,
    leave_one_subject_out,
    owners_split,
    with_validation,
)
from slstt.training.inputs import Features, FlowInputs, FrozenFeatures, compute_features, open_features
from slstt.training.run_folder import begin, fold_folder, is_done, pool_finished
from slstt.training.trainer import (
    Callbacks,
    FoldFailed,
    FoldSetup,
    Inputs,
    Trained,
    make_slstt,
    train_fold,
    write_history,
)
from slstt.workers import Died, Here, Stop, at_work

PEEK_COLUMNS = ("epoch", "dataset", "subject", "clip", "true_label", "predicted_label")
FAILURE = "failure.txt"


@dataclass(frozen=True)
class FoldOutcome:
    """What became of one fold."""

    name: str
    status: Literal["done", "failed", "interrupted", "busy"]
    """busy: another process is training it."""
    reason: str = ""


@dataclass(frozen=True)
class TrainingJob:
    """What a process needs to train folds of a run; small, so that it can be sent anywhere."""

    settings: TrainConfig
    run: Path
    folds: tuple[Fold, ...]
    data_fingerprint: str
    device: str
    wait: float | None = 0.0
    """Seconds to wait for a fold that another process holds; None for ever."""


def make_folds(settings: TrainConfig, data: FlowData) -> list[Fold]:
    """All folds of a run, sorted by name."""
    if data.leaves_out == "test_sets":
        folds = owners_split(data.keys, data.splits, tuple(PROTOCOLS[settings.data.protocol].test_sets))
    elif data.leaves_out == "dataset":
        folds = leave_one_dataset_out(data.keys)
    else:
        folds = leave_one_subject_out(data.keys)
    if settings.selection.method == "inner":
        return [with_validation(fold, data.keys, settings.selection.subjects, settings.run.seed) for fold in folds]
    return folds


def worker_count(settings: TrainConfig, folds: int, device: str) -> int:
    """How many processes: as configured, or one per GPU, or the cores this process may use / threads_per_fold."""
    wanted = settings.run.workers
    if wanted is None:
        wanted = torch.cuda.device_count() if device == "cuda" else workers.cores() // settings.run.threads_per_fold
    return max(1, min(wanted, folds))


def where_to_train(job: TrainingJob, folds: int) -> workers.Where:
    """`run.executor` for so many folds."""
    run = job.settings.run
    if run.executor == "processes":
        return workers.OnProcesses(worker_count(job.settings, folds, job.device))
    if run.executor == "ray":
        ray = run.ray
        return OnRay(ray.address, "run.ray.address", job.run, run.workers, ray.cpus_per_fold, ray.gpus_per_fold)
    return workers.Here()


def make_work(worker: workers.Worker, job: TrainingJob, data: FlowData | None = None) -> Callable[[str], FoldOutcome]:
    """The function that a worker applies to each fold's name; it sends finished epochs (int) and remarks (str)."""
    if job.device == "cuda":
        job = replace(job, device=f"cuda:{worker.place % torch.cuda.device_count()}")
    trainer = FoldTrainer(job, data)
    return lambda name: trainer.train(name, worker.stop, worker.send, worker.send)


class FoldTrainer:
    """Trains folds of one run in this process; the data are read once."""

    def __init__(self, job: TrainingJob, data: FlowData | None = None) -> None:
        self.job, self.settings = job, job.settings
        self.data = data or read_data(self.settings.data, self.settings.model.image_size)
        if self.data.fingerprint != job.data_fingerprint:
            raise DataError(
                f"{self.settings.data.root}: the clips changed since the run began; start the command again"
            )
        self.folds = {fold.name: fold for fold in job.folds}
        self.device = torch.device(job.device)

    @cached_property
    def features(self) -> Features:
        """The frozen encoder's features; computed before the folds are (see `prepare`)."""
        return open_features(make_slstt(self.settings, len(self.data.classes)), self.data, self.settings, self.job.run)

    def train(
        self,
        name: str,
        stop: Callable[[], bool] = lambda: False,
        report: Callable[[int], None] = lambda epoch: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> FoldOutcome:
        """Train the fold, or continue it, and write its files; at most one process does so at a time.

        Raises DataError where files cannot be read or written: that concerns the whole run.
        """
        run, folder, fold = self.job.run, fold_folder(self.job.run, name), self.folds[name]
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder / ".lock", wait=self.job.wait, busy=f"{name} is busy"))
            except ConfigError:
                return FoldOutcome(name, "busy", "another process is training it; run the same command again later")
            if is_done(run, name):
                return FoldOutcome(name, "done")
            for stale in folder.glob(".*.part"):
                stale.unlink(missing_ok=True)

            def on_epoch(epoch: int, row: Row) -> None:
                report(epoch)

            try:
                setup = FoldSetup(fold, self.data, self.settings, self._inputs(fold), folder, self.device)
                if self.settings.classifier.trained_at_once:
                    trained = classify_fold(setup)
                else:
                    trained = train_fold(setup, Callbacks(stop, on_epoch, say))
            except (FoldFailed, torch.OutOfMemoryError) as error:
                reason = " ".join(str(error).split())
                write_text(folder / FAILURE, reason + "\n")
                return FoldOutcome(name, "failed", reason)
            if trained is None:
                return FoldOutcome(name, "interrupted")
            self._write(fold, folder, trained)
            return FoldOutcome(name, "done")

    def _inputs(self, fold: Fold) -> Inputs:
        statistics = fold.train if self.settings.data.normalize == "train" else ()
        audit(fold, self.data.keys, statistics)
        if not self.settings.encoder.keeps_features:
            return FlowInputs(self.data, self.settings, self.device, statistics)
        return FrozenFeatures(self.features, self.device)

    def _write(self, fold: Fold, folder: Path, trained: Trained) -> None:
        """The fold's files; predictions.csv, which marks the fold as done, comes last."""
        data, settings, classes = self.data, self.settings, self.data.classes
        keys = [data.keys[i] for i in fold.test]
        write_history(folder, trained.history.epochs)
        if settings.run.save_models and isinstance(trained.model, SLSTT):
            from slstt.models.model_file import save_model

            save_model(trained.model, folder / "model.safetensors", self._header(fold))
        if data.units:
            units = np.array([data.units[i] for i in fold.test])
            predictions = UnitPredictions(classes, tuple(keys), units, trained.probabilities)
            write_unit_predictions(folder / "predictions.csv", predictions)
        else:
            self._write_classes(fold, folder, trained, keys)
        (folder / FAILURE).unlink(missing_ok=True)
        remove_checkpoints(folder)

    def _write_classes(self, fold: Fold, folder: Path, trained: Trained, keys: list[ClipKey]) -> None:
        data, settings, classes = self.data, self.settings, self.data.classes
        true = [classes[data.labels[i]] for i in fold.test]
        predicted = [classes[i] for i in trained.probabilities.argmax(1)]
        if settings.run.peek:
            rows = [
                (epoch, *key, label, classes[guess])
                for epoch, guesses in enumerate(trained.history.peek, start=1)
                for key, label, guess in zip(keys, true, guesses, strict=True)
            ]
            write_csv(folder / "peek.csv", PEEK_COLUMNS, rows)
        if fold.validation:
            rows = [(trained.epoch, *key, *labels) for key, *labels in zip(keys, true, predicted, strict=True)]
            write_csv(folder / "inner.csv", PEEK_COLUMNS, rows)
        predictions = Predictions(classes, tuple(keys), tuple(true), tuple(predicted), trained.probabilities)
        write_predictions(folder / "predictions.csv", predictions)

    def _header(self, fold: Fold) -> dict[str, str]:
        """What a model file says beside its sizes: enough to feed it and to read its answers."""
        data = self.settings.data
        header = {
            "classes": json.dumps(self.data.classes),
            "protocol": data.protocol,
            "target": data.target,
            "left_out": fold.tested,
            "kind": data.kind,
            "encoding": data.encoding,
            "normalize": data.normalize,
            "frames": str(self.data.frames),
        }
        if data.kind == "cache":
            # All data sets of a run have the same settings; one folder may hold others besides.
            found = (read_manifest(root).get(self.data.keys[0][0]) for root in roots(data))
            if entry := next(filter(None, found), None):
                header["preprocessing"] = json.dumps(entry["settings"])
        if data.normalize == "train":
            mean, deviation = self.data.statistics(fold.train, data.encoding)
            header |= {"mean": json.dumps(mean.tolist()), "deviation": json.dumps(deviation.tolist())}
        return header


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
        if (name := settings.classifier.name) in CLIP_NETWORKS and settings.model.pretrained is None:
            known = f"model.pretrained={CLIP_NETWORKS[name]}Weights.DEFAULT"
            print(f"{name} begins with random weights; {known} takes those that torchvision learned", file=sys.stderr)
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
            print(as_text(score_table(unit_summary(pooled), title, UNIT_SCORE_TITLES)))
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
