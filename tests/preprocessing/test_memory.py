"""However long a clip is, few of its frames are in memory at once."""

import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slstt.config.load import load_config
from slstt.config.preprocess import PreprocessConfig
from slstt.datasets import read_release
from slstt.datasets.clips import Clip
from slstt.images import encode, read_full_depth
from slstt.preprocessing import clip as steps
from slstt.preprocessing.apex_spotting import apex_place

MOST = 4
"""Frames alive: the onset, the apex, the one at work and the one decoded after it."""


class Alive:
    """Reads frames as slstt does, and counts those that something still holds."""

    def __init__(self) -> None:
        self.frames: list[weakref.ref] = []
        self.most = 0

    def read(self, path: Path) -> np.ndarray:
        picture = read_full_depth(path)
        self.frames = [frame for frame in self.frames if frame() is not None]
        self.frames.append(weakref.ref(picture))
        self.most = max(self.most, len(self.frames))
        return picture


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Alive:
    counted = Alive()
    monkeypatch.setattr(steps, "read_full_depth", counted.read)
    return counted


@pytest.fixture(scope="module")
def clip(synthetic_release: Callable[[str], Path]) -> Clip:
    return read_release("casme2", synthetic_release("casme2")).clips[0]


def _work(clip: Clip, *settings: str) -> steps.ClipWork:
    config = load_config(PreprocessConfig, None, ["interpolation.method=linear", "crop.at_most=64", *settings])
    times = steps.StageTimes()
    frames = steps.FrameReader(clip, times)
    return steps.ClipWork(clip, None, config, steps.ClipModels(config), steps.present(clip), frames, times)


def test_spotting_in_a_longer_clip_takes_no_more_memory(clip: Clip, alive: Alive) -> None:
    files = list(clip.frames.values())[:8]
    peaks = []
    for frames in (files, files * 4):
        long = replace(clip, onset=0, apex=None, offset=len(frames) - 1, frames=dict(enumerate(frames)))
        work = _work(long)
        steps.find_face(work, 0)
        tracemalloc.start()  # NumPy and OpenCV both tell it of their arrays
        steps.find_apex(work)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert list(work.frames.decoded) == [0], "the onset"
    assert alive.most <= MOST
    assert peaks[1] < peaks[0] + 2**20, "24 frames more, of which one flow field alone takes half a megabyte"


def test_a_frame_is_dropped_once_it_is_cut(clip: Clip, alive: Alive) -> None:
    work = _work(clip)
    apex = work.numbers.index(clip.apex or 0)
    shape = work.frames[work.numbers[apex]].shape[:2]
    plan = steps.choose_plan(work, apex).value
    cuts = steps.crop_frames(work, plan, (200, 100, 200), 64, shape).value
    assert len(cuts) == 12 and alive.most <= MOST
    assert not work.frames.decoded


def test_neighbours_without_a_face_are_not_kept(clip: Clip, alive: Alive, tmp_path: Path) -> None:
    blank = tmp_path / "blank.png"
    blank.write_bytes(encode(np.full((120, 160, 3), 90, np.uint8), ".png"))
    faceless = replace(clip, frames=dict.fromkeys(clip.frames, blank))
    work = _work(faceless, "crop.neighbours=10", "crop.upsample=0")
    with pytest.raises(steps.Unusable, match="no_face"):
        steps.find_face(work, len(work.numbers) // 2)
    assert alive.most <= MOST


def test_the_apex_is_found_in_frames_that_are_made_as_they_are_asked_for() -> None:
    """Of a stream of frames the onset and the last few are held, whatever its length."""
    held: list[weakref.ref] = []
    most = 0
    y, x = np.mgrid[:160, :160]

    def frames() -> Iterator[np.ndarray]:
        nonlocal held, most
        for number in range(40):
            shift = 2 * np.exp(-(((number - 17) / 5) ** 2)) * np.exp(-((x - 80) ** 2 + (y - 110) ** 2) / 400)
            picture = (128 + 60 * np.sin(x / 5) * np.sin((y + shift) / 5)).astype(np.uint8)
            held = [frame for frame in held if frame() is not None]
            held.append(weakref.ref(picture))
            most = max(most, len(held))
            yield picture

    points = np.random.default_rng(0).uniform(30, 130, (68, 2))
    place, strength = apex_place(frames(), points)
    assert len(strength) == 40 and abs(place - 17) <= 1
    assert most <= 3
