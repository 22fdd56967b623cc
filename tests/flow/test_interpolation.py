"""The frame plan against a naive enumeration, and the pictures that fill it."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slstt.errors import ConfigError, DataError
from slstt.flow.interpolation import FramePlan, apex_first, choose_frames, fill, levels, published_frames


def naive_apex_first(onset, apex, offset, count):
    """Walk outwards from the apex in exact fractions, one step at a time, before-apex first, level by level."""
    taken, parts = [], 2
    while len(taken) < count:
        for step in range(0, 2 * parts * (max(apex, offset) - min(apex, onset)) + 1):
            for sign in (-1, 1):
                position = apex + sign * Fraction(step, parts)
                on_level = (position * parts).numerator % 2 == 1 and (position * parts).denominator == 1
                if on_level and onset < position < offset and position not in taken:
                    taken.append(position)
        parts *= 2
    return [float(position) for position in taken[:count]]


@st.composite
def clips(draw):
    onset = draw(st.integers(0, 5000))
    length = draw(st.integers(1, 30))
    apex = onset + draw(st.integers(-3, length + 3))
    return onset, apex, onset + length


def test_by_hand():
    assert apex_first(0, 2, 5, 5) == [1.5, 2.5, 0.5, 3.5, 4.5]
    assert apex_first(0, 2, 5, 9)[5:] == [1.75, 2.25, 1.25, 2.75]
    assert apex_first(10, 11, 12, 5) == [10.5, 11.5, 10.75, 11.25, 10.25]
    assert apex_first(10, 10, 12, 3) == [10.5, 11.5, 10.25]  # apex at the onset: only later positions


@settings(max_examples=200)
@given(clips(), st.integers(0, 60))
def test_equals_the_naive_enumeration(clip, count):
    assert apex_first(*clip, count) == naive_apex_first(*clip, count)


@given(clips(), st.integers(1, 40))
def test_a_shorter_list_begins_a_longer_one(clip, count):
    longer = apex_first(*clip, count)
    assert apex_first(*clip, count - 1) == longer[:-1]
    assert len(set(longer)) == count
    assert all(clip[0] < position < clip[2] and position != int(position) for position in longer)


@given(clips(), st.integers(1, 40))
def test_every_parent_comes_before_its_child(clip, count):
    order = apex_first(*clip, count)
    for place, position in enumerate(order):
        step = 1 / position.as_integer_ratio()[1]
        parents = {position - step, position + step}
        assert all(parent == int(parent) or parent in order[:place] for parent in parents)


def test_no_room_is_refused():
    assert apex_first(7, 7, 7, 0) == []
    with pytest.raises(DataError, match="onset 7"):
        apex_first(7, 7, 7, 1)
    with pytest.raises(ValueError, match="negative"):
        apex_first(0, 1, 2, -1)


def test_the_window_of_the_paper():
    def window(*clip):
        plan = choose_frames(*clip, 11)
        return plan.positions[0], plan.positions[-1]

    assert window(46, 59, 86) == (54, 64)  # apex - 5 ... apex + 5
    assert window(46, 48, 86) == (47, 57)  # begins right after the onset
    assert window(46, 84, 86) == (76, 86)  # ends at the offset
    assert window(46, 84, 57) == (47, 57)  # exactly enough frames


def test_uniform_includes_both_ends():
    assert choose_frames(0, 9, 21, 11, "uniform").positions == tuple(range(1, 22, 2))
    assert choose_frames(0, 9, 12, 11, "uniform").positions == (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12)


def naive_published(onset, apex, offset, count):
    """The published program's loops in exact fractions: halve each gap until it holds enough, take the central ones."""
    start = max(apex - int(count / 2), onset + 1)
    real = list(range(start, min(start + count - 1, offset) + 1))
    needed = start + count - 1 - real[-1]
    each = int(needed / (len(real) - 1)) if len(real) > 1 else 0
    more = needed - each * (len(real) - 1)
    first = int(len(real) / 2) - int(more / 2)
    chosen = []
    for place, frame in enumerate(real):
        chosen.append(Fraction(frame))
        wanted = each + (first <= place < first + more) if frame < real[-1] else 0
        between = [Fraction(frame), Fraction(frame + 1)]
        while len(between) < wanted + 2:
            middles = [(a + b) / 2 for a, b in pairwise(between)]
            between = sorted([*between, *middles])
        inside = between[1:-1]
        begin = int(len(inside) / 2) - int(wanted / 2)
        chosen += inside[begin : begin + wanted]
    return [float(position) for position in chosen]


