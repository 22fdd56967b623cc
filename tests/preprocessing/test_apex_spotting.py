"""Apex spotting: exact on made curves, near the truth on synthetic clips, and blind to what is no expression."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from slstt.datasets import read_release
from slstt.datasets.synthetic import read_truth
from slstt.face.crop import MEASURED_SIDE, cut, face_mask, face_square
from slstt.images import read_image
from slstt.preprocessing.apex_spotting import apex_place

SIDE = 160
"""Of the made pictures."""
FACE = np.array(
    [(20 + 120 * i / 16, 60 + 80 * np.sin(np.pi * i / 16)) for i in range(17)]  # jaw
    + [(35 + 90 * i / 9, 45) for i in range(10)]  # brows
    + [(80, 60 + 8 * i) for i in range(9)]  # nose
    + [(45 + 20 * (i >= 6) * 2 + 8 * np.cos(i * np.pi / 3), 62 + 4 * np.sin(i * np.pi / 3)) for i in range(12)]  # eyes
    + [(80 + 18 * np.cos(i * np.pi / 10), 112 + 7 * np.sin(i * np.pi / 10)) for i in range(20)],  # mouth
    np.float32,
)


def _texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (SIDE, SIDE)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), np.zeros(0), 0, 255, cv2.NORM_MINMAX)


def _clip(lift: np.ndarray, drift: np.ndarray) -> np.ndarray:
    """Frames in which a mouth corner is lifted by `lift` pixels and the head moved right by `drift` pixels."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    corner = np.exp(-((x - 98) ** 2 + (y - 112) ** 2) / (2 * 14**2))
    texture = _texture()
    frames = [
        cv2.remap(texture, x - d, y + up * corner, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        for up, d in zip(lift, drift, strict=True)
    ]
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("apex", [3, 10, 19])
def test_the_peak_of_a_local_motion_is_found_in_spite_of_a_drifting_head(apex: int) -> None:
    places = np.arange(24, dtype=np.float32)
    lift = np.float32(2.0) * np.exp(-(((places - apex) / 5) ** 2)) * (places > 0)
    drift = np.float32(0.1) * places  # at the end larger than the expression
    found, strength = apex_place(_clip(lift, drift), FACE)
    assert abs(found - apex) <= 1
    assert strength.shape == (24,) and strength[found] == strength[1:].max()


def test_motion_outside_the_face_and_in_the_eyes_does_not_count() -> None:
    mask = face_mask(FACE, (SIDE, SIDE))
    assert not mask[5, 5] and not mask[155, 155] and not mask[62, 45] and not mask[62, 85]
    assert mask[100, 80] and mask[130, 80]
    assert mask.mean() > 0.15, "most of this face still counts"


def test_the_onset_is_never_the_apex_and_two_frames_are_needed() -> None:
    still = np.repeat(_texture().astype(np.uint8)[None], 4, axis=0)
    assert apex_place(still, FACE)[0] >= 1
    with pytest.raises(ValueError, match="at least two"):
        apex_place(still[:1], FACE)


def test_mean_error_on_synthetic_clips_beats_the_middle_frame(synthetic_release: Callable[[str], Path]) -> None:
    root = synthetic_release("casme2")
    spotted, middle = [], []
    for clip in read_release("casme2", root).clips:
        truth = read_truth(root, clip.subject, clip.name)
        square = face_square(truth.landmarks_onset)
        numbers = [number for number in clip.frames if clip.onset <= number <= clip.offset]
        frames = np.stack(
            [cv2.cvtColor(cut(read_image(clip.frames[n]), square, MEASURED_SIDE), cv2.COLOR_RGB2GRAY) for n in numbers]
        )
        place, _ = apex_place(frames, (truth.landmarks_onset - square[:2]) * (MEASURED_SIDE / square[2]))
        spotted.append(abs(numbers[place] - truth.apex))
        middle.append(abs(numbers[len(numbers) // 2] - truth.apex))
    assert np.mean(spotted) <= 1.0 and max(spotted) <= 2, "in frames; docs/preprocessing.md has larger samples"
    assert np.mean(spotted) <= np.mean(middle)
