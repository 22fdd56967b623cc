"""One start of slstt-spot: all recordings of a release, from their frames to intervals.csv and its companions."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slstt import __version__, downloads, workers
from slstt.config.load import differing_keys
from slstt.config.spot import SpotConfig
from slstt.datasets.clips import KINDS, Kind, Release, name_of
from slstt.errors import ConfigError, DataError
from slstt.evaluation.intervals import SpottedVideo
from slstt.evaluation.spotting import ABOUT, write_spotted
from slstt.files import locked, sha256, write_csv, write_json
from slstt.progress import Progress
from slstt.ray_workers import OnRay
from slstt.spotting.choose import Chosen, choose, grid_of, spot
from slstt.spotting.measured import MeasuringOutcome, MeasuringTask, kept_signals, measure, measured_folder
from slstt.spotting.methods import METHODS, Choice, Signals
from slstt.spotting.recordings import AnnotatedRecording

if TYPE_CHECKING:
    from slstt.spotting.recognise import RecognitionPlan

FAILURES, CHOSEN = "failures.csv", "chosen.csv"
_IDENTITY = ("dataset", "root", "method", "fps")
"""What all intervals of a folder have in common; another start with another one needs another folder."""


@dataclass(frozen=True)
class SpottingResult:
    """What a run over one release left in the output folder."""

    videos: tuple[SpottedVideo, ...]
    failures: Mapping[tuple[str, str, str], str]
    """Recordings that could not be measured, each with the reason."""
    chosen: Mapping[tuple[tuple[str, str], Kind], Chosen]
    remarks: Mapping[tuple[str, str, str], tuple[str, ...]]
    measured: int
    kept: int
    unclassified: int = 0
    """Intervals to which the networks could give no class."""


@dataclass(frozen=True)
class SpottingPlan:
    """Everything that a start needs, checked."""

    release: Release
    recordings: tuple[AnnotatedRecording, ...]
    config: SpotConfig
    out: Path
    fixed: Mapping[Kind, Choice] | None
    """With `--fixed`: the choice of each kind."""
    workers: int
    recognition: "RecognitionPlan | None" = None
    """Spot-then-recognise, where it is wanted."""
    lines: tuple[str, ...] = field(default=())
    """About the recordings, for the user."""

    @property
    def measured(self) -> Path:
        """The folder of measured files."""
        return self.config.run.measured or self.out / "measured"

    @property
    def about(self) -> dict[str, Any]:
        """What spotting.json says before anything is found."""
        return {
            "dataset": self.release.dataset,
            "root": str(self.release.root.resolve()),
            "annotations": None if self.release.annotations is None else str(self.release.annotations),
            "method": self.config.spot.method,
            "fps": self.config.spot.fps,
            "selection": "loso" if self.fixed is None else "fixed",
            "recognition": None if self.recognition is None else self.recognition.about,
            "slstt": __version__,
            "settings": {kind: self._tried(kind) for kind in KINDS},
        }

    def _tried(self, kind: Kind) -> dict[str, list[float]]:
        choices = grid_of(self.config, kind) if self.fixed is None else [self.fixed[kind]]
        return {
            "thresholds": sorted({choice.threshold for choice in choices}),
            "lengths_ms": sorted({choice.length_ms for choice in choices}),
        }

    def tasks(self) -> list[MeasuringTask]:
        """One for each recording. Raises WeightsError where the landmark model is missing."""
        model = sha256(downloads.landmark_model())
        method = METHODS[self.config.spot.method]
        least: dict[Kind, Choice] = {}
        for kind in KINDS:
            grid = [*grid_of(self.config, kind), *([self.fixed[kind]] if self.fixed else [])]
            lengths = (*method.lengths_ms[kind], *(choice.length_ms for choice in grid))
            least[kind] = Choice(min((*method.thresholds, *(choice.threshold for choice in grid))), min(lengths))
        return [
            MeasuringTask(one, measured_folder(self.measured, one.key), self.config.spot.method, least, model)
            for one in self.recordings
        ]


def refuse_other_spotting(plan: SpottingPlan) -> None:
    """Raise ConfigError where --out holds something else, or intervals of another data set, folder, method or rate."""
    out = plan.out
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out}: is a file; --out must name a folder")
    if not (out / ABOUT).exists():
        held = [
            path.name for path in sorted(out.iterdir()) if not path.name.startswith(".") and path.name != "measured"
        ]
        if held:
            what = f"{out}: holds other things than spotted intervals ({', '.join(held[:3])}); choose another --out"
            raise ConfigError(what)
        return
    try:
        before = json.loads((out / ABOUT).read_text(encoding="utf-8"))
        theirs = {name: before.get(name) for name in _IDENTITY}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{out / ABOUT}: unreadable ({error}); delete it, it is written again") from error
    if found := differing_keys({name: plan.about[name] for name in _IDENTITY}, theirs):
        raise ConfigError(
            f"{out}: holds intervals of another data set or method; choose another --out (run.measured={plan.measured} "
            "there keeps what is measured)",
            *(f"{out}: {line}" for line in found),
        )


@contextmanager
def only_spotting(out: Path) -> Iterator[None]:
    """Hold the folder for one run. Raises ConfigError where another is at work in it, DataError where it cannot be
    written.
    """
    busy = f"{out}: another slstt-spot is at work in it; wait for it"
    with locked(out / ".spot.lock", wait=0.0, busy=busy, needed=False):
        for part in out.rglob(".*.part"):
            part.unlink(missing_ok=True)
        yield


def spot_release(plan: SpottingPlan, quiet: bool = False) -> SpottingResult:
    """Measure what is not kept, choose or take thresholds, and write the tables.

    Raises WeightsError before any work where the landmark model is missing, DataError where no recording can be
    measured or there are fewer than two subjects to choose on.
    """
    tasks = plan.tasks()
    with only_spotting(plan.out):
        # It comes first: it alone says whose intervals lie here, wherever this is interrupted.
        write_json(plan.out / ABOUT, {**plan.about, "failed": []})
        outcomes = _measured(plan, tasks, quiet)
        failures = {outcome.key: outcome.failure for outcome in outcomes if outcome.signals is None}
        write_csv(
            plan.out / FAILURES,
            ("dataset", "subject", "clip", "reason"),
            [(*key, reason) for key, reason in sorted(failures.items())],
        )
        if len(failures) == len(outcomes):
            raise DataError(
                f"{plan.release.root}: none of the {len(outcomes)} recordings can be measured, each reason is in "
                f"{plan.out / FAILURES}; the first: {next(iter(failures.values()))}"
            )
        signals = {outcome.key: outcome.signals for outcome in outcomes if outcome.signals is not None}
        chosen = _chosen(plan, signals)
        found = [_spotted(one, signals.get(one.key), plan.config.spot.method, chosen) for one in plan.recordings]
        unclassified = 0
        if plan.recognition is not None:
            from slstt.spotting.recognise import recognised

            found, unclassified = recognised(plan, found, tasks, quiet)
        write_spotted(plan.out, found)
        _write_chosen(plan.out / CHOSEN, chosen)
        write_json(plan.out / ABOUT, {**plan.about, "failed": [name_of(key) for key in sorted(failures)]})
        remarks = {outcome.key: outcome.remarks for outcome in outcomes if outcome.remarks}
        kept = sum(outcome.kept for outcome in outcomes)
        measured = len(outcomes) - kept - len(failures)
        return SpottingResult(tuple(found), failures, chosen, remarks, measured, kept, unclassified)


def _measured(plan: SpottingPlan, tasks: Sequence[MeasuringTask], quiet: bool) -> list[MeasuringOutcome]:
    """The outcome of every recording, sorted by key; those kept first need no worker."""
    outcomes, todo = [], []
    for task in tasks:
        kept = kept_signals(task)
        outcomes += [] if kept is None else [kept]
        todo += [task] if kept is None else []
    failed = 0
    with (
        Progress(f"spot {plan.release.dataset}", len(tasks), done=len(outcomes), unit="video", quiet=quiet) as progress,
        workers.at_work(make_measuring, (), todo, where_to_work(plan)) as done,
    ):
        for one in done:
            if isinstance(one, workers.Died):
                reason = f"its worker process ended twice ({one.how}); run again, with fewer --workers"
                outcome = MeasuringOutcome(one.task.recording.key, None, reason)
            else:
                outcome = one.result
            failed += outcome.signals is None
            outcomes.append(outcome)
            progress.advance(failed=failed)
    return sorted(outcomes, key=lambda outcome: outcome.key)


def make_measuring(worker: workers.Worker) -> Callable[[MeasuringTask], MeasuringOutcome]:
    """For the pool: what measures one recording."""
    from slstt.face.landmarks import LandmarkDetector

    detector = LandmarkDetector()

    def work(task: MeasuringTask) -> MeasuringOutcome:
        with workers.one_thread():
            return measure(task, detector)

    return work


def where_to_work(plan: SpottingPlan) -> workers.Where:
    """This process, processes of this machine, or Ray."""
    if plan.config.run.executor == "ray":
        return OnRay(plan.config.run.ray_address, "run.ray_address", plan.out, plan.workers)
    return workers.Here() if plan.workers == 1 else workers.OnProcesses(plan.workers)


def _chosen(
    plan: SpottingPlan, signals: Mapping[tuple[str, str, str], Signals]
) -> dict[tuple[tuple[str, str], Kind], Chosen]:
    if plan.fixed is None:
        return choose(plan.recordings, signals, plan.config)
    subjects = sorted({one.key[:2] for one in plan.recordings})
    return {(subject, kind): Chosen(choice, None) for subject in subjects for kind, choice in plan.fixed.items()}


def _spotted(
    one: AnnotatedRecording,
    signals: Signals | None,
    method: str,
    chosen: Mapping[tuple[tuple[str, str], Kind], Chosen],
) -> SpottedVideo:
    return one.scored(
        interval for kind in KINDS for interval in spot(one, signals, method, kind, chosen[one.key[:2], kind].choice)
    )


def _write_chosen(path: Path, chosen: Mapping[tuple[tuple[str, str], Kind], Chosen]) -> None:
    rows = [
        (*subject, kind, f"{one.choice.threshold:g}", f"{one.choice.length_ms:g}", _f1_text(one.training_f1))
        for (subject, kind), one in sorted(chosen.items())
    ]
    write_csv(path, ("dataset", "subject", "kind", "threshold", "length_ms", "training_f1"), rows)


def _f1_text(f1: float | None) -> str:
    return "" if f1 is None else f"{f1:.4f}"
