"""`slstt-export` end to end."""

import json
from pathlib import Path

import onnxruntime
import pytest
import torch

from slstt.cli.export import main
from slstt.models.model_file import find_weights, load_model


def test_the_default_weights_become_a_file_others_can_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["default", "--out", str(tmp_path), "--quiet"]) == 0
    assert "1 file(s)" in capsys.readouterr().out
    weights = find_weights("synthetic_recording")
    session = onnxruntime.InferenceSession(str(tmp_path / f"{weights.stem}.onnx"))
    about = json.loads((tmp_path / f"{weights.stem}.onnx.json").read_text())
    size = int(about["image_size"])
    x = torch.randn(4, int(about["frames"]), 3, size, size, generator=torch.Generator().manual_seed(0))
    (found,) = session.run(None, {"pictures": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), load_model(weights)(x), atol=1e-4, rtol=0)
    assert float(about["largest_difference"]) <= 1e-4


def test_check_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["default", "--out", str(tmp_path / "new"), "--check"]) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("what", ["nothing there", "an empty folder", "not a model", "out is a file"])
def test_what_is_wrong_is_one_line_and_code_3(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no weights")
    weights, out, line = {
        "nothing there": ("nowhere", "out", "no such model file or run folder"),
        "an empty folder": (str(tmp_path / "empty"), "out", "not a run folder"),
        "not a model": (str(tmp_path / "text.txt"), "out", "text.txt"),
        "out is a file": ("default", "text.txt", "--out must name a folder"),
    }[what]
    assert main([weights, "--out", str(tmp_path / out)]) == 3
    error = capsys.readouterr().err.strip()
    assert line in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
