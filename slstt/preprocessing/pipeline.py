"""All clips of a release: which are still to do, many at once, and what the output folder says about them.

A clip is done when its flow file is whole and current, so a run that was killed at any moment is continued by running
it again. Results do not depend on the number of workers, on their order, or on interruptions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from slstt import weights
from slstt.config.load import differing_keys
from slstt.config.preprocess import PreprocessConfig
from slstt.datasets.cache import flow_path, read_manifest
from slstt.datasets.clip import Clip, Release, Remark
from slstt.errors import DataError
from slstt.files import sha256
from slstt.preprocessing import tables, workers
from slstt.preprocessing.record import Outcome, Record, Task, determinants, is_current, read_record
from slstt.progress import Progress

Key = tuple[str, str, str]
APEX_KINDS = ("apex_missing", "apex_outside")
"""Remarks of the reader that the pipeline replaces by its own, which says what was done."""


@dataclass(frozen=True)
class Result:
    """What a run over one release left in the output folder."""

    release: Release
    clips: tuple[Clip, ...]
    """Clips that have a flow file, with the apex that was used."""
    remarks: tuple[Remark, ...]
    """Of the reader and of the pipeline; `failure` ones have no flow file."""
    records: Mapping[Key, Record]
    computed: int
    kept: int
    """How many were there already."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time per stage, summed over the workers."""

    @property
    def failures(self) -> list[Remark]:
        """One per clip or row without a flow file, or more."""
        return [remark for remark in self.remarks if remark.action == "failure"]

    @property
    def flags(self) -> list[Remark]:
        """What is to be said about clips that have a flow file."""
        return [remark for remark in self.remarks if remark.action == "flag"]


def preprocess(
    release: Release,
    config: PreprocessConfig,
    out: Path,
    landmarks: Mapping[Key, np.ndarray] | None = None,
    worker_count: int = 1,
    quiet: bool = False,
) -> Result:
    """Bring every clip of `release` into `out`: flow files, index.csv, failures.csv, flags.csv, manifest.json.

    `landmarks` are given points (68, 2) by clip key; clips without get dlib's. Raises WeightsError before any work
    where a model is missing, DataError where `out` cannot be written, ConfigError where another run is at work in it.
    """
    landmarks = landmarks or {}
    models = model_hashes(config, release, landmarks)
    with tables.only_run(out, release.dataset):
        return _preprocess(release, config, out, landmarks, models, worker_count, quiet)


def model_hashes(config: PreprocessConfig, release: Release, landmarks: Mapping[Key, np.ndarray]) -> dict[str, str]:
    """The SHA-256 of the models this run may need; raises WeightsError where one is missing and cannot be fetched."""
    hashes = {}
    if any(clip.key not in landmarks for clip in release.clips):
        hashes["landmark_model"] = sha256(weights.landmark_model())
    if config.interpolation.method == "rife":
        hashes["rife"] = sha256(weights.rife_weights())
    return hashes


def _preprocess(
    release: Release,
    config: PreprocessConfig,
    out: Path,
    landmarks: Mapping[Key, np.ndarray],
    models: Mapping[str, str],
    worker_count: int,
    quiet: bool,
) -> Result:
    _remove_parts(out / "flow" / release.dataset)
    records: dict[Key, Record] = {}
    todo: list[tuple[Clip, dict[str, Any]]] = []
    for clip in release.clips:
        now = determinants(config, clip, landmarks.get(clip.key), models)
        record = _current(flow_path(out, clip.key), now)
        if record is None:
            todo.append((clip, now))
        else:
            records[clip.key] = record
    kept = len(records)
    manifest = _manifest(release, config, landmarks, models)
    if todo and not quiet:
        _say_what_changed(out, release.dataset, manifest)
    # Until the run is over the tables list only what is certain: training never sees flow of mixed settings.
    result = _collect(release, records, [], kept, {})
    tables.write_tables(out, release.dataset, result.clips, result.remarks, {**manifest, "finished": not todo})
    if not todo:
        return result

    failures: list[Remark] = []
    seconds: Counter[str] = Counter()
    with Progress(f"preprocess {release.dataset}", len(release.clips), done=kept, quiet=quiet) as progress:
        for outcome in _outcomes(todo, config, out, landmarks, worker_count):
            if isinstance(outcome, workers.Died):
                clip = outcome.task.clip
                reason = (
                    f"its worker process ended (code {outcome.exit_code}; memory?); run again, with fewer --workers"
                )
                failures.append(Remark(clip.dataset, clip.subject, clip.name, "worker_died", reason, "failure"))
            elif outcome.record is None:
                failures.append(outcome.failure)
            else:
                records[outcome.key] = outcome.record
                seconds.update(outcome.seconds)
            progress.advance(failed=len(failures))
    result = _collect(release, records, failures, kept, seconds)
    tables.write_tables(out, release.dataset, result.clips, result.remarks, {**manifest, "finished": True})
    return result


