import pytest
from native_trees import SAMM_HEADER, frames, samm_row, write_xls, write_xlsx

from slstt.datasets import DATASETS, read_release
from slstt.datasets.annotations import read_annotations
from slstt.errors import DataError

PREAMBLE = [(f"SAMM, line {n}",) for n in range(13)]
ROWS = [
    SAMM_HEADER,
    samm_row("006", "006_1_2", 5562.0, 5588.0, 5632.0, "Anger"),
    samm_row(28, "028_4_1", 1071, 1134, 1134, "Contempt"),
    samm_row("032", "032_3_1", 10, 40, 30, "Others"),
]


def write_release(parent, name):
    for clip, numbers in (
        ("006_1_2", range(5560, 5640)),
        ("028_4_1", range(1071, 1135)),
        ("032_3_1", range(9, 31)),
    ):
        frames(parent / clip[:3] / clip, numbers, name.replace("SUBJECT", clip[:3]))


@pytest.mark.parametrize("preamble", [PREAMBLE, []])
@pytest.mark.parametrize("name", ["SUBJECT_{:05d}.jpg", "SUBJECT_{:04d}.png", "img{}.jpg"])
@pytest.mark.parametrize("inner", [False, True])
def test_both_sheets_and_all_frame_names(tmp_path, preamble, name, inner):
    write_release(tmp_path / "SAMM", name)
    sheet = "SAMM_Micro_FACS_Codes_v2.xlsx" if preamble else "SAMM_20181215_Micro_FACS_Codes_v2.xlsx"
    write_xlsx(tmp_path / sheet, [*preamble, *ROWS])
    release = read_release("samm", tmp_path / "SAMM" if inner else tmp_path)
    assert release.layout == f"SAMM, raw frames ({tmp_path / 'SAMM'})"
    assert [(*c.key, c.emotion, c.onset, c.apex, c.offset) for c in release.clips] == [
        ("samm", "006", "006_1_2", "anger", 5562, 5588, 5632),
        ("samm", "028", "028_4_1", "contempt", 1071, 1134, 1134),
        ("samm", "032", "032_3_1", "other", 10, 40, 30),
    ]
    assert list(release.clips[0].frames) == list(range(5560, 5640))
    assert {(r.clip, r.kind) for r in release.remarks} == {("028_4_1", "apex_at_offset"), ("032_3_1", "apex_outside")}


def test_the_sheet_may_lie_among_the_subjects_and_be_an_xls(tmp_path):
    write_release(tmp_path, "SUBJECT_{:05d}.jpg")
    write_xls(tmp_path / "SAMM_Micro_FACS_Codes_v2.xls", [*PREAMBLE, *ROWS])
    assert len(read_release("samm", tmp_path).clips) == 3


def test_raw_frames_are_taken_before_the_cropped_release(tmp_path):
    write_xlsx(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", ROWS)
    write_release(tmp_path / "SAMM_CROP", "SUBJECT_{:05d}.jpg")
    assert read_release("samm", tmp_path).layout.startswith("SAMM, cropped frames")
    write_release(tmp_path / "SAMM", "SUBJECT_{:05d}.jpg")
    release = read_release("samm", tmp_path)
    assert release.layout == f"SAMM, raw frames ({tmp_path / 'SAMM'})"
    assert [r.kind for r in release.remarks if r.action == "ignored"] == ["other_release"]


def test_frames_on_another_scale_than_the_sheets_fail_with_both_numbers(tmp_path):
    frames(tmp_path / "006" / "006_1_2", range(1, 72), "img{}.jpg")
    write_xlsx(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", ROWS[:2])
    release = read_release("samm", tmp_path)
    assert release.clips == ()
    assert [r.kind for r in release.remarks] == ["no_onset_frame"]
    assert "5562" in release.remarks[0].reason and "1..71" in release.remarks[0].reason


def test_another_data_set_is_recognised(tmp_path):
    frames(tmp_path / "CASME2-RAW" / "sub01" / "EP02_01f", [1])
    write_xlsx(tmp_path / "CASME2-coding-20140508.xlsx", ROWS)
    with pytest.raises(DataError, match="--dataset casme2"):
        read_release("samm", tmp_path)


def test_the_real_sheet_against_folders_of_its_own_names(tmp_path, shared_data):
    sheet = shared_data / "annotations" / "samm_coding.csv"
    for row in read_annotations(DATASETS["samm"], sheet)[0]:
        frames(
            tmp_path / "SAMM" / row.subject / row.clip, (row.onset, row.apex, row.offset), f"{row.subject}_{{:05d}}.jpg"
        )
    release = read_release("samm", tmp_path, sheet)
    assert (len(release.clips), len({clip.subject for clip in release.clips})) == (159, 29)
    assert {(r.clip, r.kind) for r in release.remarks if r.kind != "frames_missing"} == {("028_4_1", "apex_at_offset")}
