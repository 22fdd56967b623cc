"""CAS(ME)^2 and SAMM Long Videos: recordings that hold several expressions, or none."""

import pytest
from native_trees import SAMM_HEADER, frames, samm_row, write_workbook, write_xls, write_xlsx

from slstt.cli.preprocess import main
from slstt.datasets import DATASETS, read_release
from slstt.datasets.clips import of_kinds
from slstt.errors import DataError
from slstt.preprocessing.check import examine

MICRO, MACRO = "micro-expression", "macro-expression"
CASME_SQUARE = [
    (1, "anger1_1", 10, 14, 18, "4+L10", "negative", MICRO, "anger"),
    (1, "anger1_2", 30, 40, 0, 4, "negative", MACRO, "anger"),  # no offset: as far behind the apex
    (1, "happy1_1", 2, 0, 9, "6+12", "positive", MICRO, "happiness"),  # no apex
    (1, "happy1_1", 12, 15, 19, "12", "positive", MICRO, "happiness"),  # another expression of that name
    (1, "disgust1_1", 5, 0, 0, "9", "negative", MICRO, "disgust"),  # neither
    (2, "surprise9_1", 5, 7, 9, "1+2", "surprise", MICRO, "surprise"),  # a film without a code
    (7, "anger1_1", 5, 7, 9, "4", "negative", MICRO, "anger"),  # a participant who is not listed
    (2, "happy2_1", 5, 7, 9, "12", "positive", MICRO, "happiness"),  # lies under another subject only
    (3, "anger1_1", 3, 5, 7, "4", "other", "micro expression", "anger"),
]
RULE_1 = [(1, "s15", "20100525"), (2, "s16", ""), (3, "s19", "")]
RULE_2 = [("0101", "disgust1"), (401, "anger1"), ("0502", "happy1"), ("0503", "happy2")]
BOOK = {"CASFEcode_final": CASME_SQUARE, "naming rule1": RULE_1, "naming rule2": RULE_2}


def write_casme_square(root, name="CAS(ME)^2code_final.xlsx", book=BOOK):
    for folder in ("s15/15_0401girlcrashing", "s15/15_0502funnyerrors", "s15/15_0101disgustingteeth", "s19/19_0401x"):
        frames(root / "rawpic" / folder, range(1, 50), "img{:03d}.jpg")
    frames(root / "rawpic" / "s15" / "15_0508silent", range(1, 50), "img{:03d}.jpg")  # no expression
    frames(root / "rawpic" / "s19" / "23_0502funnyerrors", range(1, 9), "img{:03d}.jpg")
    frames(root / "rawpic" / "s15" / "notes", [1])
    return write_workbook(root / name, book)


@pytest.mark.parametrize("name", ["CAS(ME)^2code_final.xlsx", "code_final.xlsx", "CAS(ME)^2code_final(Updated).xlsx"])
def test_casme_square_finds_each_expression_in_its_recording(tmp_path, name):
    sheet = write_casme_square(tmp_path, name)
    release = read_release("casme_square", tmp_path)
    assert release.annotations == sheet
    assert {(c.subject, c.name, c.video, c.onset, c.apex, c.offset, c.kind, c.emotion) for c in release.clips} == {
        ("s15", "anger1_1", "15_0401", 10, 14, 18, "micro", "negative"),
        ("s15", "anger1_2", "15_0401", 30, 40, 49, "macro", "negative"),  # cut at the recording's end
        ("s15", "happy1_1", "15_0502", 2, None, 9, "micro", "positive"),
        ("s15", "happy1_1_12", "15_0502", 12, 15, 19, "micro", "positive"),
        ("s19", "anger1_1", "19_0401", 3, 5, 7, "micro", "others"),
    }
    assert {(r.subject, r.clip, r.kind, r.action) for r in release.remarks} == {
        ("s15", "anger1_2", "offset_missing", "flag"),
        ("s15", "happy1_1", "apex_missing", "flag"),
        ("s15", "disgust1_1", "no_offset", "failure"),
        ("s16", "surprise9_1", "bad_row", "failure"),
        ("participant 7", "anger1_1", "bad_row", "failure"),
        ("s16", "happy2_1", "no_folder", "failure"),
        ("s15", "15_0508", "folder_without_row", "ignored"),
        ("s19", "23_0502funnyerrors", "stray_folder", "ignored"),
        ("s15", "notes", "stray_folder", "ignored"),
    }
    first = next(clip for clip in release.clips if clip.name == "anger1_1" and clip.subject == "s15")
    assert first.action_units == "4+L10" and first.folder.name == "15_0401girlcrashing"
    assert list(first.frames) == list(range(1, 50))


