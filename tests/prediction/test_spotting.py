"""Spotting: intervals on made motion, and on rendered recordings with blinks, a swaying head and faces that vanish."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings as trials
from hypothesis import strategies as st
from rendered_frames import Rendered

from slstt.config.preprocess import Spotting
from slstt.datasets.synthetic.recordings import write_video
from slstt.errors import ConfigError, DataError
from slstt.face.landmarks import LandmarkDetector
from slstt.prediction.face_motion import (
    FaceMotion,
    GivenInterval,
    Interval,
    measure_face_motion,
    motion_in_given_intervals,
)
from slstt.prediction.recording import Recording, open_recordings
from slstt.prediction.spotting import excursions, find_intervals, judged, lagged, strength

PATCHES = 60
SETTINGS = Spotting()
Write = Callable[[str, np.ndarray], Recording]


def _bump(count: int, onset: int, length: int, share: float = 0.5) -> np.ndarray:
    """A triangle (count,) of height 1: no shape that the code knows."""
    apex = onset + max(1, round(share * length))
    return np.interp(np.arange(count), [onset, apex, onset + length], [0, 1, 0])


def _moved(curve: np.ndarray, height: float = 8.0, noise: float = 0.5, seed: int = 0) -> np.ndarray:
    """Motion (n, PATCHES, 2) of which a quarter of the patches take part in `curve`, with noise over all."""
    generator = np.random.default_rng(seed)
    direction = generator.normal(0, 1, (PATCHES, 2))
    direction *= height / np.hypot(*direction.T)[:, None]
    direction[PATCHES // 4 :] = 0
    moved = curve[:, None, None] * direction + generator.normal(0, noise, (len(curve), PATCHES, 2))
    return moved.astype(np.float16)


def _found(moved: np.ndarray, rate: float = 100.0, settings: Spotting = SETTINGS) -> list[Interval]:
    return find_intervals([(0, moved)], rate, settings)


@trials(max_examples=25)
@drawn(
    rate=st.sampled_from([60.0, 100.0, 200.0]),
    seconds=st.floats(0.14, 0.44),
    share=st.floats(0.3, 0.7),
    seed=st.integers(0, 99),
)
def test_a_short_excursion_is_found_whole_at_any_rate(rate: float, seconds: float, share: float, seed: int) -> None:
    onset, length = round(1.5 * rate), round(seconds * rate)
    curve = _bump(round(4 * rate), onset, length, share)
    (found,) = _found(_moved(curve, seed=seed), rate)
    shared = min(found.offset, onset + length) - max(found.onset, onset)
    assert shared / (max(found.offset, onset + length) - min(found.onset, onset)) > 0.6
    assert abs(found.apex - np.argmax(curve)) <= max(2, 0.03 * rate)
    assert found.onset < found.apex < found.offset and found.source == "spotted"
    assert 5 < found.strength < 9, "of 8 thousandths, less what smoothing takes"


@pytest.mark.parametrize(
    "curve",
    [
        np.zeros(400),
        np.linspace(0, 1, 400),
        np.interp(np.arange(400), [190, 205], [0, 1]),
        np.interp(np.arange(400), [205, 215], [1, 0]),
        _bump(400, 150, 100),
        np.sin(np.arange(400) / 100 * 2 * np.pi * 0.5),
        np.eye(1, 400, 200)[0],
    ],
    ids=["rest", "drift", "rise that stays", "fall that stays", "a second long", "slow wave", "one frame"],
)
def test_what_does_not_come_and_go_in_the_limits_is_none(curve: np.ndarray) -> None:
    assert _found(_moved(curve)) == []


def test_what_comes_back_to_another_place_has_not_come_back() -> None:
    curve = _bump(400, 200, 30)
    gone = np.interp(np.arange(400), [205, 225], [0, 1])
    went, stays = _moved(curve), _moved(curve)
    stays[:, : PATCHES // 4, 0] += (20 * gone[:, None]).astype(np.float16)
    assert len(_found(went)) == 1 and _found(stays) == []


@pytest.mark.parametrize(("count", "first", "end"), [(300, 10, 290), (20, 10, 10), (21, 10, 11), (3, 0, 0)])
def test_the_ends_of_a_stretch_cannot_be_judged(count: int, first: int, end: int) -> None:
    """At 100 frames a second the shortest excursion is looked for 0.1 s to either side."""
    told = judged(count, 100.0, SETTINGS)
    assert len(told) == count and np.flatnonzero(told).tolist() == list(range(first, end))


def test_the_limits_are_times_and_are_kept() -> None:
    moved = _moved(_bump(600, 100, 12) + _bump(600, 250, 25) + _bump(600, 400, 44))
    assert len(_found(moved)) == 3
    assert [i.apex // 100 for i in _found(moved, settings=Spotting(longest_ms=350.0))] == [1, 2]
    assert [i.apex // 100 for i in _found(moved, settings=Spotting(shortest_ms=180.0))] == [2, 4]
    assert _found(moved, settings=Spotting(weakest=10.0)) == []
    assert len(_found(moved, rate=20)) == 0, "at 20 frames a second the same frames last 0.6 s and more"


def test_the_threshold_follows_the_recordings_own_unrest() -> None:
    curve = _bump(2000, 1000, 30)
    assert len(_found(_moved(curve, height=4, noise=0.5))) == 1
    assert _found(_moved(curve, height=4, noise=4.0)) == []


def test_stretches_are_apart_and_judged_together() -> None:
    one, other = _moved(_bump(300, 100, 30), seed=1), _moved(_bump(300, 150, 20), seed=2)
    first, second = find_intervals([(50, one), (1000, other)], 100.0, SETTINGS)
    assert abs(first.apex - 165) <= 2 and abs(second.apex - 1160) <= 2
    assert find_intervals([], 100.0, SETTINGS) == [] and find_intervals([(0, one[:2])], 100.0, SETTINGS) == []


def test_long_recordings_are_worked_on_in_blocks_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = _moved(_bump(500, 100, 30) + _bump(500, 190, 25))
    whole = lagged(moved, 12), excursions(moved, 20), _found(moved)
    monkeypatch.setattr("slstt.prediction.spotting.BLOCK", 64)
    blocks = lagged(moved, 12), excursions(moved, 20), _found(moved)
    assert np.array_equal(whole[0], blocks[0], equal_nan=True)
    assert np.array_equal(whole[1], blocks[1]) and whole[2] == blocks[2]


def test_strength_is_the_mean_of_the_strongest_fifth() -> None:
    motion = np.zeros((1, 10, 2))
    motion[0, 3], motion[0, 7], motion[0, 9] = (3, 4), (0, 3), (1, 0)
    assert strength(motion)[0] == pytest.approx((5 + 3) / 2)


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Writes grey frames (n, H, W) as a video of good quality and opens it."""

    def made(name: str, frames: np.ndarray) -> Recording:
        path = tmp_path_factory.mktemp("video") / f"{name}.avi"
        return open_recordings(write_video(path, (np.dstack([frame] * 3) for frame in frames), 100))[0]

    return made


