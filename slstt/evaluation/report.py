"""`report.html`: one page that needs no other file, and the figures beside it: confusion matrix, calibration, learning.

Figures are readable on a grey printer and when colour-blind.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from slstt import pages
from slstt.config.load import leaves
from slstt.datasets.clips import name_of
from slstt.errors import DataError, SlsttError
from slstt.evaluation.compare import Comparison, comparison_table
from slstt.evaluation.metrics import confusion, peek_curve
from slstt.evaluation.predictions import Predictions
from slstt.evaluation.run import EvaluatedRun, UnitRun, data_folders
from slstt.evaluation.tables import (
    SCORE_TITLES,
    class_table,
    dataset_title,
    published_table,
    score_table,
    seed_table,
    selection_table,
    short,
)
from slstt.evaluation.unit_tables import UNIT_SCORE_TITLES, unit_tables
from slstt.files import read_csv, write_text
from slstt.images import data_uri, flow_wheel, read_image
from slstt.pages import DARK, GREY, LIGHT, WARM

if TYPE_CHECKING:
    pass


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
        drawn = {"units": units_figure(metrics["per_unit"])}
        if histories := [_history(path) for path in run.fold_files("history.csv")]:
            drawn["learning"] = learning_figure(histories, None)
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
    drawn = {"confusion": confusion_figure(matrix, classes, title)}
    if len(parts) > 1:
        for part in parts:
            rows = [run.part(predictions, part) for predictions in run.seeds.values()]
            counts = sum((confusion(r.true, r.predicted, classes) for r in rows), start=np.zeros_like(matrix))
            drawn[f"confusion_{_file_name(part)}"] = confusion_figure(counts, classes, dataset_title(part))
    drawn["subjects"] = subjects_figure(metrics["per_subject"])
    drawn["calibration"] = calibration_figure(calibration(run.predictions))
    if histories := [_history(path) for path in run.fold_files("history.csv")]:
        peeked = peek_curve(run.fold_files("peek.csv"), run.predictions.classes)
        drawn["learning"] = learning_figure(histories, peeked)
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


@dataclass(frozen=True)
class Calibration:
    """Clips binned by the probability of their predicted class."""

    edges: np.ndarray
    """(B + 1,) bin edges over 0..1; a bin holds its upper edge, not its lower one."""
    counts: np.ndarray
    """(B,) clips in each bin."""
    confidence: np.ndarray
    """(B,) mean probability of the predicted class, nan where a bin is empty."""
    accuracy: np.ndarray
    """(B,) share of clips recognised, nan where a bin is empty."""
    low: np.ndarray
    high: np.ndarray
    """(B,) each: 95% Wilson interval of the accuracy (clips taken as independent)."""
    error: float
    """Expected calibration error: mean |accuracy - confidence| over the clips."""


def calibration(predictions: Predictions, bins: int = 10) -> Calibration:
    """The calibration of the predicted class's probability in `bins` equal bins."""
    order = {name: i for i, name in enumerate(predictions.classes)}
    stated = predictions.probabilities[np.arange(len(predictions)), [order[label] for label in predictions.predicted]]
    right = np.array([t == p for t, p in zip(predictions.true, predictions.predicted, strict=True)], dtype=float)
    place = np.clip(np.ceil(stated * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, stated, bins) / counts
        accuracy = np.bincount(place, right, bins) / counts
        low, high = _wilson(accuracy, counts)
    filled = counts > 0
    error = float((counts * np.abs(accuracy - confidence))[filled].sum() / counts.sum())
    return Calibration(np.linspace(0, 1, bins + 1), counts, confidence, accuracy, low, high, error)


def _wilson(share: np.ndarray, counts: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    counts = np.where(counts > 0, counts, np.nan)
    centre = (share + z * z / (2 * counts)) / (1 + z * z / counts)
    half = z / (1 + z * z / counts) * np.sqrt(share * (1 - share) / counts + z * z / (4 * counts**2))
    return centre - half, centre + half


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Counts and rates of one confusion matrix (C, C): rows true, columns predicted; each cell holds both."""
    names, count = [short(name) for name in classes], len(classes)
    side = max(3.2, 0.85 * count + 1.3)
    figure = Figure(figsize=(side + 0.4, side))
    axes = figure.subplots()
    totals = matrix.sum(1, keepdims=True)
    rates = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    shown = axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    axes.spines[:].set_visible(False)
    if count <= 12:
        for i in range(count):
            for j in range(count):
                rate = f"{rates[i, j]:.0%}" if totals[i, 0] else "-"
                colour = "white" if rates[i, j] > 0.55 else "black"
                weight = "bold" if i == j else "normal"
                axes.text(j, i - 0.1, str(matrix[i, j]), ha="center", va="center", color=colour, weight=weight)
                axes.text(j, i + 0.22, rate, ha="center", va="center", color=colour, fontsize=7.5)
    axes.set_xticks(range(count), names, rotation=0 if count <= 3 else 40, ha="center" if count <= 3 else "right")
    axes.set_yticks(range(count), [f"{name}\n(n = {n})" for name, n in zip(names, totals[:, 0], strict=True)])
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title)
    if count > 12:  # no room for numbers in the cells
        figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the true class")
    return figure


MOST_NAMED_SUBJECTS = 120
"""More names do not fit below the bars."""


def subjects_figure(per_subject: Sequence[Mapping[str, Any]]) -> Figure:
    """One bar per subject: clips recognised (dark) and missed (light, hatched); one panel per data set."""
    datasets = sorted({line["dataset"] for line in per_subject})
    groups = [[line for line in per_subject if line["dataset"] == dataset] for dataset in datasets]
    longest = max(map(len, groups))
    figure = Figure(figsize=(min(11.0, max(4.5, 0.24 * longest + 1.6)), 2.3 * len(groups)))
    for axes, dataset, lines in zip(
        figure.subplots(len(groups), 1, squeeze=False)[:, 0], datasets, groups, strict=True
    ):
        lines = sorted(lines, key=lambda line: (-line["accuracy"], line["subject"]))
        totals = np.array([line["n"] for line in lines])
        right = np.array([round(line["n"] * line["accuracy"]) for line in lines])
        places = np.arange(len(lines))
        axes.bar(places, right, color=DARK, label="recognised")
        axes.bar(
            places, totals - right, bottom=right, color="white", edgecolor=WARM, hatch="////", lw=0.8, label="missed"
        )
        if len(lines) <= MOST_NAMED_SUBJECTS:
            axes.set_xticks(places, [short(line["subject"], 10) for line in lines], rotation=90, fontsize=7)
        else:
            axes.set_xlabel(f"{len(lines)} subjects")
        axes.set_xlim(-0.7, max(longest, 8) - 0.3)
        axes.set_ylim(0, 1.05 * totals.max())
        axes.set_ylabel("clips")
        share = right.sum() / totals.sum()
        axes.set_title(
            f"{short(dataset_title(dataset))}: {right.sum()} of {totals.sum()} clips ({share:.0%})", loc="left"
        )
        axes.yaxis.get_major_locator().set_params(integer=True)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=2)
    return figure


def units_figure(per_unit: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Binary F1 (bar) and macro F1 (mark) of each action unit; below each the number of clips that show it."""
    figure = Figure(figsize=(min(11.0, max(4.5, 0.55 * len(per_unit) + 1.2)), 2.9))
    axes, places = figure.subplots(), np.arange(len(per_unit))
    axes.bar(places, [line["binary_f1"] for line in per_unit.values()], color=LIGHT, edgecolor=DARK, label="binary F1")
    macro = [line["macro_f1"] for line in per_unit.values()]
    axes.plot(places, macro, ls="", marker="D", ms=5, color=WARM, label="macro F1", clip_on=False)
    names = [f"{short(unit, 8)}\n{line['shown']}" for unit, line in per_unit.items()]
    axes.set_xticks(places, names, fontsize=8)
    axes.set(ylim=(0, 1.02), ylabel="F1")
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=2)
    return figure


def calibration_figure(found: Calibration) -> Figure:
    """Accuracy against stated probability with Wilson intervals, and how many clips each bin holds."""
    figure = Figure(figsize=(4.7, 4.6))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = found.counts > 0
    upper.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="perfectly calibrated")
    error = np.clip(np.stack([found.accuracy - found.low, found.high - found.accuracy])[:, filled], 0, None)
    upper.errorbar(
        found.confidence[filled],
        found.accuracy[filled],
        error,
        fmt="o-",
        color=DARK,
        ms=5,
        lw=1.3,
        capsize=2,
        label="this run",
    )
    upper.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="share recognised")
    upper.set_title(f"Expected calibration error {found.error:.3f}", loc="left")
    figure.legend(*upper.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    lower.bar(found.edges[:-1], found.counts, np.diff(found.edges), align="edge", color=LIGHT, edgecolor="white")
    lower.set(ylabel="clips", xlabel="probability of the predicted class")
    return figure


def learning_figure(
    histories: Sequence[Mapping[str, Sequence[float]]], peek: Mapping[str, Sequence[float]] | None = None
) -> Figure:
    """Mean over the folds of the training loss with the range of the folds; below it whatever scores were recorded."""
    scores = sorted({name for history in histories for name in history if name.endswith(("uf1", "uar", "accuracy"))})
    rows = 2 if scores or peek else 1
    figure = Figure(figsize=(4.7, 2.3 * rows))
    panels = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
    _band(panels[0], histories, "train_loss", DARK, "-", "training loss")
    panels[0].set_ylabel("training loss")
    panels[0].set_ylim(bottom=0)
    panels[0].set_title(f"Mean of {len(histories)} folds; shaded: lowest to highest fold", loc="left")
    if rows == 2:
        for name, (colour, line) in zip(scores, ((DARK, "-"), (GREY, "-."), (LIGHT, ":")), strict=False):
            _band(
                panels[1],
                histories,
                name,
                colour,
                line,
                name.replace("_", " ").replace("uf1", "UF1").replace("uar", "UAR"),
            )
        if peek:
            panels[1].plot(peek["epoch"], peek["uf1"], color=WARM, ls="--", label="UF1 on the test subjects (peeked)")
        panels[1].set_ylabel("score")
        panels[1].set_ylim(0, 1.02)
        panels[1].legend(frameon=False, loc="lower right")
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def _band(
    axes: Any, histories: Sequence[Mapping[str, Sequence[float]]], name: str, colour: str, line: str, label: str
) -> None:
    values: dict[float, list[float]] = {}
    for history in histories:
        for epoch, value in zip(history["epoch"], history.get(name, ()), strict=False):
            if np.isfinite(value) and np.isfinite(epoch):
                values.setdefault(epoch, []).append(value)
    epochs = sorted(values)
    if not epochs:
        return
    axes.plot(epochs, [np.mean(values[e]) for e in epochs], color=colour, ls=line, label=label)
    axes.fill_between(
        epochs, [min(values[e]) for e in epochs], [max(values[e]) for e in epochs], color=colour, alpha=0.15, lw=0
    )