def test_the_published_choice_equals_the_programs_own_loops_on_every_short_clip():
    compared = other_than_apex = 0
    for offset in range(2, 41):
        for onset in range(offset - 1):
            for apex in range(onset + 1, offset + 1):
                found = choose_frames(onset, apex, offset, 11, "published").positions
                assert list(found) == naive_published(onset, apex, offset, 11)
                passes_the_end = max(apex - 5, onset + 1) + 10 > offset
                differs = found != choose_frames(onset, apex, offset, 11).positions
                assert not differs or passes_the_end
                if offset - onset >= 11:
                    assert differs == passes_the_end
                compared, other_than_apex = compared + 1, other_than_apex + differs
    assert (compared, other_than_apex) == (11440, 3951)


@settings(max_examples=200)
@given(clips(), st.integers(1, 64))
def test_the_published_choice_is_whole_whatever_the_count(clip, count):
    onset, apex, offset = clip
    start = max(apex - count // 2, onset + 1)
    if start >= offset:
        with pytest.raises(DataError, match="no two frames"):
            published_frames(*clip, count)
        assert choose_frames(*clip, count, "published") == choose_frames(*clip, count)  # the program fails there
        return
    plan = published_frames(*clip, count)
    assert list(plan.positions) == naive_published(*clip, count)
    assert len(plan.positions) == count and list(plan.positions) == sorted(set(plan.positions))
    assert plan.positions[0] == start and plan.positions[-1] == min(start + count - 1, offset)
    assert set(plan.needed) <= set(range(start, offset + 1))


@given(clips(), st.integers(1, 14), st.sampled_from(["apex", "uniform"]))
def test_a_plan_has_its_count_ascending_and_inside(clip, count, selection):
    onset, apex, offset = clip
    plan = choose_frames(onset, apex, offset, count, selection)
    assert len(plan.positions) == count
    assert all(a < b for a, b in zip(plan.positions, plan.positions[1:], strict=False))
    assert all(onset < position <= offset for position in plan.positions)
    assert set(plan.needed) <= set(range(onset, offset + 1))
    if offset - onset >= count:
        assert plan.inserted == ()
    else:
        assert set(range(onset + 1, offset + 1)) <= set(plan.positions)
        assert sorted(plan.inserted) == sorted(apex_first(onset, apex, offset, count - (offset - onset)))
    if selection == "apex" and onset < apex <= offset and (count > 1 or offset - onset >= count):
        assert apex in plan.positions


def test_choices_that_cannot_be_are_named():
    with pytest.raises(DataError, match="no frame after the onset 5"):
        choose_frames(5, 5, 5, 11)
    with pytest.raises(ConfigError, match=r"frames\.count=0"):
        choose_frames(0, 1, 2, 0)
    with pytest.raises(ConfigError, match="apex, uniform, published"):
        choose_frames(0, 1, 20, 11, "middle")


def test_levels_hold_all_that_is_made_from():
    assert levels([3.125, 5]) == [[3.5], [3.25], [3.125]]
    assert levels([1.0, 2.0]) == []
    assert levels([1.5, 2.75]) == [[1.5, 2.5], [2.75]]


def grey(value):
    return np.full((5, 7), value, np.uint8)


def test_linear_weights_by_distance_and_none_repeats_the_nearest():
    frames = {10: grey(0), 11: grey(100)}
    linear = fill(frames, [10.25, 10.5, 11, 10.75], "linear")
    assert [int(image[0, 0]) for image in linear.values()] == [25, 50, 100, 75]
    nearest = fill(frames, [10.25, 10.5, 10.75], "none")
    assert [int(image[0, 0]) for image in nearest.values()] == [0, 0, 100]


@given(st.lists(st.integers(0, 8 * 8), min_size=1, max_size=12, unique=True))
def test_positions_are_found_in_the_real_frames_or_named(places):
    positions = [place / 8 for place in places]
    frames = {n: grey(10 * n) for n in range(9)}
    filled = fill(frames, positions, "linear")
    assert list(filled) == positions
    assert all(abs(int(image[0, 0]) - 10 * position) <= 0.5 for position, image in filled.items())
    del frames[int(positions[0])]
    with pytest.raises(DataError, match=f"frames {int(positions[0])} are needed"):
        fill(frames, positions, "linear")


def test_unknown_method_and_missing_network():
    with pytest.raises(ConfigError, match="rife, linear, none"):
        fill({1: grey(0)}, [1], "cubic")
    with pytest.raises(ValueError, match="loaded Rife"):
        fill({1: grey(0), 2: grey(3)}, [1.5], "rife")


def test_needed_frames():
    assert FramePlan((3.0, 3.25, 7.0)).needed == (3, 4, 7)
