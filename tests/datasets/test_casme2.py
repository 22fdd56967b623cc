import os
import shutil

import pytest
from native_trees import CASME2_HEADER, casme2_row, frames, write_xls, write_xlsx

from slstt.datasets import DATASETS, READERS, read_release
from slstt.datasets.clips import Clip, Release
from slstt.errors import DataError

ROWS = [
    CASME2_HEADER,
    casme2_row(1, "EP02_01f", 8, 10, 12, "happiness"),
    casme2_row("17", "EP08_1", 98, 103, 109, "others"),
]
SHEETS = (
    "CASME2-coding-20140508.xlsx",
    "CASME2-coding-20190701.xlsx",
    "CASME2_label_Ver_2.xls",
    "CASME2-coding-updated.xlsx",
)


def write_sheet(path, rows=ROWS):
    return write_xls(path, rows) if path.suffix == ".xls" else write_xlsx(path, rows)


def write_release(parent, name="img{}.jpg"):
    frames(parent / "sub01" / "EP02_01f", range(5, 15), name)
    frames(parent / "sub17" / "EP08_1", range(95, 112), name)


def kinds(release):
    return sorted((r.kind, r.action) for r in release.remarks)


@pytest.mark.parametrize("sheet", SHEETS)
@pytest.mark.parametrize(
    ("inner", "name", "layout"),
    [
        ("CASME2-RAW", "img{}.jpg", "CASME II, raw frames"),
        ("CASME2-RAW/CASME2-RAW", "img{}.jpg", "CASME II, raw frames"),
        ("CASME2_RAW_selected", "img{}.jpg", "CASME II, selected raw frames"),
        ("Cropped", "reg_img{}.jpg", "CASME II, cropped frames"),
        ("Cropped-updated/Cropped", "reg_img{}.jpg", "CASME II, cropped frames"),
    ],
)
def test_every_release_is_read_from_its_top_and_from_each_inner_folder(tmp_path, sheet, inner, name, layout):
    top = tmp_path / "CASME2"
    write_release(top / inner, name)
    write_sheet(top / sheet)
    root = top / inner
    while root != tmp_path:
        release = read_release("casme2", root)
        assert release.layout == f"{layout} ({top / inner})"
        assert release.annotations == (top / sheet).resolve() or release.annotations == top / sheet
        assert [clip.key for clip in release.clips] == [("casme2", "sub01", "EP02_01f"), ("casme2", "sub17", "EP08_1")]
        assert release.remarks == ()
        root = root.parent


def test_frames_are_ordered_by_number_not_by_name(tmp_path):
    write_release(tmp_path / "CASME2-RAW")
    write_sheet(tmp_path / SHEETS[0])
    first, second = read_release("casme2", tmp_path).clips
    assert list(first.frames) == list(range(5, 15))  # by name, img10 would stand before img5
    assert list(second.frames) == list(range(95, 112))
    assert first.frames[10] == tmp_path / "CASME2-RAW" / "sub01" / "EP02_01f" / "img10.jpg"
    assert (first.onset, first.apex, first.offset, first.emotion) == (8, 10, 12, "happiness")
    assert first.folder == tmp_path / "CASME2-RAW" / "sub01" / "EP02_01f"


def test_stray_files_and_folders_change_nothing(tmp_path):
    write_release(tmp_path / "CASME2-RAW")
    write_sheet(tmp_path / SHEETS[0])
    before = read_release("casme2", tmp_path)
    clip = tmp_path / "CASME2-RAW" / "sub01" / "EP02_01f"
    for name in (
        "Thumbs.db",
        ".DS_Store",
        "._img9.jpg",
        "img9 (1).jpg",
        "img9 - Copy.jpg",
        "notes3.txt",
        "clip.lnk",
        "9",
    ):
        (clip / name).touch()
    for name in ("sub02.lnk", "Thumbs.db", "~$CASME2-coding-20190701.xlsx"):
        (tmp_path / "CASME2-RAW" / name).touch()
    (tmp_path / "~$CASME2-coding-20190701.xlsx").touch()
    shutil.copytree(tmp_path / "CASME2-RAW", tmp_path / "__MACOSX" / "CASME2-RAW")
    (tmp_path / "CASME2-RAW" / ".hidden" / "sub09").mkdir(parents=True)
    assert read_release("casme2", tmp_path) == before


