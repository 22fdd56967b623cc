"""One start of slstt-preprocess: all clips, the tables and manifest of a folder, which data sets may share, its page.

The page shows what was done to every clip: failed and flagged ones first, then all others. Each data set's part is kept
in `report/parts/`, and `report/index.html` is all parts in one page that needs no other file. A clip costs some 20 kB
(its strip was drawn by the worker and lies in the flow file), so 250 clips give 5 MB.
"""

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from slstt import __version__, downloads, workers
from slstt.config.load import differing_keys, load_config
from slstt.config.preprocess import MOST_WORKERS, PreprocessConfig
from slstt.datasets import read_release
from slstt.datasets.clips import (
    FIRST_INDEX_COLUMNS,
    INDEX_COLUMNS,
    Clip,
    Release,
    Remark,
    index_row,
    index_values,
    within_intervals,
)
from slstt.errors import ConfigError, DataError, Problems
from slstt.files import data_frame, fingerprint, locked, read_csv, sha256, write_csv, write_json, write_text
from slstt.flow.flow_files import FLOW_VERSION, MANIFEST, flow_path, read_manifest
from slstt.images import data_uri
from slstt.pages import render
from slstt.preprocessing.provenance import ClipOutcome, FlowRecord, Task, dependencies, is_current, read_record
from slstt.progress import Progress
from slstt.ray_workers import OnRay

if TYPE_CHECKING:
    import pandas

REMARK_COLUMNS = ("dataset", "subject", "clip", "reason")
INDEX, FAILURES, FLAGS = "index.csv", "failures.csv", "flags.csv"
RETRIED = ("worker_died", "fault")
"""Failures that are tried again each time: they say something about the machine or about slstt, not about the clip."""


def write_tables(
    out: Path, dataset: str, clips: Iterable[Clip], remarks: Iterable[Remark], manifest: Mapping[str, Any]
) -> None:
    """Replace the data set's rows in index.csv, failures.csv and flags.csv and its part of manifest.json.

    `clips` are those that have a flow file; `remarks` of action `failure` and `flag` go to their tables. Raises
    DataError where a table that is there cannot be read.
    """
    remarks = list(remarks)
    with only_writer(out):
        _replace_rows(out / INDEX, INDEX_COLUMNS, dataset, [index_row(clip) for clip in clips])
        for name, action in ((FAILURES, "failure"), (FLAGS, "flag")):
            rows = [(r.dataset, r.subject, r.clip, f"{r.kind}: {r.reason}") for r in remarks if r.action == action]
            _replace_rows(out / name, REMARK_COLUMNS, dataset, rows)
        write_json(out / MANIFEST, dict(sorted({**read_manifest(out), dataset: dict(manifest)}.items())))


def versions() -> dict[str, str]:
    """The versions of everything that computes: they may change a result in its last digits.

    The modules are asked, not the packages: OpenCV and dlib come in several packages of different names.
    """
    import cv2
    import dlib
    import safetensors

    found = {"numpy": np, "opencv": cv2, "dlib": dlib, "safetensors": safetensors}
    return {
        "slstt": __version__,
        **{name: module.__version__ for name, module in found.items()},
        "torch": _torch_version(),
    }


