"""CAS(ME)^3, MMEW, CASME, 4DME and DFME on fixtures with their sheets' exact shape; the real sheet of CAS(ME)^3."""

from collections import Counter

import pytest
from native_trees import frames, write_workbook, write_xls, write_xlsx

from slstt.datasets import read_release
from slstt.datasets.casme3 import micro_rows


def told(release):
    return {(c.subject, c.name, c.video, c.onset, c.apex, c.offset, c.kind, c.emotion) for c in release.clips}


def remarked(release):
    return {(r.subject, r.clip, r.kind, r.action) for r in release.remarks}


CASME3_HEADER = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
CASME3 = [
    ("spNO.1", "a", 5, "9", 12, "R12", "I", "others"),  # text and numbers mixed
    ("spNO.1", "a", "20", 25, "30", 4, "III", "disgust"),
    ("spNO.14", "J", 0, 4, 9, "4", "III", "sad"),  # a capital; onset 0
    ("spNO.40", "e", 10, 14, 0, 18, "VII", "Happy"),  # no offset
    ("spNO.149", "d", 10, 8, 15, 14, "VII", "anger"),  # apex before onset
    ("spNO.149", "d", 20, 20, 25, 14, "VII", "fear"),
    ("spNO.149", "d", 27, 29, 35, 14, "VII", "surprise"),  # frames missing
    ("spNO.217", "m", 1, 2, 3, "1+2", "II", "surprise"),  # no folder
]
CASME3_ME = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
CASME3_VIDEOS = ("spNO.1/a", "spNO.14/j", "spNO.40/e", "spNO.149/d", "spNO.2/b")


def write_casme3(root, name=CASME3_ME):
    for video in CASME3_VIDEOS:
        frames(root / "part_A_split" / "part_A" / video / "color", range(1, 31), "{}.jpg")
        frames(root / "part_A_split" / "part_A" / video / "depth", range(1, 31), "{}.png")
    rows = [CASME3_HEADER, *CASME3]
    if name.endswith(".xls"):
        return write_xls(root / name, rows)
    return write_workbook(root / name, {"label": rows, "Sheet1": [], "Sheet3": []})


@pytest.mark.parametrize(
    "name", [CASME3_ME, CASME3_ME.replace("v2.xlsx", "v1.xls"), CASME3_ME.replace("v2", "v2_20250903")]
)
def test_casme3_names_each_expression_after_its_recording_and_onset(tmp_path, name):
    sheet = write_casme3(tmp_path, name)
    release = read_release("casme3", tmp_path)
    assert release.annotations == sheet and "CAS(ME)^3 part A, recordings" in release.layout
    assert told(release) == {
        ("spNO.1", "a_5", "a", 5, 9, 12, "micro", "others"),
        ("spNO.1", "a_20", "a", 20, 25, 30, "micro", "disgust"),
        ("spNO.14", "j_0", "j", 1, 4, 9, "micro", "sadness"),
        ("spNO.40", "e_10", "e", 10, 14, 18, "micro", "happiness"),
        ("spNO.149", "d_10", "d", 10, 8, 15, "micro", "anger"),
        ("spNO.149", "d_20", "d", 20, 20, 25, "micro", "fear"),
        ("spNO.149", "d_27", "d", 27, 29, 35, "micro", "surprise"),
    }
    assert remarked(release) == {
        ("spNO.14", "j_0", "onset_at_0", "flag"),
        ("spNO.40", "e_10", "offset_missing", "flag"),
        ("spNO.149", "d_10", "apex_outside", "flag"),
        ("spNO.149", "d_20", "apex_at_onset", "flag"),
        ("spNO.149", "d_27", "frames_missing", "flag"),
        ("spNO.217", "m_1", "no_folder", "failure"),
        ("spNO.2", "b", "folder_without_row", "ignored"),
    }
    clip = next(clip for clip in release.clips if clip.name == "a_5")
    assert clip.action_units == "R12" and clip.folder.name == "color"
    assert [(v.subject, v.name) for v in release.videos][:2] == [("spNO.1", "a"), ("spNO.14", "j")]


