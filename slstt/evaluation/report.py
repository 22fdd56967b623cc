"""`report.html`: one page that needs no other file, and the figures beside it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slstt import pages
from slstt.config.load import leaves
from slstt.datasets.clips import name_of
from slstt.errors import DataError, SlsttError
from slstt.evaluation import figures
from slstt.evaluation.compare import Comparison, comparison_table
from slstt.evaluation.figures import calibration
from slstt.evaluation.metrics import confusion, peek_curve
from slstt.evaluation.run import EvaluatedRun, UnitRun, data_folders
from slstt.evaluation.tables import (
    SCORE_TITLES,
    class_table,
    dataset_title,
    published_table,
    score_table,
    seed_table,
    selection_table,
)
from slstt.evaluation.unit_tables import UNIT_SCORE_TITLES, unit_tables
from slstt.files import read_csv, write_text
from slstt.images import data_uri, flow_wheel, read_image

PICTURE_SIDE = 144
"""Pixels; small, so that the page stays small."""


@dataclass(frozen=True)
class Mistake:
    """A wrongly labelled clip."""

    clip: str
    true: str
    predicted: str
    probability: float
    """Of the predicted class."""
    true_probability: float
    picture: str | None
    """A `data:` URI of its flow; None where the data is not at hand."""


def confident_mistakes(run: EvaluatedRun, limit: int = 12) -> list[Mistake]:
    """The first seed's wrong predictions, the highest probability first, at most `limit`."""
    predictions = run.predictions
    order = {name: i for i, name in enumerate(predictions.classes)}
    found = []
    for i, (key, true, predicted) in enumerate(
        zip(predictions.keys, predictions.true, predictions.predicted, strict=True)
    ):
        if true != predicted:
            p = predictions.probabilities[i]
            found.append((float(p[order[predicted]]), float(p[order[true]]), key, true, predicted))
    found.sort(key=lambda mistake: (-mistake[0], mistake[2]))
    found = found[:limit]
    picture = _pictures(run, [key for _, _, key, _, _ in found])
    return [Mistake(name_of(key), true, predicted, p, q, picture(key)) for p, q, key, true, predicted in found]


def picture_caption(run: EvaluatedRun) -> str:
    """What the pictures show."""
    if run.setting("data.kind") == "flow_maps":
        return "Flow map as the network sees it: u in red, v in green, strain in blue."
    return (
        "Flow of the frame with the most motion: hue is direction (red right, yellow-green down, cyan left, violet "
        "up), strength is length, relative to the clip's own maximum."
    )


def _pictures(run: EvaluatedRun, keys: Sequence[tuple[str, str, str]]) -> Callable[[tuple[str, str, str]], str | None]:
    """A function from a clip's key to its picture; it never fails, since the data may be gone or changed."""
    folders = data_folders(run.settings)
    if not keys or not folders:
        return lambda key: None
    maps = _flow_maps(folders) if run.setting("data.kind") == "flow_maps" else {}

    def picture(key: tuple[str, str, str]) -> str | None:
        try:
            image = maps.get(key) if maps else _cached(folders, key)
            return None if image is None else data_uri(image)
        except (SlsttError, OSError, ValueError):
            return None

    return picture


def _flow_maps(folders: Sequence[Path]) -> dict[tuple[str, str, str], np.ndarray]:
    from slstt.datasets import flow_maps

    found: dict[tuple[str, str, str], np.ndarray] = {}
    for folder in folders:
        try:
            read = flow_maps.read(folder)
        except (SlsttError, OSError, ValueError):
            continue
        found |= dict(zip(read.keys, read.raw, strict=True))
    return found


