"""Tracking one face: near the true points on every frame, through gaps and beside other faces."""

import cv2
import numpy as np
import pytest
from rendered_frames import Rendered

from slstt.datasets.synthetic.recordings import draw_recording
from slstt.errors import DataError
from slstt.face.landmarks import LandmarkDetector, find_landmarks
from slstt.face.tracking import FaceTracker

RATE = 100.0
EMPTY = np.full((240, 320), 128, np.uint8)


def _track(frames: np.ndarray, detector: LandmarkDetector) -> list:
    tracker = FaceTracker(RATE, detector)
    return [tracker.track(frame) for frame in frames]


class Counting(LandmarkDetector):
    """The detector, counting how often it searches faces."""

    searches = 0

    def detect(self, image: np.ndarray, upsample: int = 0, smallest: float = 0.2) -> list:
        self.searches += 1
        return super().detect(image, upsample, smallest)


def test_the_points_stay_on_the_face_and_the_detector_rests() -> None:
    drawn = draw_recording(2, seed=2, size=(320, 240), head=10, grey=True)
    frames = np.stack([p[..., 0] for _, p in drawn.frames()])
    rendered, detector = Rendered(drawn, frames), Counting()
    tracked = _track(frames, detector)
    pose = drawn.parts[0].motion.pose
    true = rendered.head(pose.pixels(drawn.portrait.face.landmarks))
    eyes = np.array([s.landmarks for s in tracked])[:, 36:48].mean(axis=1)
    assert np.hypot(*(eyes - true[:, 36:48].mean(axis=1)).T).max() < 0.06 * pose.interocular
    assert {s.faces for s in tracked} == {1}
    assert detector.searches <= 2 + len(frames) / (0.5 * RATE)
    assert sum(s.confirmed for s in tracked) == detector.searches


def test_a_small_face_is_tracked_where_the_setting_allows_it(rendered: Rendered, detector: LandmarkDetector) -> None:
    frames = np.full((6, 800, 800), 128, np.uint8)
    frames[:, 300:540, 200:520] = rendered.frames[:6]
    widths = [face.box[2] - face.box[0] for face in detector.detect(frames[0], smallest=0.0)]
    assert len(widths) == 1 and 0.12 < widths[0] / 800 < 0.2
    for smallest, found in ((0.2, False), (0.12, True)):
        tracker = FaceTracker(RATE, detector, smallest)
        assert [tracker.track(frame).landmarks is not None for frame in frames] == [found] * 6
    with pytest.raises(DataError, match=r"a face 1\d% as wide .* \(crop.smallest_face=0.2\)"):
        find_landmarks(detector, [(7, frames[0])])
    assert find_landmarks(detector, [(7, frames[0])], smallest=0.12).frame == 7


def test_a_face_that_leaves_and_returns_is_lost_and_found(rendered: Rendered, detector: LandmarkDetector) -> None:
    frames = rendered.frames[:200].copy()
    frames[80:130] = EMPTY
    tracked = _track(frames, detector)
    seen = np.array([s.landmarks is not None for s in tracked])
    assert seen[:80].all() and seen[140:].all()
    lost = np.flatnonzero(~seen)
    assert len(lost) and 80 <= lost[0] <= 130 and lost[-1] < 140
    assert not any(s.changed for s in tracked), "the same face in the same place"


def test_doubt_has_a_face_detected_at_once(rendered: Rendered, detector: LandmarkDetector) -> None:
    tracker = FaceTracker(RATE, detector)
    assert tracker.track(rendered.frames[0]).confirmed
    assert not tracker.track(rendered.frames[1]).confirmed
    assert tracker.track(rendered.frames[2], doubt=True).confirmed
    assert tracker.track(EMPTY, doubt=True).landmarks is None


@pytest.mark.parametrize("small_first", [False, True])
def test_the_largest_of_several_faces_is_tracked(
    rendered: Rendered, detector: LandmarkDetector, small_first: bool
) -> None:
    big = rendered.frames[:60, :, 40:280]
    small = np.stack([cv2.resize(frame, (192, 192), interpolation=cv2.INTER_AREA) for frame in big])
    small = np.pad(small, ((0, 0), (24, 24), (0, 0)), mode="edge")
    frames = np.concatenate([small, big] if small_first else [big, small], axis=2)
    tracked = _track(frames, detector)
    assert {s.faces for s in tracked} == {2}
    middles = np.array([s.landmarks[:, 0].mean() for s in tracked])
    assert (middles > 192).all() if small_first else (middles < 240).all()


def test_another_face_elsewhere_is_a_change(rendered: Rendered, detector: LandmarkDetector) -> None:
    face = rendered.frames[:120, :, 60:260]
    left, right = (np.full((120, 240, 520), 128, np.uint8) for _ in range(2))
    left[:, :, :200], right[:, :, 320:] = face, face
    tracked = _track(np.concatenate([left[:60], right[60:]]), detector)
    changes = [n for n, s in enumerate(tracked) if s.changed]
    assert len(changes) == 1 and 60 <= changes[0] <= 110
    assert tracked[-1].landmarks[:, 0].mean() > 320


def test_no_face_anywhere_is_seen_nowhere(detector: LandmarkDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 240, 320), dtype=np.uint8)
    assert all(s.landmarks is None and s.faces == 0 for s in _track(noise, detector))
