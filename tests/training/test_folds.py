import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.errors import ConfigError, DataError
from slstt.training.folds import (
    Fold,
    audit,
    choose,
    leave_one_dataset_out,
    leave_one_subject_out,
    owners_split,
    seed_of,
    subjects_on_both_sides,
    with_validation,
)

KEYS = [
    (dataset, subject, f"clip{number}")
    for dataset, subject, count in (("casme2", "01", 3), ("casme2", "02", 1), ("samm", "01", 2), ("smic", "s01", 4))
    for number in range(count)
]

keys_of_several_subjects = st.lists(
    st.tuples(st.sampled_from(["casme2", "samm", "smic"]), st.sampled_from(["01", "02", "s1", "a-b"]), st.text("xyz")),
    unique=True,
    min_size=2,
    max_size=40,
).filter(lambda keys: len({key[:2] for key in keys}) > 1)


@given(keys_of_several_subjects)
def test_every_clip_is_tested_once_and_never_by_a_fold_that_knows_its_subject(keys) -> None:
    folds = leave_one_subject_out(keys)
    assert sorted(i for fold in folds for i in fold.test) == list(range(len(keys)))
    for fold in folds:
        assert {*fold.train, *fold.test} == set(range(len(keys)))
        assert {keys[i][:2] for i in fold.test} == {(fold.dataset, fold.subject)}
        assert (fold.dataset, fold.subject) not in {keys[i][:2] for i in fold.train}
        audit(fold, keys, fold.train)


def test_the_same_number_in_two_data_sets_is_two_people() -> None:
    assert [fold.name for fold in leave_one_subject_out(KEYS)] == ["casme2-01", "casme2-02", "samm-01", "smic-s01"]


def test_one_subject_cannot_be_left_out() -> None:
    with pytest.raises(DataError, match="at least two subjects"):
        leave_one_subject_out(KEYS[:3])


@given(keys_of_several_subjects, st.floats(0.01, 0.99), st.integers(0, 5))
def test_inner_validation_takes_whole_subjects_from_training(keys, share, seed) -> None:
    for fold in leave_one_subject_out(keys):
        if len({keys[i][:2] for i in fold.train}) < 2:
            with pytest.raises(DataError, match="two training subjects"):
                with_validation(fold, keys, share, seed)
            continue
        divided = with_validation(fold, keys, share, seed)
        assert sorted((*divided.train, *divided.validation)) == list(fold.train)
        assert divided.test == fold.test
        assert divided.train and divided.validation
        assert not {keys[i][:2] for i in divided.train} & {keys[i][:2] for i in divided.validation}
        audit(divided, keys, divided.train)
        assert with_validation(fold, keys, share, seed) == divided


@pytest.mark.parametrize(
    ("train", "validation", "test", "statistics", "said"),
    [
        ((0, 3), (), (0, 1, 2), (), "the test subject is in training"),
        ((3, 4), (1,), (0, 1, 2), (), "the test subject is in validation"),
        ((3, 4), (), (0, 1, 2), (2, 3), "the test subject is in the normalisation's statistics"),
        ((4,), (5,), (0, 1, 2), (5,), "validation subject samm/01 is in training"),
        ((3,), (5,), (0, 1, 2), (5,), "validation subject samm/01 is in the normalisation's statistics"),
        ((3,), (), (0, 1), (), "test clips are not exactly those"),
        ((3,), (), (0, 1, 2, 6), (), "test clips are not exactly those"),
    ],
)
def test_the_audit_finds_every_leak(train, validation, test, statistics, said) -> None:
    with pytest.raises(DataError, match=said):
        audit(Fold("casme2", "01", train, validation, test), KEYS, statistics)


def test_the_audit_reports_all_leaks_at_once() -> None:
    with pytest.raises(DataError) as caught:
        audit(Fold("casme2", "01", (0, 5), (1, 5), (0,)), KEYS, (2, 5))
    assert len(caught.value.problems) == 6


