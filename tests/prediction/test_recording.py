"""Recordings: every kind that can be given is read frame by frame, and every kind of damage gets one clear line."""

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from slstt.errors import ConfigError, DataError
from slstt.prediction.recording import LARGEST, Recording, natural, open_recordings

COUNT, SIZE = 20, (240, 208)
Capture = pytest.CaptureFixture[str]


def _picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A grey picture whose level tells its number, with the red channel brighter."""
    picture = np.full((size[1], size[0], 3), 10 * number, np.uint8)
    picture[..., 0] += 40
    return picture


def _video(path: Path, count: int = COUNT, rate: float = 100.0, size: tuple[int, int] = SIZE) -> Path:
    code = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), code, rate, size)
    for number in range(count):
        writer.write(np.ascontiguousarray(_picture(number, size)[..., ::-1]))
    writer.release()
    return path


def _folder(path: Path, count: int = COUNT, suffix: str = ".png") -> Path:
    path.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(_picture(number)).save(path / f"img{number + 1}{suffix}")
    return path


def _only(path: Path, rate: float | None = None) -> Recording:
    (recording,) = open_recordings(path, rate)
    return recording


def _levels(recording: Recording, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
    """(number, number told by the picture) of the frames."""
    return [(n, round(float(p[..., 1].mean()) / 10)) for n, p in recording.frames(start, stop)]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "frames"])
def test_frames_come_in_order_and_in_rgb_from_any_start(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    recording = _only(_video(path) if path.suffix else _folder(path), None if path.suffix else 100)
    assert (recording.rate, recording.count, recording.size, recording.name) == (100, COUNT, SIZE, name)
    assert recording.remarks == ()
    assert _levels(recording) == [(n, n) for n in range(COUNT)]
    assert _levels(recording, 5, 8) == [(5, 5), (6, 6), (7, 7)]
    assert [(n, round(float(p[..., 1].mean()) / 10)) for n, p in recording.at([11, 3, 3])] == [(3, 3), (11, 11)]
    _, picture = next(recording.frames(4))
    assert picture.dtype == np.uint8 and picture[..., 0].mean() > picture[..., 2].mean() + 20, (
        "red is the first channel"
    )


def test_frames_are_read_one_at_a_time(tmp_path: Path) -> None:
    recording = _only(_folder(tmp_path / "frames"), 100)
    tracemalloc.start()
    for _ in recording.frames():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * SIZE[0] * SIZE[1] * 3, "a handful of frames, not the twenty"


def test_names_are_sorted_by_their_numbers() -> None:
    names = ["img10.png", "img2.png", "IMG1.png", "a.png", "img2b.png", "007.png"]
    assert sorted(names, key=natural) == ["007.png", "a.png", "IMG1.png", "img2.png", "img2b.png", "img10.png"]


def test_a_folder_of_clips_gives_each_and_names_what_it_passes_over(tmp_path: Path) -> None:
    _video(tmp_path / "clip10.mp4")
    _video(tmp_path / "clip9.avi")
    _folder(tmp_path / "frames")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(bytes(range(256)) * 20)
    broken, nine, ten, frames = open_recordings(tmp_path, 100)
    assert [r.name for r in (broken, nine, ten, frames)] == ["broken.mp4", "clip9.avi", "clip10.mp4", "frames"]
    assert broken.problem is not None and "broken.mp4: not a readable video" in broken.problem
    assert any("passed over" in line and "empty, notes.txt" in line for line in broken.remarks)
    for read in (broken.frames(), broken.at([1])):
        with pytest.raises(DataError, match="not a readable video"):
            next(read)
    assert [len(_levels(r)) for r in (nine, ten, frames)] == [COUNT] * 3


@pytest.mark.parametrize("rate", [0.0, -25.0, float("nan"), float("inf"), 1e6])
def test_an_impossible_rate_is_refused(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ConfigError, match=r"--fps .*not a frame rate"):
        open_recordings(_video(tmp_path / "clip.avi"), rate)


def test_a_folder_of_frames_needs_a_rate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no frame rate; give it with --fps"):
        open_recordings(_folder(tmp_path / "frames"))


def test_a_given_rate_goes_before_the_file_and_slow_ones_are_warned_of(tmp_path: Path) -> None:
    path = _video(tmp_path / "clip.avi", rate=25)
    slow = _only(path)
    assert slow.rate == 25 and "1.6 to 12.5 frames" in slow.remarks[0]
    given = _only(path, 200)
    assert given.rate == 200 and given.remarks == (f"{path}: says 25 frames per second; 200 taken, as given",)


def test_an_uneven_rate_is_found_from_the_time_stamps(tmp_path: Path) -> None:
    pictures = [Image.fromarray(_picture(n)) for n in range(COUNT)]
    for name, durations in (("even.gif", [10] * COUNT), ("uneven.gif", [20, 20, 60, 20, 100] * 4)):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=durations)
    assert not any("uneven" in line for line in _only(tmp_path / "even.gif").remarks)
    assert "uneven frame rate (20 to 100 ms between frames)" in _only(tmp_path / "uneven.gif").remarks[0]


def test_damaged_videos_give_one_line_and_nothing_else(tmp_path: Path, capfd: Capture) -> None:
    whole = _video(tmp_path / "whole.mp4").read_bytes()
    cases = {
        "absent.mp4": (None, "not found"),
        "empty.mp4": (b"", "empty file"),
        "junk.mp4": (np.random.default_rng(0).bytes(5000), "not a readable video"),
        "truncated.mp4": (whole[: len(whole) // 2], "not a readable video"),
        "text.mp4": (b"hello", "not a readable video"),
    }
    for name, (data, reason) in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name}: {reason}") as caught:
            open_recordings(tmp_path / name)
        assert len(caught.value.problems) == 1 and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_video_with_spoilt_pictures_is_read_as_far_as_it_goes(tmp_path: Path, capfd: Capture) -> None:
    path = _video(tmp_path / "clip.avi")
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data) // 2):
        data[place] ^= 0x5A
    path.write_bytes(data)
    numbers = [number for number, _ in _only(path).frames()]
    assert numbers == sorted(set(numbers)) and 5 <= len(numbers) <= COUNT
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("count", "reason"), [(0, "no frame can be decoded"), (1, "has a single frame")])
def test_too_few_frames_are_refused(tmp_path: Path, count: int, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_recordings(_video(tmp_path / "clip.avi", count))
    if count:
        with pytest.raises(DataError, match=reason):
            open_recordings(_folder(tmp_path / "frames", count), 100)
    else:
        (tmp_path / "nothing").mkdir()
        with pytest.raises(DataError, match="holds no video, no frames"):
            open_recordings(tmp_path / "nothing", 100)


def test_a_folder_of_damaged_frames_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "frames", 3)
    for file in folder.iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no frame of 50 tried in a row"):
        open_recordings(folder, 100)


def test_one_picture_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one picture; give a video, or the folder of its frames"):
        open_recordings(_folder(tmp_path / "frames") / "img3.png", 100)


@pytest.mark.parametrize("place", [0, 7])
def test_an_unreadable_frame_is_stood_for_by_its_neighbour(tmp_path: Path, place: int, capfd: Capture) -> None:
    folder = _folder(tmp_path / "frames")
    damaged = folder / f"img{place + 1}.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    remarks: list[str] = []
    recording = _only(folder, 100)
    told = [round(float(p[..., 1].mean()) / 10) for _, p in recording.frames(remark=remarks.append)]
    assert told == [n if n != place else (n - 1 if n else 1) for n in range(COUNT)]
    assert remarks == [f"{folder}: 1 of 20 frames cannot be decoded ({damaged.name}); the frame before stands for each"]
    assert capfd.readouterr().err == ""


def test_too_many_unreadable_frames_end_the_recording(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "frames")
    for number in (3, 9, 15):
        (folder / f"img{number}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"3 of 20 frames cannot be decoded .*restore the files"):
        _levels(_only(folder, 100))


def test_frames_of_another_size_are_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "frames")
    Image.fromarray(_picture(3, (32, 48))).save(folder / "img4.png")
    with pytest.raises(DataError, match="frame 3 is 32 x 48, unlike the first; make them equal"):
        _levels(_only(folder, 100))


def test_tiny_frames_are_enlarged(tmp_path: Path) -> None:
    recording = _only(_video(tmp_path / "tiny.avi", size=(176, 144)))
    assert recording.size == (528, 432) and "176 x 144 are small and enlarged" in recording.remarks[0]
    assert [p.shape for _, p in recording.frames(0, 2)] == [(432, 528, 3)] * 2
    assert [(n, round(float(p[..., 1].mean()) / 10)) for n, p in recording.at([3, 11])] == [(3, 3), (11, 11)]


def test_a_thin_strip_stays_as_it_is(tmp_path: Path) -> None:
    assert _only(_video(tmp_path / "strip.avi", size=(1600, 16))).size == (1600, 16)


def test_huge_frames_are_reduced_and_absurd_ones_refused(tmp_path: Path) -> None:
    folder = tmp_path / "huge"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.jpg"), np.full((1440, 2560, 3), 90, np.uint8))
    recording = _only(folder, 100)
    assert recording.size == (1920, LARGEST) and "2560 x 1440 are reduced" in recording.remarks[0]
    assert [p.shape for _, p in recording.frames()] == [(LARGEST, 1920, 3)] * 2
    absurd = tmp_path / "absurd"
    absurd.mkdir()
    for number in range(2):
        cv2.imwrite(str(absurd / f"{number}.png"), np.zeros((2, 20_500), np.uint8))
    with pytest.raises(DataError, match="20500 x 2 are too large"):
        open_recordings(absurd, 100)