def _torch_version() -> str:
    """Torch's version from its own version.py: importing torch takes seconds that a run without work would not need."""
    if torch := sys.modules.get("torch"):
        return torch.__version__
    package = importlib.util.find_spec("torch")
    assert package is not None and package.origin is not None  # a dependency
    spec = importlib.util.spec_from_file_location("_torch_version", Path(package.origin).parent / "version.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.__version__


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold what the data sets in an output folder share, and clear away what killed runs left half-written there."""
    with locked(out / ".tables.lock", needed=False):
        for part in [*out.glob(".*.part"), *out.glob("report/**/.*.part")]:
            part.unlink(missing_ok=True)
        yield


@contextmanager
def only_run(out: Path, dataset: str) -> Iterator[None]:
    """Hold the output folder for one run over `dataset`.

    Raises ConfigError where another run has it, DataError where it cannot be written.
    """
    busy = f"{out}: another slstt-preprocess is at work in it; wait for it"
    with locked(out / f".{dataset}.lock", wait=0.0, busy=busy, needed=False):
        yield


def _replace_rows(path: Path, columns: tuple[str, ...], dataset: str, rows: list[tuple[str, ...]]) -> None:
    required = FIRST_INDEX_COLUMNS if columns == INDEX_COLUMNS else columns
    before = read_csv(path, required) if path.exists() else []
    others = [tuple(row.get(c, "") for c in columns) for row in before if row["dataset"] != dataset]
    write_csv(path, columns, sorted([*others, *rows]))


ClipKey = tuple[str, str, str]
APEX_KINDS = ("apex_missing", "apex_outside")
"""Remarks of the reader that the pipeline replaces by its own, which says what was done."""


@dataclass(frozen=True)
class PreprocessingResult:
    """What a run over one release left in the output folder."""

    release: Release
    clips: tuple[Clip, ...]
    """Clips that have a flow file, with the apex that was used."""
    remarks: tuple[Remark, ...]
    """Of the reader and of the pipeline; `failure` ones have no flow file."""
    records: Mapping[ClipKey, FlowRecord]
    computed: int
    kept: int
    """How many were there already."""
    not_retried: int = 0
    """How many failed in an earlier run and were not tried again."""
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

    def to_pandas(self) -> "pandas.DataFrame":
        """The clips that have flow, one row each, with the columns of index.csv. Raises ConfigError where pandas is
        absent."""
        return data_frame(INDEX_COLUMNS, [index_values(clip) for clip in self.clips])


@dataclass(frozen=True)
class FailedClip:
    """Why a clip has no flow file."""

    kind: str
    reason: str
    fingerprint: str
    """Of everything that may have a say: with the same one the clip would fail again."""


def read_inputs(
    dataset: str,
    root: Path,
    out: Path,
    annotations: Path | None = None,
    landmarks: Path | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    worker_count: int | None = None,
) -> tuple[PreprocessConfig, Release, Mapping[ClipKey, np.ndarray], int]:
    """(settings, release, given landmarks, number of workers) of a run; the workers are `worker_count`, else
    `run.workers`, else the cores this process may use.

    Raises every problem of all of them at once, as ConfigError or DataError.
    """
    problems, settings, release, points = Problems(), None, None, {}
    if worker_count is not None and not 1 <= worker_count <= MOST_WORKERS:
        problems.add(ConfigError(f"--workers {worker_count}: from 1 to {MOST_WORKERS}"))
    with problems.collecting():
        settings = load_config(PreprocessConfig, config, overrides)
    if out.exists() and not out.is_dir():
        problems.add(DataError(f"{out}: is a file; --out must name a folder"))
    with problems.collecting():
        release = read_release(dataset, root, annotations)
    if landmarks is not None:
        with problems.collecting():
            from slstt.face.landmarks import read_landmarks

            points = read_landmarks(landmarks)
    problems.raise_if_any()
    assert settings is not None and release is not None
    return settings, release, points, worker_count or settings.run.workers or workers.cores()


def preprocess(
    release: Release,
    config: PreprocessConfig,
    out: Path,
    landmarks: Mapping[ClipKey, np.ndarray] | None = None,
    worker_count: int = 1,
    quiet: bool = False,
    retry: bool = False,
) -> PreprocessingResult:
    """Bring every clip of `release` into `out`: flow files, index.csv, failures.csv, flags.csv, manifest.json.

    `landmarks` are given points (68, 2) by clip key; clips without get dlib's. A clip that failed before is tried again
    where its files or settings have changed, or with `retry`. Raises WeightsError before any work where a model is
    missing, DataError where `out` cannot be written, ConfigError where another run is at work in it.
    """
    landmarks, release = landmarks or {}, within_intervals(release)
    models = model_hashes(config, release, landmarks)
    with only_run(out, release.dataset):
        return _preprocess(release, config, out, landmarks, models, worker_count, quiet, retry)


def model_hashes(config: PreprocessConfig, release: Release, landmarks: Mapping[ClipKey, np.ndarray]) -> dict[str, str]:
    """The SHA-256 of the models this run may need; raises WeightsError where one is missing and cannot be fetched."""
    hashes = {}
    if any(clip.key not in landmarks for clip in release.clips):
        model = downloads.landmark_model()
        # The package's file has just been compared with the pinned hash; 100 MB need not be read twice.
        named = os.environ.get("SLSTT_LANDMARK_MODEL")
        hashes["landmark_model"] = sha256(model) if named else downloads.LANDMARK_SHA256
    if config.interpolation.method == "rife":
        hashes["rife"] = sha256(downloads.rife_weights())
    return hashes


def _preprocess(
    release: Release,
    config: PreprocessConfig,
    out: Path,
    landmarks: Mapping[ClipKey, np.ndarray],
    models: Mapping[str, str],
    worker_count: int,
    quiet: bool,
    retry: bool,
) -> PreprocessingResult:
    _remove_parts(out / "flow" / release.dataset)
    records: dict[ClipKey, FlowRecord] = {}
    todo: list[tuple[Clip, dict[str, Any]]] = []
    failed = {} if retry else _failed_before(out, release.dataset)
    failures: dict[ClipKey, FailedClip] = {}
    for clip in release.clips:
        now = dependencies(config, clip, landmarks.get(clip.key), models)
        record = _current(flow_path(out, clip.key), now)
        before = failed.get(clip.key)
        if record is not None:
            records[clip.key] = record
        elif before is not None and before.fingerprint == fingerprint(now):
            failures[clip.key] = before
        else:
            todo.append((clip, now))
    kept, again = len(records), len(failures)
    manifest = _manifest(release, config, landmarks, models)
    if todo and not quiet:
        _say_what_changed(out, release.dataset, manifest)
    # Until the run is over the tables list only what is certain: training never sees flow of mixed settings.
    result = _collect(release, records, failures, kept, again, {})
    state = {"finished": not todo, "failed": _listed(failures)}
    write_tables(out, release.dataset, result.clips, result.remarks, manifest | state)
    if not todo:
        return result

    fingerprints = {clip.key: fingerprint(now) for clip, now in todo}
    seconds: Counter[str] = Counter()
    tasks = [Task(clip, flow_path(out, clip.key), now, landmarks.get(clip.key)) for clip, now in todo]
    with (
        Progress(f"preprocess {release.dataset}", len(release.clips), done=kept + again, quiet=quiet) as progress,
        workers.at_work(_make_work, (config,), tasks, _where(config, out, worker_count)) as outcomes,
    ):
        for outcome in outcomes:
            if isinstance(outcome, workers.Died):
                key = outcome.task.clip.key
                reason = f"its worker process ended twice ({outcome.how}); run again, with fewer --workers"
                failures[key] = FailedClip("worker_died", reason, fingerprints[key])
            else:
                made: ClipOutcome = outcome.result
                if made.failure is not None:
                    failures[made.key] = FailedClip(made.failure.kind, made.failure.reason, fingerprints[made.key])
                elif made.record is not None:
                    records[made.key] = made.record
                    seconds.update(made.seconds)
            progress.advance(failed=len(failures))
    result = _collect(release, records, failures, kept, again, seconds)
    state = {"finished": True, "failed": _listed(failures)}
    write_tables(out, release.dataset, result.clips, result.remarks, manifest | state)
    return result


def _where(config: PreprocessConfig, out: Path, worker_count: int) -> workers.Where:
    if config.run.executor == "ray":
        return OnRay(config.run.ray_address, "run.ray_address", out, worker_count)
    return workers.Here() if worker_count == 1 else workers.OnProcesses(worker_count)


def _make_work(worker: workers.Worker, config: PreprocessConfig) -> Callable[[Task], ClipOutcome]:
    from slstt.preprocessing.clip import make_worker

    process = make_worker(config)

    def work(task: Task) -> ClipOutcome:
        with workers.one_thread():
            return process(task)

    return work


def _collect(
    release: Release,
    records: Mapping[ClipKey, FlowRecord],
    failures: Mapping[ClipKey, FailedClip],
    kept: int,
    again: int,
    seconds: Mapping[str, float],
) -> PreprocessingResult:
    from slstt.face.landmarks import outliers

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
    remarks += [Remark(*key, failed.kind, failed.reason, "failure") for key, failed in failures.items()]
    remarks.sort(key=lambda r: (r.dataset, r.subject, r.clip, r.kind, r.reason))
    return PreprocessingResult(release, clips, tuple(remarks), records, len(records) - kept, kept, again, dict(seconds))


def _current(path: Path, now: Mapping[str, Any]) -> FlowRecord | None:
    try:
        record = read_record(path)
    except DataError:
        return None  # absent or damaged: made again
    return record if is_current(record, now) else None


def _failed_before(out: Path, dataset: str) -> dict[ClipKey, FailedClip]:
    """The clips that an earlier run could not use, as manifest.json lists them; what is malformed is tried again."""
    failed: dict[ClipKey, FailedClip] = {}
    listed = read_manifest(out).get(dataset, {}).get("failed")
    for entry in listed if isinstance(listed, list) else ():
        with suppress(KeyError, TypeError):
            key = (dataset, str(entry["subject"]), str(entry["clip"]))
            failed[key] = FailedClip(str(entry["kind"]), str(entry["reason"]), str(entry["fingerprint"]))
    return failed


def _listed(failures: Mapping[ClipKey, FailedClip]) -> list[dict[str, str]]:
    return [
        {"subject": subject, "clip": clip, **asdict(failed)}
        for (_, subject, clip), failed in sorted(failures.items())
        if failed.kind not in RETRIED
    ]


def _manifest(
    release: Release, config: PreprocessConfig, landmarks: Mapping[ClipKey, np.ndarray], models: Mapping[str, str]
) -> dict[str, Any]:
    # `run` is left out: where the clips were worked on changes nothing.
    settings = config.model_dump(mode="json", exclude={"run"})
    return {
        "layout": release.layout,
        "root": str(release.root),
        "annotations": None if release.annotations is None else str(release.annotations),
        "clips": len(release.clips),
        "given_landmarks": sum(clip.key in landmarks for clip in release.clips),
        "version": FLOW_VERSION,
        "settings": settings,
        "models": dict(models),
        "versions": versions(),
    }


def _say_what_changed(out: Path, dataset: str, manifest: Mapping[str, Any]) -> None:
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


CURVE_WIDTH, CURVE_HEIGHT, CURVE_MARGIN = 300, 64, 6
"""Of the intensity curve, in SVG units."""


@dataclass(frozen=True)
class ClipCard:
    """One clip on the page."""

    clip: Clip
    record: FlowRecord
    flags: list[Remark]
    curve: list[tuple[float, float]]
    """Points of the intensity curve in SVG units, the onset's first."""
    apex_x: float
    """Where the apex lies on the curve."""

    @property
    def picture(self) -> str:
        """The strip as a `data:` URI."""
        return data_uri(self.record.picture, "image/jpeg")


def write_report(result: PreprocessingResult, out: Path) -> Path:
    """Write the data set's part and `report/index.html` below `out`; returns the page's path."""
    cards = _cards(result)
    failures = sorted(result.failures, key=lambda r: (r.kind, r.subject, r.clip))
    part = render(
        "preprocessing_part.html",
        dataset=result.release.dataset,
        layout=result.release.layout,
        annotations=result.release.annotations,
        failures=[(kind, list(same)) for kind, same in groupby(failures, key=lambda r: r.kind)],
        failed=len({(r.subject, r.clip) for r in failures}),
        flagged=[card for card in cards if card.flags],
        plain=[card for card in cards if not card.flags],
        flag_kinds=sorted(Counter(r.kind for r in result.flags).items()),
        ignored=sorted(Counter(r.kind for r in result.remarks if r.action == "ignored").items()),
        emotions=Counter(clip.emotion for clip in result.clips).most_common(),
        subjects=sorted(Counter(clip.subject for clip in result.clips).items()),
        apexes=Counter(record.about["apex_from"] for record in result.records.values()).most_common(),
        curve=(CURVE_WIDTH, CURVE_HEIGHT, CURVE_MARGIN),
    )
    page, folder = out / "report" / "index.html", out / "report" / "parts"
    with only_writer(out):
        write_text(folder / f"{result.release.dataset}.html", part)
        parts = {path.stem: Markup(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[!.]*.html"))}
        write_text(page, render("preprocessing.html", parts=parts))
    return page


def _cards(result: PreprocessingResult) -> list[ClipCard]:
    flags: dict[tuple[str, str, str], list[Remark]] = {}
    for remark in result.flags:
        flags.setdefault((remark.dataset, remark.subject, remark.clip), []).append(remark)
    cards = []
    for clip in sorted(result.clips, key=lambda clip: clip.key):
        record = result.records[clip.key]
        curve, apex_x = _curve(clip, record)
        cards.append(ClipCard(clip, record, flags.get(clip.key, []), curve, apex_x))
    return cards


def _curve(clip: Clip, record: FlowRecord) -> tuple[list[tuple[float, float]], float]:
    """The intensity (mean flow length) over the frames, from the onset's 0 on, and the apex's x; SVG units."""
    about = record.about
    positions = [clip.onset, *about["positions"]]
    values = [0.0, *about["intensity"]]
    highest = max(values) or 1.0
    width, height = CURVE_WIDTH - 2 * CURVE_MARGIN, CURVE_HEIGHT - 2 * CURVE_MARGIN
    span = max(positions[-1], about["apex"]) - positions[0] or 1

    def x(position: int | float) -> float:
        return round(CURVE_MARGIN + width * (position - positions[0]) / span, 1)

    points = [
        (x(position), round(CURVE_MARGIN + height * (1 - value / highest), 1))
        for position, value in zip(positions, values, strict=True)
    ]
    return points, x(about["apex"])
