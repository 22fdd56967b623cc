"""Spot-then-recognise: each spotted interval gets the class that the run's fold without its subject predicts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from slstt import workers
from slstt.config.load import settings_in
from slstt.config.preprocess import PredictConfig
from slstt.config.train import TrainConfig
from slstt.datasets.clips import KINDS, Clip, name_of
from slstt.datasets.protocols import class_of, protocol_of
from slstt.errors import ConfigError, DataError, Problems, WeightsError, listed
from slstt.evaluation.intervals import SpottedVideo, VideoInterval, of_kind
from slstt.files import write_json
from slstt.flow.interpolation import Rife
from slstt.models.model_file import read_model_input
from slstt.prediction.classify import (
    IntervalClassifier,
    Unclassifiable,
    find_classifier,
    interval_flows,
    read_settings,
)
from slstt.prediction.results import read_face_motion
from slstt.prediction.spotting import Interval
from slstt.progress import Progress
from slstt.spotting.measured import MeasuringTask, track_determinants
from slstt.spotting.recordings import AnnotatedRecording
from slstt.spotting.run import SpottingPlan, where_to_work
from slstt.training.run_folder import FOLDS, fold_folder

MODEL = "model.safetensors"


@dataclass(frozen=True)
class RecognitionPlan:
    """A run of slstt-train whose folds classify the subjects that they left out."""

    run: Path
    protocol: str
    classes: tuple[str, ...]
    """The run's `data.classes`, of protocol `own`."""
    folds: Mapping[tuple[str, str], Path]
    """Subject -> the model that did not learn from it."""
    every: tuple[Path, ...]
    """All of them: none learned from a subject that has no fold."""
    settings: PredictConfig

    @property
    def about(self) -> dict[str, Any]:
        """For spotting.json."""
        return {"run": str(self.run.resolve()), "protocol": self.protocol}

    def label_of(self, clip: Clip) -> str:
        """The clip's class in the run's protocol; empty where it is left out."""
        return class_of(protocol_of(self.protocol, self.classes), clip) or ""

    def classifier(self, subject: tuple[str, str]) -> IntervalClassifier:
        """The networks that did not learn from the subject."""
        paths = (self.folds[subject],) if subject in self.folds else self.every
        return IntervalClassifier(str(self.run), paths, read_model_input(paths[0]))


def recognition_plan(run: Path, dataset: str) -> RecognitionPlan:
    """Read and check a run for `dataset`.

    Raises ConfigError where it is no run or has not learned from `dataset`, WeightsError where it has no models of all
    its folds, DataError where a fold has learned from the subject it left out.
    """
    if not run.is_dir():
        raise WeightsError(f"recognition.run={run}: no such folder; give a run of slstt-train")
    problems, classifier = Problems(), find_classifier(str(run))
    data = settings_in(run, TrainConfig).data
    if data.target == "units":
        raise ConfigError(f"{run}: predicts action units; give a run of classes (data.target: emotion)")
    if classifier.wanted.kind != "cache":
        raise ConfigError(f"{run}: learned from published flow maps; give a run on clips of slstt-preprocess")
    folds: dict[tuple[str, str], Path] = {}
    missing = []
    for name, subject, learned in _folds(run):
        path = fold_folder(run, name) / MODEL
        if "/".join(subject) in learned:
            problems.add(DataError(f"{run / FOLDS}: {name} has learned from its own subject; train again"))
        missing += [] if path.is_file() else [name]
        folds[subject] = path
    if missing:
        what = f"{run}: {len(missing)} of {len(folds)} folds have no model: {listed(missing, 5)}"
        problems.add(WeightsError(f"{what}; finish it with run.save_models=true"))
    if not any(subject[0] == dataset for subject in folds):
        names = ", ".join(sorted({subject[0] for subject in folds}))
        problems.add(ConfigError(f"{run}: learned from {names or 'nothing'}, not from {dataset}"))
    problems.raise_if_any()
    settings, _ = read_settings(classifier, [])
    return RecognitionPlan(run, data.protocol, data.classes, folds, tuple(folds.values()), settings)


def _folds(run: Path) -> list[tuple[str, tuple[str, str], set[str]]]:
    """(name, subject left out, subjects learned from as `dataset/subject`) of each fold."""
    try:
        folds = json.loads((run / FOLDS).read_text(encoding="utf-8"))["folds"]
        return [
            (
                str(fold["name"]),
                (str(fold["dataset"]), str(fold["subject"])),
                {*map(str, fold["train_subjects"]), *map(str, fold["validation_subjects"])},
            )
            for fold in folds
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{run / FOLDS}: unreadable ({reason}); without it nobody knows who learned from whom"
        ) from error


@dataclass(frozen=True)
class RecognitionTask:
    """One recording whose intervals are to be classified."""

    recording: AnnotatedRecording
    found: tuple[VideoInterval, ...]
    measured: Path
    """Its folder of measured files."""
    model: str
    kept: Path
    """Where the result is kept."""
    weights: tuple[str, ...]
    """SHA-256 of each network."""


