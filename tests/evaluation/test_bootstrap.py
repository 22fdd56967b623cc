"""Intervals by resampling subjects, against plain loops and a number that is written down."""

import numpy as np
import pytest
from golden_interval import GOLDEN, plain_interval
from simulated_runs import predictions
from sklearn.metrics import f1_score

from slstt.evaluation import metrics
from slstt.evaluation.metrics import DRAWS, interval, intervals, resample, scores_of, subject_weights
from slstt.evaluation.predictions import Predictions


def test_the_interval_of_every_table_is_the_golden_one() -> None:
    headline = metrics.summary(predictions(subjects=9))
    assert headline["bootstrap"] == {"unit": "subject", "draws": 2000, "level": 0.95, "seed": 0}
    for score, low_high in GOLDEN.items():
        assert headline["full"]["ci"][score] == pytest.approx(low_high, abs=1e-12)


def test_the_golden_interval_follows_from_its_generator() -> None:
    plain = plain_interval()
    narrower = plain_interval(level=0.9)
    for score, low_high in GOLDEN.items():
        assert plain[score] == pytest.approx(low_high, abs=1e-12)
        assert narrower[score] != pytest.approx(low_high, abs=1e-3)


def test_an_interval_leaves_out_as_much_below_as_above() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx([25, 975])
    assert interval(np.arange(1001.0), level=0.9) == pytest.approx([50, 950])


def test_the_bootstrap_equals_a_plain_loop_over_drawn_subjects() -> None:
    found = predictions(subjects=7)
    subjects, matrices = metrics.subject_confusions(found)
    weights = subject_weights(len(subjects), draws=40, seed=3)
    fast = metrics.uf1_of(resample(matrices, draws=40, seed=3))
    for draw, times in enumerate(weights):
        rows = [i for subject, n in zip(subjects, times, strict=True) for _ in range(n) for i in range(len(found))
                if found.keys[i][:2] == subject]  # fmt: skip
        drawn_true, drawn_said = [found.true[i] for i in rows], [found.predicted[i] for i in rows]
        slow = f1_score(drawn_true, drawn_said, labels=list(found.classes), average="macro", zero_division=0)
        assert fast[draw] == pytest.approx(slow, abs=1e-12)


def test_the_bootstrap_is_seeded_and_whole_subjects_are_drawn() -> None:
    _, matrices = metrics.subject_confusions(predictions())
    assert intervals(matrices, scores_of, seed=1) == intervals(matrices, scores_of, seed=1)
    assert intervals(matrices, scores_of, seed=1) != intervals(matrices, scores_of, seed=2)
    weights = subject_weights(12)
    assert weights.shape == (DRAWS, 12) and (weights.sum(1) == 12).all()


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # 60 subjects of one clip each with true accuracy 0.7: the percentile interval covers 0.7 in about 95% of worlds.
    generator, covered = np.random.default_rng(0), 0
    for world in range(200):
        right = generator.random(60) < 0.7
        matrices = np.zeros((60, 2, 2), dtype=np.int64)
        matrices[np.arange(60), 0, np.where(right, 0, 1)] = 1
        low, high = intervals(matrices, scores_of, draws=400, seed=world)["accuracy"]
        covered += low <= 0.7 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_clips_of_one_person_widen_the_interval() -> None:
    # Subjects who are all right or all wrong: as many clips, far less information than independent clips.
    subjects, clips = 12, 10
    matrices = np.zeros((subjects, 2, 2), dtype=np.int64)
    matrices[: subjects // 2, 0, 0] = matrices[subjects // 2 :, 0, 1] = clips
    low, high = intervals(matrices, scores_of)["accuracy"]
    assert high - low > 2 * 1.96 * np.sqrt(0.25 / (subjects * clips))


def test_a_class_that_bootstrap_draws_often_lack_is_told() -> None:
    found = predictions(subjects=6, classes=("a", "b"))
    rare = Predictions(
        ("a", "b"),
        found.keys,
        tuple("b" if key[1] == "sub01" else "a" for key in found.keys),
        found.predicted,
        found.probabilities,
    )
    assert any("bootstrap draws" in warning for warning in metrics.summary(rare)["warnings"])
