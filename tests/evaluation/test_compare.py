import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from simulated_runs import predictions
from sklearn.metrics import f1_score

from slstt.errors import ConfigError, DataError
from slstt.evaluation.compare import compare, comparison_table, mcnemar
from slstt.evaluation.metrics import subject_weights
from slstt.evaluation.predictions import Predictions

NAMES = ("lstm", "mean")


def test_the_paired_difference_equals_a_plain_loop() -> None:
    a, b = predictions(subjects=6, seed=1), predictions(subjects=6, seed=2, skill=0.7)

    def score(rows: list[int], run: Predictions) -> float:
        true, predicted = [run.true[i] for i in rows], [run.predicted[i] for i in rows]
        return float(f1_score(true, predicted, labels=list(run.classes), average="macro", zero_division=0))

    everything = list(range(len(a)))
    found = compare({"": a}, {"": b}, NAMES, draws=150, seed=3)
    assert found.difference["uf1"] == pytest.approx(score(everything, a) - score(everything, b))
    differences = []
    for times in subject_weights(6, draws=150, seed=3):
        rows = [i for (_, s), n in zip(a.subjects, times, strict=True) for i in everything * n if a.keys[i][1] == s]
        differences.append(score(rows, a) - score(rows, b))
    assert found.ci["uf1"] == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=1e-12)


def test_what_is_written_tells_how_many_draws_were_made() -> None:
    a, b = predictions(subjects=6, seed=1), predictions(subjects=6, seed=2)
    assert compare({"": a}, {"": b}, NAMES).as_dict()["bootstrap"] == {
        "unit": "subject", "draws": 2000, "level": 0.95, "paired": True,
    }  # fmt: skip
    assert compare({"": a}, {"": b}, NAMES, draws=50).as_dict()["bootstrap"]["draws"] == 50


def test_a_run_against_itself_differs_in_nothing() -> None:
    a = predictions()
    found = compare({"": a}, {"": a}, NAMES)
    assert found.difference == {"accuracy": 0, "uf1": 0, "uar": 0} and found.ci["uf1"] == [0, 0]
    assert found.mcnemar_p == 1 and found.disagreements == ()


def test_swapping_the_runs_swaps_the_signs() -> None:
    a, b = {"": predictions(seed=1)}, {"": predictions(seed=2, skill=0.5)}
    one, other = compare(a, b, NAMES), compare(b, a, NAMES)
    assert one.difference["uar"] == pytest.approx(-other.difference["uar"])
    assert one.ci["uar"] == pytest.approx([-other.ci["uar"][1], -other.ci["uar"][0]])
    assert (one.only_first, one.only_second, one.mcnemar_p) == (other.only_second, other.only_first, other.mcnemar_p)


def test_a_paired_interval_is_narrower_than_the_unpaired_ones() -> None:
    # Two nearly equal runs: what the drawn subjects do to both cancels.
    a = predictions(subjects=20)
    changed = list(a.predicted)
    changed[0] = next(label for label in a.classes if label != changed[0])
    b = Predictions(a.classes, a.keys, a.true, tuple(changed), a.probabilities)
    low, high = compare({"": a}, {"": b}, NAMES).ci["accuracy"]
    assert high - low < 0.03


def test_the_order_of_rows_does_not_matter() -> None:
    a, b = predictions(seed=1), predictions(seed=2)
    shuffled = b.select(np.random.default_rng(0).permutation(len(b)).tolist())
    assert compare({"": a}, {"": b}, NAMES) == compare({"": a}, {"": shuffled}, NAMES)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    expected = binomtest(min(b, c), b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)


def test_disagreements_are_listed_with_both_labels() -> None:
    a, b = predictions(seed=1), predictions(seed=2)
    found = compare({"": a}, {"": b}, NAMES)
    assert len(found.disagreements) == sum(x != y for x, y in zip(a.predicted, b.predicted, strict=True)) > 0
    assert found.only_first == sum(d.first == d.true for d in found.disagreements)
    assert found.only_second == sum(d.second == d.true for d in found.disagreements)


def test_runs_of_different_protocols_are_refused() -> None:
    a = predictions()
    with pytest.raises(ConfigError, match="different protocols: classes"):
        compare({"": a}, {"": predictions(classes=("x", "y"))}, NAMES)
    with pytest.raises(ConfigError, match=r"smic/sub01/.* is in mean only"):
        compare({"": a}, {"": predictions(datasets=("casme2", "smic"))}, NAMES)
    other = next(label for label in a.classes if label != a.true[0])
    relabelled = Predictions(a.classes, a.keys, (other, *a.true[1:]), a.predicted, a.probabilities)
    with pytest.raises(ConfigError, match=f"is '{a.true[0]}' in lstm and '{other}' in mean"):
        compare({"": a}, {"": relabelled}, NAMES, allow_partial=True)


def test_partial_runs_are_compared_on_their_common_clips() -> None:
    a = predictions(subjects=6)
    b = a.select([i for i, key in enumerate(a.keys) if key[1] != "sub02"])
    with pytest.raises(ConfigError, match="--allow-partial"):
        compare({"": a}, {"": b}, NAMES)
    found = compare({"": a}, {"": b}, NAMES, allow_partial=True)
    assert found.n == len(b) and found.subjects == 5
    with pytest.raises(DataError, match="no clip in common"):
        compare({"": a}, {"": predictions(datasets=("samm",))}, NAMES, allow_partial=True)


def test_several_seeds_compare_pooled_and_without_mcnemar() -> None:
    seeds = {str(s): predictions(seed=s) for s in range(3)}
    found = compare(seeds, {"": predictions(seed=9, skill=0.2)}, NAMES)
    assert found.mcnemar_p is None and found.disagreements == () and found.difference["uf1"] > 0
    assert "McNemar" not in "".join(comparison_table(found).notes)
