import os
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
