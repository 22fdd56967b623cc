"""A run folder as evaluation sees it: predictions and what lies beside them, and what `metrics.json` makes of them.

Only `predictions.csv` is needed. A folder of several seeds' runs (`RUN/<any name>/predictions.csv`) is read as one run.
"""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slstt.datasets.clips import name_of
from slstt.datasets.protocols import OWN, PROTOCOLS, manifest_difference, protocol_of, test_set_differences
from slstt.errors import ConfigError, DataError, listed, printable, shortened
from slstt.evaluation.metrics import SCORES, block_of, scores_of, selection_gap, subject_confusions, summary_of
from slstt.evaluation.predictions import (
    Predictions,
    UnitPredictions,
    holds_units,
    pool,
    pool_units,
    read_predictions,
    read_unit_predictions,
)
from slstt.evaluation.tables import (
    Table,
    class_table,
    confusion_table,
    published_table,
    score_table,
    seed_table,
    selection_table,
)
from slstt.files import read_csv

PREDICTIONS = "predictions.csv"
BY_RULE = (
    "by rule: the published list is not known clip by clip; the clips follow from the protocol's emotions, and "
    "only the published counts were compared"
)


ClipKey = tuple[str, str, str]
"""Data set, subject, clip."""


@dataclass(frozen=True)
class RunFolder:
    """What was found in a run folder beside its predictions."""

    folder: Path
    folders: tuple[Path, ...] = ()
    """The folder of each seed's run; of a plain run, `folder` itself."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """`config.resolved.yaml`, {} where there is none."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """`environment.json`, {} where there is none."""
    missing: tuple[str, ...] = ()
    """Folds of `folds.json` without predictions (`casme2/sub01`): not empty means PARTIAL."""
    expected: int | None = None
    """Number of folds in `folds.json`, None where there is none."""
    test_sets: Mapping[str, frozenset[ClipKey]] = field(default_factory=dict)
    """The owners' test sets in `folds.json`, {} where the folds are no owners' split."""
    dropped: tuple[Mapping[str, str], ...] = ()
    """Clips that never reached the model: rows of the cache's `failures.csv`."""
    flagged: tuple[Mapping[str, str], ...] = ()
    """Clips kept with a remark: rows of the cache's `flags.csv`."""

    @property
    def name(self) -> str:
        """The folder's own name; bytes in it that are no text are replaced."""
        return os.fsencode(self.folder.resolve().name).decode("utf-8", "replace")

    def fold_files(self, name: str) -> list[Path]:
        """The files called `name` of the first seed's folds, in the order of the folds' folder names."""
        return sorted(self.folders[0].glob(f"folds/*/{name}"))

    def setting(self, name: str) -> Any:
        """The setting called `section.key`; None where it is absent."""
        value: Any = self.settings
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True)
class EvaluatedRun(RunFolder):
    """A run that predicts classes."""

    seeds: Mapping[str, Predictions] = field(default_factory=dict)
    """The predictions of each seed's run by the name of its folder; one entry for a plain run."""

    @property
    def predictions(self) -> Predictions:
        """The first (usually only) seed's predictions."""
        return next(iter(self.seeds.values()))

    @property
    def several(self) -> bool:
        """Whether the folder holds several seeds' runs."""
        return len(self.seeds) > 1

    def part(self, predictions: Predictions, name: str) -> Predictions:
        """One seed's predictions of a test set of the owners, or of a data set."""
        return predictions.only(self.test_sets[name]) if name in self.test_sets else predictions.part(name)


@dataclass(frozen=True)
class UnitRun(RunFolder):
    """A run that predicts action units."""

    predictions: UnitPredictions = field(kw_only=True)


def read_run(folder: Path) -> EvaluatedRun:
    """Read the folder of a run that predicts classes.

    Raises DataError as `read_any_run` does, and where the run predicts action units.
    """
    run = read_any_run(folder)
    if isinstance(run, UnitRun):
        raise DataError(f"{folder}: predicts action units; this needs a run of classes (data.target: emotion)")
    return run


def read_any_run(folder: Path) -> EvaluatedRun | UnitRun:
    """Read a run folder.

    Raises DataError where the folder or its predictions are missing or malformed, where predictions name a clip that
    `folds.json` does not know, where a predicted fold lacks clips, or where several seeds do not hold the same clips.
    """
    try:
        if not folder.is_dir():
            reason = "is a file; name its folder" if folder.exists() else "no such run folder"
            raise DataError(f"{folder}: {reason}")
        if (units := _units(folder)) is not None:
            return UnitRun(**_beside(folder, [(folder, units.keys)]), predictions=units)
        found = _seeds(folder)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"{printable(str(folder))}: cannot be read ({getattr(error, 'strerror', error)})") from error
    seeds = {name: predictions for name, (_, predictions) in found.items()}
    beside = _beside(folder, [(seed_folder, predictions.keys) for seed_folder, predictions in found.values()])
    return EvaluatedRun(**beside, seeds=seeds)


