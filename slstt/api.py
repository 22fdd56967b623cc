"""slstt from Python, one function a stage: `slstt.predict`, `slstt.preprocess`, `slstt.read_run`, `slstt.evaluate`.

They do what the commands do, with the same files and settings, and return the results as frozen dataclasses, whose
`to_pandas()` needs pandas. Each loads what it needs when it is called, so `import slstt` takes no time.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from slstt.datasets.clips import Kind, Release
    from slstt.evaluation.run import EvaluatedRun, UnitRun
    from slstt.prediction.face_motion import GivenInterval
    from slstt.prediction.results import PredictionResult
    from slstt.preprocessing.run import PreprocessingResult


def predict(
    path: str | Path,
    out: str | Path | None = None,
    *,
    weights: str = "default",
    fps: float | None = None,
    intervals: Sequence[Sequence[int | None]] | str | Path | None = None,
    settings: Sequence[str] = (),
    video: bool = False,
    quiet: bool = False,
    advance: Callable[[int, int], object] | None = None,
) -> "PredictionResult":
    """Spot and classify the micro-expressions of one recording; nothing but the recording is needed.

    Examples:
        >>> import slstt
        >>> result = slstt.predict("talk.avi", quiet=True)
        >>> for one in result.found:
        ...     print(one.interval.onset, one.interval.apex, one.interval.offset, one.label)  # doctest: +ELLIPSIS
        7... 8... 9... positive
        >>> result.to_pandas()[["onset_s", "offset_s", "source", "predicted_label"]].round(1)
           onset_s  offset_s   source predicted_label
        0      0.8       1.0  spotted        positive

    Args:
        path: A video file, or a folder of frames, which needs `fps`.
        out: The folder to write to; by default `predicted/<name of the recording>`. It gets what `slstt-predict`
            writes: tables, an ELAN file and report.html. A finished result there is read, not computed again.
        weights: `default`, another name of weights that come with slstt, a model file, or a run of slstt-train.
        fps: Frames per second; goes before what a video says.
        intervals: Classify these instead of spotting: (onset, apex, offset) each, in frame numbers from 0, all three
            included, where apex and offset may be None or left out; or a csv or ELAN file.
        settings: `section.key=value` each, as on the command line.
        video: Also write an annotated video.
        quiet: Show no progress.
        advance: Called as `advance(measured, total)` with the number of frames measured so far.

    Returns:
        The intervals in order, each with frames, seconds and the probability of each class.

    Raises:
        ConfigError: A setting, an interval or `fps` is impossible; or `out` holds something else.
        DataError: The recording cannot be read or shows no face; or `out` cannot be written.
        WeightsError: The weights, or a model that all recordings need, are missing.
    """
    from slstt.errors import ConfigError, DataError, Problems
    from slstt.prediction.classify import find_classifier, read_settings
    from slstt.prediction.interval_files import read_intervals
    from slstt.prediction.recording import open_recordings
    from slstt.prediction.run import Predictor, only_run, refuse_other
    from slstt.progress import Progress

    path, problems, classifier, predict_settings = Path(path), Problems(), None, None
    recordings = []
    with problems.collecting():
        recordings = open_recordings(path, fps)
        if len(recordings) > 1:
            raise ConfigError(
                f"{path}: holds {len(recordings)} recordings; predict them one by one, or by slstt-predict"
            )
    with problems.collecting():
        classifier = find_classifier(weights)
        predict_settings, _ = read_settings(classifier, settings)
    problems.raise_if_any()
    assert classifier is not None and predict_settings is not None
    (recording,) = recordings
    if recording.problem is not None:
        raise DataError(recording.problem)
    given = None
    if isinstance(intervals, str | Path):
        given = read_intervals(Path(intervals), recordings)
    elif intervals is not None:
        given = {recording.name: tuple(map(_given, intervals))}
    predictor = Predictor(classifier, predict_settings, given, video)
    predictor.check(recording)
    out = Path("predicted") / path.resolve().stem if out is None else Path(out)
    refuse_other(out, path)
    predictor.prepare()
    with only_run(out, path):
        finished = predictor.finished(recording, out)
        if finished is not None:
            return finished
        total = predictor.frames_to_measure(recording)
        with Progress(recording.name, total, unit="frame", quiet=quiet) as progress:

            def count(frames: int) -> None:
                progress.advance(frames)
                if advance is not None:
                    advance(progress.done, total)

            return predictor.predict(recording, out, count)


def _given(interval: Sequence[int | None]) -> "GivenInterval":
    from slstt.errors import ConfigError
    from slstt.prediction.face_motion import GivenInterval

    onset, apex, offset = (*interval, None, None, None)[:3]
    if onset is None or len(interval) > 3:
        raise ConfigError(f"intervals: {tuple(interval)}: needs (onset,), (onset, apex) or (onset, apex, offset)")
    return GivenInterval(onset, apex, offset, f"intervals: {tuple(interval)}")


def read_release(dataset: str, root: str | Path, annotations: str | Path | None = None) -> "Release":
    """Read a data set as its owners publish it: its clips, and remarks on what does not fit. No picture is opened.

    Examples:
        >>> import slstt
        >>> release = slstt.read_release("casme2", "CASME2")
        >>> len(release.clips), release.clips[0].subject, release.clips[0].name
        (4, 'sub01', 'EP01_01f')
        >>> release.to_pandas().groupby("subject").size().to_dict()
        {'sub01': 2, 'sub02': 2}

    Args:
        dataset: `casme2`, `samm`, `smic`, ...: the names of docs/datasets.md, or `table`.
        root: The folder of the data set, at any level above the subjects.
        annotations: A coding sheet to use instead of the one found below `root`.

    Raises:
        ConfigError: No data set has this name.
        DataError: Everything that keeps it from being read: folder, layout, coding sheet.
    """
    from slstt import datasets
    from slstt.errors import ConfigError

    if dataset not in datasets.DATASETS:
        raise ConfigError(f"no data set is called '{dataset}'; there are {', '.join(datasets.DATASETS)}")
    return datasets.read_release(dataset, Path(root), None if annotations is None else Path(annotations))


def preprocess(
    dataset: str,
    root: str | Path,
    out: str | Path,
    *,
    annotations: str | Path | None = None,
    landmarks: str | Path | None = None,
    kinds: 'Kind | Literal["all"]' = "micro",
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    workers: int = 1,
    retry: bool = False,
    quiet: bool = False,
) -> "PreprocessingResult":
    """Bring every clip of a data set from its frames to its flow file below `out`, as `slstt-preprocess` does.

    Examples:
        >>> import slstt
        >>> result = slstt.preprocess("casme2", "CASME2", "cache", quiet=True, settings=["frames.count=1"])
        >>> len(result.clips), len(result.failures)
        (4, 0)
        >>> slstt.preprocess("casme2", "CASME2", "cache", quiet=True, settings=["frames.count=1"]).kept
        4

    Args:
        dataset: `casme2`, `samm`, `smic`, ...: the names of docs/datasets.md, or `table`.
        root: The folder of the data set, at any level above the subjects; with `table` the table.
        out: The folder for flow files, tables and report; several data sets may share one.
        annotations: A coding sheet to use instead of the one found below `root`.
        landmarks: A file of 68 points per clip to use instead of dlib's.
        kinds: `micro`, `macro` or `all`.
        config: Settings as YAML, of your own or shipped (`configs/paper/preprocess.yaml`).
        settings: `section.key=value` each, which win over `config`.
        workers: Number of processes. A script that asks for more than one needs
            `if __name__ == "__main__":`, as with all processes that Python starts afresh.
        retry: Try clips again that failed before and have not changed.
        quiet: Show no progress.

    Returns:
        The clips that have flow, and a remark for each that failed or is to be looked at.

    Raises:
        ConfigError: A setting is impossible, or another run is at work in `out`.
        DataError: The data set cannot be read, or `out` cannot be written.
        WeightsError: A model is missing and cannot be fetched.
    """
    from slstt.datasets.clips import KINDS, of_kinds
    from slstt.errors import ConfigError
    from slstt.preprocessing import run

    if kinds != "all" and kinds not in KINDS:
        raise ConfigError(f"kinds '{kinds}': one of {', '.join(KINDS)}, all")
    sheet, points, file = (None if name is None else Path(name) for name in (annotations, landmarks, config))
    chosen, whole, given, count = run.read_inputs(
        dataset, Path(root), Path(out), sheet, points, file, settings, workers
    )
    release = of_kinds(whole, KINDS if kinds == "all" else (kinds,))
    result = run.preprocess(release, chosen, Path(out), given, count, quiet, retry)
    run.write_report(result, Path(out))
    return result


def read_run(folder: str | Path) -> "EvaluatedRun | UnitRun":
    """Read a run of slstt-train, or any folder with a predictions.csv. Needs no torch.

    Examples:
        >>> import slstt
        >>> run = slstt.read_run("runs/mine")
        >>> len(run.predictions), run.predictions.keys[0]
        (18, ('smic', 's01', 's01_ne_00'))
        >>> run.predictions.to_pandas().columns.to_list()[:5]
        ['dataset', 'subject', 'clip', 'true_label', 'predicted_label']

    Returns:
        The predictions with what lies beside them; several seeds' runs in one folder are one run with several `seeds`.

    Raises:
        DataError: The folder or its predictions are missing or malformed.
    """
    from slstt.evaluation.run import read_any_run

    return read_any_run(Path(folder))


def evaluate(folder: str | Path) -> dict[str, Any]:
    """The scores of a run, as `slstt-eval` writes them to metrics.json; writes nothing. Needs no torch.

    Examples:
        >>> import slstt
        >>> scores = slstt.evaluate("runs/mine")
        >>> scores["n"], round(scores["full"]["uf1"], 2)
        (18, 1.0)

    Returns:
        Accuracy, UF1 and UAR with their intervals over subjects (`full`), the same of each data set (`parts`), of each
        class (`per_class`), the confusion matrix (rows true, columns predicted), and whether the clips are those of a
        protocol. All scores are in 0..1. A run of action units has the F1 of each unit.

    Raises:
        DataError: The folder or its predictions are missing or malformed.
    """
    from slstt.evaluation import run as runs
    from slstt.evaluation.unit_tables import evaluate_units

    run = read_run(folder)
    return runs.evaluate(run) if isinstance(run, runs.EvaluatedRun) else evaluate_units(run)