def test_raw_is_taken_before_selected_before_cropped_and_the_others_are_mentioned(tmp_path):
    write_sheet(tmp_path / SHEETS[0])
    write_sheet(tmp_path / SHEETS[2])
    expected = []
    for inner, title in (
        ("Cropped", "cropped"),
        ("Cropped-updated/Cropped", "cropped"),
        ("CASME2_RAW_selected", "selected raw"),
        ("CASME2-RAW", "raw"),
    ):
        write_release(tmp_path / inner, "reg_img{}.jpg" if "Crop" in inner else "img{}.jpg")
        release = read_release("casme2", tmp_path)
        assert release.layout == f"CASME II, {title} frames ({tmp_path / inner})"
        assert release.annotations == tmp_path / SHEETS[0]
        assert kinds(release) == [*expected, ("other_sheet", "ignored")]
        expected.append(("other_release", "ignored"))


def test_a_given_sheet_is_used_instead_of_the_one_that_lies_there(tmp_path):
    write_release(tmp_path / "CASME2-RAW")
    write_sheet(tmp_path / SHEETS[0])
    given = tmp_path / "elsewhere" / "mine.csv"
    given.parent.mkdir()
    given.write_text("Subject,Filename,Aus,Emotion,OnsetFrame,ApexFrame,OffsetFrame\r\n1,EP02_01f,12,disgust,6,7,9\r\n")
    release = read_release("casme2", tmp_path, given)
    assert [(c.name, c.emotion, c.onset, c.apex, c.offset) for c in release.clips] == [("EP02_01f", "disgust", 6, 7, 9)]
    assert kinds(release) == [("folder_without_row", "ignored")]


FAULTS = {
    "EP01_01": (casme2_row(1, "EP01_01", 3, "/", 8, "disgust"), {"apex_missing"}, True),
    "EP01_02": (casme2_row(1, "EP01_02", 3, 9, 8, "disgust"), {"apex_outside"}, True),
    "EP01_03": (casme2_row(1, "EP01_03", 3, 2, 8, "disgust"), {"apex_outside"}, True),
    "EP01_04": (casme2_row(1, "EP01_04", 3, 3, 8, "disgust"), {"apex_at_onset"}, True),
    "EP01_05": (casme2_row(1, "EP01_05", 3, 8, 8, "disgust"), {"apex_at_offset"}, True),
    "EP01_06": (casme2_row(1, "EP01_06", 8, 5, 3, "disgust"), {"onset_after_offset"}, False),
    "EP01_07": (casme2_row(1, "EP01_07", 3, 3, 3, "disgust"), {"onset_at_offset"}, False),
    "EP01_08": (casme2_row(1, "EP01_08", 3, 5, 12, "disgust"), {"frames_missing"}, True),
    "EP01_09": (casme2_row(1, "EP01_09", 0, 5, 8, "disgust"), {"no_onset_frame"}, False),
    "EP01_10": (casme2_row(1, "EP01_10", 3, 5, 8, "boredom"), {"unknown_emotion"}, True),
    "EP01_11": (casme2_row(1, "EP01_11", 3, 5, 8, "others"), set(), True),
    "EP01_12": (
        casme2_row(1, "EP01_12", 3, "/", 14, "boredom"),
        {"apex_missing", "frames_missing", "unknown_emotion"},
        True,
    ),
}