def _beside(folder: Path, predicted: Sequence[tuple[Path, Sequence[ClipKey]]]) -> dict[str, Any]:
    """The fields of RunFolder, from the folder and the clips predicted in each seed's run."""
    folders = [seed_folder for seed_folder, _ in predicted]
    settings = _mapping(folders[0] / "config.resolved.yaml")
    missing, expected, test_sets = [], None, {}
    for seed_folder, keys in predicted:
        folds = _folds(seed_folder / "folds.json")
        if folds is not None:
            expected = len(folds)
            missing += _missing_folds(seed_folder, keys, folds)
            test_sets = {name: frozenset(clips) for fold in folds.values() for name, clips in fold.test_sets.items()}
    caches = data_folders(settings)
    return {
        "folder": folder,
        "folders": tuple(folders),
        "settings": settings,
        "environment": _mapping(folders[0] / "environment.json"),
        "missing": tuple(dict.fromkeys(missing)),
        "expected": expected,
        "test_sets": test_sets,
        "dropped": _remarks([folder, *caches], "failures.csv"),
        "flagged": _remarks([folder, *caches], "flags.csv"),
    }


def _units(folder: Path) -> UnitPredictions | None:
    """The predicted action units of a run, None where it predicts classes. Raises DataError for several seeds' runs."""
    parts = sorted(folder.glob(f"folds/*/{PREDICTIONS}"))
    if holds_units(folder / PREDICTIONS):
        return read_unit_predictions(folder / PREDICTIONS)
    if not (folder / PREDICTIONS).exists() and parts and all(map(holds_units, parts)):
        return pool_units([read_unit_predictions(path) for path in parts])
    if any(map(holds_units, sorted(folder.glob(f"*/{PREDICTIONS}")))):
        raise DataError(f"{folder}: holds several runs that predict action units; name them one by one")
    return None


def _seeds(folder: Path) -> dict[str, tuple[Path, Predictions]]:
    """The folder and the predictions of each seed's run, by name."""
    name = folder.resolve().name
    if (folder / PREDICTIONS).exists():
        return {name: (folder, read_predictions(folder / PREDICTIONS))}
    if parts := sorted(folder.glob(f"folds/*/{PREDICTIONS}")):
        # An interrupted run has no pooled file yet; its finished folds are as good.
        return {name: (folder, pool([read_predictions(path) for path in parts]))}
    found = sorted(folder.glob(f"*/{PREDICTIONS}"))
    if not found:
        hint = ""
        if (folder / "intervals.csv").exists() or (folder / "truth.csv").exists():
            hint = "; spotted intervals need both intervals.csv and truth.csv"
        raise DataError(f"{folder}: holds no {PREDICTIONS}, neither itself nor in folders of single seeds{hint}")
    seeds = {path.parent.name: (path.parent, read_predictions(path)) for path in found}
    (first, (_, reference)), *others = seeds.items()
    truth = dict(zip(reference.keys, reference.true, strict=True))
    problems = []
    for name, (_, predictions) in others:
        if predictions.classes != reference.classes:
            problems.append(
                f"{folder}: the runs '{first}' and '{name}' have different classes; they are no seeds of one run"
            )
        elif dict(zip(predictions.keys, predictions.true, strict=True)) != truth:
            problems.append(
                f"{folder}: the runs '{first}' and '{name}' hold different clips or true labels; "
                "finish the shorter one or evaluate them one by one"
            )
    if problems:
        raise DataError(*problems)
    return seeds


@dataclass(frozen=True)
class _TestedFold:
    """A fold of folds.json."""

    test: list[ClipKey]
    test_sets: Mapping[str, list[ClipKey]]


def _folds(path: Path) -> dict[str, _TestedFold] | None:
    """`folds.json` as fold name (`casme2/sub01`, or `casme2` for the whole data set) -> what it tests."""
    if not path.exists():
        return None
    content = _json(path)
    entries = content.get("folds") if isinstance(content, dict) else None
    folds: dict[str, _TestedFold] = {}
    for entry in entries if isinstance(entries, list) else [None]:
        match entry:
            case {"dataset": str(dataset), "subject": str(subject), "test": list(clips)} if all(
                isinstance(clip, str) and (subject or clip.count("/") == 1) for clip in clips
            ):
                name = f"{dataset}/{subject}" if subject else dataset
                if name in folds:
                    raise DataError(f"{path}: the fold {name} occurs twice; restore the file")
                sets = entry.get("test_sets", {})
                if not isinstance(sets, dict) or not all(
                    isinstance(part, list) and set(map(str, part)) <= set(clips) for part in sets.values()
                ):
                    raise DataError(f"{path}: the test sets of {name} are no lists of its test clips; restore the file")
                keys = {clip: _key(dataset, subject, clip) for clip in clips}
                parts = {str(part): [keys[clip] for clip in listed] for part, listed in sets.items()}
                folds[name] = _TestedFold(list(keys.values()), parts)
            case _:
                raise DataError(f"{path}: not a list of folds with dataset, subject and test clips; restore the file")
    return folds


