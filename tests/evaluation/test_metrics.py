import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_runs import predictions
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support, recall_score

from slstt.errors import DataError
from slstt.evaluation import metrics
from slstt.evaluation.metrics import accuracy_of, confusion, uar, uf1
from slstt.evaluation.predictions import Predictions

LABELS = ("a", "b", "c", "d")
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60)


def quiet(score, true, predicted) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return score(true, predicted, LABELS)


@given(pairs)
def test_scores_equal_their_definition(rows: list[tuple[str, str]]) -> None:
    f1s, recalls = [], []
    for label in LABELS:
        tp = sum(t == p == label for t, p in rows)
        fp = sum(p == label != t for t, p in rows)
        fn = sum(t == label != p for t, p in rows)
        f1s.append(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0)
        recalls.append(tp / (tp + fn) if tp + fn else 0)
    true, predicted = zip(*rows, strict=True)
    assert quiet(uf1, true, predicted) == pytest.approx(sum(f1s) / len(LABELS), abs=1e-12)
    assert quiet(uar, true, predicted) == pytest.approx(sum(recalls) / len(LABELS), abs=1e-12)
    assert accuracy_of(confusion(true, predicted, LABELS)) == pytest.approx(
        sum(t == p for t, p in rows) / len(rows), abs=1e-12
    )


@given(pairs)
def test_scores_equal_scikit_learns_with_pinned_labels(rows: list[tuple[str, str]]) -> None:
    true, predicted = zip(*rows, strict=True)
    pinned = {"labels": list(LABELS), "average": "macro", "zero_division": 0}
    assert quiet(uf1, true, predicted) == pytest.approx(f1_score(true, predicted, **pinned), abs=1e-12)
    assert quiet(uar, true, predicted) == pytest.approx(recall_score(true, predicted, **pinned), abs=1e-12)
    assert accuracy_of(confusion(true, predicted, LABELS)) == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
    np.testing.assert_array_equal(
        confusion(true, predicted, LABELS), confusion_matrix(true, predicted, labels=list(LABELS))
    )


@given(pairs, st.permutations(LABELS), st.randoms(use_true_random=False))
def test_neither_the_order_of_clips_nor_of_classes_matters(rows, order, random) -> None:
    true, predicted = zip(*rows, strict=True)
    before = quiet(uf1, true, predicted), quiet(uar, true, predicted)
    shuffled = list(rows)
    random.shuffle(shuffled)
    true, predicted = zip(*shuffled, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert (uf1(true, predicted, order), uar(true, predicted, order)) == pytest.approx(before, abs=1e-12)


def test_rows_are_true_and_columns_predicted() -> None:
    assert confusion(["a", "a", "b"], ["a", "b", "b"], ["a", "b"]).tolist() == [[1, 1], [0, 1]]


def test_numpy_integers_and_a_class_order_of_ones_own_are_accepted() -> None:
    true, predicted = np.array([2, 0, 0]), np.array([2, 0, 2])
    assert confusion(true, predicted, [2, 0]).tolist() == [[1, 0], [1, 1]]
    assert uf1(true, predicted, [2, 0]) == pytest.approx(2 / 3)


def test_a_class_absent_from_both_counts_zero_and_warns() -> None:
    with pytest.warns(UserWarning, match="class 'c' is absent"):
        assert uf1(["a", "b"], ["a", "b"], ["a", "b", "c"]) == pytest.approx(2 / 3)
    with pytest.warns(UserWarning, match="class 'c' has no true clips"):
        assert uar(["a", "b"], ["a", "b"], ["a", "b", "c"]) == pytest.approx(2 / 3)


def test_a_class_that_is_only_predicted_costs_uf1_without_a_warning() -> None:
    # Its F1 is 0 by the definition, nothing is undefined.
    assert uf1(["a", "b"], ["a", "c"], ["a", "b", "c"]) == pytest.approx(1 / 3)


def test_labels_outside_the_classes_are_named() -> None:
    with pytest.raises(DataError, match=r"'b'.*: fear"):
        confusion(["a"], ["fear"], ["a", "b"])
    with pytest.raises(DataError, match="2 true labels and 1 predicted"):
        confusion(["a", "b"], ["a"], ["a", "b"])


def test_uf1_is_pooled_and_not_the_mean_over_subjects() -> None:
    # Each subject shows one class only, so a per-fold mean would be 1/2 at best.
    found = Predictions(
        ("a", "b"),
        tuple(("casme2", s, str(i)) for s in ("s1", "s2") for i in range(3)),
        ("a", "a", "a", "b", "b", "b"),
        ("a", "a", "a", "b", "b", "b"),
        np.tile([0.5, 0.5], (6, 1)),
    )
    assert metrics.summary(found)["full"]["uf1"] == 1.0


def test_the_summary_has_the_shape_other_programs_rely_on() -> None:
    found = predictions(datasets=("casme2", "samm", "smic"), subjects=6)
    summary = json.loads(json.dumps(metrics.summary(found, protocol="cde", selection="last")))
    assert {"protocol", "selection", "classes", "n", "full", "parts", "per_class", "confusion"} <= summary.keys()
    assert summary["protocol"] == "cde" and summary["selection"] == "last"
    assert summary["classes"] == list(found.classes) and summary["n"] == len(found)
    assert {"accuracy", "uf1", "uar", "ci"} <= summary["full"].keys() == summary["parts"]["samm"].keys()
    assert list(summary["parts"]) == ["casme2", "samm", "smic"]
    for block in (summary["full"], *summary["parts"].values()):
        for score in ("accuracy", "uf1", "uar"):
            low, high = block["ci"][score]
            assert 0 <= low <= block[score] <= high <= 1
    expected = precision_recall_fscore_support(found.true, found.predicted, labels=list(found.classes))
    for i, name in enumerate(found.classes):
        line = summary["per_class"][name]
        assert [line["precision"], line["recall"], line["f1"], line["support"]] == pytest.approx(
            [e[i] for e in expected]
        )
    assert sum(line["n"] for line in summary["per_subject"]) == len(found)


def test_a_part_is_scored_on_its_own_predictions() -> None:
    found = predictions(datasets=("casme2", "smic"), subjects=8)
    part = found.part("smic")
    block = metrics.summary(found)["parts"]["smic"]
    assert block["uf1"] == pytest.approx(uf1(part.true, part.predicted, part.classes))
    assert block["n"] == len(part) and block["subjects"] == 8


def test_one_subject_has_no_interval_and_absent_classes_are_told() -> None:
    summary = metrics.summary(predictions(subjects=1, clips=3, classes=("a", "b", "c", "d", "e", "f")))
    assert summary["full"]["ci"] == {"accuracy": None, "uf1": None, "uar": None}
    assert any("absent" in warning for warning in summary["warnings"])
