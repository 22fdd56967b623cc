import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.datasets.casme3 import micro_rows
from slstt.datasets.units import UNIT_NAMES, UNIT_PROTOCOLS, UNITS, CodedUnits, read_units, unit_differences, unit_row


@pytest.mark.parametrize(
    ("text", "present", "undecided"),
    [
        ("4", {4}, set()),
        ("12.0", {12}, set()),
        ("4+L10+12", {4, 10, 12}, set()),
        ("R14", {14}, set()),
        ("14R", {14}, set()),
        ("R12 + R15", {12, 15}, set()),
        ("AU4", {4}, set()),
        ("AU1+AU2", {1, 2}, set()),
        ("LAU10", {10}, set()),
        ("AUL10", {10}, set()),
        ("1+2+5", {1, 2, 5}, set()),
        ("AU12 or 14", set(), {12, 14}),
        ("4+AU12 or AU14", {4}, {12, 14}),
        ("12/14", set(), {12, 14}),
        ("12?", set(), {12}),
        ("4 + 12 ?", {4}, {12}),
        ("12+12 or 14", {12}, {14}),
        ("12(k)", set(), set()),
        ("AU12(k)+4", {4}, set()),
        ("4 (K)", set(), set()),
        ("12B", {12}, set()),
        ("R14A", {14}, set()),
        ("T23", {23}, set()),
        ("4,7", {4, 7}, set()),
        ("4;7 & 9", {4, 7, 9}, set()),
        ("4 and 7", {4, 7}, set()),
        ("4\uff0b7", {4, 7}, set()),
        ("4 (weak)", {4}, set()),
        ("AU 4", {4}, set()),
        ("left 14", {14}, set()),
        ("4++7+", {4, 7}, set()),
    ],
)
def test_texts_of_the_sheets(text, present, undecided):
    assert read_units(text) == CodedUnits(frozenset(present), frozenset(undecided))


@pytest.mark.parametrize("text", ["", "  ", "?", "/", "-", "nan", "None", "N/A"])
def test_a_cell_that_says_nothing(text):
    assert read_units(text) is None


@pytest.mark.parametrize(
    ("text", "present", "unread"),
    [("4+blink", {4}, ("blink",)), ("gaze", set(), ("gaze",)), ("412", set(), ("412",)), ("4-7", set(), ("4-7",))],
)
def test_what_is_no_unit_is_named(text, present, unread):
    assert read_units(text) == CodedUnits(frozenset(present), frozenset(), unread)


@given(
    st.lists(st.tuples(st.sampled_from(["", "L", "R", "AU", "au"]), st.integers(1, 99)), min_size=1, max_size=6),
    st.sampled_from(["+", " + ", ",", ", ", ";"]),
)
def test_any_list_of_units_is_read_back(units, separator):
    text = separator.join(f"{prefix}{number}" for prefix, number in units)
    assert read_units(text) == CodedUnits(frozenset(number for _, number in units))


@given(st.text(max_size=30))
def test_no_text_is_refused(text):
    found = read_units(text)
    assert found is None or all(0 <= number <= 99 for number in found.present | found.undecided)


def test_a_row_tells_present_absent_and_undecided():
    row = unit_row(CodedUnits(frozenset({1, 17, 25}), frozenset({12, 26})))
    named = dict(zip(UNIT_NAMES, row, strict=True))
    assert named["AU1"] == named["AU17"] == 1
    assert math.isnan(named["AU12"])
    assert sum(value == 0 for value in row) == len(UNITS) - 3


def test_the_published_numbers_are_those_of_the_paper():
    protocol = UNIT_PROTOCOLS["cd6me"]
    assert sum(protocol.clips.values()) == 2031
    assert len(UNITS) == 12
    totals = {name: sum(counts[name] for counts in protocol.counts.values()) for name in UNIT_NAMES}
    assert list(totals.values()) == [304, 280, 708, 134, 60, 252, 117, 75, 176, 277, 52, 86]


def test_differences_from_the_published_counts_are_named():
    protocol = UNIT_PROTOCOLS["cd6me"]
    row = unit_row(CodedUnits(frozenset({4})))
    lines = unit_differences(protocol, [("casme", row)] * 189 + [("samm", row)] * 3 + [("other", row)])
    assert lines[0].startswith("casme: AU1 0 instead of 23, AU2 0 instead of 17, AU4 189 instead of 70, AU6 0")
    assert "AU5" not in lines[0]
    assert lines[1:3] == ["casme2: 256 of 256 clips missing", "samm: 3 clips instead of 159"]
    assert lines[-1] == "other: not in the protocol"


def test_the_real_sheet_of_casme3_gives_the_published_numbers(shared_data):
    (path,) = (shared_data / "annotations").glob("cas(me)3_part_A*.xlsx")
    rows, _ = micro_rows(path)
    coded = [read_units(row.units) for row in rows]
    assert len(coded) == 860
    assert all(one is not None and not one.unread and not one.undecided for one in coded)
    found = [("casme3", unit_row(one)) for one in coded if one is not None]
    assert not [line for line in unit_differences(UNIT_PROTOCOLS["cd6me"], found) if line.startswith("casme3")]