def _key(dataset: str, subject: str, clip: str) -> ClipKey:
    if subject:
        return dataset, subject, clip
    person, _, name = clip.partition("/")
    return dataset, person, name


def _missing_folds(folder: Path, keys: Sequence[ClipKey], folds: Mapping[str, _TestedFold]) -> list[str]:
    predicted = set(keys)
    known = {clip for fold in folds.values() for clip in fold.test}
    present = [name for name, fold in folds.items() if not predicted.isdisjoint(fold.test)]
    unknown = [name_of(key) for key in keys if key not in known]
    lacking = [name_of(clip) for name in present for clip in folds[name].test if clip not in predicted]
    problems = shortened([f"{folder}: {name} is predicted, but no fold of folds.json tests it" for name in unknown])
    problems += shortened(
        [
            f"{folder}: {name} is missing from the predictions, though its fold is done; train that fold again"
            for name in lacking
        ]
    )
    if problems:
        raise DataError(*problems)
    return [name for name in folds if name not in present]


def data_folders(settings: Mapping[str, Any]) -> list[Path]:
    """The folders that `data.root` of a run's settings names and that are at hand."""
    data = settings.get("data")
    roots = data.get("root") if isinstance(data, Mapping) else None
    roots = roots if isinstance(roots, list) else [roots]
    return [Path(root) for root in roots if isinstance(root, str) and root and _is_folder(Path(root))]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name no file system can hold
        return False


def _remarks(folders: Sequence[Path], name: str) -> tuple[Mapping[str, str], ...]:
    rows: dict[tuple[str, ...], Mapping[str, str]] = {}
    for folder in folders:
        if (folder / name).is_file():
            for row in read_csv(folder / name, ("dataset", "subject", "clip", "reason")):
                rows.setdefault(tuple(row[c] for c in ("dataset", "subject", "clip", "reason")), row)
    return tuple(rows[key] for key in sorted(rows))


MOST_JSON_BYTES = 64_000_000
DEEPEST = 50
"""Levels of sections in a file beside the predictions."""