def test_recordings_without_an_expression_are_listed_too(tmp_path):
    write_casme_square(tmp_path)
    videos = read_release("casme_square", tmp_path).videos
    assert [(v.subject, v.name) for v in videos] == [
        ("s15", "15_0101"), ("s15", "15_0401"), ("s15", "15_0502"), ("s15", "15_0508"), ("s19", "19_0401"),
    ]  # fmt: skip


def test_casme_square_without_the_films_worksheet_knows_the_usual_codes(tmp_path):
    write_casme_square(tmp_path, book={"CASFEcode_final": CASME_SQUARE[:1], "naming rule1": RULE_1})
    assert [clip.video for clip in read_release("casme_square", tmp_path).clips] == ["15_0401"]


def test_casme_square_says_when_the_sheet_is_another(tmp_path):
    write_casme_square(tmp_path, book={"Sheet1": [("Subject", "Filename"), (1, "EP01_01")]})
    with pytest.raises(DataError, match="no row ends with micro-expression or macro-expression"):
        read_release("casme_square", tmp_path)


SAMM_LONG_HEADER = (
    "Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type", "Action Units", "Notes",
)  # fmt: skip
PREAMBLE = [(f"SAMM Long Videos, line {n}",) for n in range(10)]
SAMM_LONG = [
    ("006", "006_1_1", 1, 3, 9, 14, 12, "Macro", "4", ""),
    (6, "006_1_2", 1, 20, 26, 33, 14, "Micro - 1/2", "4+7", ""),
    ("006", "006_1_3", 1, 35, 40, -1, 0, "Micro - 1/2", "4", ""),
    ("006", "006_1_4", 1, 35, -1, 47, 0, "Micro", "4", "note"),
    ("006", "006_1_5", 1, 35, 0, 0, 0, "Macro", "4", ""),
    ("007", "007_2_1", 1, 5, 9, 20, 16, "Micro - 1/2", "12", ""),
    ("007", "007_2_2", 1, 5, 9, 20, 16, "Head", "", ""),
    ("007", "007_3_1", 1, 5, 9, 70, 66, "Micro - 1/2", "12", ""),
    ("008", "008_1_1", 1, 5, 9, 20, 16, "Macro", "12", ""),
]


def write_samm_long(root, name="SAMM_LongVideos_V2_Release.xlsx", facs=True):
    for video in ("006_1", "007_2", "007_3", "009_1"):
        frames(root / "SAMM_longvideos" / video, range(1, 50), f"{video}_{{:04d}}.jpg")
    if facs:
        rows = [SAMM_HEADER, samm_row(6, "006_1_2", 1, 2, 3, "Anger"), samm_row(7, "007_2_1", 1, 2, 3, "Others")]
        write_xlsx(root / "SAMM_Micro_FACS_Codes_v2.xlsx", rows)
    write = write_xls if name.endswith(".xls") else write_xlsx
    return write(root / name, [*PREAMBLE, SAMM_LONG_HEADER, *SAMM_LONG])