@pytest.fixture(scope="module")
def whole(rendered: Rendered, write: Write) -> Recording:
    return write("whole", rendered.frames)


@pytest.fixture(scope="module")
def motion(whole: Recording, detector: LandmarkDetector) -> FaceMotion:
    return measure_face_motion(whole, detector=detector)


def test_every_expression_of_a_recording_is_spotted_and_no_blink(rendered: Rendered, motion: FaceMotion) -> None:
    assert max(part.lids.max() for part in rendered.drawn.parts) > 0.9, "there are blinks"
    assert len(motion.intervals) == len(rendered.drawn.micro) > 0
    for found, true in zip(motion.intervals, rendered.drawn.micro, strict=True):
        assert abs(found.apex - true.apex) <= 3
        shared = min(found.offset, true.offset) - max(found.onset, true.onset)
        assert shared / (max(found.offset, true.offset) - min(found.onset, true.onset)) >= 0.5


def test_face_motion_covers_every_frame(rendered: Rendered, motion: FaceMotion) -> None:
    count = rendered.drawn.count
    assert motion.landmarks.shape == (count, 68, 2) and motion.landmarks.dtype == np.float32
    assert motion.stabilization.shape == (count, 2, 3) and motion.stabilization.dtype == np.float64
    assert motion.intensity.shape == (count,) and motion.intensity.dtype == np.float32
    assert motion.faces.shape == (count,) and set(motion.faces) == {1}
    assert np.isfinite(motion.landmarks).all() and np.isfinite(motion.stabilization).all() and motion.remarks == ()
    inside = np.zeros(count, bool)
    for found in rendered.drawn.expressions:
        inside[found.onset : found.offset + 13] = True  # the lag after it, too
    assert np.nanmax(motion.intensity[inside]) > 2 * np.nanquantile(motion.intensity[~inside], 0.95)


def test_a_lost_face_is_remarked_and_no_interval_spans_it(
    rendered: Rendered, write: Write, detector: LandmarkDetector
) -> None:
    true = rendered.drawn.micro[0]
    frames = rendered.frames[: true.offset + 80].copy()
    frames[true.apex - 1 : true.apex + 3] = 128
    advanced: list[int] = []
    seen = measure_face_motion(write("lost", frames), advance=advanced.append, detector=detector)
    lost = np.isnan(seen.landmarks).all(axis=(1, 2))
    assert lost[true.apex - 1 : true.apex + 3].all() and lost.sum() < 80
    assert np.array_equal(lost, np.isnan(seen.stabilization).all(axis=(1, 2))) and np.isnan(seen.intensity[lost]).all()
    assert any("no face at" in line and " s" in line for line in seen.remarks)
    assert all(not lost[i.onset : i.offset + 1].any() for i in seen.intervals)
    assert sum(advanced) == len(frames)


