"""A face that the detector is suddenly unsure of: covered, turned or blurred, from detection to detection."""

import numpy as np

from slstt.face.tracking import TrackedFace, unclear

POINTS = np.zeros((68, 2), np.float32)


def faces(scores: list[float], scale: float = 1.0) -> list[TrackedFace | None]:
    """A detection on every fifth frame, the points alone between them."""
    found: list[TrackedFace | None] = []
    for score in scores:
        found.append(TrackedFace(POINTS, 1, confirmed=True, score=score, scale=scale))
        found += [TrackedFace(POINTS, 1)] * 4
    return found


def test_a_low_score_counts_from_the_detection_before_to_the_one_after() -> None:
    there = unclear(faces([2.0, 1.8, 0.7, 0.6, 1.9, 2.1]))
    assert np.flatnonzero(there).tolist() == list(range(6, 20))


def test_a_detector_that_is_never_sure_or_always_says_nothing() -> None:
    assert not unclear(faces([0.9, 0.2, 0.8, 0.3, 0.9])).any()
    assert not unclear(faces([2.0, 1.1, 1.5, 1.2, 1.9])).any()
    assert not unclear(faces([2.0, 0.2, 2.0])).any()  # three do not tell what is usual
    assert not unclear([]).any()


def test_scores_are_compared_at_the_same_scale_alone() -> None:
    both = [*faces([2.0, 2.0, 2.0, 2.0]), None, *faces([0.6, 0.7, 0.6, 0.6], scale=0.5)]
    assert not unclear(both).any()
    both = [*faces([2.0, 2.0, 2.0, 2.0, 0.6]), *faces([0.6], scale=0.5)]
    assert np.flatnonzero(unclear(both)).tolist() == list(range(16, 25))
