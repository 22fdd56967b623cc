"""Scores of action units against scikit-learn, as CD6ME's authors call it, and the file that they come from."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import f1_score

from slstt.datasets.units import UNIT_NAMES
from slstt.errors import DataError
from slstt.evaluation.unit_metrics import unit_summary
from slstt.evaluation.unit_predictions import (
    UnitPredictions,
    holds_units,
    pool_units,
    read_unit_predictions,
    write_unit_predictions,
)


def made(true: np.ndarray, probabilities: np.ndarray) -> UnitPredictions:
    """Predictions of these arrays, of two data sets with two subjects each."""
    keys = tuple((("casme2", "samm")[i % 2], f"0{i // 2 % 2}", f"clip{i}") for i in range(len(true)))
    return UnitPredictions(UNIT_NAMES[: true.shape[1]], keys, true.astype(float), probabilities.astype(float))


units = st.tuples(st.integers(4, 30), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(
        arrays.arrays(int, shape, elements=st.integers(0, 1)), arrays.arrays(float, shape, elements=st.floats(0, 1))
    )
)


@given(units)
def test_scores_are_those_of_the_authors_program(drawn) -> None:
    true, probabilities = drawn
    predictions = made(true, probabilities)
    found = unit_summary(predictions, draws=20)
    said = (probabilities > 0.5).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units that never occur
        for rows, block in [
            (np.arange(len(true)), found["full"]),
            *(
                ([i for i, key in enumerate(predictions.keys) if key[0] == name], part)
                for name, part in found["parts"].items()
            ),
        ]:
            for score, average in (("macro_f1", "macro"), ("binary_f1", "binary")):
                each = [f1_score(true[rows, u], said[rows, u], average=average) for u in range(true.shape[1])]
                assert block[score] == pytest.approx(np.mean(each))
                per_unit = block["per_unit"] if "per_unit" in block else found["per_unit"]
                assert [line[score] for line in per_unit.values()] == pytest.approx(each)


def test_what_the_coder_left_open_counts_nowhere() -> None:
    true = np.array([[1, 0], [0, 1], [np.nan, 1], [1, np.nan]])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.9], [0.1, 0.9]])
    found = unit_summary(made(true, probabilities), draws=10)
    assert [line["decided"] for line in found["per_unit"].values()] == [3, 3]
    assert found["per_unit"]["AU1"]["binary_f1"] == pytest.approx(f1_score([1, 0, 1], [1, 0, 0]))
    assert found["per_unit"]["AU2"]["macro_f1"] == 1


def test_intervals_hold_the_scores_and_a_unit_nobody_shows_is_said() -> None:
    generator = np.random.default_rng(0)
    true = generator.integers(0, 2, (80, 3))
    true[:, 2] = 0
    found = unit_summary(made(true, np.clip(true * 0.5 + generator.random((80, 3)) * 0.5, 0, 1)))
    for block in (found["full"], *found["parts"].values()):
        for score in ("macro_f1", "binary_f1"):
            low, high = block["ci"][score]
            assert low <= block[score] <= high
    assert found["warnings"][0] == "no clip shows AU4: the binary F1 counts 0"


@given(units)
def test_a_file_is_read_back(tmp_path_factory, drawn) -> None:
    true, probabilities = drawn
    true = true.astype(float)
    true[0, 0] = np.nan
    path = tmp_path_factory.mktemp("units") / "predictions.csv"
    before = made(true, probabilities.astype(np.float32))
    write_unit_predictions(path, before)
    after = read_unit_predictions(path)
    assert holds_units(path) and (after.keys, after.units) == (before.keys, before.units)
    np.testing.assert_array_equal(after.true, before.true)
    np.testing.assert_array_equal(after.probabilities.astype(np.float32), before.probabilities.astype(np.float32))


HEADER = "dataset,subject,clip,true_AU1,true_AU4,p_AU1,p_AU4\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER, "holds no predictions"),
        ("dataset,subject,clip,true_AU1,p_AU4\na,b,c,1,0.5\n", "needs the columns true_<unit> and p_<unit>"),
        (HEADER + "a,b,c,2,0,0.5,0.5\n", "a/b/c: true_AU1 '2' is not 1, 0 or empty"),
        (HEADER + "a,b,c,1,0,x,0.5\n", "a/b/c: p_AU1 is not a number"),
        (HEADER + "a,b,c,1,0,0.5,1.5\n", "a/b/c: p_AU4 lies outside 0..1"),
        (HEADER + "a,b,c,1,0,nan,0.5\n", "a/b/c: p_AU1 lies outside 0..1"),
        (HEADER + "a,b,c,1,0,0.5,0.5\n" * 2, "a/b/c stands 2 times"),
        (HEADER + "a,../b,c,1,0,0.5,0.5\n", "holds a path separator"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, said) -> None:
    (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_unit_predictions(tmp_path / "predictions.csv")
    assert any(said in problem for problem in caught.value.problems)


def test_folds_are_pooled_in_order_and_never_twice() -> None:
    whole = made(np.eye(4), np.full((4, 4), 0.25))
    halves = [
        UnitPredictions(whole.units, whole.keys[a:b], whole.true[a:b], whole.probabilities[a:b])
        for a, b in ((2, 4), (0, 2))
    ]
    pooled = pool_units(halves)
    assert list(pooled.keys) == sorted(whole.keys)
    for key, row in zip(pooled.keys, pooled.true, strict=True):
        np.testing.assert_array_equal(row, whole.true[whole.keys.index(key)])
    with pytest.raises(DataError, match="more than one fold"):
        pool_units([*halves, halves[0]])
