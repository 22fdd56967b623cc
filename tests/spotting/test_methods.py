"""The ways of spotting on curves and flow fields whose answer is known, and against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slstt.config.preprocess import Spotting
from slstt.prediction.spotting import find_intervals, ranked_intervals
from slstt.spotting import rivals
from slstt.spotting.methods import METHODS, Choice


def moving_patches(seed: int, frames: int = 400, bumps: int = 5) -> np.ndarray:
    """(n, R, 2): noise, and bumps of random place, length and height in one direction."""
    generator = np.random.default_rng(seed)
    moved = generator.normal(0, 0.3, (frames, 12, 2)).astype(np.float32)
    for _ in range(bumps):
        at, width = generator.integers(20, frames - 20), generator.uniform(3, 12)
        shape = np.exp(-0.5 * ((np.arange(frames) - at) / width) ** 2)
        moved[:, :4, 0] += (generator.uniform(1, 8) * shape)[:, None]
    return moved


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([4.0, 5.0, 8.0, 12.0]))
def test_a_higher_threshold_gives_the_same_list_cut_off(seed: int, threshold: float) -> None:
    """This is what lets one measurement serve a whole grid of thresholds."""
    stretches = [(7, moving_patches(seed))]
    ranked = ranked_intervals(stretches, 100.0, Spotting(threshold=3.0))
    kept = sorted((i for height, i in ranked if height >= threshold), key=lambda i: i.onset)
    assert kept == find_intervals(stretches, 100.0, Spotting(threshold=threshold))


def plain_main_directional_difference(former: np.ndarray, latter: np.ndarray) -> float:
    """The papers' words, vector by vector."""
    side, values = former.shape[0] // 6, []
    for row in range(6):
        for column in range(6):
            by_direction: dict[tuple[bool, bool], list[float]] = {}
            for y in range(row * side, (row + 1) * side):
                for x in range(column * side, (column + 1) * side):
                    u, v = former[y, x]
                    difference = float(np.hypot(u, v) - np.hypot(*latter[y, x]))
                    by_direction.setdefault((u < 0, v < 0), []).append(difference)
            # Of equally frequent directions the first of the order right-down, right-up, left-down, left-up.
            order = [(False, False), (False, True), (True, False), (True, True)]
            main = max(order, key=lambda d: (len(by_direction.get(d, ())), -order.index(d)))
            largest = sorted(by_direction[main], reverse=True)
            values.append(np.mean(largest[: max(1, round(len(largest) / 3))]))
    return float(np.mean(sorted(values, reverse=True)[:12]))


def test_main_directional_difference_is_that_of_a_plain_loop() -> None:
    generator = np.random.default_rng(3)
    for shift in (0.0, 0.5, -2.0):
        former, latter = generator.normal(shift, 1, (2, 40, 40, 2)).astype(np.float32)
        # float32 sums of some fifty values against float64 ones
        expected = plain_main_directional_difference(former, latter)
        assert rivals.main_directional_difference(former, latter) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_patterns_are_those_of_a_plain_loop() -> None:
    face = np.random.default_rng(0).integers(0, 256, (26, 26)).astype(np.uint8)
    counts = np.zeros((36, 256), int)
    around = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
    for y in range(1, 25):
        for x in range(1, 25):
            code = sum((face[y + dy, x + dx] >= face[y, x]) << bit for bit, (dy, dx) in enumerate(around))
            counts[((y - 1) // 4) * 6 + (x - 1) // 4, code] += 1
    assert np.array_equal(rivals.patterns(face), counts)


def test_contrast_is_unknown_at_the_ends_and_beside_gaps() -> None:
    curve = np.array([0.0, 0, 1, 0, 0, np.nan, 0, 0, 2, 0, 0])
    assert np.array_equal(
        rivals._contrast(curve, 1), [np.nan, -0.5, 1, -0.5, np.nan, np.nan, np.nan, -1, 2, -1, np.nan], equal_nan=True
    )
    assert np.isnan(rivals._contrast(np.ones(4), 2)).all()


def test_runs_have_the_length_of_their_kind() -> None:
    curve = np.zeros(500)
    for first, last in ((50, 53), (100, 130), (200, 290)):  # 30, 300 and 900 ms at 100 frames a second
        curve[first : last + 1] = 1.0
    spot, choice = METHODS["mdmd"].spot, Choice(0.5, 65.0)
    assert [(i.onset, i.offset) for i in spot(curve, 100.0, "micro", choice)] == [(100, 130)]
    assert [(i.onset, i.offset) for i in spot(curve, 100.0, "macro", Choice(0.5, 500.0))] == [(200, 290)]
    assert spot(np.full(500, np.nan), 100.0, "micro", choice) == []
    assert spot(curve, 100.0, "micro", Choice(0.5, 400.0)) == []


def test_the_flow_of_neighbours_rests_at_the_apex() -> None:
    curve = np.zeros(300)
    curve[100:110] = curve[114:124] = 1.0  # rise and fall, 40 ms of rest between
    (found,) = METHODS["neighbour_flow"].spot(curve, 100.0, "micro", Choice(2.0, 65.0))
    assert (found.onset, found.offset) == (100, 123)


def test_each_peak_gets_an_interval_of_the_chosen_length() -> None:
    curve = np.zeros(300)
    curve[[3, 100, 110, 200]] = 1.0, 2.0, 1.9, 0.3
    found = METHODS["feature_difference"].spot(curve, 100.0, "micro", Choice(0.4, 320.0))
    assert [(i.onset, i.apex, i.offset) for i in found] == [(0, 3, 19), (84, 100, 116)]


def test_slstt_keeps_candidates_above_the_threshold_and_of_the_kind() -> None:
    rows = [(50, 60, 90, 3.0, 9.0), (10, 20, 30, 2.0, 4.0), (100, 110, 103, 1.0, 9.0), (200, 220, 251, 5.0, 9.0)]
    candidates, choice = np.array(rows, float), Choice(5.0, 65.0)
    assert [i.onset for i in METHODS["slstt"].spot(candidates, 100.0, "micro", choice)] == [50]
    assert [i.onset for i in METHODS["slstt"].spot(candidates, 100.0, "macro", Choice(5.0, 500.0))] == [200]
    assert [i.onset for i in METHODS["slstt"].spot(candidates, 100.0, "micro", Choice(4.0, 65.0))] == [10, 50]
