"""What is known of a synthetic clip's motion, in the cut that the pipeline makes of it."""

from dataclasses import replace

import cv2
import numpy as np

from slstt.datasets.synthetic.clips import SyntheticClip

Square = tuple[int, int, int]


def true_flow(clip: SyntheticClip, number: int, square: Square, size: int) -> np.ndarray:
    """(2, size, size): the clip's true flow from the onset, in pixels of the cut."""
    x0, y0, side = square
    field = clip.motion.field(number - clip.first).astype(np.float32)
    whole = cv2.resize(field, clip.motion.size, interpolation=cv2.INTER_CUBIC)[y0 : y0 + side, x0 : x0 + side]
    return cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA).transpose(2, 0, 1) * (size / side)


def moving(clip: SyntheticClip, square: Square, size: int) -> np.ndarray:
    """(size, size) bool: where the expression, apart from the head's drift, moves by more than a fifth of its peak."""
    still = replace(clip, motion=replace(clip.motion, drift=np.zeros_like(clip.motion.drift)))
    strength = np.hypot(*true_flow(still, clip.apex, square, size))
    return strength > strength.max() / 5
