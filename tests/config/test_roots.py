from pathlib import Path

import pytest

from slstt.config.train import Data, TrainConfig, identity, roots, with_absolute_roots


@pytest.mark.parametrize("root", [None, "maps", ("maps", "/data/more")])
def test_a_run_folder_names_its_data_wherever_its_reader_stands(
    root: str | tuple[str, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = TrainConfig(data=Data.model_validate({"root": root}))
    absolute = with_absolute_roots(settings)
    expected = {None: (), "maps": (tmp_path / "maps",)}.get(root, (tmp_path / "maps", Path("/data/more")))  # type: ignore[arg-type]
    assert roots(absolute.data) == tuple(path.resolve() for path in expected)
    assert identity(absolute) == identity(settings)  # moving the data does not make it another run
