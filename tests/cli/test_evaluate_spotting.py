"""`slstt-eval` on spotted intervals: what it writes and says, the marks of what is not comparable, damaged tables."""

import json
from pathlib import Path

import pytest

from slstt.cli.evaluate import main
from slstt.evaluation.intervals import SpottedVideo, VideoInterval
from slstt.evaluation.spotting import read_spotted, write_spotted
from slstt.files import write_json

TRUE = "dataset,subject,video,onset,apex,offset,kind,label\n"
FOUND = "dataset,subject,video,onset,apex,offset,kind,strength,predicted_label\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two subjects: one of two expressions found with its class, a false alarm where there is nothing."""
    (tmp_path / "truth.csv").write_text(
        TRUE + "samm_long,006,006_1,100,120,150,micro,negative\nsamm_long,006,006_1,400,,700,macro,\n"
        "samm_long,007,007_3,,,,,\n"
    )
    (tmp_path / "intervals.csv").write_text(
        FOUND + "samm_long,006,006_1,104,118,150,micro,2.5,negative\nsamm_long,007,007_3,10,20,30,micro,1.5,positive\n"
    )
    return tmp_path


def test_two_tables_are_enough(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "choice of thresholds unknown" in out and "STRS" in out and err == ""
    metrics = json.loads((folder / "metrics.json").read_text())
    micro, both = metrics["spotting"]["micro"], metrics["spotting"]["all"]
    assert (micro["tp"], micro["fp"], micro["fn"], micro["apex_error_frames"]) == (1, 1, 0, 2.0)
    assert (both["tp"], both["fp"], both["fn"]) == (1, 1, 1)
    assert micro["false_alarms_per_minute"] is None and metrics["strs_of"] == "micro"
    # Of the two classes one is absent from the true positives and counts 0.
    assert metrics["strs"] == pytest.approx(2 / 3 * 0.5)
    assert {"report.html", "figures", "table.md", "table.tex"} <= {path.name for path in folder.iterdir()}
    assert (folder / "figures" / "timeline_1.png").is_file()
    page = (folder / "report.html").read_text()
    assert "<script" not in page and "choice of thresholds unknown" in page


def test_lengths_and_how_the_thresholds_were_chosen_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = (
        "dataset,subject,video,first,frames,fps\nsamm_long,006,006_1,1,12000,200\nsamm_long,007,007_3,1,12000,200\n"
    )
    (folder / "videos.csv").write_text(videos)
    write_json(folder / "spotting.json", {"method": "mdmd", "selection": "fixed"})
    assert main([str(folder), "--no-report"]) == 0
    out = capsys.readouterr().out
    assert "mdmd, FIXED thresholds" in out and "note: FIXED" in out
    micro = json.loads((folder / "metrics.json").read_text())["spotting"]["micro"]
    assert micro["false_alarms_per_minute"] == pytest.approx(0.5)
    assert micro["apex_error_seconds"] == pytest.approx(0.01)


def test_leaving_out_videos_without_expression_is_marked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--only-with-expressions"]) == 0
    out = capsys.readouterr().out
    assert "INVALID" in out and "INVALID" in (folder / "report.html").read_text()
    assert "INVALID" in (folder / "table.md").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["invalid"].startswith("INVALID") and metrics["videos"] == 1
    assert metrics["spotting"]["micro"]["f1"] == 1.0


def test_an_empty_kind_is_told_by_the_length_where_the_rate_is_known(folder: Path) -> None:
    rows = FOUND + "samm_long,006,006_1,100,120,200,,1,\nsamm_long,006,006_1,300,320,401,,1,\n"
    (folder / "intervals.csv").write_text(rows)
    (folder / "videos.csv").write_text("dataset,subject,video,first,frames,fps\nsamm_long,006,006_1,1,2000,200\n")
    assert [one.kind for one in read_spotted(folder).videos[0].found] == ["micro", "macro"]


def test_written_tables_are_read_back(tmp_path: Path) -> None:
    true = (VideoInterval(5, 9, "micro", 7, "negative"), VideoInterval(20, 90, "macro", None, "positive"))
    found = (VideoInterval(5, 8, "micro", 6, "positive", 2.25),)
    videos = (
        SpottedVideo("casme_square", "s15", "15_0101", true, found, 500, 30.0, 1),
        SpottedVideo("casme_square", "s15", "15_0102", (), (), 500, 30.0, 1),
    )
    write_spotted(tmp_path, videos)
    assert read_spotted(tmp_path).videos == videos


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("truth.csv", TRUE, "holds no video"),
        ("truth.csv", TRUE + "a,b,c,1,2,x,micro,\n", "whole numbers"),
        ("truth.csv", TRUE + "a,b,c,9,2,10,micro,\n", "out of order"),
        ("truth.csv", TRUE + "a,b,c,1,2,3,tiny,\n", "kind 'tiny'"),
        ("truth.csv", TRUE + "a,../b,c,1,2,3,micro,\n", "path separator"),
        ("truth.csv", TRUE + "a,b,c,1,2,3,micro,\na,b,c,,,,,\n", "delete the one"),
        ("intervals.csv", FOUND + "samm_long,006,other,1,2,3,micro,1,\n", "is not in truth.csv"),
        ("intervals.csv", FOUND + "samm_long,006,006_1,1,2,3,,1,\n", "videos.csv tells the frame rate"),
        ("intervals.csv", FOUND + "samm_long,006,006_1,1,2,3,micro,nan,\n", "not a number"),
        ("intervals.csv", FOUND + 2 * "samm_long,006,006_1,1,2,3,micro,1,\n", "stands twice"),
        ("intervals.csv", "dataset,subject\n", "column 'video' is missing"),
        ("videos.csv", "dataset,subject,video,first,frames,fps\na,b,c,1,0,30\n", "above 0"),
        ("spotting.json", "[", "unreadable as JSON"),
    ],
)
def test_damaged_tables_are_refused_with_their_place(
    folder: Path, name: str, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text(text)
    assert main([str(folder)]) == 3
    err = capsys.readouterr().err
    assert said in err and name in err and "Traceback" not in err
    assert not (folder / "metrics.json").exists()


def test_two_ways_of_spotting_are_compared_on_the_same_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six subjects with two expressions each: the one finds all, the other the first of each and a false alarm."""
    true = [VideoInterval(10, 30, "micro"), VideoInterval(100, 130, "micro"), VideoInterval(200, 300, "macro")]
    for name, found in (("all", true), ("some", [true[0], VideoInterval(60, 70, "micro"), true[2]])):
        write_spotted(
            tmp_path / name, [SpottedVideo("d", f"s{n}", "v", tuple(true), tuple(found), 400, 30.0) for n in range(6)]
        )
    assert main([str(tmp_path / "all"), str(tmp_path / "some")]) == 0
    assert "all minus some (6 videos, 6 subjects)" in capsys.readouterr().out
    comparison = json.loads((tmp_path / "all" / "comparison.json").read_text())
    assert comparison["difference"] == pytest.approx({"micro": 0.5, "macro": 0.0, "all": 1 / 3})
    assert comparison["ci"]["micro"] == pytest.approx([0.5, 0.5])  # the same for every subject
    assert (comparison["only_first"]["micro"], comparison["only_second"]["micro"]) == (6, 0)
    assert "all minus some" in (tmp_path / "all" / "report.html").read_text()
    assert "minus" not in (tmp_path / "some" / "table.md").read_text()
    assert main([str(tmp_path / "some"), str(tmp_path / "all"), "--json", "--no-report", "--check"]) == 0
    assert json.loads(capsys.readouterr().out)["comparison"]["difference"]["micro"] == pytest.approx(-0.5)


def test_ways_of_spotting_on_other_videos_or_with_another_truth_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = SpottedVideo("d", "s1", "v", (VideoInterval(10, 30, "micro"),), (), 400, 30.0)
    other = SpottedVideo("d", "s2", "v", (VideoInterval(10, 30, "micro"),), (), 400, 30.0)
    moved = SpottedVideo("d", "s1", "v", (VideoInterval(11, 30, "micro"),), (), 400, 30.0)
    for name, videos in (("a", [one]), ("b", [one, other]), ("c", [moved]), ("e", [other])):
        write_spotted(tmp_path / name, videos)
    paths = {name: str(tmp_path / name) for name in "abce"}
    assert main([paths["a"], paths["b"], "--check"]) == 2
    assert "d/s2/v is in b only" in capsys.readouterr().err
    assert main([paths["a"], paths["b"], "--check", "--allow-partial"]) == 0
    assert main([paths["a"], paths["c"], "--check"]) == 2
    assert "'micro 10..30' in a and 'micro 11..30' in c" in capsys.readouterr().err
    assert main([paths["a"], paths["e"], "--check", "--allow-partial"]) == 3
    assert "no video in common" in capsys.readouterr().err


def test_what_does_not_go_together_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), str(folder)]) == 2
    assert "the same folder twice" in capsys.readouterr().err
    assert main([str(folder), "--attention"]) == 2
    (folder / "truth.csv").unlink()
    assert main([str(folder)]) == 3
    assert "need both intervals.csv and truth.csv" in capsys.readouterr().err
    assert main([str(folder), "--only-with-expressions"]) == 2


def test_check_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.iterdir())
    assert main([str(folder), "--check"]) == 0
    assert sorted(folder.iterdir()) == before and "nothing was" in capsys.readouterr().err
    assert main([str(folder), "--json", "--no-report"]) == 0
    assert json.loads(capsys.readouterr().out)["spotting"]["micro"]["tp"] == 1
