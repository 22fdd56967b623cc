"""What the page's buttons do, without page and server: analyse, correct, open a run, and leave nothing behind."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from simulated_runs import predictions

from slstt.app.visits import Bounds, Visits, offered
from slstt.config.preprocess import PredictConfig
from slstt.datasets.synthetic.recordings import SyntheticRecording, draw_recording, write_video
from slstt.errors import ConfigError, DataError
from slstt.evaluation.predictions import write_predictions
from slstt.face.landmarks import LandmarkDetector
from slstt.prediction.classify import find_classifier
from slstt.prediction.recording import open_recordings
from slstt.prediction.run import Predictor

NAME = "<img src=x onerror=alert(1)>.avi"


@pytest.fixture(scope="module")
def drawn() -> SyntheticRecording:
    """A second and a half with one expression."""
    return draw_recording(3, seed=6, size=(320, 240), head=10, grey=True)


@pytest.fixture(scope="module")
def filmed(drawn: SyntheticRecording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filmed") / NAME
    return write_video(path, (picture for _, picture in drawn.frames()), drawn.rate)


@pytest.fixture
def visits(tmp_path: Path, detector: LandmarkDetector) -> Visits:
    predictor = Predictor(find_classifier("default"), PredictConfig(), video=True)
    predictor.detector = detector  # loaded once for all tests
    return Visits(tmp_path / "root", predictor)


def upload(visits: Visits, source: Path) -> Path:
    """A file as gradio keeps it: in a folder of its own below the root."""
    kept = visits.root / "uploads" / "0123abcd" / source.name
    kept.parent.mkdir(parents=True)
    return Path(shutil.copy2(source, kept))


def nothing(done: int, total: int) -> None:
    """Report no progress."""


def test_a_recording_is_analysed_corrected_and_deleted(visits: Visits, drawn: SyntheticRecording, filmed: Path) -> None:
    kept, true, heard = upload(visits, filmed), drawn.micro[0], []
    shown = visits.analyse("me", kept, None, lambda done, total: heard.append((done, total)))
    (row,) = shown.rows()
    assert abs(int(row[1]) - true.apex) <= 3 and row[3].startswith("negative 0.")
    assert heard[-1] == (drawn.count, drawn.count) and len(heard) == drawn.count
    names = {"intervals.csv", "predictions.csv", "intervals.eaf", "report.html", "annotated.mp4"}
    assert names <= set(shown.files()) and all(offered(shown.folder, name) for name in names)
    assert visits.served == {shown.token: shown.folder}

    moved = [[str(true.onset), "", f"{true.offset}.0", "whatever stands here"], ["", None, float("nan"), ""]]
    again = visits.classify("me", moved, nothing)
    (found,) = again.result.found
    assert (found.interval.onset, found.interval.offset, found.interval.source) == (true.onset, true.offset, "given")
    assert found.label and again.folder != shown.folder
    with (again.folder / "intervals.csv").open(encoding="utf-8") as stream:
        (written,) = csv.DictReader(stream)
    assert written["recording"] == NAME

    visits.end("me")
    assert not list((visits.root / "uploads").iterdir()) and visits.served == {}
    assert [entry.name for entry in visits.root.iterdir()] == ["uploads"]


def test_a_file_that_is_no_recording_of_a_face_gets_one_line(visits: Visits, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 120, 160, 3), np.uint8)
    for name, content, said in (
        ("empty.mp4", b"", "empty file"),
        ("text.mp4", b"<script>alert(1)</script>" * 40, "not a readable video"),
        ("picture.png", b"\x89PNG\r\n\x1a\n", "one picture"),
        ("noise.avi", None, "no face found on any of 12 frames"),
    ):
        path = tmp_path / name
        write_video(path, noise, 100) if content is None else path.write_bytes(content)
        with pytest.raises(DataError, match=said) as caught:
            visits.analyse("me", path, None, nothing)
        assert len(caught.value.problems) == 1
    with pytest.raises(ConfigError, match="not a frame rate"):
        visits.analyse("me", tmp_path / "noise.avi", -3.0, nothing)


@pytest.mark.parametrize(("bounds", "said"), [(Bounds(longest_s=1.0), "--longest-s"), (Bounds(0.5), "--largest-mb")])
def test_long_and_large_recordings_are_refused_before_any_work(
    visits: Visits, filmed: Path, bounds: Bounds, said: str
) -> None:
    visits.bounds = bounds
    with pytest.raises(DataError, match=said):
        visits.analyse("me", upload(visits, filmed), None, lambda done, total: pytest.fail("it was measured"))


def test_wrong_rows_are_named_and_a_table_needs_a_recording(visits: Visits, filmed: Path) -> None:
    with pytest.raises(ConfigError, match="no recording yet"):
        visits.classify("me", [["1", "2", "3"]], nothing)
    (visits.of("me").recording,) = open_recordings(filmed)
    with pytest.raises(DataError, match=r"row 1: onset '<b>' is no frame number.*\n.*row 2: apex '-1'"):
        visits.classify("me", [["<b>", "2", "3"], ["1", "-1", "3"]], nothing)
    with pytest.raises(ConfigError, match="9999"):
        visits.classify("me", [["1", "2", "9999"]], nothing)
    with pytest.raises(DataError, match="holds no interval"):
        visits.classify("me", [["", "", ""]], nothing)


def test_a_page_that_is_closed_ends_its_work_and_leaves_nothing(visits: Visits, filmed: Path) -> None:
    def close(done: int, total: int) -> None:
        if done == 20:
            visits.end("me")
        assert done <= 21

    with pytest.raises(DataError, match="the page was closed"):
        visits.analyse("me", upload(visits, filmed), None, close)
    assert not list(visits.root.glob("visit-*")) and not list((visits.root / "uploads").iterdir())


def test_two_pages_may_hold_the_same_file(visits: Visits, filmed: Path) -> None:
    kept = upload(visits, filmed)
    visits.keep("one", kept)
    visits.keep("other", kept)
    visits.end("one")
    assert kept.is_file()
    visits.end_all()
    assert not kept.parent.exists() and not list(visits.root.glob("visit-*"))


def test_a_run_is_read_and_left_as_it_was(visits: Visits, tmp_path: Path) -> None:
    run = tmp_path / "<i>run"
    write_predictions(run / "predictions.csv", predictions(subjects=4, clips=4))
    page = offered(visits.served[visits.open_run("me", run)], "report.html")
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert "Most confident mistakes" in text and "Confusion" in text and "&lt;i&gt;run" in text and "<i>run" not in text
    assert [path.name for path in run.iterdir()] == ["predictions.csv"]
    with pytest.raises(DataError, match="no such run folder"):
        visits.open_run("me", tmp_path / "gone")


@pytest.mark.parametrize(
    "name", ["../x.csv", "/etc/passwd", "..", "result.json", "face_motion.npz", "source.txt", ".csv/"]
)
def test_no_other_file_is_sent(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "predicted"
    folder.mkdir()
    for other in ("../x.csv", "result.json", "face_motion.npz", "source.txt", "intervals.csv"):
        (folder / other).write_text("x")
    assert offered(folder, name) is None
    assert offered(folder, "intervals.csv") == folder / "intervals.csv"
