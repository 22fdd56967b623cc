"""A run is a folder: what it was started with, who may write into it, and which folds are done.

`config.resolved.yaml`, `folds.json` and `environment.json` are written at the first start. A later start must agree in
everything that determines the result, or it is refused with the list of differences.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from slstt import __version__
from slstt.config.load import CONFIG, differing_keys, dump_config, settings_in
from slstt.config.train import TrainConfig, identity
from slstt.errors import ConfigError, DataError
from slstt.evaluation.predictions import (
    Predictions,
    UnitPredictions,
    pool,
    pool_units,
    read_predictions,
    read_unit_predictions,
    write_predictions,
    write_unit_predictions,
)
from slstt.files import locked, write_json, write_text
from slstt.training.flow_data import FlowData
from slstt.training.folds import Fold

FOLDS, ENVIRONMENT, PREDICTIONS = "folds.json", "environment.json", "predictions.csv"


def fold_folder(run: Path, name: str) -> Path:
    """Where a fold's files lie."""
    return run / "folds" / name


def is_done(run: Path, name: str) -> bool:
    """Whether the fold is finished: its predictions are written last."""
    return (fold_folder(run, name) / PREDICTIONS).exists()


def differences(run: Path, settings: TrainConfig, data: FlowData) -> list[str]:
    """What keeps this start from continuing the run in `run`, one line each; [] for a new or an equal run.

    Raises ConfigError where the folder holds something else than a run or its settings are damaged, DataError where
    its folds.json is.
    """
    if not run.exists():
        return []
    if not run.is_dir():
        raise ConfigError(f"{run}: is a file; choose another --out")
    if not (run / CONFIG).exists():
        held = sorted(path.name for path in run.iterdir() if not path.name.startswith("."))
        if others := [name for name in held if name not in (FOLDS, ENVIRONMENT)]:
            raise ConfigError(f"{run}: holds other things than a run ({', '.join(others[:3])}); choose another --out")
        return []
    found = differing_keys(identity(settings), identity(settings_in(run, TrainConfig)))
    if (run / FOLDS).exists() and (written := _data_in(run)) != data.fingerprint:
        found.append(f"data: the clips or their flow are not those of the run ({written} -> {data.fingerprint})")
    return found


def _data_in(run: Path) -> str:
    """The fingerprint of the data that the run was started with."""
    try:
        return str(json.loads((run / FOLDS).read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{run / FOLDS}: unreadable ({reason}); delete it, it is written again") from error


def refuse_differences(run: Path, found: Sequence[str]) -> None:
    """Raise ConfigError listing the differences, if any."""
    if found:
        raise ConfigError(
            f"{run}: was started with other settings; continue with the same ones or choose another --out",
            *(f"{run}: {line}" for line in found),
        )


def begin(run: Path, settings: TrainConfig, data: FlowData, folds: Sequence[Fold], device: str) -> None:
    """Write what the run is, if it is new; raise ConfigError where the folder is another run's."""
    with locked(run / ".begin.lock"):
        refuse_differences(run, differences(run, settings, data))
        for stale in run.glob(".*.part"):
            stale.unlink(missing_ok=True)
        # The settings come first: they alone say that the folder is a run, wherever this is interrupted.
        if not (run / CONFIG).exists():
            for stale in (FOLDS, ENVIRONMENT):
                (run / stale).unlink(missing_ok=True)
            write_text(run / CONFIG, dump_config(settings))
        if not (run / FOLDS).exists():
            write_json(run / FOLDS, _folds(settings, data, folds))
        if not (run / ENVIRONMENT).exists():
            write_json(run / ENVIRONMENT, environment(settings, device))


def pool_finished(
    run: Path, folds: Sequence[Fold], units: bool
) -> tuple[Predictions | UnitPredictions | None, list[str]]:
    """Write the run's predictions.csv from all finished folds; returns them and the names of the unfinished ones.

    `units`: whether the folds predict action units.
    """
    with locked(run / ".pool.lock"):
        done = [fold.name for fold in folds if is_done(run, fold.name)]
        unfinished = [fold.name for fold in folds if fold.name not in done]
        if not done:
            return None, unfinished
        files = [fold_folder(run, name) / PREDICTIONS for name in done]
        if units:
            pooled = pool_units([read_unit_predictions(path) for path in files])
            write_unit_predictions(run / PREDICTIONS, pooled)
        else:
            pooled = pool([read_predictions(path) for path in files])
            write_predictions(run / PREDICTIONS, pooled)
        return pooled, unfinished


def environment(settings: TrainConfig, device: str) -> dict[str, Any]:
    """What the numbers may depend on beyond the settings, for `environment.json`."""
    return {
        "slstt": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "scikit-learn": version("scikit-learn"),
        "platform": platform.platform(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "threads_per_fold": settings.run.threads_per_fold,
        "seed": settings.run.seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
    }


def _folds(settings: TrainConfig, data: FlowData, folds: Sequence[Fold]) -> dict[str, Any]:
    def subjects(indices: Sequence[int]) -> list[str]:
        return sorted({"/".join(data.keys[i][:2]) for i in indices})

    def clips(fold: Fold, indices: Sequence[int]) -> list[str]:
        """Names; of a fold that tests several subjects `subject/name`."""
        return [data.keys[i][2] if fold.subject else "/".join(data.keys[i][1:]) for i in indices]

    return {
        "protocol": settings.data.protocol,
        "target": settings.data.target,
        "classes": list(data.classes),
        "data": data.fingerprint,
        "folds": [
            {
                "name": fold.name,
                "dataset": fold.dataset,
                "subject": fold.subject,
                "test": clips(fold, fold.test),
                **(
                    {"test_sets": {name: clips(fold, part) for name, part in fold.test_sets.items()}}
                    if fold.test_sets
                    else {}
                ),
                "train_clips": len(fold.train),
                "train_subjects": subjects(fold.train),
                "validation_subjects": subjects(fold.validation),
                "statistics_subjects": subjects(fold.train) if settings.data.normalize == "train" else [],
            }
            for fold in folds
        ],
    }


def _commit() -> str | None:
    """The commit of the checkout this package lies in, None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
