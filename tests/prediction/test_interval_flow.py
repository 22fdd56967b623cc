"""From an interval to flow: the same bits as slstt-preprocess makes, the head stabilized, the crop where it belongs."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from slstt.config.load import load_config
from slstt.config.preprocess import PreprocessConfig
from slstt.datasets import read_release, synthetic
from slstt.datasets.clips import Clip
from slstt.face.landmarks import LandmarkDetector
from slstt.flow.flow_files import flow_path, read_flow
from slstt.flow.interpolation import Rife
from slstt.images import Picture, read_image
from slstt.prediction.classify import IntervalFlow, Unclassifiable, find_classifier, interval_flows
from slstt.prediction.face_motion import FaceMotion, Interval
from slstt.preprocessing.clip import ClipModels, process
from slstt.preprocessing.provenance import Task, dependencies

Crop = tuple[float, float, float, float]
REST = np.eye(3)[:2]


def no_rife() -> Rife:
    raise AssertionError("nothing is to be made up with RIFE here")


def settings(*overrides: str) -> PreprocessConfig:
    return load_config(PreprocessConfig, None, ["interpolation.method=linear", "crop.at_most=128", *overrides])


def seen(count: int, landmarks: np.ndarray, stabilization: np.ndarray | None = None) -> FaceMotion:
    """`count` frames with one face and a still head, unless told otherwise."""
    stabilization = np.repeat(REST[None], count, 0) if stabilization is None else stabilization
    landmarks = np.repeat(landmarks[None], count, 0).astype(np.float32)
    times, faces = np.arange(count) / 100, np.ones(count, int)
    return FaceMotion(
        100.0, times, landmarks, stabilization, np.zeros(count, np.float32), faces, np.ones(count, bool), (), ()
    )


def one(pictures: Callable[[int], Picture], motion: FaceMotion, interval: Interval, crop: Crop | None, *overrides: str):
    def frames(numbers) -> Iterator[tuple[int, Picture]]:
        return ((n, pictures(n)) for n in numbers)

    ((place, made),) = interval_flows(frames, motion, [interval], crop, settings(*overrides), no_rife)
    assert place == 0
    return made


@pytest.fixture(scope="module")
def clips(synthetic_release: Callable[[str], Path]) -> list[Clip]:
    return list(read_release("casme2", synthetic_release("casme2"), None).clips)


@pytest.fixture(scope="module")
def points() -> Callable[[Clip], np.ndarray]:
    detector = LandmarkDetector()
    return lambda clip: detector.detect(read_image(clip.frames[clip.apex or 0]))[0].landmarks


@pytest.mark.parametrize("count", [1, 7, 40])
def test_an_interval_gets_the_flow_that_slstt_preprocess_makes_of_a_clip(
    clips: list[Clip], points: Callable[[Clip], np.ndarray], tmp_path: Path, count: int
) -> None:
    clip, config = clips[0], settings(f"frames.count={count}")
    landmarks, path = points(clip), flow_path(tmp_path, clips[0].key)
    outcome = process(
        Task(clip, path, dependencies(config, clip, landmarks, {}), landmarks), config, ClipModels(config)
    )
    assert outcome.failure is None
    numbers = list(clip.frames)
    place = {n: numbers.index(n) for n in (clip.onset, clip.apex or 0, clip.offset)}
    made = one(
        lambda n: read_image(clip.frames[numbers[n]]),
        seen(len(numbers), landmarks),
        Interval(place[clip.onset], place[clip.apex or 0], place[clip.offset], 1.0),
        None,
        f"frames.count={count}",
    )
    assert isinstance(made, IntervalFlow)
    np.testing.assert_array_equal(made.flow.astype(np.float16), read_flow(path))


def test_the_default_weights_tell_rendered_expressions_apart(tmp_path: Path) -> None:
    """With true onset, apex and offset; chance is a third. The small fast version of the measured table in the docs."""
    root = synthetic.write(tmp_path / "r", "smic", subjects=2, clips_per_subject=6, seed=3, size=(320, 240), quiet=True)
    with (root / "truth" / "clips.csv").open() as stream:
        truth = {row["clip"]: row for row in csv.DictReader(stream)}
    classifier, detector, right = find_classifier("default"), LandmarkDetector(), 0
    release = read_release("smic", root, None)
    for clip in release.clips:
        numbers, apex = list(clip.frames), int(truth[clip.name]["apex"])
        landmarks = detector.detect(read_image(clip.frames[apex]), upsample=1)[0].landmarks
        interval = Interval(numbers.index(clip.onset), numbers.index(apex), numbers.index(clip.offset), 1.0)
        count = f"frames.count={classifier.wanted.frames}"
        motion = seen(len(numbers), landmarks)
        made = one(
            lambda n, clip=clip, numbers=numbers: read_image(clip.frames[numbers[n]]),
            motion,
            interval,
            classifier.crop,
            count,
            "crop.at_most=384",
        )
        probabilities = classifier.probabilities([torch.from_numpy(made.flow)])[0]
        right += classifier.wanted.classes[int(probabilities.argmax())] == clip.emotion
    assert right >= 9, f"{right} of {len(release.clips)}"


@pytest.mark.parametrize("crop", [None, (-1.0, 1.0, -0.9, 2.0)])
def test_the_motion_of_the_head_leaves_no_flow(
    clips: list[Clip], points: Callable[[Clip], np.ndarray], crop: Crop | None
) -> None:
    """One picture, shifted, turned and grown from frame to frame: after stabilization nothing moves."""
    face = read_image(clips[0].frames[clips[0].apex or 0])
    height, width = face.shape[:2]
    moves = []
    for n in range(9):
        moves.append(
            cv2.getRotationMatrix2D((width / 2, height / 2), 0.6 * n, 1 + 0.004 * n)
            + np.array([[0, 0, 1.1 * n], [0, 0, n]])
        )
    stabilization = np.stack([cv2.invertAffineTransform(move) for move in moves])

    def picture(n: int) -> Picture:
        moved = cv2.warpAffine(face, moves[n], (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.uint8)

    landmarks = points(clips[0])
    own = landmarks @ moves[5][:, :2].T + moves[5][:, 2]
    interval = Interval(0, 5, 8, 1.0)
    rested = one(picture, seen(9, own, stabilization), interval, crop, "frames.count=5")
    loose = one(picture, seen(9, own), interval, crop, "frames.count=5")
    assert isinstance(rested, IntervalFlow) and isinstance(loose, IntervalFlow)
    left, before = (np.median(np.hypot(*made.flow[-1])) for made in (rested, loose))
    assert before > 2
    assert left < 0.1


@pytest.mark.parametrize("turn", [0.0, 20.0])
def test_the_crop_is_laid_by_the_eyes_and_a_tilted_head_is_righted(turn: float) -> None:
    """A dot at a known place of the face is where the crop says, however large or tilted the face."""
    crop, at_most = (-1.0, 1.0, -0.9, 2.0), 290
    for unit in (40.0, 90.0, 260.0):  # as they are, and shrunk
        picture = np.zeros((900, 900, 3), np.uint8)
        angle, eyes = np.radians(turn), np.array([450.0, 350.0])
        axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # rows: face x, face y
        dot = eyes + unit * np.array([0.5, 1.1]) @ axes
        cv2.circle(picture, (round(dot[0]), round(dot[1])), max(2, round(unit * 0.06)), (255, 255, 255), -1)
        landmarks = np.repeat(eyes[None], 68, 0) + np.zeros((68, 2))
        landmarks[36:42] = eyes - unit / 2 * axes[0]
        landmarks[42:48] = eyes + unit / 2 * axes[0]
        made = one(lambda n, p=picture: p, seen(3, landmarks), Interval(0, 1, 2, 1.0), crop, f"crop.at_most={at_most}")
        assert isinstance(made, IntervalFlow)
        shown = made.shown["apex"][..., 0].astype(float)
        height, width = (round(2.9 * unit), round(2 * unit)) if unit <= 100 else (290, 200)
        assert shown.shape == (height, width)
        rows, columns = np.nonzero(shown > 60)
        assert columns.mean() / width == pytest.approx((0.5 + 1) / 2, abs=0.015)
        assert rows.mean() / height == pytest.approx((1.1 + 0.9) / 2.9, abs=0.015)


@pytest.mark.parametrize(
    ("lost", "reason"),
    [((0,), "no face on its onset, frame 0"), (tuple(range(1, 9)), "no frame with a face after its onset 0")],
)
def test_an_interval_without_a_face_says_so(lost: tuple[int, ...], reason: str) -> None:
    motion = seen(9, np.random.default_rng(0).uniform(40, 90, (68, 2)))
    motion.landmarks[list(lost)] = np.nan
    made = one(lambda n: np.zeros((120, 120, 3), np.uint8), motion, Interval(0, 4, 8, 1.0), None)
    assert isinstance(made, Unclassifiable)
    assert reason in str(made)


def test_frames_without_a_face_are_left_out_and_said(clips: list[Clip], points: Callable[[Clip], np.ndarray]) -> None:
    clip = clips[0]
    numbers = list(clip.frames)[:9]
    motion = seen(9, points(clip))
    motion.stabilization[4] = np.nan
    interval = Interval(0, 4, 8, 1.0)
    made = one(lambda n: read_image(clip.frames[numbers[n]]), motion, interval, None, "frames.count=11")
    assert isinstance(made, IntervalFlow)
    assert made.flow.shape[0] == 11
    assert [remark.split()[0] for remark in made.remarks] == ["1", "frame", "4"]
    assert made.remarks[1] == "frame 3 stands for its apex, 4"


def test_several_intervals_are_read_in_one_pass_and_keep_their_places(
    clips: list[Clip], points: Callable[[Clip], np.ndarray]
) -> None:
    clip = clips[0]
    numbers, read = list(clip.frames)[:20], []

    def frames(wanted) -> Iterator[tuple[int, Picture]]:
        for n in wanted:
            read.append(n)
            yield n, read_image(clip.frames[numbers[n]])

    intervals = [Interval(0, 5, 9, 1.0), Interval(8, 12, 15, 1.0)]
    motion, config = seen(20, points(clip)), settings("frames.count=1")
    made = dict(interval_flows(frames, motion, intervals, None, config, no_rife))
    assert read == sorted(set(read)) == [0, 5, 8, 9, 12, 15]
    alone = one(lambda n: read_image(clip.frames[numbers[n]]), motion, intervals[1], None, "frames.count=1")
    assert isinstance(made[1], IntervalFlow)
    np.testing.assert_array_equal(made[1].flow, alone.flow)