def _cached(folders: Sequence[Path], key: tuple[str, str, str]) -> np.ndarray | None:
    from slstt.flow.flow_files import flow_path, read_flow

    for folder in folders:
        path = flow_path(folder, key)
        if path.is_file():
            flow = read_flow(path).astype(np.float32)
            strongest = flow[int(np.hypot(flow[:, 0], flow[:, 1]).mean((1, 2)).argmax())]
            step = max(1, strongest.shape[-1] // PICTURE_SIDE)
            return flow_wheel(strongest[:, ::step, ::step])
    return None


def write_report(
    run: EvaluatedRun,
    metrics: Mapping[str, Any],
    comparison: Comparison | None = None,
    formats: Sequence[str] = ("png", "pdf"),
) -> Path:
    """Write `report.html` into the run folder, and each of its figures into `figures/` in these `formats`.

    `metrics` is what `evaluate` returned. Returns the page's path. Raises DataError where a fold's `history.csv` is
    malformed or the folder cannot be written.
    """
    with pages.figure_style():
        drawings = draw(run, metrics, formats)
    mistakes = confident_mistakes(run)
    page = pages.render(
        "evaluation.html",
        run=run,
        metrics=metrics,
        titles=SCORE_TITLES,
        scores=score_table(metrics, "With 95% intervals"),
        seeds=seed_table(metrics),
        classes=class_table(metrics),
        selection=selection_table(metrics["selection_gap"]),
        published=published_table(metrics),
        comparison=comparison,
        comparison_table=comparison_table(comparison) if comparison else None,
        drawings=drawings,
        mistakes=mistakes,
        wrong=sum(t != p for t, p in zip(run.predictions.true, run.predictions.predicted, strict=True)),
        mistake_caption=picture_caption(run) if any(mistake.picture for mistake in mistakes) else "",
        settings=_as_rows(run.settings),
        environment=_as_rows(run.environment),
        attention=[data_uri(read_image(path)) for path in sorted((run.folder / "figures").glob("attention*.png"))],
    )
    path = run.folder / "report.html"
    write_text(path, page)
    return path


def write_unit_report(run: UnitRun, metrics: Mapping[str, Any], formats: Sequence[str] = ("png", "pdf")) -> Path:
    """Write `report.html` of a run that predicts action units, and its figures; `metrics` is from `evaluate_units`.

    Returns the page's path. Raises DataError as `write_report` does.
    """
    with pages.figure_style():
        drawn = {"units": figures.units_figure(metrics["per_unit"])}
        if histories := [_history(path) for path in run.fold_files("history.csv")]:
            drawn["learning"] = figures.learning_figure(histories, None)
        folder = run.folder / "figures"
        drawings = {name: pages.save_figure(figure, folder, name, formats) for name, figure in drawn.items()}
    page = pages.render(
        "units.html",
        run=run,
        metrics=metrics,
        titles=UNIT_SCORE_TITLES,
        tables=unit_tables(metrics),
        drawings=drawings,
        settings=_as_rows(run.settings),
        environment=_as_rows(run.environment),
    )
    path = run.folder / "report.html"
    write_text(path, page)
    return path


def draw(run: EvaluatedRun, metrics: Mapping[str, Any], formats: Sequence[str]) -> dict[str, str]:
    """Draw every figure of the run into `figures/`; returns name -> `data:` URI."""
    classes, parts = metrics["classes"], list(metrics["parts"])
    matrix = np.array(metrics["confusion"])
    title = "All data sets" if len(parts) > 1 else dataset_title(parts[0])
    drawn = {"confusion": figures.confusion_figure(matrix, classes, title)}
    if len(parts) > 1:
        for part in parts:
            rows = [run.part(predictions, part) for predictions in run.seeds.values()]
            counts = sum((confusion(r.true, r.predicted, classes) for r in rows), start=np.zeros_like(matrix))
            drawn[f"confusion_{_file_name(part)}"] = figures.confusion_figure(counts, classes, dataset_title(part))
    drawn["subjects"] = figures.subjects_figure(metrics["per_subject"])
    drawn["calibration"] = figures.calibration_figure(calibration(run.predictions))
    if histories := [_history(path) for path in run.fold_files("history.csv")]:
        peeked = peek_curve(run.fold_files("peek.csv"), run.predictions.classes)
        drawn["learning"] = figures.learning_figure(histories, peeked)
    return {name: pages.save_figure(figure, run.folder / "figures", name, formats) for name, figure in drawn.items()}


def _history(path: Path) -> dict[str, list[float]]:
    """A fold's `history.csv` as column -> numbers; nan where a cell is empty."""
    rows = read_csv(path, ("epoch", "train_loss"))
    try:
        return {name: [float(row[name] or math.nan) for row in rows] for name in (rows[0] if rows else ("epoch",))}
    except ValueError as error:
        raise DataError(f"{path}: holds a cell that is not a number ({error})") from error


def _as_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested settings as (`section.key`, value) in their own order."""
    return [
        (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for name, value in leaves(values)
    ]


def _file_name(text: str) -> str:
    """A data set's name as part of a file name: names come from files and may hold a slash."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text)[:40]