def test_recordings_without_a_face_are_refused(write: Write, detector: LandmarkDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 120, 160), dtype=np.uint8)
    with pytest.raises(DataError, match="no face found on any of 12 frames"):
        measure_face_motion(write("noise", noise), detector=detector)


def test_a_frozen_picture_holds_no_expression(rendered: Rendered, detector: LandmarkDetector, tmp_path: Path) -> None:
    for number in range(130):  # a video's own compression would not keep them equal
        cv2.imwrite(str(tmp_path / f"{number}.bmp"), rendered.frames[0])
    seen = measure_face_motion(open_recordings(tmp_path, 100)[0], detector=detector)
    assert seen.intervals == () and np.nanmax(seen.intensity) < 1e-3


def test_missing_frames_are_remarked(whole: Recording, detector: LandmarkDetector, tmp_path: Path) -> None:
    for number, picture in whole.frames(0, 30):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    (frames,) = open_recordings(tmp_path, 100)
    (tmp_path / "12.png").write_bytes(b"")
    remarks = measure_face_motion(frames, detector=detector).remarks
    assert any("1 of 30 frames cannot be decoded (12.png)" in line for line in remarks)


def test_a_given_interval_is_taken_and_its_apex_found(
    rendered: Rendered, whole: Recording, detector: LandmarkDetector
) -> None:
    true = rendered.drawn.micro[1]
    seen = motion_in_given_intervals(whole, [GivenInterval(true.onset, None, true.offset)], detector=detector)
    (found,) = seen.intervals
    assert (found.onset, found.offset, found.source) == (true.onset, true.offset, "given")
    assert abs(found.apex - true.apex) <= 3 and found.strength > 3
    assert len(seen.landmarks) == true.offset + 1
    assert np.isnan(seen.landmarks[: true.onset]).all() and np.isfinite(seen.landmarks[true.onset :]).all()
    assert seen.remarks == ()
    assert seen.judged[true.onset :].all() and not seen.judged[: true.onset].any()
    assert np.isnan(seen.intensity[: true.onset]).all() and seen.intensity[true.onset] == 0
    assert abs(true.onset + np.argmax(seen.intensity[true.onset :]) - true.apex) <= 5
    (found,) = motion_in_given_intervals(whole, [GivenInterval(true.onset, true.apex)], detector=detector).intervals
    assert (found.apex, found.offset) == (true.apex, rendered.drawn.count - 1)


@pytest.mark.parametrize(
    ("numbers", "reasons"),
    [
        ((-1, None, None), ["--onset: onset -1 is not in"]),
        ((599_999, None, None), ["--onset: onset 599999 is not in"]),
        ((10, None, 10), ["--onset: offset 10 must come after onset 10"]),
        ((10, 10, 20), ["--onset: apex 10 must come after onset 10 and not after offset 20"]),
        ((10, 21, 20), ["--onset: apex 21 must come after"]),
        ((10, 5, 99_999), ["--onset: offset 99999 is beyond the last frame", "--onset: apex 5 must come after"]),
    ],
)
def test_numbers_out_of_order_or_outside_are_all_named(
    whole: Recording, numbers: tuple[int, int | None, int | None], reasons: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        motion_in_given_intervals(whole, [GivenInterval(*numbers, "--onset")])
    assert len(caught.value.problems) == len(reasons)
    assert all(reason in line for reason, line in zip(reasons, caught.value.problems, strict=True))


def test_a_given_end_that_the_file_only_promises_is_named(whole: Recording, detector: LandmarkDetector) -> None:
    count = whole.count
    promised = replace(whole, count=count + 100)
    with pytest.raises(ConfigError, match=f"--onset: .* ends with frame {count - 1}"):
        motion_in_given_intervals(promised, [GivenInterval(count - 20, None, count + 5, "--onset")], detector=detector)


def test_given_intervals_over_a_gap_and_without_motion_are_remarked(
    rendered: Rendered, write: Write, detector: LandmarkDetector
) -> None:
    frames = np.repeat(rendered.frames[:1], 150, axis=0)
    frames[120:130] = 128
    given = [GivenInterval(2, None, 20, "first"), GivenInterval(70, None, 135, "second")]
    seen = motion_in_given_intervals(write("gap", frames), given, detector=detector)
    assert [(i.onset, i.offset) for i in seen.intervals] == [(2, 20), (70, 135)]
    said = "\n".join(seen.remarks)
    assert "first: the face hardly moves" in said and "second: the face hardly moves" in said
    assert "second: the face is lost after frame" in said and "no face at" in said and "nothing is spotted" not in said
    assert np.isfinite(seen.intensity[2:21]).all() and np.isnan(seen.intensity[21:70]).all()


def test_a_given_onset_without_a_face_is_named(rendered: Rendered, write: Write, detector: LandmarkDetector) -> None:
    frames = rendered.frames[:40].copy()
    frames[:10] = 128
    with pytest.raises(DataError, match="no face on frame 2, the onset"):
        motion_in_given_intervals(write("late", frames), [GivenInterval(2, None, 30, "--onset")], detector=detector)
