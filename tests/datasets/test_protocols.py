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

from slstt.datasets import DATASETS
from slstt.datasets.annotations import read_annotations
from slstt.datasets.casme3 import micro_rows
from slstt.datasets.clips import Clip
from slstt.datasets.protocols import (
    PROTOCOLS,
    PublishedLists,
    class_of,
    digest,
    left_out,
    manifest_difference,
    published_class,
)


@pytest.fixture(scope="session")
def real_clips(shared_data):
    """All clips of the three real sheets, without frames."""
    return [
        Clip(dataset, row.subject, row.clip, row.emotion, row.onset, row.apex, row.offset, Path())
        for dataset in ("casme2", "samm", "smic")
        for row in read_annotations(DATASETS[dataset], shared_data / "annotations" / f"{dataset}_coding.csv")[0]
    ]


@pytest.fixture(scope="session")
def composite_list(shared_data):
    """{(dataset, subject, clip): class} of the published MEGC2019 list, in normal form."""
    with (shared_data / "annotations" / "combined_3class_gt.csv").open(newline="") as stream:
        rows = [row for row in csv.reader(stream) if row]
    return {
        (d, DATASETS[d].subject_id(s), DATASETS[d].clip_id(c)): PROTOCOLS["cde"].classes[int(label)]
        for d, s, c, label in rows
    }


MADE_UP = {
    "casme2": "Subject,Filename,OnsetFrame,ApexFrame,OffsetFrame,Estimated Emotion\n"
    "1,EP02_01f,46,59,86,happiness\n1,EP19_05f,1,/,50,others\n4,EP12_01f,3,9,21,disgust\n17,EP01_2,3,9,21,repression\n",
    "samm": "Subject,Filename,Onset Frame,Apex Frame,Offset Frame,Estimated Emotion\n"
    "6,006_1_2,5562,5588,5632,Fear\n6,006_1_3,10,12,30,Other\n7,007_3_1,10,12,30,Surprise\n",
    "smic": "Subject,Filename,OnsetF,OffsetF,Emotion\n1,s1_ne_01,120,150,negative\n2,s2_po_02,120,150,positive\n",
}
"""Sheets in the owners' columns, spellings of ids and emotions; EP12_01f is left out by name."""

COUNTED = {
    ("casme2", "sub01", "EP02_01f"): "positive",
    ("casme2", "sub17", "EP01_2"): "negative",
    ("samm", "006", "006_1_2"): "negative",
    ("samm", "007", "007_3_1"): "surprise",
    ("smic", "s01", "s01_ne_01"): "negative",
    ("smic", "s02", "s02_po_02"): "positive",
}


@pytest.fixture(scope="session")
def made_up_clips(tmp_path_factory):
    """All clips of three made-up sheets, without frames."""
    folder = tmp_path_factory.mktemp("sheets")
    clips = []
    for dataset, text in MADE_UP.items():
        (folder / f"{dataset}.csv").write_text(text)
        rows, remarks = read_annotations(DATASETS[dataset], folder / f"{dataset}.csv")
        assert remarks == []
        clips += [Clip(dataset, r.subject, r.clip, r.emotion, r.onset, r.apex, r.offset, Path()) for r in rows]
    return clips


@pytest.fixture(scope="session")
def made_up_list():
    """The composite as if the clips in COUNTED were the published list: (protocol, its digests)."""
    composite = PROTOCOLS["cde"]
    counts = {d: dict.fromkeys(composite.classes, 0) for d in composite.datasets}
    digests = {d: set() for d in composite.datasets}
    for key, label in COUNTED.items():
        counts[key[0]][label] += 1
        digests[key[0]].add(digest("salt", "cde", *key, label))
    lists = PublishedLists("salt", {"cde": {d: frozenset(words) for d, words in digests.items()}})
    return replace(composite, counts=counts), lists


def test_made_up_sheets_give_exactly_their_list(made_up_clips, made_up_list):
    protocol, lists = made_up_list
    entries = entries_of(protocol, made_up_clips)
    assert {entry[:3]: entry[3] for entry in entries} == COUNTED
    assert manifest_difference(protocol, entries, lists=lists) == []
    for clip in made_up_clips:
        assert published_class(protocol, clip.key, lists) == COUNTED.get(clip.key)


