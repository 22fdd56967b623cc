"""The figures of a run, drawn to survive colour blindness and a grey printer: dark against light, hatches, numbers."""

import base64
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from slstt.evaluation.predictions import Predictions
from slstt.evaluation.tables import dataset_title, printable
from slstt.files import whole_file


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
    said = predictions.probabilities[np.arange(len(predictions)), [order[label] for label in predictions.predicted]]
    right = np.array([t == p for t, p in zip(predictions.true, predictions.predicted, strict=True)], dtype=float)
    place = np.clip(np.ceil(said * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, said, bins) / counts
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


DARK, LIGHT, WARM, GREY = "#08519c", "#9ecae1", "#d95f02", "#555555"
"""Okabe-Ito-like: dark blue, light blue and orange differ in lightness as well as in hue."""
_STYLE: Any = {
    "text.parse_math": False,  # a class called "$x" is a name, not a formula
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "svg.hashsalt": "slstt",
    "savefig.dpi": 200,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures; names in scripts the font lacks are drawn as boxes without a word about it."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            yield
    finally:
        log.setLevel(level)


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write `name`.png and `name`.pdf below `folder`; returns the figure as a `data:` URI (SVG), sharp in print."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found once, not once for each format
    for suffix in ("png", "pdf"):
        with whole_file(folder / f"{name}.{suffix}") as part:
            figure.savefig(part, format=suffix, metadata={"CreationDate": None} if suffix == "pdf" else None)
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


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
        axes.set_xticks(places, [short(line["subject"], 10) for line in lines], rotation=90, fontsize=7)
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
            if np.isfinite(value):
                values.setdefault(epoch, []).append(value)
    epochs = sorted(values)
    if not epochs:
        return
    axes.plot(epochs, [np.mean(values[e]) for e in epochs], color=colour, ls=line, label=label)
    axes.fill_between(
        epochs, [min(values[e]) for e in epochs], [max(values[e]) for e in epochs], color=colour, alpha=0.15, lw=0
    )


def short(name: str, length: int = 18) -> str:
    """A name from a file as it may stand on a figure: one line, not too long."""
    name = printable(name)
    return name if len(name) <= length else name[: length - 1] + "…"