def test_casme3_clips_that_were_cut_out_have_folders_of_their_own(tmp_path):
    write_xlsx(tmp_path / CASME3_ME, [CASME3_HEADER, *CASME3[:4]])
    cut = tmp_path / "Part_A_ME_clip" / "frame"
    for name, numbers in {
        "spNO.1_a_5": range(5, 13),
        "spNo.1_a_20": range(20, 31),
        "spNo.40_e_10": range(10, 16),
    }.items():
        frames(cut / name, numbers, "{}.jpg")
    release = read_release("casme3", tmp_path)
    assert "CAS(ME)^3 part A, clips" in release.layout
    assert {(c.subject, c.name, c.video, c.offset) for c in release.clips} == {
        ("spNO.1", "a_5", "", 12), ("spNO.1", "a_20", "", 30), ("spNO.40", "e_10", "", 15),
    }  # fmt: skip
    assert release.videos == ()
    write_casme3(tmp_path)
    release = read_release("casme3", tmp_path)
    assert "recordings" in release.layout and "other_release" in {r.kind for r in release.remarks}


def test_casme3_macro_expressions_and_part_c(tmp_path):
    write_casme3(tmp_path)
    header = ("sub", "seq", "onset", "apex", "offset", "emotion")
    rows = [header, ("spNO.1", "a", 5, 8, 28, "happy"), ("spNO.2", "b", 2, 9, 25, "sad")]
    write_workbook(tmp_path / "cas(me)3_part_A_MaE_label_JpgIndex_v2_emotion.xlsx", {"Sheet1": rows})
    write_xlsx(
        tmp_path / "CAS(ME)3_part_C_ME.xlsx", [("sub", "count", "onset", "offset", "au"), ("spNO.3", 1, 2, 9, "4")]
    )
    release = read_release("casme3", tmp_path)
    assert {(c.name, c.kind, c.emotion) for c in release.clips if c.kind == "macro"} == {
        ("a_5_macro", "macro", "happiness"), ("b_2_macro", "macro", "sadness"),
    }  # fmt: skip
    (part_c,) = [r for r in release.remarks if r.kind == "part_c"]
    assert "(1 expressions)" in part_c.reason and part_c.action == "ignored"


def test_the_real_sheet_of_casme3(tmp_path, shared_data):
    sheet = shared_data / "annotations" / CASME3_ME
    if not sheet.is_file():
        pytest.skip("the sheet of CAS(ME)^3 is not at hand")
    coded, unusable = micro_rows(sheet)
    assert unusable == []
    assert (len(coded), len({row.subject for row in coded}), len({row.place for row in coded})) == (860, 94, 463)
    assert len({(row.subject, row.clip) for row in coded}) == 860
    assert Counter(row.emotion for row in coded) == {
        "disgust": 250, "surprise": 187, "others": 161, "fear": 86, "anger": 64, "sadness": 57, "happiness": 55,
    }  # fmt: skip
    assert sum(count > 1 for count in Counter(row.place for row in coded).values()) == 191
    for subject, video in {row.place for row in coded}:
        whole = [row for row in coded if row.place == (subject, video)]
        ends = {row.offset or 2 * (row.apex or 0) - row.onset for row in whole}
        numbers = {n for row in whole for n in (row.onset, row.apex) if n is not None} | ends | {1}
        frames(tmp_path / "part_A" / subject / video / "color", numbers - {0}, "{}.jpg")
    release = read_release("casme3", tmp_path, sheet)
    assert len(release.clips) + sum(r.action == "failure" for r in release.remarks) == 860
    assert len(release.videos) == 463
    quirks = {(r.subject, r.clip, r.kind) for r in release.remarks if r.kind != "frames_missing"}
    assert quirks == {
        ("spNO.40", "e_1812", "offset_missing"),
        ("spNO.40", "e_2327", "offset_missing"),
        ("spNO.216", "e_0", "onset_at_0"),
    }
    assert any(clip.video == "j" and clip.subject == "spNO.14" for clip in release.clips)  # `J` in the sheet


MMEW_HEADER = (
    "Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion", "remarks",
)  # fmt: skip
MMEW = [
    (1, "S01-01-001", 1, 5, 9, "12", "happiness", ""),
    (1, "S01-04-002", 1, 4, 8, "14", "others", "lies in 'repression'"),
    (2, "S02-02-001", 1, "/", "/", "1+2", "surprise", "no apex, no offset"),
    (2, "S02-07-003", 1, 3, 9, "4", "disgust", "its name says anger"),
    (30, "S30-06-001", 1, 3, 9, "15", "sadness", ""),  # no folder
]


