"""A rendered recording with the truth about its head."""

from dataclasses import dataclass

import numpy as np

from slstt.datasets.synthetic.recordings import SyntheticRecording


@dataclass(frozen=True)
class Rendered:
    """A synthetic recording and its frames (n, H, W) uint8 grey."""

    drawn: SyntheticRecording
    frames: np.ndarray

    def head(self, points: np.ndarray) -> np.ndarray:
        """(n, N, 2): where the head's true motion alone brings `points` (N, 2) of its first frame."""
        parts = self.drawn.parts
        pose, drift = parts[0].motion.pose, np.concatenate([part.motion.drift for part in parts])
        away = points - (pose.x, pose.y)
        x, y, roll, scale = (column[:, None] for column in drift.T)
        moved = np.stack([scale * away[:, 0] - roll * away[:, 1] + x, roll * away[:, 0] + scale * away[:, 1] + y], -1)
        return points + moved