def _outcomes(
    todo: Sequence[tuple[Clip, dict[str, Any]]],
    config: PreprocessConfig,
    out: Path,
    landmarks: Mapping[Key, np.ndarray],
    worker_count: int,
) -> Iterator[Any]:
    tasks = [Task(clip, flow_path(out, clip.key), now, landmarks.get(clip.key)) for clip, now in todo]
    if config.run.executor == "ray":
        yield from workers.on_ray(_make_worker, (config,), tasks, worker_count, config.run.ray_address)
    elif worker_count == 1:
        yield from workers.here(_make_worker, (config,), tasks)
    else:
        yield from workers.in_processes(_make_worker, (config,), tasks, worker_count)


def _make_worker(config: PreprocessConfig) -> Callable[[Task], Outcome]:
    from slstt.preprocessing.one_clip import make_worker  # here: torch is loaded by the workers alone

    return make_worker(config)


def _collect(
    release: Release, records: Mapping[Key, Record], failures: Sequence[Remark], kept: int, seconds: Mapping[str, float]
) -> Result:
    from slstt.preprocessing.landmarks import outliers  # here: it imports dlib

    clips = tuple(replace(clip, apex=records[clip.key].about["apex"]) for clip in release.clips if clip.key in records)
    # A flag says something about a clip that is kept: those of clips without flow give way to the failure.
    lost = {clip.key for clip in release.clips} - records.keys()
    remarks = [
        remark
        for remark in release.remarks
        if remark.kind not in APEX_KINDS
        and not (remark.action == "flag" and (remark.dataset, remark.subject, remark.clip) in lost)
    ]
    for key, record in records.items():
        remarks += [Remark(*key, kind, reason, "flag") for kind, reason in record.about["remarks"]]
    odd = outliers({key: record.landmarks for key, record in records.items()})
    remarks += [Remark(*key, "landmark_outlier", reason, "flag") for key, reason in odd.items()]
    remarks += failures
    remarks.sort(key=lambda r: (r.dataset, r.subject, r.clip, r.kind, r.reason))
    return Result(release, clips, tuple(remarks), records, len(records) - kept, kept, dict(seconds))


def _current(path: Path, now: Mapping[str, Any]) -> Record | None:
    try:
        record = read_record(path)
    except DataError:
        return None  # absent or damaged: made again
    return record if is_current(record, now) else None


def _manifest(
    release: Release, config: PreprocessConfig, landmarks: Mapping[Key, np.ndarray], models: Mapping[str, str]
) -> dict[str, Any]:
    # `run` is left out: where the clips were worked on changes nothing.
    settings = config.model_dump(mode="json", exclude={"run"})
    return {
        "layout": release.layout,
        "root": str(release.root),
        "annotations": None if release.annotations is None else str(release.annotations),
        "clips": len(release.clips),
        "given_landmarks": sum(clip.key in landmarks for clip in release.clips),
        "settings": settings,
        "models": dict(models),
        "versions": tables.versions(),
    }


def _say_what_changed(out: Path, dataset: str, manifest: Mapping[str, Any]) -> None:
    import sys

    before = read_manifest(out).get(dataset)
    if before is None:
        return
    for part in ("settings", "models", "versions"):
        for difference in differing_keys(dict(manifest[part]), before.get(part, {})):
            print(f"changed since the last run: {difference}", file=sys.stderr)


def _remove_parts(folder: Path) -> None:
    """What a killed run left half-written."""
    for part in folder.glob("*/.*.part"):
        part.unlink(missing_ok=True)