def write_mmew(root, name="MMEW_Micro_Exp.xlsx"):
    micro = root / "MMEW_Final" / "Micro_Expression"
    for folder in ("happiness/S01-01-001", "repression/S01-04-002", "surprise/S02-02-001", "disgust/S02-07-003"):
        frames(micro / folder, range(1, 12), "{}.jpg")
    frames(root / "MMEW_Final" / "Macro_Expression" / "S01" / "anger", [1], "S01-07-{:03d}.jpg")
    rows = [MMEW_HEADER, *MMEW]
    if name.endswith(".csv"):
        (root / name).write_text("\n".join(",".join(map(str, row)) for row in [r[:7] for r in rows]) + "\n")
        return root / name
    return write_xlsx(root / name, rows)


@pytest.mark.parametrize("name", ["MMEW_Micro_Exp.xlsx", "MMEW_Micro_Exp_v2.xlsx", "MMEW_Micro_Exp.csv"])
def test_mmew(tmp_path, name):
    sheet = write_mmew(tmp_path, name)
    release = read_release("mmew", tmp_path)
    assert release.annotations == sheet
    assert told(release) == {
        ("S01", "S01-01-001", "", 1, 5, 9, "micro", "happiness"),
        ("S01", "S01-04-002", "", 1, 4, 8, "micro", "others"),
        ("S02", "S02-02-001", "", 1, None, 11, "micro", "surprise"),
        ("S02", "S02-07-003", "", 1, 3, 9, "micro", "disgust"),
    }
    assert remarked(release) == {
        ("S02", "S02-02-001", "apex_missing", "flag"),
        ("S02", "S02-02-001", "offset_missing", "flag"),
        ("S02", "S02-07-003", "emotion_mismatch", "flag"),
        ("S30", "S30-06-001", "no_folder", "failure"),
    }


CASME_HEADER = ("Emotion", "Subject", "Filename", "OnsetF", "ApexF1", "ApexF2", "OffsetF", "AU")
CASME = [
    ("tense", 1, "EP01_5", 8, 10, 0, 12, "14"),
    ("repression", "2", "EP03_1f", 8, "", 11, 14, "17"),
    ("disgust", 2, "EP04_1", 8, 9, 13, 16, "4+9"),
    ("contempt", 3, "EP05_1", 8, 9, "", 12, "14"),  # no folder
]


def write_casme(root):
    for place in ("sub01/EP01_5", "sub02/EP03_1f", "sub02/EP04_1"):
        frames(root / "CASME_raw_selected" / place, range(5, 20), "img{}.jpg")
    return write_xlsx(root / "casme.xlsx", [CASME_HEADER, *CASME])


def test_casme_takes_the_first_apex_that_is_given(tmp_path):
    write_casme(tmp_path)
    release = read_release("casme", tmp_path)
    assert told(release) == {
        ("sub01", "EP01_5", "", 8, 10, 12, "micro", "tense"),
        ("sub02", "EP03_1f", "", 8, 11, 14, "micro", "repression"),
        ("sub02", "EP04_1", "", 8, 9, 16, "micro", "disgust"),
    }
    assert remarked(release) == {("sub03", "EP05_1", "no_folder", "failure")}


FOURDME_HEADER = (
    "sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs", "AU1", "AU2", "AU4",
    "Positive", "Negative", "Surprise", "Repression", "Others", "eye blink",
)  # fmt: skip
FOURDME = [
    ("1", "1_ne_01", "Negative", 3, 5, 9, "4(k)+7", 0, 0, 1, 0, 1, 0, 0, 0, 0),
    ("Sub2", "Sub2_po_01", "Positive", 3, 5, 9, "12", 0, 0, 0, 1, 0, 0, 0, 0, 1),
    ("Sub2", "Sub2_x", "Positive/Surprise", 3, 5, 9, "12", 0, 0, 0, 1, 0, 1, 0, 0, 0),
    ("9", "9_re_01", "Repression", 3, 5, 9, "17", 0, 0, 0, 0, 0, 0, 1, 0, 0),  # no folder
]


