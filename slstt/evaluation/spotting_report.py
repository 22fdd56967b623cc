"""The page of a folder of spotted intervals: scores, F1 by overlap, subjects, and every video on a line of time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from slstt import pages
from slstt.config.load import leaves
from slstt.datasets.clips import KINDS
from slstt.errors import printable
from slstt.evaluation.intervals import GROUPS, LEAST_IOU, OTHER_IOUS, SpottedVideo, counts_of, of_kind, pair
from slstt.evaluation.spotting import SpottedFolder
from slstt.evaluation.tables import Table, short
from slstt.files import write_text
from slstt.pages import DARK, GREY, LIGHT, WARM

ROWS, MOST_VIDEOS = 20, 200
"""Videos in one figure, and on the page."""


def write_spotting_report(
    spotted: SpottedFolder,
    metrics: Mapping[str, Any],
    tables: Sequence[Table],
    formats: Sequence[str] = ("png", "pdf"),
) -> Path:
    """Write `report.html` with `tables` into the folder and its figures into `figures/`; returns the page's path."""
    videos = [video for video in spotted.videos if video.true or not metrics["invalid"]]
    shown = videos[:MOST_VIDEOS]
    folder = spotted.folder / "figures"
    with pages.figure_style():
        drawings = {
            "overlap": pages.save_figure(overlap_figure(metrics), folder, "overlap", formats),
            "subjects": pages.save_figure(spotted_subjects_figure(videos), folder, "subjects", formats),
        }
        timelines = [
            pages.save_figure(timeline_figure(shown[first : first + ROWS]), folder, f"timeline_{number}", formats)
            for number, first in enumerate(range(0, len(shown), ROWS), start=1)
        ]
    settings = [(name, str(value)) for name, value in leaves(dict(spotted.about)) if name != "failed"]
    page = pages.render(
        "spotting.html",
        name=spotted.folder.resolve().name,
        metrics=metrics,
        tables=tables,
        drawings=drawings,
        timelines=timelines,
        shown=len(shown),
        left_out=len(videos) > len(shown),
        settings=settings,
    )
    path = spotted.folder / "report.html"
    write_text(path, page)
    return path


def overlap_figure(metrics: Mapping[str, Any]) -> Figure:
    """F1 of each kind against the overlap from which an interval counts as found."""
    figure = Figure(figsize=(4.2, 3.0))
    axes = figure.subplots()
    places = [*OTHER_IOUS, LEAST_IOU]
    for kind, colour, mark in zip(GROUPS, (DARK, LIGHT, GREY), "os^", strict=True):
        block = metrics["spotting"][kind]
        axes.plot(places, [block["f1_at"][f"{least:g}"] for least in places], mark + "-", color=colour, label=kind)
    axes.set_xticks(places)
    axes.set_ylim(0, 1)
    axes.set_xlabel("IoU at least")
    axes.set_ylabel("F1")
    axes.legend(frameon=False)
    return figure


def spotted_subjects_figure(videos: Sequence[SpottedVideo]) -> Figure:
    """True positives, false negatives and false positives of each subject, all kinds together."""
    counts: dict[tuple[str, str], np.ndarray] = {}
    for video in videos:
        for kind in KINDS:
            before = counts.get(video.key[:2], np.zeros(3, np.int64))
            counts[video.key[:2]] = before + counts_of(video, kind)
    subjects = sorted(counts)
    figure = Figure(figsize=(5.2, max(1.6, 0.6 + 0.2 * len(subjects))))
    axes = figure.subplots()
    rows = np.array([counts[subject] for subject in subjects])
    places = np.arange(len(subjects))[::-1]
    left = np.zeros(len(subjects))
    for column, name, colour in ((0, "found", DARK), (2, "missed", LIGHT), (1, "false alarms", WARM)):
        axes.barh(places, rows[:, column], left=left, color=colour, label=name)
        left += rows[:, column]
    axes.set_yticks(places, [short(subject) for _, subject in subjects])
    axes.set_xlabel("intervals")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def timeline_figure(videos: Sequence[SpottedVideo]) -> Figure:
    """One line of time for each video: annotated intervals above it, found ones below."""
    figure = Figure(figsize=(9.0, 0.6 + 0.34 * len(videos)))
    axes = figure.subplots()
    seconds = all(video.rate for video in videos)
    last = 0.0
    for place, video in zip(range(len(videos) - 1, -1, -1), videos, strict=True):
        unit = video.rate if seconds and video.rate else 1.0
        start = video.first
        ends = [one.offset + 1 - start for one in (*video.true, *video.found)]
        end = max([video.frames or 0, *ends]) / unit
        last = max(last, end)
        axes.plot([0, end], [place, place], color=GREY, linewidth=0.6)
        for kind, colour in zip(KINDS, (DARK, LIGHT), strict=True):
            found, true = of_kind(video.found, kind), of_kind(video.true, kind)
            pairs = pair(found, true)
            for which, intervals, bottom in ((0, found, place - 0.4), (1, true, place + 0.04)):
                hit = {both[which] for both in pairs}
                for number, one in enumerate(intervals):
                    length = (one.offset - one.onset + 1) / unit
                    edge = colour if number in hit else WARM
                    box = Rectangle(((one.onset - start) / unit, bottom), length, 0.36, facecolor=colour)
                    box.set(edgecolor=edge, linewidth=0.5 if number in hit else 1.4)
                    axes.add_patch(box)
    names = [printable(f"{video.subject} {video.video}") for video in videos]
    axes.set_yticks(range(len(videos) - 1, -1, -1), [short(name) for name in names])
    axes.set_ylim(-0.6, len(videos) - 0.4)
    axes.set_xlim(0, last or 1)
    axes.set_xlabel("seconds" if seconds else "frames")
    return figure
