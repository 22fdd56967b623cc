import cv2
import numpy as np
import pytest
from native_trees import CASME2_HEADER, casme2_row, frames, write_xlsx

from slstt.datasets import DATASETS, read_release
from slstt.datasets.annotations import read_annotations
from slstt.datasets.clips import Clip, Release
from slstt.datasets.protocols import PROTOCOLS, class_of
from slstt.preprocessing.check import apply_policies, examine

CLIPS = {
    "EP01_01": casme2_row(1, "EP01_01", 3, 5, 8, "disgust"),  # healthy
    "EP01_02": casme2_row(1, "EP01_02", 3, "/", 8, "happiness"),
    "EP01_03": casme2_row(1, "EP01_03", 3, 9, 8, "others"),
    "EP01_04": casme2_row(1, "EP01_04", 3, 5, 8, "surprise"),  # frame 6 damaged
    "EP01_05": casme2_row(1, "EP01_05", 3, 5, 8, "repression"),  # onset damaged
    "EP01_06": casme2_row(1, "EP01_06", 3, 5, 8, "disgust"),  # frame 1 damaged
    "EP01_07": casme2_row(1, "EP01_07", 3, 5, 8, "disgust"),  # frame 7 of another size
    "EP01_08": casme2_row(1, "EP01_08", 3, 5, 8, "disgust"),  # no folder
    "EP01_09": casme2_row(2, "EP01_09", 3, 5, 8, "fear"),
}


@pytest.fixture
def release(tmp_path):
    root = tmp_path / "CASME2"
    for name, row in CLIPS.items():
        if name != "EP01_08":
            frames(root / "CASME2-RAW" / f"sub{row[0]:02d}" / name, range(1, 11), size=(16, 12))
    clip = root / "CASME2-RAW" / "sub01"
    frames(clip / "EP01_10", range(3))  # no row
    (clip / "EP01_04" / "img6.jpg").write_bytes(b"")
    damaged = clip / "EP01_05" / "img3.jpg"
    damaged.write_bytes(damaged.read_bytes()[:100])
    (clip / "EP01_06" / "img1.jpg").write_bytes(b"no picture")
    frames(clip / "EP01_07", [7], size=(20, 12))
    write_xlsx(root / "CASME2-coding-20140508.xlsx", [CASME2_HEADER, *CLIPS.values()])
    return read_release("casme2", root)


def found(examination):
    return {(r.clip, r.kind, r.action) for r in examination.remarks}


def contents(root):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_every_planted_fault_is_reported_and_nothing_is_written(release, capfd):
    before = contents(release.root)
    examination = examine(release, workers=2)
    assert contents(release.root) == before
    assert found(examination) == {
        ("EP01_02", "apex_missing", "flag"),
        ("EP01_03", "apex_outside", "flag"),
        ("EP01_04", "undecodable_frame", "flag"),
        ("EP01_05", "undecodable_frame", "failure"),
        ("EP01_06", "undecodable_frame", "ignored"),
        ("EP01_07", "unequal_sizes", "flag"),
        ("EP01_08", "no_folder", "failure"),
        ("EP01_10", "folder_without_row", "ignored"),
    }
    assert [clip.name for clip in examination.usable] == [n for n in CLIPS if n not in ("EP01_05", "EP01_08")]
    assert "checking frames: 8/8 clips" in capfd.readouterr().err


