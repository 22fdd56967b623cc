"""A run folder as evaluation sees it: the predictions, and whatever else lies beside them.

Only `predictions.csv` is needed. A folder of several seeds' runs (`RUN/<any name>/predictions.csv`) is read as one run.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slstt.datasets.clips import name_of
from slstt.errors import ConfigError, DataError, printable, shortened
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
        """The folder's own name; bytes in it that are no text are replaced."""
        return os.fsencode(self.folder.resolve().name).decode("utf-8", "replace")

    @property
    def predictions(self) -> Predictions:
        """The first (usually only) seed's predictions."""
        return next(iter(self.seeds.values()))

    @property
    def several(self) -> bool:
        """Whether the folder holds several seeds' runs."""
        return len(self.seeds) > 1

    def fold_files(self, name: str) -> list[Path]:
        """The files called `name` of the first seed's folds, in the order of the folds' folder names."""
        return sorted(self.folders[0].glob(f"folds/*/{name}"))

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
        if not folder.is_dir():
            reason = "is a file; name its folder" if folder.exists() else "no such run folder"
            raise DataError(f"{folder}: {reason}")
        found = _seeds(folder)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"{printable(str(folder))}: cannot be read ({getattr(error, 'strerror', error)})") from error
    seeds = {name: predictions for name, (_, predictions) in found.items()}
    folders = [seed_folder for seed_folder, _ in found.values()]
    settings = _mapping(folders[0] / "config.resolved.yaml")
    missing, expected = [], None
    for seed_folder, predictions in found.values():
        folds = _folds(seed_folder / "folds.json")
        if folds is not None:
            expected = len(folds)
            missing += _missing_folds(seed_folder, predictions, folds)
    caches = data_folders(settings)
    return EvaluatedRun(
        folder,
        seeds,
        tuple(folders),
        settings,
        _mapping(folders[0] / "environment.json"),
        tuple(dict.fromkeys(missing)),
        expected,
        _remarks([folder, *caches], "failures.csv"),
        _remarks([folder, *caches], "flags.csv"),
    )


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


def _folds(path: Path) -> dict[str, list[tuple[str, str, str]]] | None:
    """`folds.json` as fold name (`casme2/sub01`) -> test clips."""
    if not path.exists():
        return None
    content = _json(path)
    entries = content.get("folds") if isinstance(content, dict) else None
    folds: dict[str, list[tuple[str, str, str]]] = {}
    for entry in entries if isinstance(entries, list) else [None]:
        match entry:
            case {"dataset": str(dataset), "subject": str(subject), "test": list(clips)} if all(
                isinstance(clip, str) for clip in clips
            ):
                name = f"{dataset}/{subject}"
                if name in folds:
                    raise DataError(f"{path}: the fold {name} occurs twice; restore the file")
                folds[name] = [(dataset, subject, clip) for clip in clips]
            case _:
                raise DataError(f"{path}: not a list of folds with dataset, subject and test clips; restore the file")
    return folds


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