def test_every_planted_fault_is_reported_once_and_healthy_clips_stay(tmp_path):
    for name in FAULTS:
        frames(tmp_path / "CASME2-RAW" / "sub01" / name, range(1, 11))
    rows = [row for row, _, _ in FAULTS.values()]
    frames(tmp_path / "CASME2-RAW" / "sub01" / "EP02_07", range(1, 11))  # no row
    (tmp_path / "CASME2-RAW" / "sub01" / "EP03_01").mkdir()  # no frames
    frames(tmp_path / "CASME2-RAW" / "sub01" / "intro", range(1, 11))  # no clip
    frames(tmp_path / "CASME2-RAW" / "sub1" / "EP01_11", range(1, 11))  # the subject a second time
    frames(tmp_path / "CASME2-RAW" / "sub01" / "EP04_01", range(1, 11))  # rows that differ
    (tmp_path / "CASME2-RAW" / "sub01" / "EP01_11" / "img007.jpg").touch()
    rows += [
        casme2_row(1, "EP01_11", 3, 5, 8, "others"),
        casme2_row(1, "EP03_01", 3, 5, 8, "others"),
        casme2_row(2, "EP09_01", 3, 5, 8, "others"),
        casme2_row(1, "EP04_01", 3, 5, 8, "others"),
        casme2_row(1, "EP04_01", 3, 6, 8, "others"),
    ]
    write_sheet(tmp_path / SHEETS[0], [CASME2_HEADER, *rows])
    release = read_release("casme2", tmp_path)
    by_clip = {}
    for remark in release.remarks:
        by_clip.setdefault(remark.clip, set()).add(remark.kind)
    other = {
        "EP01_11": {"duplicate_row", "duplicate_folder", "duplicate_frame"},
        "EP02_07": {"folder_without_row"},
        "EP03_01": {"no_frames"},
        "EP04_01": {"duplicate_row"},
        "EP09_01": {"no_folder"},
        "intro": {"stray_folder"},
    }
    assert by_clip == {name: found for name, (_, found, _) in FAULTS.items() if found} | other
    assert {clip.name for clip in release.clips} == {name for name, (_, _, kept) in FAULTS.items() if kept}
    failed = {r.clip for r in release.remarks if r.action == "failure"}
    assert failed == {"EP01_06", "EP01_07", "EP01_09", "EP03_01", "EP04_01", "EP09_01"}
    # Every row ends in exactly one of the two.
    assert failed.isdisjoint(clip.name for clip in release.clips)
    assert {row[1] for row in rows} == failed | {clip.name for clip in release.clips}


def test_remarks_name_numbers_and_consequences(tmp_path):
    frames(tmp_path / "CASME2-RAW" / "sub01" / "EP01_08", [1, 2, 3, 7, 9, 10])
    write_sheet(tmp_path / SHEETS[0], [CASME2_HEADER, casme2_row(1, "EP01_08", 2, 11, 10, "disgust")])
    missing, apex = read_release("casme2", tmp_path).remarks
    assert missing.reason.startswith("4 of 9 frames missing between onset and offset: 4-6, 8")
    assert apex.reason == "apex 11 lies outside onset 2 .. offset 10"


def test_all_problems_of_a_root_are_told_at_once(tmp_path):
    (tmp_path / "SAMM" / "006" / "006_1_2").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        read_release("casme2", tmp_path)
    frames_line, sheet_line = caught.value.problems
    assert "no CASME II frames" in frames_line and "--dataset samm" in frames_line
    assert "no CASME II coding sheet" in sheet_line and "--annotations" in sheet_line


