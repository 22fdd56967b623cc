"""A run's folds, and the work on one of them from its lock to its `predictions.csv`."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from slstt import workers
from slstt.config.train import TrainConfig, roots
from slstt.datasets.protocols import PROTOCOLS
from slstt.errors import ConfigError, DataError
from slstt.evaluation.predictions import Predictions, write_predictions
from slstt.evaluation.unit_predictions import UnitPredictions, write_unit_predictions
from slstt.files import locked, write_csv, write_text
from slstt.flow.flow_files import read_manifest
from slstt.models.slstt import SLSTT
from slstt.ray_workers import OnRay
from slstt.training.checkpoint import Row, remove_checkpoints
from slstt.training.classifiers import classify_fold
from slstt.training.flow_data import FlowData, read_data
from slstt.training.folds import (
    ClipKey,
    Fold,
    audit,
    leave_one_dataset_out,
    leave_one_subject_out,
    owners_split,
    with_validation,
)
from slstt.training.inputs import Features, FlowInputs, FrozenFeatures, open_features
from slstt.training.run_folder import fold_folder, is_done
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
