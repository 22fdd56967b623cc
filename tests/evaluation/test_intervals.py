"""Spotting scores against an independent count over sets of frames, published counts, and what must always hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import f1_score

from slstt.evaluation.intervals import (
    SpottedVideo,
    VideoInterval,
    counts_of,
    iou,
    kind_of,
    pair,
    score,
    spotting_f1,
)

KIND = st.sampled_from(["micro", "macro"])
LABEL = st.sampled_from(["negative", "positive", "surprise"])


@st.composite
def intervals(draw: st.DrawFn, label: st.SearchStrategy[str] = LABEL) -> tuple[VideoInterval, ...]:
    found = []
    for _ in range(draw(st.integers(0, 7))):
        onset, length = draw(st.integers(0, 60)), draw(st.integers(0, 20))
        apex = onset + draw(st.integers(0, length))
        found.append(VideoInterval(onset, onset + length, draw(KIND), apex, draw(label)))
    return tuple(found)


@st.composite
def apart(draw: st.DrawFn) -> tuple[VideoInterval, ...]:
    """Intervals of one kind that share no frame."""
    edges = sorted(draw(st.sets(st.integers(0, 90), max_size=14)))
    return tuple(VideoInterval(a, b, "micro") for a, b in zip(edges[::2], edges[1::2], strict=False))


@st.composite
def videos(draw: st.DrawFn) -> list[SpottedVideo]:
    count = draw(st.integers(1, 6))
    return [
        SpottedVideo(
            "samm_long", f"s{draw(st.integers(1, 4))}", str(n), draw(intervals()), draw(intervals()), 100, 50.0
        )
        for n in range(count)
    ]


def frames(one: VideoInterval) -> set[int]:
    return set(range(one.onset, one.offset + 1))


def plain_pairs(
    found: tuple[VideoInterval, ...], true: tuple[VideoInterval, ...], least: float
) -> list[tuple[int, int]]:
    """Take the best pair of sets of frames that is left, again and again."""
    left_found, left_true = list(range(len(found))), list(range(len(true)))
    pairs = []
    while True:
        best, best_key = None, None
        for f in left_found:
            for t in left_true:
                a, b = frames(found[f]), frames(true[t])
                share = len(a & b) / len(a | b)
                if found[f].kind != true[t].kind or share < least:
                    continue
                key = (-share, min(b), max(b), min(a), max(a), t, f)
                if best_key is None or key < best_key:
                    best, best_key = (f, t), key
        if best is None:
            return pairs
        pairs.append(best)
        left_found.remove(best[0])
        left_true.remove(best[1])


@given(intervals(), intervals(), st.sampled_from([0.2, 0.3, 0.4, 0.5]))
def test_pairs_are_those_of_a_plain_search_over_sets_of_frames(
    found: tuple[VideoInterval, ...], true: tuple[VideoInterval, ...], least: float
) -> None:
    assert sorted(pair(found, true, least)) == sorted(plain_pairs(found, true, least))


@given(apart(), apart())
def test_above_one_half_no_assignment_finds_more(
    found: tuple[VideoInterval, ...], true: tuple[VideoInterval, ...]
) -> None:
    """Among intervals that share no frame, one has an IoU over 0.5 with one other at most: greedy is the best."""
    allowed = np.array([[iou(f, t) > 0.5 for t in true] for f in found], float).reshape(len(found), len(true))
    rows, columns = linear_sum_assignment(-allowed)
    assert len(pair(found, true, 0.5000001)) == allowed[rows, columns].sum()


@settings(max_examples=40)
@given(videos())
def test_counts_scores_and_strs_follow_from_the_plain_pairs(some: list[SpottedVideo]) -> None:
    result = score(some, draws=20)
    for name, kinds in (("micro", ["micro"]), ("macro", ["macro"]), ("all", ["micro", "macro"])):
        hits = alarms = missed = 0
        apexes, labels = [], []
        for video in some:
            for kind in kinds:
                found = tuple(one for one in video.found if one.kind == kind)
                true = tuple(one for one in video.true if one.kind == kind)
                pairs = plain_pairs(found, true, 0.5)
                hits, alarms, missed = (
                    hits + len(pairs),
                    alarms + len(found) - len(pairs),
                    missed + len(true) - len(pairs),
                )
                apexes += [abs(found[f].apex - true[t].apex) for f, t in pairs]  # pyright: ignore
                labels += [(true[t].label, found[f].label) for f, t in pairs]
        block = result["spotting"][name]
        assert (block["tp"], block["fp"], block["fn"]) == (hits, alarms, missed)
        total = 2 * hits + alarms + missed
        assert block["f1"] == pytest.approx(2 * hits / total if total else 0.0)
        assert block["f1_at"]["0.5"] == block["f1"]
        assert block["f1_at"]["0.2"] >= block["f1_at"]["0.3"] >= block["f1_at"]["0.4"] >= block["f1"]
        assert block["apex_error_frames"] == (pytest.approx(np.mean(apexes)) if apexes else None)
        assert block["false_alarms_per_minute"] == pytest.approx(alarms / (len(some) * 100 / 50 / 60))
        if name in result.get("recognition", {}):
            about = result["recognition"][name]
            uf1 = (
                f1_score(*zip(*labels, strict=True), labels=about["classes"], average="macro", zero_division=0)
                if labels
                else 0
            )
            assert about["uf1"] == pytest.approx(uf1)
            assert about["strs"] == pytest.approx(uf1 * block["f1"])
            assert about["n"] == len(labels)


@given(intervals(), st.integers(-50, 50))
def test_everything_found_exactly_is_perfect_wherever_it_lies(true: tuple[VideoInterval, ...], by: int) -> None:
    moved = tuple(VideoInterval(i.onset + by, i.offset + by, i.kind) for i in true)
    distinct = tuple(dict.fromkeys(moved))
    for kind in ("micro", "macro"):
        tp, fp, fn = counts_of(SpottedVideo("d", "s", "v", distinct, distinct), kind)
        assert (tp, fp, fn) == (sum(i.kind == kind for i in distinct), 0, 0)


def test_published_counts_give_the_published_f1() -> None:
    """He et al. 2020 (MEGC 2020 baseline, MDMD): predicted, correct and annotated intervals, and F1."""
    published = {
        "CAS(ME)^2 micro": (5035, 21, 57, 0.0082),
        "CAS(ME)^2 macro": (1523, 109, 300, 0.1196),
        "CAS(ME)^2 all": (6558, 130, 357, 0.0376),
        "SAMM micro": (1436, 29, 159, 0.0364),
        "SAMM macro": (356, 22, 343, 0.0629),
        "SAMM all": (1792, 51, 502, 0.0445),
    }
    for name, (found, hits, true, f1) in published.items():
        assert float(spotting_f1(np.array([hits, found - hits, true - hits]))) == pytest.approx(f1, abs=5e-5), name


def test_both_ends_of_an_interval_are_included() -> None:
    assert iou(VideoInterval(1, 10, "micro"), VideoInterval(6, 15, "micro")) == pytest.approx(5 / 15)
    assert iou(VideoInterval(1, 10, "micro"), VideoInterval(10, 19, "micro")) == pytest.approx(1 / 19)
    assert iou(VideoInterval(1, 10, "micro"), VideoInterval(11, 20, "micro")) == 0
    assert iou(VideoInterval(1, 20, "micro"), VideoInterval(1, 10, "micro")) == 0.5
    assert len(pair([VideoInterval(1, 20, "micro")], [VideoInterval(1, 10, "micro")])) == 1


def test_a_spotted_interval_of_the_other_kind_finds_nothing() -> None:
    true, found = (VideoInterval(10, 30, "micro"),), (VideoInterval(10, 30, "macro"),)
    result = score([SpottedVideo("d", "s", "v", true, found)])["spotting"]
    assert (result["micro"]["fn"], result["macro"]["fp"], result["all"]["tp"]) == (1, 1, 0)
    assert (result["all"]["fp"], result["all"]["fn"]) == (1, 1)


def test_the_kind_is_told_by_half_a_second_from_onset_to_offset() -> None:
    assert (kind_of(0, 15, 30.0), kind_of(0, 16, 30.0)) == ("micro", "macro")
    assert (kind_of(100, 200, 200.0), kind_of(100, 201, 200.0)) == ("micro", "macro")


def test_false_alarms_in_a_video_without_expression_count() -> None:
    true, alarm = VideoInterval(10, 30, "micro"), VideoInterval(50, 60, "micro")
    with_one = SpottedVideo("d", "s1", "a", (true,), (true,), 600, 100.0)
    without = SpottedVideo("d", "s2", "b", (), (alarm,), 600, 100.0)
    both, one = score([with_one, without]), score([with_one])
    assert (both["spotting"]["micro"]["f1"], one["spotting"]["micro"]["f1"]) == (pytest.approx(2 / 3), 1.0)
    assert both["videos_without_expression"] == 1
    assert both["spotting"]["micro"]["false_alarms_per_minute"] == pytest.approx(5.0)
    low, high = both["spotting"]["micro"]["ci"]
    assert low == 0.0 and high == 1.0 and one["spotting"]["micro"]["ci"] is None


def test_what_could_not_be_classified_counts_against_its_class() -> None:
    true = (VideoInterval(0, 9, "micro", 4, "positive"), VideoInterval(20, 29, "micro", 24, "negative"))
    found = (VideoInterval(0, 9, "micro", 4, "positive"), VideoInterval(20, 29, "micro", 24, ""))
    result = score([SpottedVideo("d", "s", "v", true, found)])
    assert result["recognition"]["micro"]["uf1"] == pytest.approx(0.5)
    assert result["strs"] == pytest.approx(0.5) and result["strs_of"] == "micro"
