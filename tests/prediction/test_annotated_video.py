"""The annotated video: a browser plays it, its clock is the recording's, and it is whole or absent."""

import resource
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from videos import encode, spoil

from slstt.errors import DataError
from slstt.prediction import annotated_video
from slstt.prediction.annotated_video import write_video
from slstt.prediction.face_motion import FaceMotion, Interval
from slstt.prediction.recording import Recording, open_recordings
from slstt.prediction.results import FoundInterval, PredictionResult

COUNT = 20


def _pictures(width: int = 240, height: int = 208) -> list[np.ndarray]:
    """Grey levels that tell the number."""
    return [np.full((height, width, 3), 10 * number, np.uint8) for number in range(COUNT)]


def _written(recording: Recording, folder: Path, count: int = COUNT) -> tuple[Path, str]:
    """The annotated video of a recording in which no face was seen, and what is said about it."""
    unknown = np.full((count, 68, 2), np.nan), np.full((count, 2, 3), np.nan)
    curve, faces = np.zeros(count, np.float32), np.zeros(count, int)
    motion = FaceMotion(recording.rate, recording.times[:count], *unknown, curve, faces, np.ones(count, bool), (), ())
    interval = Interval(5, 8, 12, 3.0)
    found = FoundInterval(interval, motion.seconds(interval), "surprise", (0.2, 0.8))
    result = PredictionResult("clip", recording.rate, count, ("negative", "surprise"), (found,), ())
    name, note = write_video(recording, motion, result, folder)
    return folder / name, note


def _shown(path: Path) -> list[tuple[float, int]]:
    """(seconds, number told by the lower right of the picture) of the frames of an annotated video."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return [(time, round(float(picture[120:200, 120:].mean()) / 10)) for time, picture in frames]


def _only(path: Path, rate: float | None = None) -> Recording:
    (recording,) = open_recordings(path, rate)
    return recording


def test_a_browser_plays_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recording = _only(encode(tmp_path / "clip.mkv", _pictures(242, 206), rate=50, codec="mjpeg"))
    path, note = _written(recording, tmp_path)
    assert path.name == "annotated.mp4" and note == "annotated.mp4: H.264, 50 frames per second"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.profile) == ("h264", "yuv420p", "High")
        assert (stream.width, stream.height) == (242, 206 + annotated_video.STRIP)
        assert stream.average_rate == 50 and stream.frames == COUNT
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes first"
    assert path.stat().st_mode & 0o777 == 0o644
    assert capfd.readouterr() == ("", "")


def test_odd_and_large_pictures_become_even_and_smaller(tmp_path: Path) -> None:
    for name, size, wanted in (("odd", (241, 207), (240, 206)), ("large", (2002, 801), (1280, 512))):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", size, (90, 90, 90)).save(tmp_path / name / f"{number}.png")
        recording = _only(tmp_path / name, 100)
        unknown = np.full((2, 68, 2), np.nan), np.full((2, 2, 3), np.nan)
        motion = FaceMotion(
            100.0, recording.times, *unknown, np.zeros(2, np.float32), np.zeros(2, int), np.ones(2, bool), (), ()
        )
        write_video(recording, motion, PredictionResult("clip", 100.0, 2, ("a",), (), ()), tmp_path / name)
        with av.open(str(tmp_path / name / "annotated.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (wanted[0], wanted[1] + annotated_video.STRIP)


def test_its_clock_is_the_recordings_own(tmp_path: Path) -> None:
    times = [0, 10, 20, 60, 70, 80, 95, *range(110, 240, 10)]
    recording = _only(encode(tmp_path / "clip.mkv", _pictures(), times))
    shown = _shown(_written(recording, tmp_path)[0])
    assert [time for time, _ in shown] == pytest.approx(np.array(times) / 1000, abs=1e-4)
    assert [number for _, number in shown] == list(range(COUNT))
    slow = _shown(_written(_only(tmp_path / "clip.mkv", 400), tmp_path)[0])
    assert [time for time, _ in slow] == pytest.approx(np.arange(COUNT) / 400, abs=1e-4), "as given by --fps"


def test_the_last_picture_stands_for_one_that_cannot_be_decoded(tmp_path: Path) -> None:
    path = spoil(encode(tmp_path / "clip.mp4", _pictures(), codec="mpeg4"), [5, 6, 19])
    shown = _shown(_written(_only(path), tmp_path)[0])
    assert [number for _, number in shown] == [0, 1, 2, 3, 4, 4, 4, *range(7, 19), 18]
    assert [time for time, _ in shown] == pytest.approx(np.arange(COUNT) / 100, abs=1e-4)


def test_without_an_encoder_of_h264_it_is_mpeg4_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("no_such_encoder", *(name for name, _, _ in annotated_video.ENCODERS[2:]))
    kept = [next((one for one in annotated_video.ENCODERS if one[0] == name), (name, "H.264", {})) for name in names]
    monkeypatch.setattr(annotated_video, "ENCODERS", tuple(kept))
    path, note = _written(_only(encode(tmp_path / "clip.mkv", _pictures())), tmp_path)
    assert note == "annotated.mp4: MPEG-4 Part 2, 100 frames per second"
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    shown = _shown(path)
    assert [number for _, number in shown] == list(range(COUNT))
    assert [time for time, _ in shown] == pytest.approx(np.arange(COUNT) / 100, abs=1e-4)
    monkeypatch.setattr(annotated_video, "ENCODERS", (("no_such_encoder", "H.264", {}),))
    with pytest.raises(DataError, match=r"can write no video .* leave --video out"):
        _written(_only(tmp_path / "clip.mkv"), tmp_path)


def test_a_full_disk_leaves_no_half_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    recording = _only(encode(tmp_path / "clip.mkv", [rng.integers(0, 255, (208, 240, 3), np.uint8) for _ in range(20)]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"annotated.mp4: cannot be written \(.*\); free space"):
            _written(recording, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    recording = _only(encode(tmp_path / "clip.mkv", _pictures()))
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"annotated.mp4: cannot be written"):
        _written(recording, tmp_path / "file")
