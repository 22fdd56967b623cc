from pathlib import Path

import pytest
from tiny_runs import write_cache


@pytest.fixture(scope="session")
def flow_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cache of flow; read only."""
    return write_cache(tmp_path_factory.mktemp("flow"))