def write_fourdme(root):
    for place in ("1/1_ne_01", "sub2/sub2_po_01", "sub2/sub2_x"):
        frames(root / "gray_micro" / place, range(1, 12), "{:04d}.jpg")
    return write_xlsx(root / "4DME_Labelling_Micro_release v1.xlsx", [FOURDME_HEADER, *FOURDME])


@pytest.mark.parametrize("inner", [False, True])
def test_fourdme_keeps_the_marks_of_its_action_units(tmp_path, inner):
    write_fourdme(tmp_path)
    release = read_release("fourdme", tmp_path / "gray_micro" if inner else tmp_path)
    assert told(release) == {
        ("1", "1_ne_01", "", 3, 5, 9, "micro", "negative"),
        ("sub2", "sub2_po_01", "", 3, 5, 9, "micro", "positive"),
        ("sub2", "sub2_x", "", 3, 5, 9, "micro", "positive/surprise"),
    }
    assert remarked(release) == {
        ("sub2", "sub2_x", "unknown_emotion", "flag"),
        ("9", "9_re_01", "no_folder", "failure"),
    }
    assert {clip.action_units for clip in release.clips} == {"4(k)+7", "12"}


TWICE = "sub0007-01a-02-sadness-02-sadness"
DFME = {
    "anger": ("sub0003-03a-01-anger-01-anger", TWICE),
    "sadness": ("sub0003-03b-01-sadness(contempt)-01-sadness", TWICE),
    "disgust": ("sub0012-05a-01-disgust+anger-03-disgust",),
    "fear": ("sub0100-05a-01-fear-01-fear",),
}
LISTS = {
    "train": ["anger/sub0003-03a-01-anger-01-anger 0", f"{TWICE},5", "", "sub0500-01a-01-fear-01-fear 4", "nonsense 3"],
    "testA": ["sub0003-03b-01-sadness(contempt)-01-sadness 5", "sub0012-05a-01-disgust+anger-03-disgust 9"],
    "testB": ["sub0100-05a-01-fear-01-fear 0"],
}


def write_dfme(root, lists=True):
    for emotion, clips in DFME.items():
        for number, clip in enumerate(clips):
            frames(root / "frames" / emotion / clip, range(7, 20), ["img_{:05d}.jpg", "{}.png"][number])
    for name, lines in LISTS.items() if lists else ():
        (root / f"{name}_dfme_ccac_7class_emolabel_list.txt").write_text("\n".join(lines) + "\n")
    return root


def test_dfme_takes_sets_and_emotions_from_the_owners_lists(tmp_path):
    release = read_release("dfme", write_dfme(tmp_path))
    assert {(c.subject, c.name, c.onset, c.apex, c.offset, c.emotion, c.split) for c in release.clips} == {
        ("sub0003", "sub0003-03a-01-anger-01-anger", 7, None, 19, "anger", "train"),
        ("sub0003", "sub0003-03b-01-sadness(contempt)-01-sadness", 7, None, 19, "sadness", "testA"),
        ("sub0007", TWICE, 7, None, 19, "sadness", "train"),
        ("sub0012", "sub0012-05a-01-disgust+anger-03-disgust", 7, None, 19, "disgust", ""),
        ("sub0100", "sub0100-05a-01-fear-01-fear", 7, None, 19, "anger", "testB"),
    }
    assert next(c for c in release.clips if c.name == TWICE).folder.parent.name == "sadness"
    assert {one for one in remarked(release) if one[2] != "apex_missing"} == {
        ("sub0007", TWICE, "duplicate_folder", "flag"),
        ("sub0100", "sub0100-05a-01-fear-01-fear", "emotion_mismatch", "flag"),
        ("sub0500", "sub0500-01a-01-fear-01-fear", "no_folder", "failure"),
        ("", "", "bad_row", "failure"),
        ("", "sub0012-05a-01-disgust+anger-03-disgust", "bad_row", "failure"),
    }


def test_dfme_without_lists_takes_the_folders_word(tmp_path):
    release = read_release("dfme", write_dfme(tmp_path, lists=False))
    assert Counter(clip.emotion for clip in release.clips) == {"anger": 1, "sadness": 2, "disgust": 1, "fear": 1}
    assert {clip.split for clip in release.clips} == {""}
    assert "no_list" in {r.kind for r in release.remarks}
