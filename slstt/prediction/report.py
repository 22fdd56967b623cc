"""`report.html` of one recording: one page that needs no other file; where there is a video, it plays beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from slstt import pages
from slstt.datasets.synthetic.action_units import NAMES
from slstt.evaluation.saliency import SaliencyMap
from slstt.files import write_text
from slstt.images import Picture, data_uri, encode, flow_wheel
from slstt.prediction import DEFAULT_WEIGHTS, LIMITS, annotated_video
from slstt.prediction.classify import IntervalFlow
from slstt.prediction.face_motion import FaceMotion
from slstt.prediction.results import FoundInterval, PredictionResult, with_face

HEIGHT = 240
"""Of the pictures of an interval, in pixels."""
QUALITY = 82
POINTS = 2000
"""The curve is drawn with at most twice so many points: each span's lowest and highest."""
LONGEST = 100
"""Intervals shown with pictures; of more, the strongest."""
SHOWN_UNIT, MOST_UNITS = 0.2, 8
"""Probability from which an action unit is shown on the page, and how many of an interval."""
FULL = 0.1
"""Fall of the probability that is drawn in full yellow, or the largest fall where that is more."""

Tiles = Mapping[str, Any]
"""Of one interval: `onset`, `apex`, `offset`, `flow`, `saliency` (data URIs), `motion`, `kind`, `most`."""


@dataclass(frozen=True)
class About:
    """What the report says about how it was made."""

    weights: str
    networks: int
    trained_on: str
    settings: Mapping[str, Any]
    given: bool
    shipped: bool
    """The weights come with slstt."""


def make_tiles(made: IntervalFlow, saliency: SaliencyMap) -> Tiles:
    """The pictures of one interval, small enough to be kept for the page."""
    shown = {name: _fitted(picture) for name, picture in made.shown.items()}
    flow = made.flow[made.apex_place]
    height, width = shown["apex"].shape[:2]
    small = np.stack([cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA) for part in flow])
    return {
        **{name: _jpeg(picture) for name, picture in shown.items()},
        "flow": _jpeg(flow_wheel(small)),
        "saliency": _jpeg(_overlaid(shown["apex"], saliency)),
        "motion": float(np.percentile(np.hypot(*flow), 99)) / made.eyes,
        "kind": saliency.kind,
        "most": float(saliency.values.max()),
    }


def write_report(
    folder: Path, result: PredictionResult, motion: FaceMotion, tiles: Mapping[int, Tiles], about: About
) -> Path:
    """Write `report.html` and `figures/intensity.{png,pdf}`; returns the page's path.

    `tiles` by place in `result.found`. Raises DataError where nothing can be written.
    """
    with pages.figure_style():
        pages.save_figure(intensity_figure(result, motion), folder / "figures", "intensity")
    strongest = sorted(tiles, key=lambda index: -result.found[index].interval.strength)[:LONGEST]
    shown = [
        (index + 1, one, tiles.get(index))
        for index, one in enumerate(result.found)
        if index in strongest or index not in tiles
    ]
    page = pages.render(
        "recording.html",
        result=result,
        rate=motion.rate,
        seconds=float(motion.times[-1] - motion.times[motion.begin]) + 1 / motion.rate,
        frames=result.frames - motion.begin,
        with_face=float(with_face(motion)[motion.begin :].mean()),
        interocular=motion.interocular,
        about=about,
        shown=shown,
        hidden=len(result.found) - len(shown),
        line=timeline(motion),
        most_units=most_units,
        unit_names=NAMES,
        video=annotated_video.NAME if annotated_video.FOR_BROWSERS in result.note else "",
        kinds=sorted({one["kind"] for one in tiles.values()}),
        limits=LIMITS,
        default_weights=DEFAULT_WEIGHTS,
        settings=[(f"{s}.{key}", value) for s, values in about.settings.items() for key, value in values.items()],
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def write_index(
    out: Path, results: Sequence[PredictionResult], failures: Sequence[tuple[str, str]], classes: Sequence[str]
) -> Path:
    """Write `index.html`, which leads to the reports of several recordings; `failures` are (recording, reason)."""
    page = pages.render("recordings.html", results=results, failures=failures, classes=classes, limits=LIMITS)
    write_text(out / "index.html", page)
    return out / "index.html"


WIDE, HIGH, TOP = 1000.0, 150.0, 24.0
"""Of the page's timeline, in units of its drawing; above TOP stand the intervals' numbers."""


@dataclass(frozen=True)
class Timeline:
    """The whole recording as a drawing of WIDE x HIGH: x is time, the curve the motion of the face."""

    first: float
    """Seconds of the left edge."""
    last: float
    curves: tuple[str, ...]
    """Points of each unbroken piece of the curve."""
    lost: tuple[tuple[float, float], ...]
    """x and width of the stretches without a face; `unjudged` likewise."""
    unjudged: tuple[tuple[float, float], ...]
    ticks: tuple[tuple[float, str], ...]
    """x and label."""
    top: float
    """Motion at the curve's upper edge, in thousandths of the eyes' distance."""
    wide: float = WIDE
    high: float = HIGH
    above: float = TOP

    def x(self, seconds: float) -> float:
        """Where a time lies."""
        return WIDE * (seconds - self.first) / max(self.last - self.first, 1e-9)

    def span(self, onset: float, offset: float) -> tuple[float, float]:
        """x and width of an interval, wide enough to be hit with a finger."""
        left, right = self.x(onset), self.x(offset)
        width = max(right - left, 6.0)
        return min(max(0.0, (left + right - width) / 2), WIDE - width), width


def timeline(motion: FaceMotion) -> Timeline:
    """Curve, gaps and ticks of the page's timeline."""
    begin, seconds = motion.begin, np.append(motion.times, motion.times[-1] + 1 / motion.rate)
    numbers, values = _envelope(motion.intensity[begin:])
    known = np.isfinite(values)
    top = max(float(values[known].max()) if known.any() else 1.0, 1e-6) * 1.1
    bare = Timeline(float(seconds[begin]), float(seconds[-1]), (), (), (), (), top)
    points = [
        f"{bare.x(float(seconds[begin + n])):.1f},{HIGH - (HIGH - TOP) * max(value, 0.0) / top:.1f}"
        for n, value in zip(numbers.tolist(), np.nan_to_num(values).tolist(), strict=True)
    ]
    curves = [" ".join(points[first:end]) for first, end in _stretches(known)]
    lost = _stretches(~with_face(motion)[begin:])
    unjudged = _stretches(~motion.judged[begin:])

    def place(first: int, end: int) -> tuple[float, float]:
        left = bare.x(float(seconds[begin + first]))
        return left, bare.x(float(seconds[begin + end])) - left

    return replace(
        bare,
        curves=tuple(curves),
        lost=tuple(place(*one) for one in lost),
        unjudged=tuple(place(*one) for one in unjudged),
        ticks=_ticks(bare),
    )


def _ticks(line: Timeline) -> tuple[tuple[float, str], ...]:
    step = next(
        (s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600) if (line.last - line.first) / s <= 12), 3600
    )
    first = math.ceil(line.first / step)
    at = [step * n for n in range(first, math.floor(line.last / step) + 1)]
    return tuple((line.x(t), f"{t:.1f}" if step < 1 else f"{t:.0f}") for t in at)