def test_differences_from_a_made_up_list_are_named_clip_by_clip(made_up_list):
    protocol, lists = made_up_list
    entries = [(*key, label) for key, label in COUNTED.items()]
    changed = [
        (*entries[0][:3], "surprise"),
        ("casme2", "sub05", "EP09_05f", "negative"),
        *entries[1:2],
        *entries[3:5],
        entries[4],
    ]
    lines = manifest_difference(protocol, changed, candidates=[entries[2][:3], ("samm", "006", "006_9_9")], lists=lists)
    assert lines == [
        "smic s01 s01_ne_01: listed 2 times",
        "casme2 sub01 EP02_01f: class surprise, in the protocol positive",
        "casme2 sub05 EP09_05f (negative): not in the protocol",
        "samm 006 006_1_2 (negative): missing",
        "smic: 1 of 2 clips missing (1 positive)",
    ]
    assert manifest_difference(protocol, entries[2:4], datasets=["samm"], lists=lists) == []
    assert manifest_difference(protocol, entries[2:4], lists=lists) == [
        "casme2: 2 of 2 clips missing (1 negative, 1 positive)",
        "smic: 2 of 2 clips missing (1 negative, 1 positive)",
    ]


def test_what_lies_beyond_a_protocol_is_said():
    keys = [*COUNTED, ("casme2", "sub04", "EP12_01f")]
    assert left_out(PROTOCOLS["cde"], COUNTED) == []
    assert left_out(PROTOCOLS["cde_casme2_smic"], keys) == [
        "samm: 2 clips left out (cde_casme2_smic takes casme2, smic)",
        "casme2 sub04 EP12_01f: left out, as the published list does",
    ]
    assert left_out(PROTOCOLS["smic_sde"], keys[:3]) == [
        "casme2: 2 clips left out (smic_sde takes smic)",
        "samm: 1 clip left out (smic_sde takes smic)",
    ]


def test_known_clips_of_the_published_composite():
    composite = PROTOCOLS["cde"]
    assert published_class(composite, ("casme2", "sub01", "EP02_01f")) == "positive"
    assert published_class(composite, ("smic", "s01", "s01_ne_01")) == "negative"
    assert published_class(composite, ("casme2", "sub05", "EP09_05f")) is None


def test_the_published_totals():
    protocol = PROTOCOLS["cde"]
    totals = Counter()
    for counts in protocol.counts.values():
        totals.update(counts)
    assert totals == {"negative": 250, "positive": 109, "surprise": 83}
    assert {d: sum(c.values()) for d, c in protocol.counts.items()} == {"casme2": 145, "samm": 133, "smic": 164}
    assert sum(protocol.subjects.values()) == 68
    sizes = [sum(PROTOCOLS[f"{d}_sde"].counts[d].values()) for d in ("casme2", "samm", "smic")]
    assert sizes == [249, 136, 164]
    assert sum(sum(c.values()) for c in PROTOCOLS["cde_casme2_smic"].counts.values()) == 309


def entries_of(protocol, clips):
    labelled = [(*clip.key, class_of(protocol, clip)) for clip in clips]
    return [entry for entry in labelled if entry[3] is not None]


ON_REAL_SHEETS = [name for name, protocol in PROTOCOLS.items() if not protocol.by_rule]


@pytest.mark.parametrize("name", ON_REAL_SHEETS)
def test_real_sheets_give_the_published_counts_and_subjects(name, real_clips):
    protocol = PROTOCOLS[name]
    entries = entries_of(protocol, real_clips)
    for dataset in protocol.datasets:
        part = [entry for entry in entries if entry[0] == dataset]
        assert Counter(label for *_, label in part) == protocol.counts[dataset]
        assert len({subject for _, subject, _, _ in part}) == protocol.subjects[dataset]
    assert manifest_difference(protocol, entries) == []


def test_the_real_sheets_have_the_published_totals(real_clips):
    labels = Counter(label for *_, label in entries_of(PROTOCOLS["cde"], real_clips))
    assert labels == {"negative": 250, "positive": 109, "surprise": 83}


def test_the_composite_is_the_published_list_clip_by_clip(real_clips, composite_list):
    ours = {entry[:3]: entry[3] for entry in entries_of(PROTOCOLS["cde"], real_clips)}
    assert ours == composite_list


