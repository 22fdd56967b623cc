"""`slstt-predict` as a user meets it: a recording becomes tables and a page; bad input gives one line and a code."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pympi import Eaf
from videos import encode

from slstt.cli.predict import main
from slstt.datasets.synthetic.flow_fields import FIELD_UNITS
from slstt.datasets.synthetic.recordings import SyntheticRecording, draw_recording, write_video
from slstt.models.model_file import save_model
from slstt.models.slstt import SLSTT
from slstt.prediction import run as predict
from slstt.prediction.classify import PredictConfig, find_classifier
from slstt.prediction.face_motion import GivenInterval
from slstt.prediction.recording import open_recordings

Capture = pytest.CaptureFixture[str]
NAME = "<b>me & you.avi"


@pytest.fixture(scope="module")
def drawn() -> SyntheticRecording:
    """A second and a half with one expression."""
    recording = draw_recording(3, seed=6, size=(320, 240), head=10, grey=True)
    assert len(recording.micro) == 1
    return recording


@pytest.fixture(scope="module")
def frames(drawn: SyntheticRecording) -> np.ndarray:
    return np.stack([picture for _, picture in drawn.frames()])


def faceless(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (12, 120, 160, 3), np.uint8)
    return write_video(path, noise, 100)


@pytest.fixture(scope="module")
def finished(frames: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the recording, the folder that the command left), with a name that means something in HTML."""
    folder = tmp_path_factory.mktemp("predicted")
    path = write_video(folder / NAME, frames, 100)
    assert main([str(path), "--out", str(folder / "out"), "--video", "--quiet"]) == 0
    return path, folder / "out"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def error(capsys: Capture, lines: int = 1) -> str:
    """What was said on stderr: so many lines, none of them a traceback."""
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    wrong = [line for line in said.splitlines() if line.startswith("slstt-predict: error:")]
    assert len(wrong) == lines, said
    return said


def test_the_tables_tell_where_the_expression_is_and_what_it_resembles(
    drawn: SyntheticRecording, finished: tuple[Path, Path]
) -> None:
    _, out = finished
    (interval,), (prediction,), true = rows(out / "intervals.csv"), rows(out / "predictions.csv"), drawn.micro[0]
    assert abs(int(interval["apex"]) - true.apex) <= 3
    assert abs(int(interval["onset"]) - true.onset) <= 8 and abs(int(interval["offset"]) - true.offset) <= 8
    assert float(interval["onset_s"]) == pytest.approx(int(interval["onset"]) / 100)
    length = 10 * (int(interval["offset"]) - int(interval["onset"]))
    assert float(interval["duration_ms"]) == pytest.approx(length)
    assert prediction["recording"] == interval["recording"] == NAME
    assert list(prediction)[5:] == ["predicted_label", "p_negative", "p_positive", "p_surprise"]
    probabilities = {name[2:]: float(value) for name, value in prediction.items() if name.startswith("p_")}
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert prediction["predicted_label"] == max(probabilities, key=lambda name: probabilities[name])
    assert prediction["predicted_label"] == "negative"  # what 'others' counts as
    units = rows(out / "units.csv")
    assert [int(row["unit"]) for row in units] == list(FIELD_UNITS) and {row["interval"] for row in units} == {"1"}
    assert all(0 <= float(row[side]) <= 1 for row in units for side in ("p_left", "p_right"))
    assert 0 <= float(interval["p_no_expression"]) < 0.5  # an expression
    curve = rows(out / "intensity.csv")
    assert len(curve) == drawn.count and {row["face"] for row in curve} == {"1"}


