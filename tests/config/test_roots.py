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


def test_a_circle_of_symbolic_links_is_a_path_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    settings = TrainConfig(data=Data(root=tmp_path / "a"))
    assert with_absolute_roots(settings).data.root is not None
