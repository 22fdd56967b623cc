import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.datasets import DATASETS
from slstt.datasets.annotations import whole_number
from slstt.datasets.clips import id_problem
from slstt.datasets.flow_maps import dataset_of

FIRST = ("casme2", "samm", "smic")


def is_subject_folder(dataset, name):
    return DATASETS[dataset].trees[0].levels[0].fullmatch(name) is not None


@given(st.sampled_from(FIRST), st.integers(1, 99), st.integers(0, 2))
def test_all_spellings_of_a_subject_have_one_normal_form(dataset, number, zeros):
    digits = "0" * zeros + str(number)
    prefix, normal = {
        "casme2": ("sub", f"sub{number:02d}"),
        "samm": ("", f"{number:03d}"),
        "smic": ("s", f"s{number:02d}"),
    }[dataset]
    for spelling in (digits, f"{number}.0", prefix + digits, f" {prefix}{digits} ", (prefix + digits).upper()):
        assert DATASETS[dataset].subject_id(spelling) == normal
    assert DATASETS[dataset].subject_id(normal) == normal
    assert dataset_of(normal).name == dataset
    assert is_subject_folder(dataset, normal)


@given(st.integers(1, 99), st.sampled_from(["ne", "po", "sur"]), st.integers(1, 99))
def test_smic_clips_agree_with_and_without_zeros(subject, emotion, number):
    normal = f"s{subject:02d}_{emotion}_{number:02d}"
    for spelling in (f"s{subject}_{emotion}_{number:02d}", f"S{subject}_{emotion.upper()}_{number}", f" {normal} "):
        assert DATASETS["smic"].clip_id(spelling) == normal


@given(st.integers(1, 999), st.integers(0, 99), st.integers(0, 99))
def test_samm_clips_get_their_zeros_back(subject, film, number):
    for spelling in (f"{subject}_{film}_{number}", f"{subject:03d}_{film}_{number}"):
        assert DATASETS["samm"].clip_id(spelling) == f"{subject:03d}_{film}_{number}"


@pytest.mark.parametrize("name", ["EP02_01f", "EP09f", "EP01_2", "EP08_1", "EP06_02_01", "EP19_06f"])
def test_irregular_casme2_names_stay_as_they_are(name):
    assert DATASETS["casme2"].clip_id(name) == name
    assert DATASETS["casme2"].clip_id(f" {name.swapcase()} ") == name


@given(st.sampled_from(sorted(DATASETS)), st.text(max_size=12))
def test_ids_are_stable_and_safe_as_folder_names_or_refused(dataset, text):
    for normalise in (DATASETS[dataset].subject_id, DATASETS[dataset].clip_id):
        try:
            normal = normalise(text)
        except ValueError:
            continue
        assert normalise(normal) == normal
        assert id_problem(normal) is None
        if dataset in FIRST:
            assert set(normal) <= set(string.ascii_letters + string.digits + "_-")


@pytest.mark.parametrize("text", ["", "sub", "average", "s", "1/2", "../x", "12345", "-3", "Total"])
def test_notes_are_not_subjects(text):
    for dataset in DATASETS.keys() - {"table", "fourdme"}:  # they take any name
        with pytest.raises(ValueError, match="is not a subject"):
            DATASETS[dataset].subject_id(text)


@given(st.integers(-(10**9), 10**9))
def test_whole_numbers_come_back_from_every_spreadsheet_spelling(number):
    assert {whole_number(f"{number}"), whole_number(f" {number}.0 "), whole_number(f"{number}.")} == {number}


@pytest.mark.parametrize("text", ["/", "", "4.5", "1e3", "46a", "nan", "٣"])
def test_what_is_no_whole_number_is_none(text):
    assert whole_number(text) is None


@given(st.sampled_from(FIRST), st.text(alphabet="subSUB _-0123456789", max_size=8))
def test_every_subject_folder_has_an_id(dataset, name):
    if is_subject_folder(dataset, name):
        assert is_subject_folder(dataset, DATASETS[dataset].subject_id(name))


@pytest.mark.parametrize(
    ("dataset", "subject", "clip", "normal"),
    [
        ("casme", "1", "ep01_5", ("sub01", "EP01_5")),
        ("casme3", "spNo.14", "J_0012", ("spNO.14", "j_12")),
        ("casme_square", "S15", "Anger1_1", ("s15", "anger1_1")),
        ("mmew", "1.0", "s1-1-1", ("S01", "S01-01-001")),
        ("samm_long", "6", "6_1_2", ("006", "006_1_2")),
        ("fourdme", "Sub 1", "Sub1_NE", ("sub 1", "sub1_ne")),
        (
            "dfme",
            "SUB3",
            "sub0003-03a-01-Sadness(contempt)-01-anger",
            ("sub0003", "sub0003-03a-01-sadness(contempt)-01-anger"),
        ),
        ("table", "006", "A b", ("006", "A b")),
    ],
)
def test_the_further_sets_have_one_form_too(dataset, subject, clip, normal):
    data_set = DATASETS[dataset]
    assert (data_set.subject_id(subject), data_set.clip_id(clip)) == normal
    assert (data_set.subject_id(normal[0]), data_set.clip_id(normal[1])) == normal
    assert data_set.subject_id(data_set.subject.example) == data_set.subject.example
    assert data_set.clip_id(data_set.clip.example) == data_set.clip.example


def test_other_is_spelled_as_the_data_set_spells_it():
    assert DATASETS["samm"].emotion_name(" Others") == "other"
    assert DATASETS["casme2"].emotion_name("Other ") == "others"
    assert DATASETS["casme2"].emotion_name("Happiness") == "happiness"
    assert all(d.emotion_name(name.title()) == name for d in DATASETS.values() for name in d.emotions)


def test_a_strange_subject_belongs_to_no_data_set():
    with pytest.raises(ValueError, match="no subject of"):
        dataset_of("person1")
