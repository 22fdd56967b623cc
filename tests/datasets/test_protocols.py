import csv
import json
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.datasets.annotations import EMOTIONS, clip_id, read_annotations, subject_id
from slstt.datasets.clips import Clip
from slstt.datasets.protocols import PROTOCOLS, class_of, manifest_difference, published_class


@pytest.fixture(scope="session")
def real_clips(shared_data):
    """All clips of the three real sheets, without frames."""
    return [
        Clip(dataset, row.subject, row.clip, row.emotion, row.onset, row.apex, row.offset, Path())
        for dataset in ("casme2", "samm", "smic")
        for row in read_annotations(dataset, shared_data / "annotations" / f"{dataset}_coding.csv")[0]
    ]


@pytest.fixture(scope="session")
def composite_list(shared_data):
    """{(dataset, subject, clip): class} of the published MEGC2019 list, in normal form."""
    with (shared_data / "annotations" / "combined_3class_gt.csv").open(newline="") as stream:
        rows = [row for row in csv.reader(stream) if row]
    return {(d, subject_id(d, s), clip_id(d, c)): PROTOCOLS["cde"].classes[int(label)] for d, s, c, label in rows}


def entries_of(protocol, clips):
    labelled = [(*clip.key, class_of(protocol, clip)) for clip in clips]
    return [entry for entry in labelled if entry[3] is not None]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_real_sheets_give_the_published_counts_and_subjects(name, real_clips):
    protocol = PROTOCOLS[name]
    entries = entries_of(protocol, real_clips)
    for dataset in protocol.datasets:
        part = [entry for entry in entries if entry[0] == dataset]
        assert Counter(label for *_, label in part) == protocol.counts[dataset]
        assert len({subject for _, subject, _, _ in part}) == protocol.subjects[dataset]
    assert manifest_difference(protocol, entries) == []


def test_the_composite_has_the_published_totals(real_clips):
    protocol = PROTOCOLS["cde"]
    labels = Counter(label for *_, label in entries_of(protocol, real_clips))
    assert labels == {"negative": 250, "positive": 109, "surprise": 83}
    assert {d: sum(c.values()) for d, c in protocol.counts.items()} == {"casme2": 145, "samm": 133, "smic": 164}
    assert sum(protocol.subjects.values()) == 68
    sizes = [sum(PROTOCOLS[f"{d}_sde"].counts[d].values()) for d in ("casme2", "samm", "smic")]
    assert sizes == [249, 136, 164]
    assert sum(sum(c.values()) for c in PROTOCOLS["cde_casme2_smic"].counts.values()) == 309


def test_the_composite_is_the_published_list_clip_by_clip(real_clips, composite_list):
    ours = {entry[:3]: entry[3] for entry in entries_of(PROTOCOLS["cde"], real_clips)}
    assert ours == composite_list


def test_the_flow_maps_are_the_composite_without_samm(shared_data):
    from slstt.datasets.flow_maps import read

    maps = read(shared_data / "megc2019_flow")
    entries = [(*key, label) for key, label in zip(maps.keys, maps.labels, strict=True)]
    assert manifest_difference(PROTOCOLS["cde_casme2_smic"], entries) == []


def test_digests_deny_every_other_class_and_every_clip_left_out(real_clips):
    for protocol in PROTOCOLS.values():
        for clip in real_clips:
            expected = class_of(protocol, clip) if clip.dataset in protocol.datasets else None
            assert published_class(protocol, clip.key) == expected


def test_digests_do_not_take_made_up_clips():
    made_up = [
        ("samm", f"{s:03d}", f"{s:03d}_{a}_{b}") for s, a, b in product(range(100, 200), range(1, 6), range(1, 6))
    ]
    accepted = [key for key in made_up if published_class(PROTOCOLS["cde"], key)]
    assert len(accepted) <= 1  # 2500 keys, 3 classes, 133 digests of 24 bits: 0.06 expected


def test_the_package_holds_digests_only():
    table = json.loads(files("slstt.datasets").joinpath("protocol_digests.json").read_text())
    for parts in table["lists"].values():
        for text in parts.values():
            assert all(len(word) == 6 and int(word, 16) >= 0 for word in text.split())
    sizes = {(name, d): len(text.split()) for name, parts in table["lists"].items() for d, text in parts.items()}
    assert sizes == {
        (p.name, d): sum(counts.values())
        for p in PROTOCOLS.values()
        if p.published == p.name
        for d, counts in p.counts.items()
    }


def test_differences_are_named_clip_by_clip(real_clips):
    protocol = PROTOCOLS["cde"]
    entries = entries_of(protocol, real_clips)
    by_key = {entry[:3]: entry for entry in entries}
    wrong = by_key["casme2", "sub01", "EP02_01f"]
    lost, failed = by_key["samm", "006", "006_1_2"], by_key["smic", "s01", "s01_ne_01"]
    changed = [entry for entry in entries if entry not in (wrong, lost, failed)]
    changed += [
        (*wrong[:3], "surprise"),
        ("casme2", "sub05", "EP09_05f", "negative"),
        by_key["samm", "007", "007_3_1"] if ("samm", "007", "007_3_1") in by_key else entries[200],
    ]
    doubled = changed[-1]
    assert manifest_difference(protocol, changed, candidates=[failed[:3], ("smic", "s01", "s01_ne_99")]) == [
        f"{' '.join(doubled[:3])}: listed 2 times",
        "casme2 sub01 EP02_01f: class surprise, in the protocol positive",
        "casme2 sub05 EP09_05f (negative): not in the protocol",
        "smic s01 s01_ne_01 (negative): missing",
        "samm: 1 of 133 clips missing (1 negative)",
    ]


def test_a_part_can_be_compared_alone(real_clips):
    protocol = PROTOCOLS["cde"]
    samm = [entry for entry in entries_of(protocol, real_clips) if entry[0] == "samm"]
    assert manifest_difference(protocol, samm, datasets=["samm"]) == []
    lines = manifest_difference(protocol, samm)
    assert lines == [
        "casme2: 145 of 145 clips missing (88 negative, 32 positive, 25 surprise)",
        "smic: 164 of 164 clips missing (70 negative, 51 positive, 43 surprise)",
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_classes_follow_from_emotions(protocol):
    clip = Clip("casme2", "sub99", "EP01_01", "happiness", 1, 2, 3, Path())
    for dataset, emotions in EMOTIONS.items():
        for emotion in emotions:
            label = class_of(protocol, replace(clip, dataset=dataset, emotion=emotion))
            assert label is None or (label in protocol.classes and dataset in protocol.datasets)
    assert class_of(protocol, replace(clip, emotion="boredom")) is None
    assert set(protocol.counts) == set(protocol.subjects) == set(protocol.emotions)
    assert all(tuple(counts) == protocol.classes for counts in protocol.counts.values())


def test_fear_and_sadness_are_negative_in_samm_only():
    clip = Clip("casme2", "sub99", "EP01_01", "fear", 1, 2, 3, Path())
    assert class_of(PROTOCOLS["cde"], clip) is None
    assert class_of(PROTOCOLS["cde"], replace(clip, dataset="samm")) == "negative"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["casme2", "samm", "x"]), st.text(max_size=4), st.text(max_size=6), st.text(max_size=8)
        )
    )
)
def test_strange_entries_are_listed_and_never_counted(entries):
    lines = manifest_difference(PROTOCOLS["casme2_sde"], entries)
    assert sum("not in the protocol" in line for line in lines) == len({entry[:3] for entry in entries})
    assert lines[-1].startswith("casme2: 249 of 249 clips missing")
