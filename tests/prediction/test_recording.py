"""Recordings: every kind that can be given is read frame by frame, and every kind of damage gets one clear line."""

import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from videos import encode, spoil, turned

from slstt.datasets.synthetic.recordings import write_video
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
    return write_video(path, (_picture(number, size) for number in range(count)), rate)


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


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.mov", "clip.mkv", "frames"])
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


def test_times_are_those_at_which_the_frames_are_shown(tmp_path: Path) -> None:
    shown = [0, 10, 20, 60, 70, 80, 95, *range(110, 240, 10)]
    for name in ("clip.mp4", "clip.mkv", "late.mp4"):
        late = 850 if name.startswith("late") else 0  # a sound may begin before the picture
        recording = _only(encode(tmp_path / name, [_picture(n) for n in range(COUNT)], [time + late for time in shown]))
        assert recording.times == pytest.approx(np.array(shown) / 1000, abs=1e-6)
        assert recording.rate == pytest.approx((COUNT - 1) / 0.23, rel=0.01)
        assert _levels(recording) == [(n, n) for n in range(COUNT)]
        given = _only(tmp_path / name, 200)
        assert given.rate == 200 and given.times == pytest.approx(np.arange(COUNT) / 200), "as given"
    assert _only(_folder(tmp_path / "frames"), 50).times == pytest.approx(np.arange(COUNT) / 50)


def test_an_uneven_rate_is_found_late_in_a_video(tmp_path: Path) -> None:
    times = np.cumsum([0, *[10] * 600, *[10, 40] * 20]).tolist()
    picture = _picture(3)
    (line,) = _only(encode(tmp_path / "late.mp4", [picture] * len(times), times)).remarks
    assert "uneven frame rate (10 to 40 ms between frames)" in line


def test_stamps_that_tell_the_order_of_decoding_are_not_taken_for_times(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.avi", [_picture(n) for n in range(COUNT)], options={"bf": "3"})
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert stamps != sorted(stamps), "AVI does not know when a frame is shown"
    recording = _only(path)
    assert _levels(recording) == [(n, n) for n in range(COUNT)]
    assert recording.times == pytest.approx(np.arange(COUNT) / 100)


def test_an_uneven_rate_is_found_from_the_time_stamps(tmp_path: Path) -> None:
    pictures = [Image.fromarray(_picture(n)) for n in range(COUNT)]
    for name, durations in (("even.gif", [10] * COUNT), ("uneven.gif", [20, 20, 60, 20, 100] * 4)):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=durations)
    assert not any("uneven" in line for line in _only(tmp_path / "even.gif").remarks)
    uneven = _only(tmp_path / "uneven.gif")
    assert "uneven frame rate (20 to 100 ms between frames)" in uneven.remarks[0]
    assert uneven.times == pytest.approx(np.cumsum([0, *[20, 20, 60, 20, 100] * 4][:COUNT]) / 1000)
    assert [number for number, _ in uneven.frames()] == list(range(COUNT))


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


def test_what_holds_no_video_is_told_from_what_is_damaged(tmp_path: Path, capfd: Capture) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", 44_100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44_100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match=r"sound.mp4: holds no video, only sound; give a video"):
        open_recordings(tmp_path / "sound.mp4")
    path = _video(tmp_path / "clip.avi")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"QZQZ"))
    with pytest.raises(DataError, match=r"clip.avi: its video is of a format that cannot be decoded"):
        open_recordings(path)
    wide = encode(tmp_path / "wide.mkv", [np.zeros((16, 20_500, 3), np.uint8)] * 2, codec="ffv1")
    with pytest.raises(DataError, match=r"wide.mkv: frames of 20500 x 16 are too large"):
        open_recordings(wide)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nother.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nhttp://127.0.0.1:9/other.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile other.ts\n",
    ],
)
def test_a_list_of_other_files_is_no_video_whatever_it_is_called(tmp_path: Path, text: str, capfd: Capture) -> None:
    """FFmpeg would open the files and addresses it names: a video from a stranger could then show one's own files."""
    write_video(tmp_path / "other.ts", [np.zeros((64, 64, 3), np.uint8)] * 20, 25)
    (tmp_path / "clip.mp4").write_text(text)
    with pytest.raises(DataError, match="not a readable video"):
        open_recordings(tmp_path / "clip.mp4")


