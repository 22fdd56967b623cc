"""Threshold and length for each subject from the other subjects alone: leave-one-subject-out, as in recognition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from slstt.config.spot import KindGrid, SpotConfig
from slstt.datasets.clips import KINDS, Kind
from slstt.errors import ConfigError, DataError
from slstt.evaluation.intervals import VideoInterval, counts_of, spotting_f1
from slstt.spotting.methods import METHODS, Choice, Signals
from slstt.spotting.recordings import AnnotatedRecording
from slstt.training.folds import leave_one_subject_out

Subject = tuple[str, str]
"""Data set, subject."""


@dataclass(frozen=True)
class Chosen:
    """What is used for one subject and kind."""

    choice: Choice
    training_f1: float | None
    """On the other subjects; None where it was given."""


def grid_of(config: SpotConfig, kind: Kind) -> list[Choice]:
    """What is tried for a kind: the settings' grid, or the method's own where they have none."""
    method, given = METHODS[config.spot.method], _given(config, kind)
    thresholds, lengths = given.thresholds or method.thresholds, given.lengths_ms or method.lengths_ms[kind]
    return [Choice(threshold, length, _strongest(config, kind)) for threshold, length in product(thresholds, lengths)]


def fixed_choices(config: SpotConfig) -> dict[Kind, Choice]:
    """The one choice of each kind with `--fixed`. Raises ConfigError where the settings give several."""
    problems, choices = [], {}
    for kind in KINDS:
        given, own = _given(config, kind), METHODS[config.spot.method].fixed[kind]
        for name in ("thresholds", "lengths_ms"):
            if len(getattr(given, name) or (0,)) > 1:
                problems.append(f"--fixed: '{kind}.{name}' has several values; give one, e.g. {kind}.{name}=[5]")
        threshold, length = given.thresholds or (own.threshold,), given.lengths_ms or (own.length_ms,)
        choices[kind] = Choice(threshold[0], length[0], _strongest(config, kind))
    if problems:
        raise ConfigError(*problems)
    return choices


def grid_problems(videos: Sequence[AnnotatedRecording]) -> list[DataError]:
    """Why nothing can be chosen on other subjects, if so."""
    subjects = {video.key[:2] for video in videos}
    if len(subjects) > 1:
        return []
    what = f"only subject {'/'.join(next(iter(subjects)))} has recordings; there are no others to choose thresholds on"
    return [DataError(f"{what}: take fixed ones with --fixed")]


def choose(
    videos: Sequence[AnnotatedRecording], signals: Mapping[tuple[str, str, str], Signals], config: SpotConfig
) -> dict[tuple[Subject, Kind], Chosen]:
    """For each subject and kind the choice with the highest F1 over all videos of the other subjects.

    Among equal ones those with the fewest false alarms, and of these the middle one, in the order of thresholds: at the
    edge a little other data would give another result. A video without
    `signals` could not be measured: all its expressions are missed. Raises DataError for fewer than two subjects.
    """
    folds = leave_one_subject_out([video.key for video in videos])
    chosen = {}
    for kind in KINDS:
        grid = grid_of(config, kind)
        counts = np.stack([_counts(videos, signals, config, kind, choice) for choice in grid])
        for fold in folds:
            training = counts[:, list(fold.train)].sum(axis=1)
            f1 = spotting_f1(training)
            highest = max((f1[n], -training[n, 1]) for n in range(len(grid)))
            equal = [n for n in range(len(grid)) if (f1[n], -training[n, 1]) == highest]
            best = equal[len(equal) // 2]  # the grid is sorted by threshold, then length
            chosen[(fold.dataset, fold.subject), kind] = Chosen(grid[best], float(f1[best]))
    return chosen


def spot(
    video: AnnotatedRecording, signals: Signals | None, method: str, kind: Kind, choice: Choice
) -> list[VideoInterval]:
    """The intervals of one kind in a video, in the data set's own frame numbers; none where it was not measured."""
    if signals is None:
        return []
    numbers = video.numbers
    return [
        VideoInterval(numbers[i.onset], numbers[i.offset], kind, numbers[i.apex], "", i.strength)
        for i in METHODS[method].spot(signals[kind], video.rate, kind, choice)
    ]


def _counts(
    videos: Sequence[AnnotatedRecording],
    signals: Mapping[tuple[str, str, str], Signals],
    config: SpotConfig,
    kind: Kind,
    choice: Choice,
) -> np.ndarray:
    """(videos, 3): TP, FP, FN of one choice in each video."""
    found = (spot(video, signals.get(video.key), config.spot.method, kind, choice) for video in videos)
    return np.stack([counts_of(video.scored(here), kind) for video, here in zip(videos, found, strict=True)])


def _strongest(config: SpotConfig, kind: Kind) -> float | None:
    """What is larger is no micro-expression; other methods measure no strength that could be compared with it."""
    return config.spot.strongest if (config.spot.method, kind) == ("slstt", "micro") else None


def _given(config: SpotConfig, kind: Kind) -> KindGrid:
    return config.micro if kind == "micro" else config.macro
