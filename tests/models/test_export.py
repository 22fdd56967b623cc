"""Exported files give what the model gives, for clip and frame counts that were not traced."""

import json
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from slstt.errors import ConfigError, SlsttError, WeightsError
from slstt.models import export as exporting
from slstt.models.export import TOLERANCE, check_packages, export
from slstt.models.model_file import SYNTHETIC, load_model, save_model
from slstt.models.slstt import SLSTT

COUNTS = [(1, 1), (1, 11), (4, 3), (3, 7)]
HEADER = {
    "classes": '["negative", "positive", "surprise"]',
    "kind": "cache",
    "encoding": "uv_strain",
    "normalize": "train",
    "frames": "4",
    "mean": "[0.1, 0.2, 0.3]",
    "deviation": "[1.0, 2.0, 3.0]",
}


def model_file(folder: Path, aggregator: str, **header: str) -> Path:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"image_size": 16, "patch_size": 8, "width": 12, "depth": 2, "heads": 3, "mlp_ratio": 2}
    model = SLSTT(**sizes, aggregator=aggregator, lstm_width=10, lstm_layers=2, head_width=6)  # type: ignore[arg-type]
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)  # logits far enough from zero to tell them apart
    save_model(model, folder / "model.safetensors", {**HEADER, **header})
    return folder / "model.safetensors"


def clips(count: int, frames: int, size: int = 16) -> torch.Tensor:
    return torch.randn(count, frames, 3, size, size, generator=torch.Generator().manual_seed(count * frames))


@torch.no_grad()
@pytest.mark.parametrize("aggregator", ["lstm", "mean"])
def test_onnx_gives_the_model_s_logits_for_any_number_of_clips_and_frames(tmp_path: Path, aggregator: str) -> None:
    path = model_file(tmp_path, aggregator)
    export(path, tmp_path / "model.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)
    session, model = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")), load_model(path)
    for count, frames in COUNTS:
        x = clips(count, frames)
        (found,) = session.run(["logits"], {"pictures": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), model(x), atol=TOLERANCE, rtol=0)


def test_the_files_say_what_to_feed_and_how_to_read_the_answer(tmp_path: Path) -> None:
    path = model_file(tmp_path, "mean", crop="[-1.0, 1.0, -1.0, 2.0]", trained_on="drawn flow", left_out="smic/s01")
    export(path, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == ["negative", "positive", "surprise"]
    assert (said["kind"], said["encoding"], said["normalize"]) == ("cache", "uv_strain", "train")
    assert json.loads(said["mean"]) == [0.1, 0.2, 0.3]
    assert json.loads(said["deviation"]) == [1.0, 2.0, 3.0]
    assert json.loads(said["crop"]) == [-1.0, 1.0, -1.0, 2.0]
    assert (said["frames"], said["image_size"]) == ("4", "16")
    assert "uv_strain" in said["input"]
    assert "subtract mean" in said["input"]
    assert said["trained_on"] == "drawn flow"
    assert said["left_out"] == "smic/s01"
    shape = session.get_inputs()[0].shape
    assert shape[2:] == [3, 16, 16]
    assert all(isinstance(size, str) for size in shape[:2])  # named, not fixed


@torch.no_grad()
def test_the_shipped_weights_can_be_exported(tmp_path: Path) -> None:
    about = export(SYNTHETIC, tmp_path / "synthetic.onnx")
    x = clips(5, 1, 28)
    session = onnxruntime.InferenceSession(str(tmp_path / "synthetic.onnx"))
    (found,) = session.run(None, {"pictures": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), load_model(SYNTHETIC)(x), atol=TOLERANCE, rtol=0)
    assert "strain" in about["encoding"]


def test_a_file_that_does_not_agree_with_the_model_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model_file(tmp_path, "lstm")
    # With torch's order of gates where ONNX has another the graph is sound and its answers are wrong.
    monkeypatch.setattr(exporting, "_reordered", lambda weight: weight.detach()[None])
    with pytest.raises(SlsttError, match="differs from the model"):
        export(path, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_model_file_that_does_not_say_its_input_is_refused(tmp_path: Path) -> None:
    model = SLSTT(image_size=16, patch_size=8, width=12, depth=1, heads=2, aggregator="mean")
    save_model(model, tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="does not say classes, kind"):
        export(tmp_path / "bare.safetensors", tmp_path / "bare.onnx")


def test_weights_that_overflow_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    path = model_file(tmp_path, "lstm")
    model = load_model(path)
    with torch.no_grad():
        model.aggregator.classifier.weight.fill_(3e38)  # pyright: ignore
    save_model(model, path, HEADER)
    with pytest.raises(WeightsError, match=rf"{path}: its answers are not finite"):
        export(path, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(ConfigError, match=r"onnx not installed; run pip install 'slstt\[export\]'"):
        check_packages()