def test_a_video_without_a_frame_rate_needs_one(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [_picture(n) for n in range(COUNT)], codec="mpeg4")
    data = bytearray(path.read_bytes())
    place = data.index(b"stts") + 16  # how long each frame lasts, of 1/12800 s
    assert struct.unpack(">i", data[place : place + 4]) == (128,)
    data[place : place + 4] = struct.pack(">i", 1)
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"clip.mp4: does not say its frame rate; give it with --fps"):
        open_recordings(path)
    assert len(_levels(_only(path, 100))) == COUNT


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_video_is_turned_as_its_file_says(tmp_path: Path, degrees: int, corner: tuple[int, int]) -> None:
    picture = _picture(3)
    picture[:80, :80] = 250
    recording = _only(turned(encode(tmp_path / "clip.mp4", [picture] * 3), degrees))
    assert recording.size == (SIZE if degrees % 180 == 0 else SIZE[::-1])
    for _, upright in recording.frames():
        bright = {(y, x) for y in (0, -1) for x in (0, -1) if upright[y, x, 1] > 200}
        assert upright.shape[1::-1] == recording.size and bright == {corner}


def test_titles_and_names_of_any_kind_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a:b %03d.avi", [_picture(n) for n in range(COUNT)], codec="mjpeg", title="ABCDEF")
    path.write_bytes(path.read_bytes().replace(b"ABCDEF", b"Gr\xfc\xdfe!"))
    monkeypatch.chdir(tmp_path)
    assert len(_levels(_only(Path(path.name)))) == COUNT


def test_frames_that_cannot_be_decoded_keep_their_place(tmp_path: Path, capfd: Capture) -> None:
    path = spoil(encode(tmp_path / "clip.mp4", [_picture(n) for n in range(COUNT)], codec="mpeg4"), [5, 6, 19])
    recording, remarks = _only(path), list[str]()
    assert recording.count == COUNT and recording.times == pytest.approx(np.arange(COUNT) / 100)
    numbers = [number for number, _ in recording.frames(remark=remarks.append)]
    assert numbers == [n for n in range(COUNT) if n not in (5, 6, 19)]
    assert remarks == [f"{path}: 3 of 20 frames cannot be decoded; is it damaged?"]
    assert [number for number, _ in recording.at([4, 5, 6, 7, 19])] == [4, 7]
    remarks.clear()
    assert [number for number, _ in recording.frames(6, 9, remarks.append)] == [7, 8]
    assert remarks == [f"{path}: 1 of 3 frames cannot be decoded; is it damaged?"]
    assert capfd.readouterr() == ("", "")


def test_torn_videos_are_read_as_far_as_they_go(tmp_path: Path, capfd: Capture) -> None:
    pictures, numbers = [_picture(n) for n in range(COUNT)] * 4, list(range(4 * COUNT))
    for name in ("clip.mkv", "clip.mp4", "clip.ts"):
        path = encode(tmp_path / name, pictures, options={"bf": "0"}, container_options={"movflags": "faststart"})
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
        recording = _only(path)
        assert 10 < recording.count < 4 * COUNT
        read = [number for number, _ in recording.frames()]
        assert read == numbers[: len(read)] and recording.count - len(read) <= 1
        said = any(f"says 80 frames, but holds only {recording.count}" in line for line in recording.remarks)
        assert said == (name == "clip.mp4")  # the others do not say how many there should be
    assert capfd.readouterr() == ("", "")


def test_the_number_of_frames_is_known_where_the_file_does_not_say_it(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mkv", [_picture(n) for n in range(COUNT)])
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    assert _only(path).count == COUNT


def test_a_long_video_needs_little_memory(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", (_picture(n % 20, (320, 240)) for n in range(3000)), 100)
    code = f"""
import resource
from pathlib import Path
from slstt.prediction.recording import open_recordings
(recording,) = open_recordings(Path({str(path)!r}))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
frames = recording.frames()
for _ in range(50):
    next(frames)
before = peak()
print(50 + sum(1 for _ in frames), peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    read, grown = map(int, run.stdout.split())
    assert read == 3000 and grown < 60, "MiB; all of them would be 690"


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
    if not count:
        with av.open(str(tmp_path / "clip.avi"), "w") as container:
            stream = container.add_stream("mjpeg", 100)
            (stream.width, stream.height), stream.pix_fmt = SIZE, "yuvj420p"
            container.start_encoding()
    with pytest.raises(DataError, match=reason):
        open_recordings(_video(tmp_path / "clip.avi", count) if count else tmp_path / "clip.avi")
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
