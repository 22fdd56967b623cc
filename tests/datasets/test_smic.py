import csv

import pytest
from native_trees import SMIC_E_HEADER, frames, write_xlsx

from slstt.datasets import DATASETS, read_release
from slstt.datasets.annotations import read_annotations
from slstt.errors import DataError

CLIPS = {
    ("s1", "negative", "s1_ne_01"): 559740,
    ("s1", "surprise", "s1_sur_01"): 98,
    ("s20", "positive", "s20_po_11"): 7,
}
KEYS = [("smic", "s01", "s01_ne_01"), ("smic", "s01", "s01_sur_01"), ("smic", "s20", "s20_po_11")]


def write_hs(parent, *, micro=True, padded=False, name="image{}.bmp", length=11):
    for (subject, emotion, clip), first in CLIPS.items():
        if padded:
            subject, clip = f"s{int(subject[1:]):02d}", f"s{int(subject[1:]):02d}_{clip.split('_', 1)[1]}"
        level = parent / subject / "micro" if micro else parent / subject
        frames(level / emotion / clip, range(first, first + length), name)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("micro", [True, False])
@pytest.mark.parametrize(
    ("inner", "name", "layout"),
    [
        ("SMIC_all_raw/HS", "image{}.bmp", "SMIC-HS, raw frames"),
        ("SMIC_all_cropped/HS", "reg_image{}.bmp", "SMIC-HS, cropped frames"),
        ("HS", "image{:06d}.bmp", "SMIC-HS, raw frames"),
    ],
)
def test_every_nesting_from_the_top_and_from_each_inner_folder(tmp_path, padded, micro, inner, name, layout):
    write_hs(tmp_path / inner, micro=micro, padded=padded, name=name)
    root = tmp_path / inner
    while root != tmp_path.parent:
        release = read_release("smic", root)
        assert release.layout == f"{layout} ({tmp_path / inner})"
        assert release.annotations is None
        assert [clip.key for clip in release.clips] == KEYS
        assert [clip.emotion for clip in release.clips] == ["negative", "surprise", "positive"]
        assert [(clip.onset, clip.apex, clip.offset) for clip in release.clips] == [
            (559740, 559745, 559750),
            (98, 103, 108),
            (7, 12, 17),
        ]
        assert release.remarks == ()
        root = root.parent


def test_other_cameras_and_other_material_are_counted_not_read(tmp_path):
    raw = tmp_path / "SMIC_all_raw"
    write_hs(raw / "HS")
    write_hs(raw / "NIR")
    write_hs(raw / "VIS")
    frames(raw / "HS" / "s1" / "non_micro" / "s1_non_01", range(5))
    frames(raw / "HS" / "s1" / "micro" / "negative" / "practice", range(5))
    release = read_release("smic", tmp_path)
    assert [clip.key for clip in release.clips] == KEYS
    assert all("HS" in clip.folder.parts for clip in release.clips)
    assert sorted((r.kind, r.action) for r in release.remarks) == [
        ("non_micro", "ignored"),
        ("other_camera", "ignored"),
        ("other_camera", "ignored"),
        ("stray_folder", "ignored"),
    ]
    assert all("(3 clips)" in r.reason for r in release.remarks if r.kind == "other_camera")


def test_a_root_of_another_camera_is_refused(tmp_path):
    write_hs(tmp_path / "SMIC_all_raw" / "NIR")
    for root in (tmp_path, tmp_path / "SMIC_all_raw" / "NIR"):
        with pytest.raises(DataError, match="another camera"):
            read_release("smic", root)


def test_raw_before_cropped_before_extended(tmp_path):
    write_extended(tmp_path / "HS_long", [(1, "s1_ne_01", "", 110, 120, "", "", 100, 130, "negative")])
    assert read_release("smic", tmp_path).layout.startswith("SMIC-E-HS")
    write_hs(tmp_path / "SMIC_all_cropped" / "HS", name="reg_image{}.bmp")
    assert read_release("smic", tmp_path).layout.startswith("SMIC-HS, cropped")
    write_hs(tmp_path / "SMIC_all_raw" / "HS")
    release = read_release("smic", tmp_path)
    assert release.layout.startswith("SMIC-HS, raw")
    assert [r.kind for r in release.remarks] == ["other_release", "other_release"]