def test_the_text_names_layout_counts_and_each_clip_with_a_problem(release):
    text = examine(release, quiet=True).text
    for words in (
        f"CASME II, raw frames ({release.root / 'CASME2-RAW'})",
        f"annotation: {release.root / 'CASME2-coding-20140508.xlsx'}",
        "clips: 7 usable, 2 not; 2 subjects",
        "frames decoded: 76 of 16x12, 1 of 20x12",
        "emotions: happiness 1, disgust 3, repression 0, surprise 1, sadness 0, fear 1, others 1",
        "protocol casme2_sde (CASME II, 5 classes): 6 of 249 clips, 1 of 26 subjects",
        "  disgust 3 of 63, happiness 1 of 32, repression 0 of 27, surprise 1 of 28, others 1 of 99",
        "protocol cde (MEGC2019 composite, 3 classes, part casme2): 5 of 145 clips, 1 of 24 subjects",
        "no clip is on the published list",
        "clips that will fail (failures.csv): 2 (no_folder 1, undecodable_frame 1)",
        "sub01/EP01_05 undecodable_frame: cannot be decoded: frame 3; frame 3 is needed: the clip fails",
        "sub01/EP01_02 apex_missing: the sheet gives no apex ('/'); will be spotted (apex.missing=spot)",
        "sub01/EP01_07 unequal_sizes: frame 7 is 20x12, the others are 16x12; the clip fails if",
        "ignored: 2 (folder_without_row 1, undecodable_frame 1)",
    ):
        assert words in text


def test_policies_decide_what_becomes_of_an_unusable_apex(release):
    examination = examine(release, apex_missing="fail", apex_outside="middle", quiet=True)
    reasons = {r.clip: (r.action, r.reason) for r in examination.remarks if r.kind.startswith("apex")}
    assert reasons["EP01_02"] == ("failure", "the sheet gives no apex ('/'); the clip fails (apex.missing=fail)")
    assert reasons["EP01_03"][0] == "flag"
    assert reasons["EP01_03"][1].endswith("the middle frame will be taken (apex.outside=middle)")
    assert "EP01_02" not in {clip.name for clip in examination.usable}


def test_known_needed_frames_tell_failures_from_flags(release):
    needing = examine(release, needed=lambda clip: range(clip.onset, clip.offset + 1), quiet=True)
    sparing = examine(release, needed=lambda clip: (3, 5, 8), quiet=True)
    for clip, kind in (("EP01_04", "undecodable_frame"), ("EP01_07", "unequal_sizes")):
        assert (clip, kind, "failure") in found(needing)
        assert (clip, kind, "flag") in found(sparing)
    assert all("not needed, kept" in r.reason for r in sparing.remarks if r.clip in ("EP01_04", "EP01_07"))


def test_a_picture_of_another_format_under_a_jpg_name_is_decoded(tmp_path):
    root = tmp_path / "CASME2"
    folder = frames(root / "CASME2-RAW" / "sub01" / "EP01_01", range(1, 11), size=(16, 12))
    (folder / "img4.jpg").write_bytes(cv2.imencode(".png", np.zeros((12, 16, 3), np.uint8))[1].tobytes())
    write_xlsx(root / "CASME2-coding-20140508.xlsx", [CASME2_HEADER, CLIPS["EP01_01"]])
    assert examine(read_release("casme2", root), quiet=True).remarks == ()


def test_policies_touch_no_other_remark(release):
    changed = apply_policies(release.remarks, "fail", "fail")
    for before, after in zip(release.remarks, changed, strict=True):
        assert (before == after) != before.kind.startswith("apex_")


def test_a_whole_release_is_recognised_as_exactly_the_published_lists(tmp_path, shared_data):
    sheet = shared_data / "annotations" / "casme2_coding.csv"
    rows = read_annotations(DATASETS["casme2"], sheet)[0]
    clips = [Clip("casme2", r.subject, r.clip, r.emotion, r.onset, r.apex, r.offset, tmp_path) for r in rows]
    whole = examine(Release("casme2", "CASME II", tmp_path, sheet, tuple(clips)), quiet=True).text
    assert "249 of 249 clips, 26 of 26 subjects" in whole and "145 of 145 clips, 24 of 24 subjects" in whole
    assert whole.count("exactly the published list") == 2
    lost = [clip for clip in clips if class_of(PROTOCOLS["cde"], clip) == "surprise"][:3]
    part = tuple(clip for clip in clips if clip not in lost)
    text = examine(Release("casme2", "CASME II", tmp_path, sheet, part), quiet=True).text
    assert "casme2: 3 of 145 clips missing (3 surprise)" in text
    assert "casme2: 3 of 249 clips missing (3 surprise)" in text
