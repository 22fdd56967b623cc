"""What every reader does with what is wrong: a line for each problem, and nothing lost."""

import os
import re

import pytest
from native_sets import NATIVE, Coded
from native_trees import frames

from slstt.cli.preprocess import main
from slstt.datasets import DATASETS, read_release
from slstt.errors import DataError
from slstt.preprocessing.check import examine

ALL = sorted(NATIVE)
FOUND = [name for name in ALL if name != "table"]
"""Whose sheet and frames are looked for."""


@pytest.fixture(params=ALL)
def native(request):
    return NATIVE[request.param]


def kinds(release, clip=None):
    noticed = (r for r in release.remarks if clip is None or clip in r.clip.lower())
    return {(r.kind, r.action) for r in noticed} - {("no_emotions", "ignored"), ("unknown_emotion", "flag")}


def test_the_list_of_data_sets_is_whole():
    assert {*ALL, "smic", "dfme"} == set(DATASETS)


def test_a_sound_release_has_no_remarks_and_its_check_succeeds(native, tmp_path):
    native.write(tmp_path, [Coded(1), Coded(2)], size=(8, 8))
    release = read_release(native.dataset, tmp_path)
    assert [(c.onset, c.apex, c.offset) for c in release.clips] == [(5, 8, 12)] * 2
    assert kinds(release) == set()
    text = examine(release, workers=1, quiet=True).text
    assert "clips: 2 usable, 0 not; 1 subjects" in text and "of 8x8" in text


@pytest.mark.parametrize("name", FOUND)
def test_a_missing_sheet_and_a_root_of_another_set(tmp_path, name):
    native = NATIVE[name]
    sheet = native.write(tmp_path / "one", [Coded(1)])
    sheet.unlink()
    with pytest.raises(DataError) as caught:
        read_release(name, tmp_path / "one")
    (problem,) = caught.value.problems
    assert f"no {DATASETS[name].title} coding sheet" in problem and "--annotations FILE" in problem
    other = NATIVE["samm" if name != "samm" else "casme3"]
    other.write(tmp_path / "other", [Coded(1)])
    with pytest.raises(DataError, match=f"its folders look like --dataset {other.dataset}") as caught:
        read_release(name, tmp_path / "other")
    assert "coding sheet" in caught.value.problems[1]


@pytest.mark.parametrize("name", FOUND)
def test_of_several_sheets_one_is_used_and_the_others_are_said(tmp_path, name):
    native = NATIVE[name]
    sheet = native.write(tmp_path, [Coded(1)])
    native.write_sheet(tmp_path / "old" / native.sheet, [Coded(1, 2, 3, 4)])
    release = read_release(name, tmp_path)
    assert release.annotations == sheet and kinds(release) == {("other_sheet", "ignored")}


def test_faults_in_a_row_are_its_own(native, tmp_path):
    rows = [
        Coded(1),
        Coded(2, emotion="boredom"),
        Coded(3, offset=25),
        Coded(4, onset=12, apex=8, offset=5),
        Coded(5, onset="../x"),
        Coded(6, onset=40, apex=42, offset=44),
    ]
    native.write(tmp_path, rows)
    release = read_release(native.dataset, tmp_path)
    failed = {r.kind for r in release.remarks if r.action == "failure"}
    # A note below a table has no number for its onset: only with sound ids is such a row data.
    assert failed == {"onset_after_offset", "no_onset_frame", "bad_row"}
    assert len(release.clips) == 3
    assert sum(r.action == "failure" for r in release.remarks) == 3
    assert {"frames_missing"} <= {r.kind for r in release.remarks if r.action == "flag"}
    unknown = [r for r in release.remarks if r.kind == "unknown_emotion" and "boredom" in r.reason]
    assert len(unknown) == (native.dataset not in ("table", "samm_long"))


def test_a_clip_twice_in_other_capitals_is_one_clip(native, tmp_path):
    native.write(tmp_path, [Coded(1), Coded(2), Coded(2, apex=9, capitals=True)])
    release = read_release(native.dataset, tmp_path)
    if native.dataset in ("samm", "samm_long"):  # their names are numbers
        assert len(release.clips) == 1
        return
    doubled = {r.kind for r in release.remarks if r.action == "failure"}
    assert doubled <= {"duplicate_row", "duplicate_id"} and doubled
    assert len(release.clips) == (2 if native.dataset == "table" else 1)


def test_ids_that_would_leave_the_folder_are_refused_with_their_row(native, tmp_path):
    native.write(tmp_path, [Coded(1)])
    cells = list(native.row(Coded(1)))
    cells[native.named] = "../x"
    lines = [native.row(Coded(1, emotion=native.emotion)), cells]
    from native_trees import write_workbook

    header = [] if native.header is None else [native.header]
    write_workbook(tmp_path / native.sheet, {"label": [*header, *lines], **dict(native.worksheets)})
    release = read_release(native.dataset, tmp_path)
    assert len(release.clips) == 1
    (remark,) = [r for r in release.remarks if r.action == "failure"]
    assert remark.kind == "bad_row" and re.search(r"row \d", remark.reason) and "'../x" in remark.reason


def test_missing_empty_and_mistaken_roots(native, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="absent: no such folder"):
        read_release(native.dataset, tmp_path / "absent")
    with pytest.raises(DataError, match="is empty"):
        read_release(native.dataset, tmp_path / "empty")
    frames(tmp_path / "nothing" / "of" / "it", range(3))
    with pytest.raises(DataError):
        read_release(native.dataset, tmp_path / "nothing")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(native, tmp_path):
    native.write(tmp_path, [Coded(1)])
    closed = tmp_path / native.folder(1)
    closed.chmod(0o000)
    try:
        with pytest.raises(DataError, match="cannot be read"):
            read_release(native.dataset, tmp_path)
    finally:
        closed.chmod(0o755)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_the_command_says_what_is_wrong_and_exits_with_3(tmp_path, capsys, name):
    frames(tmp_path / "a" / "b", range(2))
    assert main(["--dataset", name, "--root", str(tmp_path), "--out", str(tmp_path / "out"), "--check"]) == 3
    said = capsys.readouterr().err
    assert str(tmp_path) in said and "Traceback" not in said
