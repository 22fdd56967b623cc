"""What watching a recording finds: where the face is on every frame, how much it moves, and the spotted intervals.

Frames are numbered from 0 in the order of the recording. Lengths are in pixels of the frame unless said otherwise.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A candidate micro-expression: frame numbers, onset <= apex <= offset, all three included.

    `strength` is the intensity at the apex against the onset, in thousandths of the interocular distance; `source` is
    `spotted` or `given` (`--onset`, `--apex`, `--offset`).
    """

    onset: int
    apex: int
    offset: int
    strength: float
    source: str = "spotted"


@dataclass(frozen=True)
class Watched:
    """One recording, watched from end to end.

    n is the number of frames. `rate` is in frames per second. `landmarks` (n, 68, 2) float32, (x, y), NaN where no
    face was found. `still` (n, 2, 3) float64: the similarity that maps a frame's pixels onto the first frame with a
    face (which keeps its size), NaN likewise. `intensity` (n,) float32: motion inside the stilled face against the
    frame some time before, in thousandths of the interocular distance, NaN where unknown. `faces` (n,) int: how many
    faces were seen when last looked for. `remarks`: lines for the user (lost face, several faces, slow or uneven rate).
    """

    rate: float
    landmarks: np.ndarray
    still: np.ndarray
    intensity: np.ndarray
    faces: np.ndarray
    intervals: tuple[Interval, ...]
    remarks: tuple[str, ...]
