"""A table of one's own clips: folders of frames and video files."""

import numpy as np
import pytest
from native_trees import frames, write_xlsx
from videos import encode

from slstt.datasets import read_release
from slstt.errors import DataError

HEADER = "subject,clip,folder,onset,apex,offset,emotion"


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pictures(count):
    return [np.full((16, 16, 3), 10 * n, np.uint8) for n in range(count)]


def remarked(release):
    return {(r.subject, r.clip, r.kind, r.action) for r in release.remarks}


@pytest.mark.parametrize("as_file", [True, False])
def test_folders_and_videos_lie_relative_to_the_table(tmp_path, as_file):
    frames(tmp_path / "006" / "smile", range(5, 20), "f{:03d}.png")
    encode(tmp_path / "films.mp4", pictures(12), rate=25)
    table = write(
        tmp_path / "mine.csv",
        "Subject,Clip,Folder,Video,Onset,Apex,Offset,Emotion,Action Units,Kind,FPS",
        "006,smile,006/smile,,6,9,15,Happiness,6+12,,90",
        "007,a,,films.mp4,0,4,9,fear,1+2+4,macro,",
        "007,b,,films.mp4,3,,11,fear,,micro,",
    )
    release = read_release("table", table if as_file else tmp_path)
    found = {
        (c.subject, c.name, c.video, c.onset, c.apex, c.offset, c.emotion, c.action_units, c.kind, c.fps)
        for c in release.clips
    }
    assert found == {
        ("006", "smile", "", 6, 9, 15, "happiness", "6+12", "micro", 90.0),
        ("007", "a", "films", 0, 4, 9, "fear", "1+2+4", "macro", 25.0),
        ("007", "b", "films", 3, None, 11, "fear", "", "micro", 25.0),
    }
    assert remarked(release) == {("007", "b", "apex_missing", "flag")}
    assert [(video.subject, video.name) for video in release.videos] == [("007", "films")]
    of_video = next(clip for clip in release.clips if clip.name == "a")
    assert list(of_video.frames) == list(range(12)) and set(of_video.frames.values()) == {tmp_path / "films.mp4"}


def test_rows_that_share_a_folder_lie_in_one_recording(tmp_path):
    frames(tmp_path / "p1" / "day 1", range(1, 60))
    lines = ["p1,a,p1/day 1,2,4,9,joy", "p1,b,p1/day 1/,20,30,40,joy"]
    release = read_release("table", write(tmp_path / "t.csv", HEADER, *lines))
    assert [(c.name, c.video, len(c.frames)) for c in release.clips] == [("a", "p1_day 1", 59), ("b", "p1_day 1", 59)]


def test_recordings_that_would_get_one_name_are_not_mixed_up(tmp_path):
    """Else the clips of the second would have the frames of the first."""
    encode(tmp_path / "film.mp4", pictures(12), rate=25)
    encode(tmp_path / "film.mkv", pictures(20), rate=25)
    lines = ["p1,a,film.mp4,2,4,9,joy", "p1,b,film.mkv,2,4,9,joy", "p2,c,film.mkv,2,4,9,joy"]
    release = read_release("table", write(tmp_path / "t.csv", HEADER, *lines))
    found = {clip.name: set(clip.frames.values()) for clip in release.clips}
    assert found == {"a": {tmp_path / "film.mp4"}, "c": {tmp_path / "film.mkv"}}
    (problem,) = [remark.reason for remark in release.remarks if remark.kind == "bad_row"]
    assert "row 3" in problem and "film.mkv" in problem and "would both be called film" in problem


def test_a_spreadsheet_and_a_given_table(tmp_path):
    frames(tmp_path / "x", range(1, 9))
    other = write(tmp_path / "other.csv", HEADER)
    book = write_xlsx(tmp_path / "mine.xlsx", [HEADER.split(","), ("012", "c", "x", 1, 3, 6, "joy")])
    with pytest.raises(DataError, match=r"several tables \(mine\.xlsx, other\.csv\); give the one"):
        read_release("table", tmp_path)
    assert [clip.subject for clip in read_release("table", tmp_path, book).clips] == ["012"]
    other.unlink()
    assert len(read_release("table", tmp_path).clips) == 1


def test_every_bad_row_is_a_line_and_the_others_are_read(tmp_path):
    frames(tmp_path / "x", range(1, 9))
    frames(tmp_path / "empty", [])
    (tmp_path / "torn.mp4").write_bytes(b"no video")
    rows = [
        "p,good,x,1,3,6,joy",
        "../p,a,x2,1,3,6,joy",
        "p,../../b,x3,1,3,6,joy",
        "p,c,../x,1,3,6,joy",
        "p,d,,1,3,6,joy",
        "p,e,absent,1,3,6,joy",
        "p,f,empty,1,3,6,joy",
        "p,g,torn.mp4,1,3,6,joy",
        "p,h,x,one,3,6,joy",
        "p,i,x,6,3,1,joy",
        "p,GOOD,x,1,3,7,joy",
        "p,j,x,1,3,99,",
        "p,k,x,20,30,40,joy",
        ",l,x,1,3,6,joy",
    ]
    release = read_release("table", write(tmp_path / "t.csv", HEADER, *rows))
    assert [clip.name for clip in release.clips] == ["GOOD", "j"]
    failed = {r.clip: (r.kind, r.reason) for r in release.remarks if r.action == "failure"}
    assert {clip: kind for clip, (kind, _) in failed.items()} == {
        "a": "bad_row", "../../b": "bad_row", "c": "bad_row", "d": "bad_row", "e": "no_folder", "f": "no_frames",
        "g": "no_frames", "h": "bad_row", "i": "onset_after_offset", "k": "no_onset_frame", "l": "bad_row",
        "good": "duplicate_id",
    }  # fmt: skip
    assert "row 4" in failed["../../b"][1] and "path separator" in failed["../../b"][1]
    assert "row 3" in failed["a"][1] and "path separator" in failed["a"][1]
    assert "'../x' leaves the folder of the table" in failed["c"][1]
    assert "not a readable video" in failed["g"][1]
    assert len(release.clips) + len(failed) == len(rows)


def test_a_table_without_its_columns_says_which(tmp_path):
    with pytest.raises(DataError, match=r"missing columns: .*emotion"):
        read_release("table", write(tmp_path / "t.csv", "subject,clip,folder,onset,offset", "p,c,x,1,2"))
    with pytest.raises(DataError, match="neither a column 'folder' nor 'video'"):
        read_release("table", write(tmp_path / "t.csv", "subject,clip,onset,offset,emotion", "p,c,1,2,joy"))
    (tmp_path / "t.csv").unlink()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="holds no table"):
        read_release("table", tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_release("table", tmp_path / "absent.csv")
