"""Nothing but motion tells the emotion of a synthetic clip."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from slstt.datasets.synthetic import LAYOUTS, Plan, render

MEASURE = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "measure_synthetic.py"))
SMALL = Plan(subjects=8, clips_per_subject=10, size=(240, 180), seed=3)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_without_motion_the_frames_are_the_same_whatever_is_shown(layout):
    """Byte for byte: with the units' motion at 0, an emotion changes its name in the sheet and not a pixel."""
    plan = Plan(layout=layout, subjects=1, clips_per_subject=2, size=(320, 240), difficulty=0.7, motion=0.0)
    first, second = LAYOUTS[layout].emotions[:2]
    for (portrait, one), (_, other) in zip(
        replace(plan, emotions=(first,)).clips(), replace(plan, emotions=(second,)).clips(), strict=True
    ):
        assert one.clip.emotion == first and other.clip.emotion == second
        numbers = range(one.clip.first, one.clip.last + 1, 4)
        assert numbers == range(other.clip.first, other.clip.last + 1, 4)
        for (_, a), (_, b) in zip(
            render(portrait, one.clip, numbers), render(portrait, other.clip, numbers), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_with_motion_everything_else_is_the_same_whatever_is_shown():
    """Times, pose, light, drift, blinks and the onset frame's bytes do not see the emotion."""
    plan = Plan(subjects=2, clips_per_subject=6, size=(320, 240), difficulty=0.9)
    pairs = zip(
        replace(plan, emotions=("happiness",)).clips(), replace(plan, emotions=("others",)).clips(), strict=True
    )
    for (portrait, one), (_, other) in pairs:
        a, b = one.clip, other.clip
        assert one.name == other.name
        assert (a.first, a.onset, a.apex, a.annotated_apex, a.offset, a.last) == (
            b.first, b.onset, b.apex, b.annotated_apex, b.offset, b.last
        )  # fmt: skip
        assert a.peak == b.peak and a.motion.pose == b.motion.pose
        for name in ("intensity", "drift", "incidental", "wander", "weight"):
            np.testing.assert_array_equal(getattr(a.motion, name), getattr(b.motion, name))
        np.testing.assert_array_equal(a.gain, b.gain)
        np.testing.assert_array_equal(a.lids, b.lids)
        assert (a.motion.action != b.motion.action).any()
        onsets = [next(render(portrait, clip, [clip.onset]))[1] for clip in (a, b)]
        np.testing.assert_array_equal(*onsets)


def test_loso_is_at_chance_without_motion():
    """80 clips, 5 classes evenly dealt: guessing hits with p = 1/5, and more than 30 hits once in 10,000 times."""
    accuracy, clips = MEASURE["loso_accuracy"](replace(SMALL, motion=0.0))
    assert accuracy * clips <= binom.ppf(0.9999, clips, 1 / 5)


def test_loso_is_high_with_motion():
    accuracy, _ = MEASURE["loso_accuracy"](SMALL)
    assert accuracy >= 0.95


def test_emotions_are_dealt_evenly():
    counts = np.unique(list(SMALL.emotion.values()), return_counts=True)[1]
    assert (counts == 16).all()
    odd = Plan(subjects=5, clips_per_subject=6).emotion
    assert set(np.unique(list(odd.values()), return_counts=True)[1]) == {6}
    for subject in range(1, 6):
        own = [emotion for (of, _), emotion in odd.items() if of == subject]
        assert len(set(own)) == 5
