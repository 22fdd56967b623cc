import os
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
