"""What holds for any sheet and any folders: every row and every folder ends somewhere, once."""

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_trees import frames

from slstt.datasets import DATASETS
from slstt.datasets.annotations import Annotation
from slstt.datasets.folders import FrameFolders, frames_in, subfolders
from slstt.datasets.releases import match, ranges
from slstt.errors import DataError

NAMES = ("EP01_01", "EP01_02", "EP01_03", "EP01_04")
ROWS = st.lists(
    st.builds(
        Annotation,
        line=st.just(7),
        subject=st.just("sub01"),
        clip=st.sampled_from([*NAMES, "EP09_09"]),
        emotion=st.sampled_from(["disgust", "boredom"]),
        onset=st.integers(0, 6),
        apex=st.none() | st.integers(0, 8),
        apex_text=st.just("/"),
        offset=st.integers(0, 8),
    ),
    max_size=8,
)
HELD = {NAMES[0]: range(9), NAMES[1]: (1, 2, 4, 6), NAMES[2]: (), NAMES[3]: (3,)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    return {("sub01", name): frames(root / name, numbers) for name, numbers in HELD.items()}


@given(rows=ROWS)
def test_every_row_and_folder_ends_in_exactly_one_place(folders, rows):
    clips, remarks = match(DATASETS["casme2"], rows, FrameFolders(folders, {}, ()))
    ends = Counter((clip.subject, clip.name) for clip in clips)
    ends += Counter((r.subject, r.clip) for r in remarks if r.action in ("failure", "ignored"))
    wanted = {(row.subject, row.clip) for row in rows} | set(folders)
    assert ends == dict.fromkeys(wanted, 1)
    for clip in clips:
        assert clip.onset in clip.frames and clip.onset < clip.offset
        assert list(clip.frames) == list(HELD[clip.name])
        noticed = {r.kind for r in remarks if r.clip == clip.name}
        unusable = clip.apex is None or not clip.onset <= clip.apex <= clip.offset
        assert unusable == bool(noticed & {"apex_missing", "apex_outside"})
        lost = any(number not in clip.frames for number in range(clip.onset, clip.offset + 1))
        assert lost == ("frames_missing" in noticed)
        assert (clip.emotion == "boredom") == ("unknown_emotion" in noticed)


@given(st.sets(st.integers(0, 60)))
def test_ranges_name_exactly_the_numbers_given(numbers):
    named = set()
    for part in filter(None, ranges(numbers).split(", ")):
        first, _, last = part.partition("-")
        named |= set(range(int(first), int(last or first) + 1))
    assert named == numbers


@given(
    st.sets(st.integers(0, 10**7), max_size=12),
    st.sampled_from(["img{}.jpg", "reg_img{}.JPG", "006_{:05d}.png", "{}.bmp"]),
)
def test_frames_come_by_number_whatever_they_are_called(tmp_path_factory, numbers, name):
    found, doubled = frames_in(frames(tmp_path_factory.mktemp("clip"), numbers, name))
    assert list(found) == sorted(numbers)
    assert all(path.name == name.format(number) for number, path in found.items())
    assert doubled == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path):
    closed = tmp_path / "sub01"
    closed.mkdir(mode=0o000)
    try:
        for look in (subfolders, frames_in):
            with pytest.raises(DataError, match="sub01: cannot be read"):
                look(closed)
    finally:
        closed.chmod(0o755)
