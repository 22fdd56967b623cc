"""Thresholds from other subjects alone: against a plain search, and untouched by the subject left out."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from slstt.config.spot import SpotConfig
from slstt.datasets.clips import KINDS
from slstt.evaluation.intervals import VideoInterval, pair
from slstt.prediction.recording import Recording
from slstt.spotting.choose import choose, grid_of, spot
from slstt.spotting.methods import Signals
from slstt.spotting.recordings import AnnotatedRecording

CONFIG = SpotConfig.model_validate(
    {"micro": {"thresholds": [4, 6, 9], "lengths_ms": [65, 150]}, "macro": {"thresholds": [4, 9], "lengths_ms": [500]}}
)


def drawn(subject: str, video: str, seed: int) -> tuple[AnnotatedRecording, Signals]:
    """A recording of 1000 frames, 100 a second, some of whose candidates are true."""
    generator = np.random.default_rng(seed)
    true, signals = [], {}
    for kind, low, high in (("micro", 7, 50), ("macro", 52, 200)):
        rows = []
        for place in range(4):
            onset, length = 50 + 240 * place + int(generator.integers(0, 20)), int(generator.integers(low, high))
            rows.append((onset, onset + length // 2, onset + length, 2.0, generator.uniform(3, 12)))
            if generator.uniform() < 0.5:
                true.append(VideoInterval(onset + 1003, onset + 1000 + length, kind, None, "x"))
        signals[kind] = np.array(rows)
    numbers = tuple(range(1000, 2000))
    recording = Recording(Path(video), video, 100.0, 1000, (1, 1))
    return AnnotatedRecording("d", subject, video, 100.0, recording, numbers, tuple(true)), signals


def several(seed: int) -> list[tuple[AnnotatedRecording, Signals]]:
    names = [(f"s{subject}", f"v{video}") for subject in range(3) for video in range(2)]
    return [drawn(*name, seed + place) for place, name in enumerate(names)]


def chosen_on(found: list[tuple[AnnotatedRecording, Signals]]):
    return choose([one for one, _ in found], {one.key: signals for one, signals in found}, CONFIG)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_nothing_better_is_on_the_grid_for_the_other_subjects(seed: int) -> None:
    found = several(seed)
    chosen = chosen_on(found)
    for subject in ("s0", "s1", "s2"):
        for kind in KINDS:
            scores = {}
            for choice in grid_of(CONFIG, kind):
                hits = total = 0
                for one, signals in found:
                    if one.subject != subject:
                        spotted = spot(one, signals, "slstt", kind, choice)
                        true = [i for i in one.true if i.kind == kind]
                        hits, total = hits + len(pair(spotted, true)), total + len(spotted) + len(true)
                scores[choice] = 2 * hits / total if total else 0.0
            mine = chosen[("d", subject), kind]
            assert mine.training_f1 == scores[mine.choice] == max(scores.values())


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_a_subject_has_no_say_in_its_own_thresholds(seed: int) -> None:
    found = several(seed)
    changed = [drawn(one.subject, one.video, seed + 77) if one.subject == "s1" else (one, s) for one, s in found]
    for kind in KINDS:
        before, after = (chosen_on(some)[("d", "s1"), kind] for some in (found, changed))
        assert before == after


def test_intervals_have_the_data_sets_own_numbers() -> None:
    one, signals = drawn("s0", "v0", 5)
    (choice, *_) = grid_of(CONFIG, "micro")
    found = spot(one, signals, "slstt", "micro", choice)
    first = signals["micro"][signals["micro"][:, 4] >= choice.threshold][0]
    assert (found[0].onset, found[0].apex, found[0].offset) == tuple(int(number) + 1000 for number in first[:3])
    assert spot(one, None, "slstt", "micro", choice) == []


def test_what_moves_too_far_is_no_micro_expression() -> None:
    one, signals = drawn("s0", "v0", 5)
    signals = {
        kind: np.column_stack([rows[:, :3], np.full((4, 1), 31.0), rows[:, 4:]]) for kind, rows in signals.items()
    }
    for kind, strongest, count in (("micro", 30.0, 0), ("micro", 40.0, 4), ("macro", 30.0, 4)):
        config = SpotConfig.model_validate(
            {
                "spot": {"strongest": strongest},
                "micro": {"thresholds": [1], "lengths_ms": [10]},
                "macro": {"thresholds": [1], "lengths_ms": [500]},
            }
        )
        (choice,) = grid_of(config, kind)
        assert len(spot(one, signals, "slstt", kind, choice)) == count