def recognised(
    plan: SpottingPlan, found: Sequence[SpottedVideo], tasks: Sequence[MeasuringTask], quiet: bool
) -> tuple[list[SpottedVideo], int]:
    """(the videos with a label for each spotted interval, how many have none). Only kinds whose annotation has labels
    are classified; the other intervals stay without.
    """
    recognition = plan.recognition
    assert recognition is not None
    kinds = [k for k in KINDS if any(one.label for video in found for one in of_kind(video.true, k))]
    measured = {task.recording.key: task for task in tasks}
    fingerprints: dict[tuple[str, str], tuple[str, ...]] = {}
    labels: dict[tuple[str, str, str], list[str]] = {}
    todo = []
    for video in found:
        wanted = tuple(one for one in video.found if one.kind in kinds)
        if not wanted:
            labels[video.key] = []
            continue
        subject = video.key[:2]
        if subject not in fingerprints:
            fingerprints[subject] = recognition.classifier(subject).fingerprints
        task = measured[video.key]
        kept = plan.out / "recognised" / Path(*video.key[:2]) / f"{video.video}.json"
        one = RecognitionTask(task.recording, wanted, task.folder, task.model, kept, fingerprints[subject])
        before = _kept_labels(one, recognition)
        if before is None:
            todo.append(one)
        else:
            labels[video.key] = before
    with (
        Progress("recognise", len(found), done=len(labels), unit="video", quiet=quiet) as progress,
        workers.at_work(make_recognition, (recognition,), todo, where_to_work(plan)) as done,
    ):
        for one in done:
            if isinstance(one, workers.Died):
                what = f"{name_of(one.task.recording.key)}: its worker process ended twice ({one.how})"
                raise DataError(f"{what}; run again, with fewer --workers")
            labels[one.task.recording.key] = one.result
            progress.advance()
    named = [_with_labels(video, kinds, labels[video.key]) for video in found]
    without = sum(not one.label for video in named for one in video.found if one.kind in kinds)
    return named, without


def make_recognition(worker: workers.Worker, recognition: RecognitionPlan) -> Callable[[RecognitionTask], list[str]]:
    """For the pool: what classifies the intervals of one recording."""
    held: dict[tuple[str, str], IntervalClassifier] = {}
    rife: list[Rife] = []

    def load_rife() -> Rife:
        if not rife:
            rife.append(Rife.load(precision=recognition.settings.interpolation.precision))
        return rife[0]

    def work(task: RecognitionTask) -> list[str]:
        subject = task.recording.key[:2]
        if subject not in held:
            held.clear()
            held[subject] = recognition.classifier(subject)
        with workers.one_thread():
            labels = classify(task, recognition, held[subject], load_rife)
        write_json(task.kept, {"determinants": _determinants(task, recognition), "labels": labels})
        return labels

    return work


def classify(
    task: RecognitionTask,
    recognition: RecognitionPlan,
    classifier: IntervalClassifier,
    rife: Callable[[], Rife],
) -> list[str]:
    """The class of each interval, empty where it cannot be put through preprocessing."""
    motion = read_face_motion(task.measured, track_determinants(task.recording, task.model))
    if motion is None:
        raise DataError(f"{task.measured}: what was measured is gone; run again")
    places = {number: place for place, number in enumerate(task.recording.numbers)}
    intervals = [
        Interval(places[i.onset], places[i.offset if i.apex is None else i.apex], places[i.offset], i.strength or 0.0)
        for i in task.found
    ]
    labels = [""] * len(intervals)
    config = recognition.settings.preprocessing
    frames = task.recording.recording.at
    for index, made in interval_flows(frames, motion, intervals, classifier.crop, config, rife):
        if isinstance(made, Unclassifiable):
            continue
        # float16, as training reads it from flow files
        (answer,) = classifier.probabilities([torch.from_numpy(made.flow).half()])
        labels[index] = classifier.wanted.classes[int(answer.argmax())]
    return labels


def _determinants(task: RecognitionTask, recognition: RecognitionPlan) -> dict[str, Any]:
    settings = recognition.settings.preprocessing.model_dump(mode="json", exclude={"run", "apex"})
    return {
        "track": track_determinants(task.recording, task.model),
        "intervals": [asdict(one) for one in task.found],
        "weights": list(task.weights),
        "preprocessing": settings,
    }


def _kept_labels(task: RecognitionTask, recognition: RecognitionPlan) -> list[str] | None:
    try:
        kept = json.loads(task.kept.read_text(encoding="utf-8"))
        if kept["determinants"] == json.loads(json.dumps(_determinants(task, recognition))):
            return [str(label) for label in kept["labels"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def _with_labels(video: SpottedVideo, kinds: Sequence[str], labels: Sequence[str]) -> SpottedVideo:
    left = iter(labels)
    return replace(
        video, found=tuple(replace(one, label=next(left)) if one.kind in kinds else one for one in video.found)
    )