def _stretches(there: np.ndarray) -> list[tuple[int, int]]:
    """(first, end) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]])))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def most_units(result: PredictionResult, one: FoundInterval) -> list[tuple[int, float, float]]:
    """(unit, left, right) of the units worth showing, likeliest first."""
    rows = [(unit, *sides) for unit, sides in zip(result.units, one.units, strict=False)]
    return sorted((row for row in rows if max(row[1:]) >= SHOWN_UNIT), key=lambda row: -max(row[1:]))[:MOST_UNITS]


def intensity_figure(result: PredictionResult, motion: FaceMotion) -> Figure:
    """Motion of the face over time, the intervals marked and numbered, the stretches without a face hatched."""
    figure = Figure(figsize=(9.5, 2.9))
    axes = figure.subplots()
    face, begin = with_face(motion), motion.begin
    seconds = np.append(motion.times, motion.times[-1] + 1 / motion.rate)
    face[:begin] = True  # not measured
    numbers, values = _envelope(motion.intensity[begin:])
    axes.plot(seconds[numbers + begin], values, color=pages.DARK, lw=0.9)
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    top = max(top, 1e-6) * 1.2
    for gone, back in seconds[np.array(_stretches(~face), int).reshape(-1, 2)]:
        axes.axvspan(gone, back, facecolor="#eeeeee", edgecolor="#bbbbbb", hatch="///", lw=0)
    for number, one in enumerate(result.found, start=1):
        onset, apex, offset = one.seconds
        axes.axvspan(onset, offset, facecolor=pages.WARM, alpha=0.28, lw=0)
        axes.plot([apex, apex], [0, top * 0.9], color=pages.WARM, lw=0.8, ls="--")
        if len(result.found) <= 40:
            axes.text(apex, top * 0.99, str(number), ha="center", va="top", fontsize=8, fontweight="bold")
    axes.set(xlim=(seconds[begin], seconds[-1]), ylim=(0, top), xlabel="seconds")
    axes.set_ylabel("motion of the face,\n1/1000 of the eyes' distance")
    for first, end in seconds[np.array(_stretches(~motion.judged[begin:]), int).reshape(-1, 2) + begin]:
        axes.plot([first, end], [0, 0], color=pages.GREY, lw=5, solid_capstyle="butt", clip_on=True)
    return figure


def _envelope(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(frame numbers, values) of the curve, thinned so that no peak is lost."""
    if len(values) <= 2 * POINTS:
        return np.arange(len(values)), values
    edges = np.linspace(0, len(values), POINTS + 1).astype(int)
    at = []
    for begin, end in pairwise(edges.tolist()):
        piece = values[begin:end]
        if np.isnan(piece).any():
            at.append(begin + int(np.flatnonzero(np.isnan(piece))[0]))  # the gap stays a gap
        else:
            at += sorted({begin + int(piece.argmin()), begin + int(piece.argmax())})
    return np.array(at), values[at]


def _fitted(picture: Picture) -> Picture:
    by = HEIGHT / picture.shape[0]
    size = (max(1, round(picture.shape[1] * by)), HEIGHT)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _overlaid(face: Picture, saliency: SaliencyMap) -> Picture:
    """The map over a grey face: dark and blue where it is low, light and yellow where it is high."""
    height, width = face.shape[:2]
    low, high = float(saliency.values.min()), float(saliency.values.max())
    if saliency.kind == "occlusion":
        low, high = 0.0, max(high, FULL)  # a place that costs nearly nothing must not seem like one that decides
    share = (saliency.values - low) / (high - low) if high > low else np.zeros_like(saliency.values)
    smooth = np.clip(cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colours = matplotlib.colormaps["cividis"](smooth)[..., :3] * 255
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(0.45 * grey + 0.55 * colours, np.uint8)


def _jpeg(picture: Picture) -> str:
    return data_uri(encode(picture, ".jpg", QUALITY), "image/jpeg")