def _json(path: Path) -> Any:
    try:
        return _checked(json.loads(_text(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: unreadable as JSON ({error})") from error


def _mapping(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    content = _json(path) if path.suffix == ".json" else _yaml(path)
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: must hold names and values")
    return content


def _yaml(path: Path) -> Any:
    from slstt.config.load import read_yaml

    try:
        return _checked(read_yaml(path))
    except ConfigError as error:
        raise DataError(*error.problems) from error
    except ValueError as error:
        raise DataError(f"{path}: unreadable as YAML ({error})") from error


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        content = stream.read(MOST_JSON_BYTES + 1)
    if len(content) > MOST_JSON_BYTES:
        raise ValueError(f"larger than {MOST_JSON_BYTES / 1e6:g} MB, the most that is read")
    return content.decode("utf-8")


def _checked(value: Any) -> Any:
    """`value` as it is. Raises ValueError where it is nested too deep or holds what cannot be written as text."""
    json.dumps(value, ensure_ascii=False, default=str).encode()
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            one
            for holder in level
            if isinstance(holder, dict | list)
            for one in (holder.values() if isinstance(holder, dict) else holder)
        ]
    if level:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    return value


@dataclass(frozen=True)
class Naming:
    """What the result may be called."""

    name: str | None
    """The protocol's name, e.g. `cde`, where the clips match; else None."""
    title: str
    """For people: the protocol's title, or that it is none."""
    declared: str | None
    """The protocol the run's settings name, if any."""
    differences: tuple[str, ...]
    """What keeps the result from its declared (or the nearest) protocol, clip by clip."""
    nearest: str | None = None
    """The protocol the differences refer to."""


def naming(
    predictions: Predictions, declared: str | None = None, test_sets: Mapping[str, Collection[ClipKey]] | None = None
) -> Naming:
    """Compare the clips and true labels with the declared protocol, or with every protocol of the same classes.

    `test_sets` are the owners', where folds.json knows them.
    """
    if declared == OWN:
        return Naming(None, protocol_of(OWN).title, declared, ())
    rows = [(*key, label) for key, label in zip(predictions.keys, predictions.true, strict=True)]
    candidates = (
        [declared]
        if declared in PROTOCOLS
        else [name for name, protocol in PROTOCOLS.items() if set(protocol.classes) == set(predictions.classes)]
    )
    differences = {}
    for name in candidates:
        if name is None:
            continue
        found = manifest_difference(PROTOCOLS[name], rows)
        found += test_set_differences(PROTOCOLS[name], {part: len(clips) for part, clips in (test_sets or {}).items()})
        if set(PROTOCOLS[name].classes) != set(predictions.classes):
            found = [f"the classes are {', '.join(predictions.classes)}", *found]
        if not found:
            return Naming(name, PROTOCOLS[name].heading, declared, ())
        differences[name] = tuple(found)
    if not differences:
        return Naming(None, "own protocol (its classes are those of no known protocol)", declared, ())
    nearest = min(differences, key=lambda name: len(differences[name]))
    return Naming(None, f"not the clips of {PROTOCOLS[nearest].heading}", declared, differences[nearest], nearest)


def evaluate(run: EvaluatedRun) -> dict[str, Any]:
    """Everything `metrics.json` holds for a run.

    Several seeds are pooled: their confusion matrices are summed per subject, so that a resampled subject brings its
    clips of every seed. "seeds" then tells each seed's scores, their mean and spread.
    """
    declared = run.setting("data.protocol")
    name = naming(run.predictions, declared if isinstance(declared, str) else None, run.test_sets)
    per_seed = {seed: subject_confusions(predictions) for seed, predictions in run.seeds.items()}
    subjects = next(iter(per_seed.values()))[0]
    matrices = np.sum([matrices for _, matrices in per_seed.values()], axis=0)
    selection = run.setting("selection.method")
    metrics = summary_of(
        run.predictions.classes, subjects, matrices, name.name, selection if isinstance(selection, str) else None
    )
    warnings = metrics.pop("warnings")
    if run.test_sets:
        metrics["parts"] = {
            part: block_of(np.sum([subject_confusions(run.part(seed, part))[1] for seed in run.seeds.values()], axis=0))
            for part, clips in run.test_sets.items()
            if not clips.isdisjoint(run.predictions.keys)
        }
    if name.name is not None and PROTOCOLS[name.name].by_rule:
        warnings.insert(0, BY_RULE)
    if run.missing:
        warnings.insert(0, f"PARTIAL: {len(run.missing)} of {run.expected} folds are missing: {listed(run.missing)}")
    contradictory = sum(_contradicts(predictions).sum() for predictions in run.seeds.values())
    if contradictory:
        warnings.append(f"{contradictory} predicted labels are not the class of the highest probability")
    metrics |= {
        "run": run.name,
        "protocol_title": name.title,
        "protocol_declared": name.declared,
        "protocol_nearest": name.nearest,
        "protocol_differences": list(name.differences),
        "partial": bool(run.missing),
        "folds": {"expected": run.expected, "missing": list(run.missing)},
        "selection_gap": [
            {"rule": rule.rule, "epochs": rule.epochs, "n": rule.clips, "valid": rule.valid, **rule.scores}
            for rule in selection_gap(run.fold_files("peek.csv"), run.fold_files("inner.csv"), run.predictions.classes)
        ],
        "warnings": warnings,
    }
    if run.several:
        metrics["seeds"] = _seed_tables({seed: scores_of(m.sum(0)) for seed, (_, m) in per_seed.items()})
    return metrics


def result_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """The tables that terminal, report, Markdown and LaTeX show, in order."""
    title = metrics["protocol_title"] + (", PARTIAL" if metrics["partial"] else "")
    tables = (
        score_table(metrics, f"Result: {title}"),
        seed_table(metrics),
        class_table(metrics),
        confusion_table(metrics),
        selection_table(metrics["selection_gap"]),
        published_table(metrics),
    )
    return [table for table in tables if table is not None]


def _seed_tables(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    values = {name: np.array([float(seed[name]) for seed in scores.values()]) for name in SCORES}
    return {
        "runs": [{"name": seed, **{name: float(found[name]) for name in SCORES}} for seed, found in scores.items()],
        "mean": {name: float(v.mean()) for name, v in values.items()},
        "sd": {name: float(v.std(ddof=1)) for name, v in values.items()},
        "min": {name: float(v.min()) for name, v in values.items()},
        "max": {name: float(v.max()) for name, v in values.items()},
    }


def _contradicts(predictions: Predictions) -> np.ndarray:
    order = {name: i for i, name in enumerate(predictions.classes)}
    stated = predictions.probabilities[np.arange(len(predictions)), [order[label] for label in predictions.predicted]]
    return stated < predictions.probabilities.max(1) - 1e-6
