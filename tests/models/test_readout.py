"""Readouts beside a network: they come back as they were saved, and a file without or with a damaged one says so."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from slstt.errors import WeightsError
from slstt.models.model_file import load_encoder, load_model, read_header, save_model
from slstt.models.readout import Readout, load_readout
from slstt.models.slstt import SLSTT

SMALL = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "aggregator": "mean"}


def saved(path: Path, none: bool) -> tuple[SLSTT, Readout]:
    torch.manual_seed(0)
    model, readout = SLSTT(**SMALL).eval(), Readout(8, (1, 4, 12), none)
    save_model(model, path, {"kind": "flow_maps"}, readout)
    return model, readout


@pytest.mark.parametrize("none", [False, True])
def test_it_comes_back_and_the_network_is_the_same_with_and_without_it(none: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model, readout = saved(path, none)
    found = load_readout(path)
    assert found is not None and found.numbers == (1, 4, 12)
    features = torch.randn(5, 2, 8)
    units, no_expression = found(features)
    torch.testing.assert_close(units, readout(features)[0], rtol=0, atol=0)
    assert units.shape == (5, 3, 2)
    assert (no_expression is None) == (not none)
    if no_expression is not None:
        torch.testing.assert_close(no_expression, readout(features)[1], rtol=0, atol=0)
    x = torch.randn(2, 1, 3, 8, 8)
    torch.testing.assert_close(load_model(path)(x), model(x), rtol=0, atol=0)
    other = SLSTT(**{**SMALL, "classes": 5}).eval()
    load_encoder(other, path)
    torch.testing.assert_close(other.encode(x[:, 0]), model.encode(x[:, 0]), rtol=0, atol=0)


def test_a_file_without_one_has_none(tmp_path: Path) -> None:
    save_model(SLSTT(**SMALL), tmp_path / "plain.safetensors")
    assert load_readout(tmp_path / "plain.safetensors") is None


@pytest.mark.parametrize("units", ["[1, 4]", "[1, 4, 4]", "[1, 4, true]", "[1, 4, 400]", '"12"', "[", "null", "[]"])
def test_one_that_does_not_fit_its_header_is_one_line(units: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    saved(path, none=True)
    save_file(load_file(path), path, {**read_header(path), "units": units})
    with pytest.raises(WeightsError, match=r"model\.safetensors: its readout of action units does not fit its header"):
        load_readout(path)


def test_missing_tensors_and_their_order_in_the_header_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    saved(path, none=True)
    tensors, header = load_file(path), read_header(path)
    assert json.loads(header["units"]) == [1, 4, 12]
    del tensors["readout.units.bias"]
    save_file(tensors, path, header)
    with pytest.raises(WeightsError, match="does not fit its header"):
        load_readout(path)