def test_lost_frames_single_frames_and_folders_that_disagree(tmp_path):
    hs = tmp_path / "HS" / "s3" / "micro"
    frames(hs / "negative" / "s3_ne_01", [10, 11, 13, 14, 16], "image{}.bmp")  # 12, 15 lost
    frames(hs / "negative" / "s3_ne_02", [10], "image{}.bmp")
    frames(hs / "negative" / "s3_po_03", [10, 11, 12], "image{}.bmp")
    (hs / "surprise" / "s3_sur_03").mkdir(parents=True)
    frames(tmp_path / "HS" / "s03" / "micro" / "negative" / "s03_ne_01", range(5), "image{}.bmp")
    release = read_release("smic", tmp_path)
    assert {(r.clip, r.kind, r.action) for r in release.remarks} == {
        ("s03_ne_01", "duplicate_folder", "flag"),
        ("s03_ne_02", "onset_at_offset", "failure"),
        ("s03_po_03", "emotion_mismatch", "flag"),
        ("s03_sur_03", "no_frames", "failure"),
    }
    assert {(c.name, c.emotion, c.apex) for c in release.clips} == {
        ("s03_ne_01", "negative", 2),
        ("s03_po_03", "negative", 11),
    }


def test_the_middle_frame_is_one_that_exists(tmp_path):
    frames(tmp_path / "HS" / "s3" / "negative" / "s3_ne_01", [10, 11, 12, 14, 16], "image{}.bmp")
    release = read_release("smic", tmp_path)
    assert release.clips[0].apex == 12  # the middle, 13, is lost
    assert [r.kind for r in release.remarks] == ["frames_missing"]


def write_extended(
    parent, rows, *, first=None, sheet="SMIC-HS-E_annotation.xlsx", name="image{:06d}.jpg", tree="SMIC-HS-E"
):
    notes = [("", ""), ("The first column is the subject", ""), ("157 clips",)]
    write_xlsx(parent / sheet, [SMIC_E_HEADER, *rows, *notes])
    for row in rows:
        start, stop = row[7], row[8]
        shift = 0 if first is None else start - first
        folder = parent / tree / f"s{int(row[0]):02d}" / row[1]
        frames(folder, range(start - shift, stop - shift + 1), name)


EXTENDED = [
    (1, "s1_ne_01", "", 120, 141, "", "", 100, 200, "negative"),
    (20, "s20_po_02", "", 320, 351, 370, 390, 300, 400, "positive"),
]


@pytest.mark.parametrize("tree", ["SMIC-HS-E", "SMIC-HS-E/HS"])
@pytest.mark.parametrize("sheet", ["SMIC-HS-E_annotation.xlsx", "SMIC-HS-E/SMIC-HS-E_annotation_2019.xlsx"])
def test_the_extended_set_takes_its_intervals_from_the_sheet(tmp_path, sheet, tree):
    write_extended(tmp_path / "SMIC-E_raw image" / "HS_long", EXTENDED, sheet=sheet, tree=tree)
    for root in (tmp_path, tmp_path / "SMIC-E_raw image" / "HS_long" / "SMIC-HS-E"):
        release = read_release("smic", root)
        assert release.layout.startswith("SMIC-E-HS, extended clips")
        assert [(c.subject, c.name, c.onset, c.apex, c.offset, len(c.frames)) for c in release.clips] == [
            ("s01", "s01_ne_01", 120, 130, 141, 101),
            ("s20", "s20_po_02", 320, 335, 351, 101),
        ]
        assert [(r.clip, r.kind) for r in release.remarks] == [("s20_po_02", "second_expression")]


def test_extended_clips_numbered_from_their_start_are_counted_from_firstf(tmp_path):
    write_extended(tmp_path, EXTENDED[:1], first=1)
    release = read_release("smic", tmp_path)
    assert [(c.onset, c.apex, c.offset) for c in release.clips] == [(21, 31, 42)]
    assert [(r.kind, r.action) for r in release.remarks] == [("frames_renumbered", "flag")]


def test_the_extended_set_needs_its_sheet(tmp_path):
    frames(tmp_path / "SMIC-HS-E" / "s01" / "s01_ne_01", range(50))
    with pytest.raises(DataError, match=r"no SMIC-HS coding sheet.*--annotations"):
        read_release("smic", tmp_path)


def test_the_real_sheet_agrees_with_folders_read_without_it(tmp_path, shared_data):
    sheet = shared_data / "annotations" / "smic_coding.csv"
    with sheet.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        folder = tmp_path / "HS" / row["Subject"] / "micro" / row["Emotion"] / row["Filename"]
        frames(folder, range(int(row["OnsetFrame"]), int(row["OffsetFrame"]) + 1), "image{}.bmp")
    release = read_release("smic", tmp_path)
    assert release.remarks == ()
    assert read_release("smic", tmp_path, sheet).clips == release.clips
    told = {
        (a.subject, a.clip, a.emotion, a.onset, a.apex, a.offset) for a in read_annotations(DATASETS["smic"], sheet)[0]
    }
    assert {(c.subject, c.name, c.emotion, c.onset, c.apex, c.offset) for c in release.clips} == told
    assert len(told) == 164