def test_missing_empty_and_mistaken_roots(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, words in (("absent", "no such folder"), ("empty", "is empty"), ("file", "is a file")):
        with pytest.raises(DataError, match=words):
            read_release("casme2", tmp_path / name)
    write_release(tmp_path / "CASME2-RAW")
    with pytest.raises(DataError, match=r"absent\.xlsx: no such coding sheet"):
        read_release("casme2", tmp_path, tmp_path / "absent.xlsx")


def test_the_real_sheet_against_folders_of_its_own_names(tmp_path, shared_data):
    from slstt.datasets.annotations import read_annotations

    sheet = shared_data / "annotations" / "casme2_coding.csv"
    for row in read_annotations(DATASETS["casme2"], sheet)[0]:
        frames(tmp_path / "CASME2-RAW" / row.subject / row.clip, (row.onset, row.apex, row.offset))
    release = read_release("casme2", tmp_path, sheet)
    assert len(release.clips) == 255
    odd = {(r.subject, r.clip, r.kind) for r in release.remarks if r.kind != "frames_missing"}
    assert odd == {
        ("sub05", "EP09_05f", "apex_at_onset"),
        ("sub05", "EP16_04f", "apex_at_offset"),
        ("sub12", "EP09_06", "apex_at_offset"),
        ("sub20", "EP16_01", "apex_at_offset"),
        ("sub25", "EP18_04f", "apex_at_offset"),
    }


def test_a_clip_name_too_long_for_a_file_costs_its_own_clip(tmp_path):
    write_release(tmp_path / "CASME2-RAW")
    long = "EP03_" + "x" * 234
    frames(tmp_path / "CASME2-RAW" / "sub01" / long, range(5, 15))
    write_sheet(tmp_path / SHEETS[0], [*ROWS, casme2_row(1, long, 8, 10, 12, "happiness")])
    release = read_release("casme2", tmp_path)
    assert [clip.name for clip in release.clips] == ["EP02_01f", "EP08_1"]
    assert kinds(release) == [("bad_row", "failure"), ("stray_folder", "ignored")]
    assert any("is 239 characters long, at most 100" in remark.reason for remark in release.remarks)


def test_links_in_circles_cost_nothing_but_their_frames(tmp_path):
    top = tmp_path / "CASME2"
    write_release(top / "CASME2-RAW")
    write_sheet(top / SHEETS[0])
    clip = top / "CASME2-RAW" / "sub01" / "EP02_01f"
    (clip / "img10.jpg").unlink()
    for name in ("img10.jpg", "img99.jpg"):  # within onset..offset and outside
        (clip / name).symlink_to(name)
    (top / "CASME2-RAW" / "sub01" / "EP03_01").symlink_to("EP03_01")
    for name in ("a", "b", "c"):
        (top / name).symlink_to(top)
    (top / "loop.xlsx").symlink_to("loop.xlsx")
    release = read_release("casme2", top)
    assert [clip.name for clip in release.clips] == ["EP02_01f", "EP08_1"]
    assert 99 not in release.clips[0].frames and 10 not in release.clips[0].frames
    assert kinds(release) == [("frames_missing", "flag")]


def test_names_that_are_no_text_are_left_alone_and_said(tmp_path):
    write_release(tmp_path / "CASME2-RAW")
    write_sheet(tmp_path / SHEETS[0])
    (tmp_path / os.fsdecode(b"\xcb\xb5\xc3\xf7")).mkdir()  # GBK, as unzipped on Linux
    (tmp_path / "a\nb").mkdir()
    release = read_release("casme2", tmp_path)
    assert len(release.clips) == 2
    assert kinds(release) == [("unreadable_name", "ignored")]
    with pytest.raises(DataError, match="rename the folder"):
        read_release("casme2", tmp_path / "a\nb")


@pytest.mark.parametrize("name", ["x" * 300, pytest.param("a\0b", id="nul"), pytest.param("\udcff", id="no text")])
def test_a_root_that_no_system_can_hold_is_one_line(tmp_path, name):
    with pytest.raises(DataError):
        read_release("casme2", tmp_path / name)
    write_release(tmp_path / "CASME2-RAW")
    with pytest.raises(DataError):
        read_release("casme2", tmp_path, tmp_path / name)


@pytest.mark.parametrize("place", [1, 2])
@pytest.mark.parametrize("text", ["../../x", "/tmp/x", "", "a\0", "x" * 239])
def test_whatever_a_reader_gives_a_bad_id_is_its_own_clips_failure(tmp_path, monkeypatch, place, text):
    """Every reader, also one that has no normal form of its own, passes the same door."""
    key = ["mine", "p1", "c1"]
    key[place] = text
    clips = tuple(Clip(*one, "fear", 1, 2, 3, tmp_path) for one in (key, ("mine", "p1", "c2")))
    monkeypatch.setitem(READERS, "mine", lambda root, annotations: Release("mine", "mine", root, None, clips))
    release = read_release("mine", tmp_path)
    assert [clip.name for clip in release.clips] == ["c2"]
    assert kinds(release) == [("bad_id", "failure")]
