"""The timeline of a recording's page: time is x, gaps break the curve, and every interval can be hit."""

import numpy as np
import pytest

from slstt.prediction.face_motion import FaceMotion
from slstt.prediction.report import HIGH, POINTS, TOP, WIDE, most_units, timeline
from slstt.prediction.results import FoundInterval, Interval, PredictionResult


def motion(count: int, rate: float, lost: slice) -> FaceMotion:
    landmarks = np.zeros((count, 68, 2), np.float32)
    intensity = np.abs(np.sin(np.arange(count) / 5)).astype(np.float32)
    landmarks[lost], intensity[lost] = np.nan, np.nan
    judged = np.isfinite(intensity)
    return FaceMotion(
        rate,
        np.arange(count) / rate,
        landmarks,
        np.zeros((count, 2, 3)),
        intensity,
        np.ones(count, int),
        judged,
        (),
        (),
    )


def test_a_lost_face_breaks_the_curve_and_is_drawn_where_it_is() -> None:
    line = timeline(motion(200, 100, slice(50, 100)))
    assert (line.first, line.last) == (0.0, 2.0)
    assert len(line.curves) == 2
    ((x, width),) = line.lost
    assert (x, width) == (pytest.approx(WIDE / 4), pytest.approx(WIDE / 4)) and line.unjudged == line.lost
    places = np.array([[float(v) for v in point.split(",")] for points in line.curves for point in points.split()])
    assert places[:, 0].min() == 0 and places[:, 0].max() < WIDE
    assert (places[:, 1] >= TOP).all() and places[:, 1].max() == pytest.approx(HIGH, abs=0.1)
    assert [text for _, text in line.ticks] == [f"{0.2 * n:.1f}" for n in range(11)]
    assert [x for x, _ in line.ticks] == pytest.approx([100.0 * n for n in range(11)])


def test_long_recordings_are_thinned_and_their_intervals_stay_wide_enough() -> None:
    line = timeline(motion(60_000, 100, slice(0, 0)))
    assert sum(len(points.split()) for points in line.curves) <= 2 * POINTS
    assert 5 <= len(line.ticks) <= 12
    for onset in (0.0, 300.0, 599.9):
        x, width = line.span(onset, onset + 0.1)
        assert width >= 6 and x >= 0 and x + width <= WIDE
    x, width = line.span(100.0, 200.0)
    assert (x, width) == (pytest.approx(line.x(100)), pytest.approx(WIDE / 6))


def test_a_recording_without_a_known_curve_has_a_timeline() -> None:
    line = timeline(motion(20, 100, slice(0, 20)))
    assert line.curves == () and line.lost == ((0.0, WIDE),)


def test_units_are_coded_by_side_and_the_likeliest_shown_first() -> None:
    one = FoundInterval(
        Interval(0, 1, 2, 1.0), (0.0, 0.1, 0.2), "a", (1.0,), ((0.9, 0.8), (0.1, 0.6), (0.15, 0.1)), 0.7
    )
    result = PredictionResult("r", 10.0, 3, ("a",), (one,), (), units=(12, 14, 4), tells_none=True)
    assert result.coded(one) == "12+R14"  # both sides; the person's right alone
    assert most_units(result, one) == [(12, 0.9, 0.8), (14, 0.1, 0.6)]
    assert one.unlikely and not FoundInterval(Interval(0, 1, 2, 1.0), (0.0, 0.1, 0.2)).unlikely