class _Page(HTMLParser):
    """What a page loads, and its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_needs_no_other_file_escapes_names_and_states_the_limits(finished: tuple[Path, Path]) -> None:
    text = (finished[1] / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert all(one.startswith(("data:image/", "#")) for one in page.loaded if one != "annotated.mp4")
    assert "annotated.mp4" in page.loaded and "url(" not in text and page.tags.count("script") == 1
    targets = {one[1:] for one in page.loaded if one.startswith("#")}
    assert {"interval-1", "timeline", "limits"} == targets and all(f'id="{one}"' in text for one in targets)
    (onset,) = set(re.findall(r'data-onset="([^"]*)"', text))  # timeline, table and box lead to the same time
    assert float(onset) == pytest.approx(float(rows(finished[1] / "intervals.csv")[0]["onset_s"]))
    assert "<b>me" not in text and NAME in page.words
    assert sum(one.startswith("data:image/jpeg") for one in page.loaded) == 5  # onset, apex, offset, motion, counts
    words = " ".join(" ".join(page.words).split())
    for part in ("no lie detector", "decisions about people", "drawn motion of facial action units", "flow.method"):
        assert part in words


def test_the_annotated_video_has_every_frame_and_marks_the_interval(
    drawn: SyntheticRecording, finished: tuple[Path, Path]
) -> None:
    (path,) = finished[1].glob("annotated.*")
    with av.open(str(path)) as opened:
        assert float(opened.streams.video[0].average_rate or 0) == pytest.approx(100, abs=0.1)
        pictures = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    assert len(pictures) == drawn.count
    result = json.loads((finished[1] / "result.json").read_text())
    assert path.name in result["files"] and result["note"].startswith(f"{path.name}: ")

    def orange(picture: np.ndarray) -> int:
        red, green, blue = (picture[:240, :, c].astype(int) for c in range(3))
        return int(((red > 150) & (green < 140) & (blue < 90)).sum())

    assert orange(pictures[drawn.micro[0].apex]) > 300
    assert orange(pictures[5]) < 30


def test_a_finished_recording_is_kept_and_a_changed_setting_does_only_what_it_must(
    finished: tuple[Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / NAME, tmp_path / "out"
    shutil.copy2(finished[0], path)
    shutil.copytree(finished[1], out)
    (out / "source.txt").write_text(f"{path}\n")

    def not_again(*_: object) -> None:
        raise AssertionError("it was measured before")

    command = [str(path), "--out", str(out)]
    monkeypatch.setattr(predict, "measure_face_motion", not_again)
    before = (out / "report.html").stat().st_mtime_ns
    assert main([*command, "--video"]) == 0
    assert "finished before, kept" in capsys.readouterr().out
    assert (out / "report.html").stat().st_mtime_ns == before
    assert main([*command, "--quiet", "flow.method=farneback"]) == 0  # another flow, the same intervals
    assert (out / "report.html").stat().st_mtime_ns > before
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<video" not in page and "<code>--video</code>" in page
    again, before = (
        [(row["onset"], row["apex"], row["offset"]) for row in rows(f / "intervals.csv")] for f in (out, finished[1])
    )
    assert again == before
    assert rows(out / "predictions.csv") != rows(finished[1] / "predictions.csv")
    (out / "report.html").unlink()  # a lost file is made again
    assert main([*command, "--quiet", "flow.method=farneback"]) == 0
    assert (out / "report.html").exists()
    (out / "face_motion.npz").write_bytes(b"PK damaged")
    assert main([*command, "--quiet"]) == 1  # seen to be damaged: measured again, which this test forbids
    assert "it was measured before" in capsys.readouterr().err


def test_times_in_seconds_are_those_of_an_uneven_video(
    drawn: SyntheticRecording, frames: np.ndarray, tmp_path: Path, capsys: Capture
) -> None:
    true = drawn.micro[0]
    times = 10 * np.arange(len(frames))
    times[true.onset + 1 :] += 300  # a pause in the recording, right after the onset
    path = encode(tmp_path / "uneven.mkv", frames, times.tolist())
    interval = ["--onset", str(true.onset), "--apex", str(true.apex), "--offset", str(true.offset)]
    assert main([str(path), "--out", str(tmp_path / "out"), "--video", "--quiet", *interval]) == 0
    (row,) = rows(tmp_path / "out" / "intervals.csv")
    seconds = [times[n] / 1000 for n in (true.onset, true.apex, true.offset)]
    assert [float(row[name]) for name in ("onset_s", "apex_s", "offset_s")] == pytest.approx(seconds, abs=1e-4)
    assert float(row["duration_ms"]) == pytest.approx(times[true.offset] - times[true.onset], abs=0.1)
    assert f"{seconds[0]:.3f} to {seconds[2]:.3f} s" in capsys.readouterr().out
    assert f"{seconds[0]:.3f} to {seconds[2]:.3f} s" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    curve = rows(tmp_path / "out" / "intensity.csv")
    assert [float(one["seconds"]) for one in curve] == pytest.approx(
        times[true.onset : true.offset + 1] / 1000, abs=1e-4
    )
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as opened:
        shown = [frame.time for frame in opened.decode(video=0)]
    assert shown == pytest.approx(times[: true.offset + 1] / 1000, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "frames"),
    [(None, 60), (GivenInterval(20), 40), (GivenInterval(20, 25, 30), 11), (GivenInterval(120), 0)],
)
def test_the_frames_to_be_measured_are_never_fewer_than_none(
    given: GivenInterval | None, frames: int, tmp_path: Path
) -> None:
    path = encode(tmp_path / "stream.mkv", [np.zeros((64, 64, 3), np.uint8)] * 60)  # it does not say how many it has
    (recording,) = open_recordings(path)
    predictor = predict.Predictor(
        find_classifier("default"), PredictConfig(), {recording.name: [given]} if given else None
    )
    assert predictor.frames_to_measure(recording) == frames


@pytest.mark.slow
def test_an_interrupted_command_keeps_what_it_has_and_goes_on(frames: np.ndarray, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    write_video(clips / "1.avi", frames, 100)
    write_video(clips / "2.avi", np.concatenate([frames] * 5), 100)
    command = [sys.executable, "-m", "slstt.cli.predict", str(clips), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    until = time.monotonic() + 120
    while not (tmp_path / "out" / "1.avi" / "result.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "run the same command to continue" in said
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "1.avi: 1 interval(s) (finished before, kept)" in done.stdout
    assert {row["recording"] for row in rows(tmp_path / "out" / "predictions.csv")} == {"1.avi", "2.avi"}
    assert not list((tmp_path / "out").rglob("*.part*"))


def test_one_bad_recording_does_not_stop_the_others(frames: np.ndarray, tmp_path: Path, capsys: Capture) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    (clips / "1 damaged.mp4").write_bytes(b"no video" * 50)
    faceless(clips / "2 noise.avi")
    write_video(clips / "3 good.avi", frames, 100)
    assert main([str(clips), "--out", str(out), "--quiet"]) == 1
    said = error(capsys, lines=2)
    assert "1 damaged.mp4" in said and "no face found on any of 12 frames" in said
    assert [row["recording"] for row in rows(out / "failures.csv")] == ["1 damaged.mp4", "2 noise.avi"]
    assert [row["recording"] for row in rows(out / "predictions.csv")] == ["3 good.avi"]
    page = _Page((out / "index.html").read_text())
    links = [urllib.parse.unquote(one) for one in page.loaded]
    assert links == ["3 good.avi/report.html"] and (out / links[0]).exists()
    assert "1 damaged.mp4" in page.words
    (clips / "3 good.avi").unlink()
    assert main([str(clips), "--out", str(out), "--quiet"]) == 3  # nothing is left that works


def test_a_face_lost_in_the_middle_is_remarked_and_the_rest_is_kept(
    drawn: SyntheticRecording, frames: np.ndarray, tmp_path: Path, capsys: Capture
) -> None:
    wall = np.full((60, *frames.shape[1:]), 120, np.uint8)
    path = write_video(tmp_path / "gone.avi", np.concatenate([frames[:20], wall, frames]), 100)
    assert main([str(path), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert "no face at" in capsys.readouterr().out
    assert "no face at" in (tmp_path / "out" / "report.html").read_text()
    (interval,) = rows(tmp_path / "out" / "intervals.csv")
    assert abs(int(interval["apex"]) - 80 - drawn.micro[0].apex) <= 3
    face = [row["face"] for row in rows(tmp_path / "out" / "intensity.csv")]
    assert face[40:70] == ["0"] * 30


def test_a_given_interval_is_classified_and_nothing_is_looked_for(
    drawn: SyntheticRecording, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    true, path = drawn.micro[0], finished[0]
    numbers = ["--onset", str(true.onset), "--apex", str(true.apex), "--offset", str(true.offset)]
    assert main([str(path), "--out", str(tmp_path / "out"), "--quiet", *numbers]) == 0
    (interval,), (prediction,) = rows(tmp_path / "out" / "intervals.csv"), rows(tmp_path / "out" / "predictions.csv")
    assert (interval["onset"], interval["apex"], interval["offset"]) == tuple(numbers[1::2])
    assert interval["source"] == "given"
    curve = rows(tmp_path / "out" / "intensity.csv")
    assert [int(row["frame"]) for row in curve] == list(range(true.onset, true.offset + 1))
    assert {row["face"] for row in curve} == {"1"}
    assert all(row["intensity"] and row["judged"] == "1" for row in curve)
    assert prediction["predicted_label"] == "negative"


def test_corrected_intervals_come_back_as_csv_and_from_elan(
    finished: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    """What the command wrote, moved by two frames as a coder would, once as a table and once as ELAN saves it."""
    path, out = finished
    (found,) = rows(out / "intervals.csv")
    wanted = {name: int(found[name]) + (2 if name != "apex" else 0) for name in ("onset", "apex", "offset")}
    table = tmp_path / "corrected.csv"
    table.write_text("onset,apex,offset,note\n" + "{onset},{apex},{offset},later\n".format(**wanted))
    eaf = Eaf(str(out / "intervals.eaf"))
    ((begin, end, text),) = eaf.get_annotation_data_for_tier("interval")
    assert text.startswith("negative 0.") and 0 <= begin < end
    eaf.remove_all_annotations_from_tier("interval")
    eaf.add_annotation("interval", begin + 20, end + 20, "moved by hand")
    eaf.to_file(str(tmp_path / "corrected.eaf"))
    for source in ("corrected.csv", "corrected.eaf"):
        again = tmp_path / f"from {source}"
        assert main([str(path), "--out", str(again), "--intervals", str(tmp_path / source), "--quiet"]) == 0
        (row,) = rows(again / "intervals.csv")
        assert {name: int(row[name]) for name in wanted} == wanted and row["source"] == "given"
        assert (rows(again / "predictions.csv")[0])["predicted_label"] == "negative"
    capsys.readouterr()
    (tmp_path / "bad.csv").write_text("onset,apex,offset\n30,20,40\nten,,\n999999,,\n")
    assert main([str(path), "--out", str(tmp_path / "no"), "--intervals", str(tmp_path / "bad.csv")]) == 3
    assert "line 3: onset 'ten' is no frame number" in error(capsys)
    (tmp_path / "bad.csv").write_text("onset,apex,offset\n30,20,40\n999999,,\n")
    assert main([str(path), "--out", str(tmp_path / "no"), "--intervals", str(tmp_path / "bad.csv")]) == 2
    said = error(capsys, lines=2)
    assert "bad.csv line 2: apex 20 must come after onset 30" in said and "bad.csv line 3: onset 999999 is not" in said
    (tmp_path / "bad.eaf").write_text("<a/>")
    assert main([str(path), "--out", str(tmp_path / "no"), "--intervals", str(tmp_path / "bad.eaf")]) == 3
    assert "unreadable as an ELAN file" in error(capsys)


def test_large_movements_are_left_out_and_counted(finished: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    limits = ["spotting.weakest=0.5", "spotting.strongest=1"]
    assert main([str(finished[0]), "--out", str(tmp_path / "out"), "--quiet", *limits]) == 0
    said = capsys.readouterr().out
    assert "0 interval(s)" in said and "larger movement" in said and "spotting.strongest=1 is the limit" in said


def test_a_still_picture_has_no_interval_and_a_given_one_says_that_nothing_moves(
    frames: np.ndarray, tmp_path: Path, capsys: Capture
) -> None:
    path = write_video(tmp_path / "still.avi", np.repeat(frames[:1], 60, axis=0), 100)
    assert main([str(path), "--out", str(tmp_path / "none"), "--quiet"]) == 0
    assert "0 interval(s)" in capsys.readouterr().out
    assert main([str(path), "--out", str(tmp_path / "given"), "--quiet", "--onset", "10", "--offset", "40"]) == 0
    assert "--onset: the face hardly moves" in capsys.readouterr().out


def test_a_recording_at_rest_has_no_interval_and_still_a_report(frames: np.ndarray, tmp_path: Path) -> None:
    path = write_video(tmp_path / "rest.avi", frames[:60], 100)
    assert main([str(path), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert rows(tmp_path / "out" / "predictions.csv") == []
    page = (tmp_path / "out" / "report.html").read_text()
    assert "None: nothing moved and came back within 65 to 500 ms" in page


def test_a_folder_of_frames_with_cached_flow_weights(frames: np.ndarray, tmp_path: Path, capsys: Capture) -> None:
    """Weights of the other kind (eleven frames of flow, an LSTM): the header alone says so; made-up frames are said."""
    model = SLSTT(image_size=32, patch_size=8, width=12, depth=2, heads=2, lstm_width=8, lstm_layers=1, head_width=4)
    header = {"classes": '["left", "right", "up"]', "kind": "cache", "encoding": "hsv_clip", "normalize": "none"}
    save_model(model, tmp_path / "own.safetensors", {**header, "frames": "11"})
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames[::4]):  # 25 a second
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), frame[..., ::-1])
    interval = ["--onset", "17", "--apex", "21", "--offset", "24"]
    command = [str(tmp_path / "frames"), "--weights", str(tmp_path / "own.safetensors"), "--out", str(tmp_path / "out")]
    command += ["--quiet", "--fps", "25", *interval, "interpolation.method=linear"]
    assert main([*command, "crop.at_most=96"]) == 0
    assert "25 frames per second are few" in capsys.readouterr().out
    (prediction,) = rows(tmp_path / "out" / "predictions.csv")
    assert prediction["predicted_label"] in ("left", "right", "up")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "4 of 11 frames were made up (linear)" in page
    assert "attention" in page
    assert "These weights tell no action units" in page and "do not tell expressions from other motion" in page
    assert rows(tmp_path / "out" / "units.csv") == []
    assert [row["p_no_expression"] for row in rows(tmp_path / "out" / "intervals.csv")] == [""]


def test_check_writes_nothing(finished: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    assert main([str(finished[0]), "--out", str(tmp_path / "out"), "--check"]) == 0
    said = capsys.readouterr().out
    assert "156 frames, 100 per second, 320 x 240: would be analysed" in said
    assert "nothing was written" in said
    assert not (tmp_path / "out").exists()
    again = [str(finished[0]), "--out", str(finished[1]), "--video"]
    assert main([*again, "--check"]) == 0
    assert "finished, would be kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["{good}", "--onset", "140", "--offset", "400"], 2, "--onset: offset 400 is beyond the last frame"),
        (["{good}", "--onset", "90", "--apex", "80"], 2, "--onset: apex 80 must come after onset 90"),
        (["{good}", "--onset", "-3"], 2, "--onset: onset -3 is not in"),
        (["{good}", "--apex", "80"], 2, "give --onset too"),
        (["{good}", "--longest-ms", "50"], 2, "'spotting.longest_ms': must be above spotting.shortest_ms, which is 65"),
        (["{good}", "spotting.treshold=4"], 2, "did you mean 'spotting.threshold'"),
        (["{good}", "spotting.threshold=.nan"], 2, "'spotting.threshold': Input should be a finite number"),
        (["{good}", "--longest-ms", "inf"], 2, "'spotting.longest_ms': Input should be a finite number"),
        (["{good}", "flow.metod=dis"], 2, "did you mean 'flow.method'"),
        (["{good}", "--fps", "0"], 2, "--fps 0: not a frame rate"),
        (["{good}", "--fps", "1e-300"], 2, "--fps 1e-300: not a frame rate"),
        (["{good}", "--onset", "9999999", "--check"], 2, "--onset: onset 9999999 is not in"),
        (["{good}", "--weights", "{tmp}/nothing"], 3, "no such model file or run folder"),
        (["{good}", "--weights", "{good}"], 3, "unreadable as a weight file"),
        (["{tmp}/none.mp4"], 3, "not found"),
        (["{tmp}/empty.mp4"], 3, "empty file"),
        (["{tmp}/text.mp4"], 3, "not a readable video"),
        (["{tmp}/one"], 2, "give it with --fps"),
        (["{tmp}/one", "--fps", "100"], 3, "has a single frame"),
        (["{tmp}/void"], 3, "holds no video, no frames"),
        (["{tmp}/noise.avi"], 3, "no face found on any of 12 frames"),
        (["{tmp}/twice", "--onset", "3"], 2, "holds 2 recordings; --onset is for one of them"),
        (["{good}", "--out", "{tmp}/text.mp4"], 3, "is a file; --out must name a folder"),
        (["{good}", "--out", "{tmp}/text.mp4/out"], 3, "choose another --out"),
        (["{good}", "--out", "{tmp}/twice"], 2, "holds other things than predictions (1.avi, 2.avi)"),
        (["{tmp}/noise.avi", "--out", "{finished}"], 2, "holds the predictions of"),
    ],
)
def test_bad_input_is_one_line_and_a_code(
    arguments: list[str], code: int, reason: str, finished: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video" * 20)
    (tmp_path / "void").mkdir()
    (tmp_path / "one").mkdir()
    cv2.imwrite(str(tmp_path / "one" / "1.png"), np.zeros((90, 90, 3), np.uint8))
    faceless(tmp_path / "noise.avi")
    (tmp_path / "twice").mkdir()
    for name in ("1.avi", "2.avi"):
        shutil.copy(tmp_path / "noise.avi", tmp_path / "twice" / name)
    filled = [one.format(tmp=tmp_path, good=finished[0], finished=finished[1]) for one in arguments]
    filled += [] if "--out" in filled else ["--out", str(tmp_path / "out")]
    assert main([*filled, "--quiet"]) == code
    assert reason in error(capsys)


def test_everything_wrong_is_said_at_once(tmp_path: Path, capsys: Capture) -> None:
    command = [
        str(tmp_path / "none.mp4"),
        "--weights",
        str(tmp_path / "no"),
        "--apex",
        "4",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(command) == 2
    said = error(capsys, lines=3)
    assert "none.mp4" in said and "no such model file" in said and "give --onset too" in said
    assert not (tmp_path / "o").exists()


def test_onset_with_several_recordings_is_refused_before_torch_is_loaded(frames: np.ndarray, tmp_path: Path) -> None:
    for name in ("1.avi", "2.avi"):
        write_video(tmp_path / name, frames[:3], 100)
    code = "import sys; from slstt.cli.predict import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path), "--onset", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"] and "holds 2 recordings; --onset is for one of them" in done.stderr


def test_help_states_the_limits_without_loading_torch() -> None:
    code = "import sys; from slstt.cli.predict import main; main(['--help']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = re.sub(r"\s+", " ", done.stdout)
    assert "no lie detector" in said and "decisions about people" in said and "slstt-predict talk.mp4" in said
