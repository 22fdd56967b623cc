import cv2
import numpy as np
import pytest
from rendered_frames import Rendered

from slstt.datasets.synthetic.recordings import draw_recording
from slstt.preprocessing.landmarks import LandmarkDetector


@pytest.fixture(scope="session")
def detector() -> LandmarkDetector:
    return LandmarkDetector()


@pytest.fixture(scope="session")
def rendered() -> Rendered:
    """Six seconds of 320 x 240 at 100 frames a second: the head sways, the eyes blink, expressions come and go."""
    drawn = draw_recording(6, seed=6, size=(320, 240), head=10, grey=True)
    return Rendered(drawn, np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for _, p in drawn.frames()]))
