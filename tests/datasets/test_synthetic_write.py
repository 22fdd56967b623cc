"""Synthetic data sets on disk: the same bytes again, whole or not at all, and readable as the real ones are."""

import csv
import hashlib

import cv2
import numpy as np
import pytest

from slstt.datasets import read_release
from slstt.datasets.synthetic import LAYOUTS, Plan, dataset, read_truth, write
from slstt.datasets.synthetic import dataset as layouts
from slstt.datasets.synthetic.clips import grid
from slstt.errors import ConfigError, DataError

SMALL = {"subjects": 2, "clips_per_subject": 2, "size": (160, 160), "quiet": True}


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_same_seed_same_bytes_whatever_the_workers(tmp_path, layout):
    one = digests(write(tmp_path / "one", layout=layout, workers=1, difficulty=0.5, **SMALL))
    two = digests(write(tmp_path / "two", layout=layout, workers=3, difficulty=0.5, **SMALL))
    assert one == two


def test_another_seed_gives_other_frames(tmp_path):
    one = digests(write(tmp_path / "one", seed=0, **SMALL))
    two = digests(write(tmp_path / "two", seed=1, **SMALL))
    pictures = [{digest for name, digest in found.items() if name.endswith(".jpg")} for found in (one, two)]
    assert not pictures[0] & pictures[1]


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_readers_of_the_real_data_sets_read_it(tmp_path, layout):
    root = write(tmp_path / "set", layout=layout, subjects=2, clips_per_subject=6, size=(160, 160), quiet=True)
    native = LAYOUTS[layout]
    release = read_release(native.dataset, root)
    assert release.remarks == ()
    assert len(release.clips) == 12
    with (root / dataset.TABLE).open(newline="") as stream:
        rows = {(row["subject"], row["clip"]): row for row in csv.DictReader(stream)}
    for clip in release.clips:
        row = rows[clip.subject, clip.name]
        assert clip.emotion == row["emotion"]
        assert (clip.onset, clip.offset) == (int(row["onset"]), int(row["offset"]))
        numbers = sorted(clip.frames)
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        if native.only_onset_to_offset:
            assert (numbers[0], numbers[-1]) == (clip.onset, clip.offset)
        else:
            assert numbers[0] < clip.onset and numbers[-1] > clip.offset
        if layout == "smic":
            assert clip.apex is not None and clip.onset < clip.apex < clip.offset
        else:
            assert clip.apex == int(row["apex"])  # at difficulty 0 the annotation is exact
        picture = cv2.imread(str(clip.frames[clip.onset]), cv2.IMREAD_UNCHANGED)
        assert picture.shape == ((160, 160) if native.grey else (160, 160, 3))
        known = read_truth(root, clip.subject, clip.name)
        assert list(known.numbers) == numbers


def test_truth_knows_flow_and_landmarks(tmp_path):
    root = write(tmp_path / "set", layout="casme2_full", **SMALL)
    plan = Plan(layout="casme2_full", subjects=2, clips_per_subject=2, size=(160, 160))
    for portrait, row in plan.clips():
        known, clip = read_truth(root, row.subject, row.name), row.clip
        assert (known.onset, known.apex, known.offset) == (clip.onset, clip.apex, clip.offset)
        assert not known.flow(clip.onset).any()
        flow = known.flow(clip.apex)
        assert flow.shape == (2, *grid((160, 160)).shape[:2])
        np.testing.assert_allclose(flow, clip.motion.field(clip.apex - clip.first).transpose(2, 0, 1), atol=2e-3)
        moved = np.linalg.norm(known.landmarks_apex - known.landmarks_onset, axis=1).max()
        assert 0.2 * clip.peak < moved < 1.5 * clip.peak
        neutral = clip.motion.pose.pixels(portrait.face.landmarks)
        np.testing.assert_allclose(known.landmarks_onset, neutral, atol=1e-3)


def test_truth_that_is_missing_or_damaged_is_a_one_line_error(tmp_path):
    root = write(tmp_path / "set", subjects=1, clips_per_subject=1, size=(200, 160), quiet=True)
    with pytest.raises(DataError, match=r"sub09.*write the data set again"):
        read_truth(root, "sub09", "EP01_01f")
    path = dataset.truth_path(root, "sub01", "EP01_01f")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="EP01_01f"):
        read_truth(root, "sub01", "EP01_01f")


def test_some_clips_are_too_short_for_eleven_frames_and_most_are_not():
    plan = Plan(subjects=2, clips_per_subject=30, size=(160, 160))
    counts = [row.clip.offset - row.clip.onset for _, row in plan.clips()]
    short = sum(count < 11 for count in counts)
    assert 3 <= short <= 20
    assert max(counts) <= 40 and min(counts) >= 6


def test_difficulty_makes_the_motion_smaller():
    """Peaks in pixels of a 640x480 frame, which grow with the frame."""
    size = (160, 160)  # an interocular distance of 24 pixels against 96
    plans = [Plan(subjects=1, clips_per_subject=40, difficulty=d, size=size) for d in (0.0, 0.5, 0.9, 1.0)]
    peaks = [4 * np.array([row.clip.peak for _, row in plan.clips()]) for plan in plans]
    for found, (low, high) in zip(peaks, [(1.5, 3.0), (0.4, 1.1), (0.3, 0.9), (0.2, 0.6)], strict=True):
        assert low <= found.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < found.max() <= high


def test_a_root_that_holds_the_same_set_is_kept_and_any_other_refused(tmp_path, monkeypatch):
    root = write(tmp_path / "set", **SMALL)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write(root, **SMALL) == root
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with pytest.raises(DataError, match="holds something else"):
        write(root, seed=5, **SMALL)
    other = tmp_path / "notes"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"notes: holds something else"):
        write(other, **SMALL)
    assert (other / "mine.txt").read_text() == "mine"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert read_release("casme2", write(empty, **SMALL)).clips


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    real, calls = dataset.write_picture, []

    def stop_at_the_twentieth(*arguments):
        calls.append(arguments)
        if len(calls) == 20:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(dataset, "write_picture", stop_at_the_twentieth)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set", workers=1, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_all_wrong_settings_are_reported_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        write(tmp_path / "set", "mine", 0, 0, 1.5, -1, -1.0, (100, 480), ("joy", "happiness"))
    problems = "\n".join(caught.value.problems)
    for name in ("layout", "subjects", "clips_per_subject", "difficulty", "seed", "motion", "size", "emotions"):
        assert f"{name}: " in problems
    assert "happiness'" not in problems
    assert not (tmp_path / "set").exists()


def test_names_are_the_native_ones(tmp_path):
    row = next(iter(Plan(layout="samm", subjects=1, clips_per_subject=1, size=(200, 160)).clips()))[1]
    assert (row.subject, row.name) == ("006", "006_1_1")
    frame = LAYOUTS["samm"].frame(row.subject, row.name, "anger", 562)
    assert frame == "SAMM/006/006_1_1/006_00562.jpg"
    assert LAYOUTS["casme2"].frame("sub01", "EP01_01f", "others", 46) == "CASME2_RAW_selected/sub01/EP01_01f/img46.jpg"
    assert (
        LAYOUTS["smic"].frame("s01", layouts.LAYOUTS["smic"].clip("s01", 7, "surprise", 2), "surprise", 559740)
        == "SMIC_all_raw/HS/s01/micro/surprise/s01_sur_02/image559740.bmp"
    )
