"""Two runs on the same clips, or two ways of spotting on the same videos: paired differences with intervals.

Of runs also McNemar's test and where they disagree; of spotted intervals, which expressions only one of them finds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slstt.datasets.clips import KINDS, Kind, name_of
from slstt.errors import ConfigError, DataError, shortened
from slstt.evaluation.intervals import GROUPS, SpottedVideo, VideoInterval, counts_of, of_kind, pair, spotting_f1
from slstt.evaluation.metrics import (
    DRAWS,
    LEVEL,
    SCORES,
    interval,
    resample,
    scores_of,
    subject_confusions,
    subject_weights,
)
from slstt.evaluation.predictions import Predictions
from slstt.evaluation.tables import SCORE_TITLES, Table


@dataclass(frozen=True)
class Disagreement:
    """A clip that the two runs label differently."""

    clip: str
    true: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """The first run minus the second, on the same clips."""

    names: tuple[str, str]
    n: int
    subjects: int
    difference: Mapping[str, float]
    """First minus second for accuracy, UF1 and UAR."""
    ci: Mapping[str, list[float] | None]
    """Its interval from a paired subject bootstrap: both runs are scored on the same drawn subjects."""
    only_first: int | None
    """Clips that only the first run has right; None where a run pools several seeds."""
    only_second: int | None
    mcnemar_p: float | None
    """Exact two-sided McNemar test; it takes clips as independent, which clips of one subject are not."""
    disagreements: tuple[Disagreement, ...]
    draws: int = DRAWS
    """Bootstrap draws behind `ci`."""

    def as_dict(self) -> dict[str, Any]:
        """For `comparison.json`."""
        content = asdict(self)
        draws = content.pop("draws")
        return {**content, "bootstrap": {"unit": "subject", "draws": draws, "level": LEVEL, "paired": True}}


def compare(
    first: Mapping[str, Predictions],
    second: Mapping[str, Predictions],
    names: tuple[str, str],
    allow_partial: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare two runs, each given as its seeds' predictions by name.

    Raises ConfigError where the classes, clips or true labels differ, naming them; with `allow_partial` the clips that
    both runs hold are compared. Raises DataError where no clip is common.
    """
    one, two = next(iter(first.values())), next(iter(second.values()))
    common = _common_clips(one, two, names, allow_partial)
    subjects = tuple(sorted({key[:2] for key in common}))
    matrices = []
    for seeds in (first, second):
        parts = [_restricted(predictions, common) for predictions in seeds.values()]
        matrices.append(np.sum([subject_confusions(part, subjects)[1] for part in parts], axis=0))
    scores = [scores_of(matrix.sum(0)) for matrix in matrices]
    # The same seed draws the same subjects for both, which makes the difference a paired one.
    drawn = [scores_of(resample(matrix, draws, seed)) for matrix in matrices]
    single = len(first) == len(second) == 1
    a, b = _restricted(one, common), _restricted(two, common)
    right = [[t == p for t, p in zip(x.true, x.predicted, strict=True)] for x in (a, b)]
    only_first = sum(x and not y for x, y in zip(*right, strict=True))
    only_second = sum(y and not x for x, y in zip(*right, strict=True))
    disagreements = [
        Disagreement(name_of(key), true, x, y)
        for key, true, x, y in zip(a.keys, a.true, a.predicted, b.predicted, strict=True)
        if x != y
    ]
    return Comparison(
        names,
        len(common),
        len(subjects),
        {name: float(scores[0][name] - scores[1][name]) for name in SCORES},
        {name: interval(drawn[0][name] - drawn[1][name]) if len(subjects) > 1 else None for name in SCORES},
        only_first if single else None,
        only_second if single else None,
        mcnemar(only_first, only_second) if single else None,
        tuple(disagreements) if single else (),
        draws,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value: under equal error rates, discordant clips fall to either side like coin tosses."""
    tosses = only_first + only_second
    tail = sum(math.comb(tosses, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**tosses)


def comparison_table(comparison: Comparison) -> Table:
    """Differences with their intervals; McNemar's test as a note."""
    rows = [_difference_row(title, comparison, score) for score, title in SCORE_TITLES.items()]
    notes = []
    if comparison.mcnemar_p is not None:
        notes.append(
            f"Right only in the first: {comparison.only_first} clips, only in the second: {comparison.only_second}; "
            f"McNemar exact p = {comparison.mcnemar_p:.3g} (takes clips as independent)."
        )
    return _difference_table(comparison, f"{comparison.n} clips", rows, notes)


@dataclass(frozen=True)
class SpottingComparison:
    """The first way of spotting minus the second, on the same videos."""

    names: tuple[str, str]
    videos: int
    subjects: int
    difference: Mapping[str, float]
    """First minus second for the F1 of micro, macro and all, at an IoU of 0.5."""
    ci: Mapping[str, list[float] | None]
    """Its interval from a paired subject bootstrap."""
    only_first: Mapping[str, int]
    """Annotated expressions that only the first finds; `only_second` likewise."""
    only_second: Mapping[str, int]
    draws: int = DRAWS

    def as_dict(self) -> dict[str, Any]:
        """For `comparison.json`."""
        content = asdict(self)
        draws = content.pop("draws")
        return {**content, "bootstrap": {"unit": "subject", "draws": draws, "level": LEVEL, "paired": True}}


def compare_spotting(
    first: Sequence[SpottedVideo],
    second: Sequence[SpottedVideo],
    names: tuple[str, str],
    allow_partial: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> SpottingComparison:
    """Compare two ways of spotting. Raises ConfigError where the videos or what is annotated in them differ, naming
    them; with `allow_partial` the videos that both hold are compared. Raises DataError where no video is common.
    """
    held = [{video.key: video for video in videos} for videos in (first, second)]
    keys = _common([_truth(videos) for videos in (first, second)], names, allow_partial, "video")
    subjects = sorted({key[:2] for key in keys})
    place = {subject: row for row, subject in enumerate(subjects)}
    weights = subject_weights(len(subjects), draws, seed) if len(subjects) > 1 else None
    difference, ci, only = {}, {}, ({}, {})
    for name, kinds in GROUPS.items():
        counts, lone = np.zeros((2, len(subjects), 3), np.int64), np.zeros(2, np.int64)
        for key in sorted(keys):
            for kind in kinds:
                videos = [one[key] for one in held]
                for which, video in enumerate(videos):
                    counts[which, place[key[:2]]] += counts_of(video, kind)
                a, b = ({t for _, t in pair(of_kind(v.found, kind), _annotated(v, kind))} for v in videos)
                lone += (len(a - b), len(b - a))
        scores = spotting_f1(counts.sum(1))
        difference[name] = float(scores[0] - scores[1])
        # The same subjects are drawn for both, which makes the difference a paired one.
        drawn = None if weights is None else [spotting_f1(weights @ rows) for rows in counts]
        ci[name] = None if drawn is None else interval(drawn[0] - drawn[1])
        only[0][name], only[1][name] = (int(n) for n in lone)
    return SpottingComparison(names, len(keys), len(subjects), difference, ci, *only, draws)


def spotting_comparison_table(comparison: SpottingComparison) -> Table:
    """Differences of F1 with their intervals, and what only one of them finds."""
    rows = [_difference_row(f"F1, {name}", comparison, name) for name in GROUPS]
    first, second = comparison.only_first["all"], comparison.only_second["all"]
    note = f"Annotated expressions found by the first alone: {first}, by the second alone: {second}."
    return _difference_table(comparison, f"{comparison.videos} videos", rows, [note])


def _difference_row(title: str, comparison: Comparison | SpottingComparison, score: str) -> tuple[str, ...]:
    low_high = comparison.ci[score]
    interval_text = "-" if low_high is None else f"[{low_high[0]:+.3f}, {low_high[1]:+.3f}]"
    verdict = "-" if low_high is None else "no" if low_high[0] <= 0 <= low_high[1] else "yes"
    return title, f"{comparison.difference[score]:+.3f}", interval_text, verdict


def _difference_table(
    comparison: Comparison | SpottingComparison, on: str, rows: Sequence[tuple[str, ...]], notes: Sequence[str]
) -> Table:
    return Table(
        f"{comparison.names[0]} minus {comparison.names[1]} ({on}, {comparison.subjects} subjects)",
        ("", "Difference", "95% interval", "Zero excluded"),
        tuple(rows),
        tuple(notes),
        left=(0, 3),
    )


def _annotated(video: SpottedVideo, kind: Kind) -> list[VideoInterval]:
    """Of one kind, in the same order in every folder."""
    return sorted(of_kind(video.true, kind), key=lambda one: (one.onset, one.offset))


def _truth(videos: Sequence[SpottedVideo]) -> dict[tuple[str, str, str], str]:
    """What is annotated in each video, as text."""
    return {
        video.key: ", ".join(f"{i.kind} {i.onset}..{i.offset}" for k in KINDS for i in _annotated(video, k)) or "none"
        for video in videos
    }


def _common_clips(
    one: Predictions, two: Predictions, names: tuple[str, str], allow_partial: bool
) -> set[tuple[str, str, str]]:
    if set(one.classes) != set(two.classes):
        raise ConfigError(
            f"{names[0]} and {names[1]} follow different protocols: classes {', '.join(one.classes)} "
            f"against {', '.join(two.classes)}; compare runs of one protocol"
        )
    return _common([dict(zip(x.keys, x.true, strict=True)) for x in (one, two)], names, allow_partial, "clip")


def _common(
    truths: Sequence[Mapping[tuple[str, str, str], str]], names: tuple[str, str], allow_partial: bool, what: str
) -> set[tuple[str, str, str]]:
    """The clips (or videos) that both hold, with the same truth."""
    common = set(truths[0]) & set(truths[1])
    relabelled = shortened(
        [
            f"{name_of(key)} is '{truths[0][key]}' in {names[0]} and '{truths[1][key]}' in {names[1]}"
            for key in sorted(common)
            if truths[0][key] != truths[1][key]
        ]
    )
    if relabelled:
        raise ConfigError(
            f"{names[0]} and {names[1]} disagree about the truth; compare runs of one protocol", *relabelled
        )
    lone: list[str] = []
    for truth, here, there in ((truths[0], *names), (truths[1], names[1], names[0])):
        clips = sorted(set(truth) - common)
        lone += shortened([f"{name_of(key)} is in {here} only, not in {there}" for key in clips], 10)
    if lone and not allow_partial:
        raise ConfigError(
            f"{names[0]} and {names[1]} do not hold the same {what}s: compare runs of one protocol, "
            f"or give --allow-partial for the {what}s that both hold",
            *lone,
        )
    if not common:
        raise DataError(f"{names[0]} and {names[1]} have no {what} in common")
    return common


def _restricted(predictions: Predictions, clips: set[tuple[str, str, str]]) -> Predictions:
    rows: Sequence[int] = [i for i, key in enumerate(predictions.keys) if key in clips]
    return predictions.select(sorted(rows, key=lambda i: predictions.keys[i]))