@pytest.mark.parametrize("name", [f"SAMM_LongVideos_V{n}_Release.xlsx" for n in (1, 2, 3)])
def test_samm_long_takes_emotions_from_the_sheet_of_samm(tmp_path, name):
    sheet = write_samm_long(tmp_path, name)
    release = read_release("samm_long", tmp_path)
    assert release.annotations == sheet
    assert [(c.subject, c.name, c.video, c.onset, c.apex, c.offset, c.kind, c.emotion) for c in release.clips] == [
        ("006", "006_1_1", "006_1", 3, 9, 14, "macro", ""),
        ("006", "006_1_2", "006_1", 20, 26, 33, "micro", "anger"),
        ("006", "006_1_3", "006_1", 35, 40, 45, "micro", ""),
        ("006", "006_1_4", "006_1", 35, None, 47, "micro", ""),
        ("007", "007_2_1", "007_2", 5, 9, 20, "micro", "other"),
        ("007", "007_3_1", "007_3", 5, 9, 70, "micro", ""),
    ]
    assert {(r.clip, r.kind, r.action) for r in release.remarks} == {
        ("006_1_3", "offset_missing", "flag"),
        ("006_1_3", "unknown_emotion", "flag"),
        ("006_1_4", "apex_missing", "flag"),
        ("006_1_4", "unknown_emotion", "flag"),
        ("006_1_5", "no_offset", "failure"),
        ("007_2_2", "bad_row", "failure"),
        ("007_3_1", "frames_missing", "flag"),
        ("007_3_1", "unknown_emotion", "flag"),
        ("008_1_1", "no_folder", "failure"),
        ("009_1", "folder_without_row", "ignored"),
    }
    assert [(v.subject, v.name) for v in release.videos] == [
        ("006", "006_1"), ("007", "007_2"), ("007", "007_3"), ("009", "009_1"),
    ]  # fmt: skip
    assert release.clips[0].frames is release.clips[1].frames  # listed once


def test_samm_long_prefers_the_newest_sheet_and_says_when_emotions_are_missing(tmp_path):
    write_samm_long(tmp_path, "SAMM_LongVideos_V1_Release.xls", facs=False)
    newest = write_samm_long(tmp_path, "SAMM_LongVideos_V3_Release.xlsx", facs=False)
    release = read_release("samm_long", tmp_path)
    assert release.annotations == newest
    assert {"other_sheet", "no_emotions"} <= {r.kind for r in release.remarks if r.action == "ignored"}
    assert {clip.emotion for clip in release.clips} == {""}


@pytest.mark.parametrize("name", ["casme_square", "samm_long"])
def test_every_row_ends_once(tmp_path, name):
    rows = CASME_SQUARE if name == "casme_square" else SAMM_LONG
    (write_casme_square if name == "casme_square" else write_samm_long)(tmp_path)
    release = read_release(name, tmp_path)
    failed = [r for r in release.remarks if r.action == "failure"]
    assert len(release.clips) + len(failed) == len(rows)
    assert all(clip.dataset == DATASETS[name].name for clip in release.clips)


def test_macro_expressions_are_left_out_unless_asked_for_and_only_intervals_are_read(tmp_path):
    write_casme_square(tmp_path)
    for path in (tmp_path / "rawpic").rglob("*.jpg"):
        number = int(path.stem[3:])
        if number <= 30:  # the frames behind are no pictures, and nobody reads them
            frames(path.parent, [number], "img{:03d}.jpg", size=(8, 8))
    release = read_release("casme_square", tmp_path)
    micro = of_kinds(release, ("micro",))
    assert {clip.kind for clip in micro.clips} == {"micro"} and len(micro.clips) == 4
    assert "offset_missing" not in {r.kind for r in micro.remarks}  # said of a macro-expression
    assert len(of_kinds(release, ("macro",)).clips) == 1 and len(of_kinds(release, ("micro", "macro")).clips) == 5
    found = examine(micro, workers=1, quiet=True)
    read = sum(clip.offset - clip.onset + 1 for clip in micro.clips)
    assert f"frames decoded: {read} of 8x8\n" in found.text
    assert "undecodable_frame" not in {r.kind for r in found.remarks}


def test_the_command_says_how_many_of_another_kind_there_are(tmp_path, capsys):
    write_casme_square(tmp_path / "data")
    arguments = [
        "--dataset",
        "casme_square",
        "--root",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "out"),
        "--check",
    ]
    assert main(arguments) != 2
    assert "1 expressions of another kind left out; --kinds all takes them" in capsys.readouterr().out
