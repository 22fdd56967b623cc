"""The figures of a run (confusion matrix, calibration, attention), readable on a grey printer and when colour-blind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from slstt.errors import DataError, printable
from slstt.evaluation.predictions import Predictions
from slstt.evaluation.tables import dataset_title
from slstt.pages import DARK, GREY, LIGHT, WARM, figure_style, save_figure

if TYPE_CHECKING:
    from slstt.evaluation.saliency import AttentionMaps


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


def attention_figure(maps: Mapping[str, "AttentionMaps"], names: Sequence[str]) -> Figure:
    """Above, the mean motion of each class; below, the mean attention over it, on one scale for all classes."""
    means = [maps[name].attention / maps[name].clips for name in names]
    low, high = min(m.min() for m in means), max(m.max() for m in means)
    figure = Figure(figsize=(1.1 + 2.1 * len(names), 4.7))
    rows = figure.subplots(2, len(names), squeeze=False)
    shown = None
    for column, name in enumerate(names):
        motion = maps[name].motion / maps[name].clips
        edge = (-0.5, motion.shape[1] - 0.5, motion.shape[0] - 0.5, -0.5)
        rows[0, column].imshow(motion, cmap="gray", extent=edge)
        rows[0, column].set_title(f"{short(name)}\n({maps[name].clips} clips)")
        rows[1, column].imshow(motion, cmap="gray", extent=edge)
        shown = rows[1, column].imshow(
            means[column], cmap="cividis", vmin=low, vmax=high, extent=edge, alpha=0.75, interpolation="bilinear"
        )
        for axes in rows[:, column]:
            axes.set(xticks=(), yticks=())
            axes.spines[:].set_visible(False)
    rows[0, 0].set_ylabel("mean motion")
    rows[1, 0].set_ylabel("attention over it")
    if shown is not None:
        figure.colorbar(shown, ax=rows[1, :].tolist(), shrink=0.9, label="times even attention")
    return figure


def gate_figure(maps: Mapping[str, "AttentionMaps"], names: Sequence[str]) -> Figure:
    """Intensity and output gate over the frames, one line per class."""
    figure = Figure(figsize=(6.0, 4.4 if maps[names[0]].gate is not None else 2.4))
    panels = figure.subplots(2 if maps[names[0]].gate is not None else 1, 1, squeeze=False, sharex=True)[:, 0]
    for place, name in enumerate(names):
        summed, line = maps[name], ("-", "--", "-.", ":")[place % 4]
        frames = np.arange(1, len(summed.intensity) + 1)
        colour = (DARK, WARM, GREY, LIGHT)[place % 4]
        drawn = {"color": colour, "ls": line, "marker": "osD^v"[place % 5], "ms": 3.5}
        panels[0].plot(frames, summed.intensity / summed.clips, label=short(name), **drawn)
        if summed.gate is not None:
            panels[1].plot(frames, summed.gate / summed.clips, **drawn)
    panels[0].set(ylabel="mean motion,\nshare of the clip's highest", ylim=(0, 1.05))
    panels[0].legend(frameon=False, ncols=3)
    if len(panels) == 2:
        panels[1].set_ylabel("mean output gate\nof the last LSTM layer")
    panels[-1].set_xlabel("frame after the onset")
    return figure


def short(name: str, length: int = 18) -> str:
    """A name from a file as it may stand on a figure: one line, not too long."""
    name = printable(name)
    return name if len(name) <= length else name[: length - 1] + "…"


def write_attention(maps: Mapping[str, "AttentionMaps"], classes: Sequence[str], folder: Path) -> list[Path]:
    """Draw `attention` (and `attention_gate` for an LSTM over several frames) as PNG and PDF into `folder`.

    Returns the PNG files. Raises DataError where there is no clip.
    """
    names = [name for name in classes if name in maps]
    if not names:
        raise DataError(f"{folder.parent}: no clip to look at; train with run.save_models=true")
    with figure_style():
        save_figure(attention_figure(maps, names), folder, "attention")
        written = [folder / "attention.png"]
        if len(maps[names[0]].intensity) > 1:
            save_figure(gate_figure(maps, names), folder, "attention_gate")
            written.append(folder / "attention_gate.png")
    return written