def test_folds_are_chosen_by_subject_or_by_full_name() -> None:
    folds = leave_one_subject_out(KEYS)
    assert [fold.name for fold in choose(folds, ["s01", "casme2-02"], None)] == ["casme2-02", "smic-s01"]
    with pytest.raises(ConfigError) as caught:
        choose(folds, ["01", "nobody", "samm-01"], None)
    assert "several data sets; write casme2-01 or samm-01" in caught.value.problems[0]
    assert "no subject 'nobody'" in caught.value.problems[1]


@given(st.integers(1, 9))
def test_the_parts_of_a_job_array_are_disjoint_and_complete(parts) -> None:
    folds = leave_one_subject_out(KEYS)
    names = [fold.name for part in range(1, parts + 1) for fold in choose(folds, None, (part, parts))]
    assert sorted(names) == [fold.name for fold in folds]


def test_seeds_depend_on_every_name_and_on_nothing_else() -> None:
    seeds = [seed_of(seed, fold, epoch) for seed in range(10) for fold in ("a", "b") for epoch in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert seed_of(1, "a", "b") != seed_of(1, "ab")
    assert seed_of(0, "casme2-sub01", 0) == seed_of(0, "casme2-sub01", 0)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert np.std(np.array(seeds) / 2**63) == pytest.approx(12**-0.5, abs=0.02)


@given(keys_of_several_subjects.filter(lambda keys: len({key[0] for key in keys}) > 1), st.integers(0, 5))
def test_a_data_set_left_out_is_tested_whole_and_never_learned_from(keys, seed) -> None:
    folds = leave_one_dataset_out(keys)
    assert sorted(i for fold in folds for i in fold.test) == list(range(len(keys)))
    for fold in folds:
        assert {keys[i][0] for i in fold.test} == {fold.dataset} == {fold.name}
        assert fold.dataset not in {keys[i][0] for i in fold.train}
        assert {*fold.train, *fold.test} == set(range(len(keys)))
        audit(fold, keys, fold.train)
        if len({keys[i][:2] for i in fold.train}) > 1:
            divided = with_validation(fold, keys, 0.5, seed)
            assert divided.test == fold.test and divided.validation
            audit(divided, keys, divided.train)


def test_one_data_set_cannot_be_left_out() -> None:
    with pytest.raises(DataError, match="at least two data sets; the clips are of casme2;"):
        leave_one_dataset_out(KEYS[:4])


@pytest.mark.parametrize(
    ("train", "validation", "test", "said"),
    [
        ((3, 4), (), (0, 1, 2, 3), "the data set left out is in training"),
        ((4,), (3,), (0, 1, 2, 3), "the data set left out is in validation"),
        ((4, 6), (5,), (0, 1, 2, 3), "validation subject samm/01 is in training"),
        ((4,), (), (0, 1, 2), "test clips are not exactly those of casme2"),
    ],
)
def test_the_audit_finds_every_leak_of_a_data_set(train, validation, test, said) -> None:
    with pytest.raises(DataError, match=said):
        audit(Fold("casme2", "", train, validation, test), KEYS)


SPLIT = ("train", "testA", "train", "testB", "train", "testA", "train", "train", "testB", "train")


def test_the_owners_split_trains_once_and_tests_every_set() -> None:
    (fold,) = owners_split(KEYS, SPLIT, ("testA", "testB"))
    assert (fold.name, fold.train, fold.test) == ("casme2", (0, 2, 4, 6, 7, 9), (1, 3, 5, 8))
    assert fold.test_sets == {"testA": (1, 5), "testB": (3, 8)}
    assert subjects_on_both_sides(fold, KEYS) == ["casme2/01", "samm/01", "smic/s01"]
    audit(fold, KEYS, fold.train)
    with pytest.raises(DataError, match="a test clip is in training"):
        audit(Fold("casme2", "", (0, 1), (), fold.test, fold.test_sets), KEYS)
    with pytest.raises(DataError, match="a test clip is in the normalisation's statistics"):
        audit(fold, KEYS, (0, 8))
    with pytest.raises(DataError, match="no training clip"):
        owners_split(KEYS[:2], ("testA", "testB"), ("testA", "testB"))
    with pytest.raises(DataError, match="no clip of the test sets testA, testB"):
        owners_split(KEYS[:2], ("train", "train"), ("testA", "testB"))