def test_the_flow_maps_are_the_composite(shared_data):
    from slstt.datasets.flow_maps import read

    maps = read(shared_data / "megc2019_flow")
    entries = [(*key, label) for key, label in zip(maps.keys, maps.labels, strict=True)]
    assert manifest_difference(PROTOCOLS["cde"], entries) == []
    assert left_out(PROTOCOLS["cde_casme2_smic"], maps.keys) == [
        "samm: 133 clips left out (cde_casme2_smic takes casme2, smic)"
    ]


def test_digests_deny_every_other_class_and_every_clip_left_out(real_clips):
    for protocol in (PROTOCOLS[name] for name in ON_REAL_SHEETS):
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
    for dataset, emotions in ((name, data_set.emotions) for name, data_set in DATASETS.items()):
        for emotion in emotions:
            label = class_of(protocol, replace(clip, dataset=dataset, emotion=emotion))
            assert label is None or (label in protocol.classes and dataset in protocol.datasets)
    assert class_of(protocol, replace(clip, emotion="boredom")) is None
    assert all(set(known) <= set(DATASETS[dataset].emotions) for dataset, known in protocol.emotions.items())
    assert set(protocol.subjects) <= set(protocol.counts) <= set(protocol.emotions)
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


@pytest.mark.parametrize(
    ("name", "clips", "subjects"), [("casme3_3", 699, 88), ("casme3_4", 860, 94), ("casme3_7", 860, 94)]
)
def test_the_real_sheet_of_casme3_gives_the_published_counts(name, clips, subjects, shared_data):
    protocol = PROTOCOLS[name]
    (path,) = (shared_data / "annotations").glob("cas(me)3_part_A*.xlsx")
    rows, _ = micro_rows(path)
    read = [Clip("casme3", row.subject, row.clip, row.emotion, 1, 2, 3, Path()) for row in rows]
    entries = entries_of(protocol, read)
    assert len(entries) == clips == sum(protocol.counts["casme3"].values())
    assert len({subject for _, subject, _, _ in entries}) == subjects == protocol.subjects["casme3"]
    assert manifest_difference(protocol, entries) == []


BY_RULE = [name for name, protocol in PROTOCOLS.items() if protocol.by_rule and protocol.counts]


@pytest.mark.parametrize("name", BY_RULE)
def test_a_protocol_by_rule_compares_counts(name):
    protocol = PROTOCOLS[name]
    (dataset,) = protocol.datasets
    first, *_, last = protocol.classes
    entries = [
        (dataset, "01", f"{label}{number}", label)
        for label, count in protocol.counts[dataset].items()
        for number in range(count)
    ]
    whole = len(entries)
    assert protocol.heading.endswith(", by rule")
    assert manifest_difference(protocol, entries) == []
    more = [*entries[1:], (dataset, "01", "more", last), ("smic", "s01", "s01_ne_01", first)]
    assert manifest_difference(protocol, more) == [
        f"smic s01 s01_ne_01 ({first}): not in the protocol",
        f"{dataset}: 1 of {whole} clips missing (1 {first})",
        f"{dataset}: 1 clips more than the {whole} published (1 {last})",
    ]


def test_the_published_totals_of_the_further_data_sets():
    totals = {name: sum(PROTOCOLS[name].counts[name.split("_")[0]].values()) for name in BY_RULE}
    assert totals == {
        "casme3_3": 699, "casme3_4": 860, "casme3_7": 860, "mmew_3": 234, "mmew_4": 263, "mmew_5": 279, "mmew_6": 234,
        "mmew_7": 300, "casme_4": 171,
    }  # fmt: skip
    assert PROTOCOLS["casme3_3"].counts["casme3"] == {"negative": 457, "positive": 55, "surprise": 187}
    assert PROTOCOLS["dfme"].test_sets == {"testA": 474, "testB": 299}


def test_macro_expressions_are_in_no_protocol():
    for protocol in PROTOCOLS.values():
        for dataset, emotions in protocol.emotions.items():
            for emotion in emotions:
                clip = Clip(dataset, "01", "clip", emotion, 1, 2, 3, Path())
                assert class_of(protocol, clip) is not None
                assert class_of(protocol, replace(clip, kind="macro")) is None
