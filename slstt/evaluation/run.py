"""A run folder as evaluation sees it: the predictions, and whatever else lies beside them.

Only `predictions.csv` is needed. A folder of several seeds' runs (`RUN/<any name>/predictions.csv`) is read as one run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from slstt.datasets.clips import name_of
from slstt.errors import DataError, shortened
from slstt.evaluation.predictions import Predictions, pool, read_predictions
from slstt.files import read_csv

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class EvaluatedRun:
    """What was found in a run folder."""

    folder: Path
    seeds: Mapping[str, Predictions]
    """The predictions of each seed's run by the name of its folder; one entry for a plain run."""
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
    dropped: tuple[Mapping[str, str], ...] = ()
    """Clips that never reached the model: rows of the cache's `failures.csv`."""
    flagged: tuple[Mapping[str, str], ...] = ()
    """Clips kept with a remark: rows of the cache's `flags.csv`."""

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def predictions(self) -> Predictions:
        """The first (usually only) seed's predictions."""
        return next(iter(self.seeds.values()))

    @property
    def several(self) -> bool:
        """Whether the folder holds several seeds' runs."""
        return len(self.seeds) > 1

    def setting(self, name: str) -> Any:
        """The setting called `section.key`; None where it is absent."""
        value: Any = self.settings
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


def read_run(folder: Path) -> EvaluatedRun:
    """Read a run folder.

    Raises DataError where the folder or its predictions are missing or malformed, where predictions name a clip that
    `folds.json` does not know, where a predicted fold lacks clips, or where several seeds do not hold the same clips.
    """
    try:
        folder.stat()
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no such run folder ({getattr(error, 'strerror', None) or error})") from error
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file; name its folder")
    found = _seeds(folder)
    seeds, homes = {name: predictions for name, (_, predictions) in found.items()}, [home for home, _ in found.values()]
    settings = _mapping(homes[0] / "config.resolved.yaml")
    missing, expected = [], None
    for home, predictions in found.values():
        folds = _folds(home / "folds.json")
        if folds is not None:
            expected = len(folds)
            missing += _missing_folds(home, predictions, folds)
    caches = _caches(settings)
    return EvaluatedRun(
        folder,
        seeds,
        tuple(homes),
        settings,
        _mapping(homes[0] / "environment.json"),
        tuple(dict.fromkeys(missing)),
        expected,
        _remarks([folder, *caches], "failures.csv"),
        _remarks([folder, *caches], "flags.csv"),
    )


def fold_files(run: EvaluatedRun, name: str) -> dict[str, Path]:
    """The files called `name` of the first seed's folds, by the fold's folder name, in order."""
    return {path.parent.name: path for path in sorted(run.folders[0].glob(f"folds/*/{name}"))}


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
        raise DataError(f"{folder}: holds no {PREDICTIONS}, neither itself nor in folders of single seeds")
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


def _folds(path: Path) -> dict[str, list[tuple[str, str, str]]] | None:
    """`folds.json` as fold name (`casme2/sub01`) -> test clips."""
    if not path.exists():
        return None
    content = _json(path)
    try:
        entries = content["folds"]
        return {
            f"{entry['dataset']}/{entry['subject']}": [
                (str(entry["dataset"]), str(entry["subject"]), str(clip)) for clip in entry["test"]
            ]
            for entry in entries
        }
    except (TypeError, KeyError) as error:
        raise DataError(f"{path}: not a list of folds with dataset, subject and test clips; delete it") from error


def _missing_folds(
    folder: Path, predictions: Predictions, folds: Mapping[str, Sequence[tuple[str, str, str]]]
) -> list[str]:
    predicted, present = set(predictions.keys), {f"{d}/{s}" for d, s in predictions.subjects}
    known = {clip for clips in folds.values() for clip in clips}
    unknown = [name_of(key) for key in predictions.keys if key not in known]
    lacking = [
        name_of(clip) for name, clips in folds.items() if name in present for clip in clips if clip not in predicted
    ]
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


def _caches(settings: Mapping[str, Any]) -> list[Path]:
    data = settings.get("data")
    roots = data.get("root") if isinstance(data, Mapping) else None
    roots = roots if isinstance(roots, list) else [roots]
    return [Path(root) for root in roots if isinstance(root, str) and root]


def _remarks(folders: Sequence[Path], name: str) -> tuple[Mapping[str, str], ...]:
    rows: dict[tuple[str, ...], Mapping[str, str]] = {}
    for folder in folders:
        if (folder / name).is_file():
            for row in read_csv(folder / name, ("dataset", "subject", "clip", "reason")):
                rows.setdefault(tuple(row[c] for c in ("dataset", "subject", "clip", "reason")), row)
    return tuple(rows[key] for key in sorted(rows))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: unreadable as JSON ({error})") from error


def _mapping(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    if path.suffix == ".json":
        content = _json(path)
    else:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise DataError(f"{path}: unreadable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: must hold names and values")
    return content
