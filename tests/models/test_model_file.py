"""Weights in and out: every source, and every way in which a file can be wrong."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT

from slstt.errors import WeightsError
from slstt.models.model_file import (
    find_weights,
    load_aggregator,
    load_encoder,
    load_model,
    read_header,
    read_model_input,
    save_model,
)
from slstt.models.slstt import SLSTT
from slstt.models.weight_files import cached_download, read_weights, translate

SMALL: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "width": 16,
    "depth": 2,
    "heads": 2,
    "lstm_width": 8,
    "lstm_layers": 1,
    "head_width": 4,
}


def torchvision_vit(image_size: int = 32) -> nn.Module:
    return TorchvisionViT(image_size, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=64, num_classes=10).eval()


def timm_vit(image_size: int = 32) -> nn.Module:
    return TimmViT(img_size=image_size, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=10).eval()


def features(model: nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """The class token after the last norm, before the classifier."""
    if isinstance(model, TimmViT):
        return model.forward_features(frames)[:, 0]
    model.heads = nn.Identity()  # type: ignore[assignment]
    return model(frames)


@pytest.mark.parametrize("build", [torchvision_vit, timm_vit])
@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "module", "safetensors"])
def test_files_of_torchvision_and_timm(
    build: Callable[[], nn.Module], wrap: str, fill: Callable[..., None], tmp_path: Path
) -> None:
    """Whatever the wrapping, the features are those of the model the file came from (float32 rounding: 1e-5)."""
    theirs = build()
    fill(theirs, scale=0.2)
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    path = tmp_path / "weights"
    match wrap:
        case "safetensors":
            save_file(state, path)
        case "module":
            torch.save({f"module.{key}": value for key, value in state.items()}, path)
        case "plain":
            torch.save(state, path)
        case _:
            torch.save({wrap: state, "epoch": 3}, path)
    model = SLSTT(**SMALL).eval()
    aggregator = {key: value.clone() for key, value in model.aggregator.state_dict().items()}
    line = load_encoder(model, path)
    assert str(path) in line and "resampled" not in line
    frames = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(model.encode(frames), features(theirs, frames), rtol=0, atol=1e-5)
    for key, value in model.aggregator.state_dict().items():
        assert torch.equal(value, aggregator[key])


def test_published_torchvision_files_use_the_older_names(fill: Callable[..., None], tmp_path: Path) -> None:
    """`mlp.linear_1` and `mlp.linear_2`, which torchvision itself still renames to `mlp.0` and `mlp.3` on loading."""
    theirs = torchvision_vit()
    fill(theirs)
    new = theirs.state_dict()
    old = {key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for key, v in new.items()}
    assert old.keys() != new.keys()
    torchvision_vit().load_state_dict(old)
    torch.save(old, tmp_path / "old.pth")
    model = SLSTT(**SMALL).eval()
    load_encoder(model, tmp_path / "old.pth")
    frames = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.encode(frames), features(theirs, frames), rtol=0, atol=1e-5)


def test_positions_are_resampled_for_another_size(fill: Callable[..., None], tmp_path: Path) -> None:
    theirs = timm_vit(48)
    fill(theirs)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    theirs.set_input_size(img_size=32)  # type: ignore[operator]
    model = SLSTT(**SMALL).eval()
    assert "positions resampled from 6x6 to 4x4" in load_encoder(model, tmp_path / "w.pth")
    frames = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.encode(frames), features(theirs, frames), rtol=0, atol=1e-5)


@pytest.mark.parametrize("aggregator", ["lstm", "mean"])
@pytest.mark.parametrize("options", [{}, {"norm": "post", "gelu": "tanh", "regularizer": "dropout", "drop_path": 0.3}])
def test_own_file_rebuilds_the_model(aggregator: Any, options: dict[str, Any], tmp_path: Path) -> None:
    model = SLSTT(**SMALL, aggregator=aggregator, classes=5, **options).eval()
    path = tmp_path / "deep" / "model.safetensors"
    save_model(model, path, {"classes": "a,b,c,d,e"})
    again = load_model(path)
    clips = torch.randn(2, 3, 3, 32, 32)
    assert again.arguments == model.arguments
    assert not again.training
    assert torch.equal(again(clips), model(clips))
    assert read_header(path)["classes"] == "a,b,c,d,e"
    assert json.loads(read_header(path)["arguments"]) == model.arguments


def test_training_a_loaded_model_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)  # with four hidden numbers some random networks let no gradient through
    save_model(SLSTT(**SMALL), path)
    before = path.read_bytes()
    model = load_model(path)
    assert all(p.requires_grad and p.device.type == "cpu" for p in model.parameters())
    model.train()(torch.randn(1, 2, 3, 32, 32)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert path.read_bytes() == before
    assert not torch.equal(model.encoder.class_token, load_model(path).encoder.class_token)


def test_own_file_as_encoder(fill: Callable[..., None], tmp_path: Path) -> None:
    source = SLSTT(**SMALL, classes=7).eval()
    fill(source)
    save_model(source, tmp_path / "m.safetensors")
    model = SLSTT(**SMALL, aggregator="mean").eval()
    load_encoder(model, tmp_path / "m.safetensors")
    frames = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.encode(frames), source.encode(frames))


def test_heads_do_not_show_in_the_weights_but_are_compared(tmp_path: Path) -> None:
    save_model(SLSTT(**SMALL), tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"heads 2 \(the model: 4\).*gelu exact \(the model: tanh\)"):
        load_encoder(SLSTT(**{**SMALL, "heads": 4}, gelu="tanh"), tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm.weight"), r"missing: norm\.weight"),
        (lambda s: s.update({"blocks.0.ls1.gamma": torch.zeros(1)}), r"surplus: blocks\.0\.ls1\.gamma"),
        (lambda s: s.update({"blocks.2.norm1.bias": torch.zeros(16)}), r"surplus: blocks\.2\.attention_norm\.bias"),
        (lambda s: s.update({"cls_token": torch.zeros(1, 1, 9)}), r"class_token is \(1, 1, 9\), expected \(1, 1, 16\)"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 8, 16)}), "7 patch positions do not form a square"),
        (lambda s: s.update({"pos_embed": torch.zeros(3)}), r"positions is \(3,\)"),
        (lambda s: s["norm.weight"].fill_(float("inf")), r"norm\.weight not finite"),
        (lambda s: s.clear(), "holds no state dict"),
        (lambda s: s.update({"norm.weight": 3}), "holds no state dict"),
        (lambda s: s.pop("patch_embed.proj.weight"), "no ViT in the naming of torchvision, timm"),
    ],
)
def test_wrong_state_dicts(change: Any, message: str, tmp_path: Path) -> None:
    """One line that starts with the file; the model is left as it was."""
    state = {key: value.clone() for key, value in timm_vit().state_dict().items()}
    change(state)
    path = tmp_path / "bad.pth"
    torch.save(state, path)
    model = SLSTT(**SMALL)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as caught:
        load_encoder(model, path)
    assert len(caught.value.problems) == 1 and "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_many_missing_keys_are_counted_not_listed(tmp_path: Path) -> None:
    state = {key: value for key, value in timm_vit().state_dict().items() if not key.startswith("blocks.1.")}
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=r"missing: blocks\.1\.attention_norm\.weight, .* and 9 more; check"):
        load_encoder(SLSTT(**SMALL), tmp_path / "bad.pth")


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    torch.save({"state_dict": timm_vit().state_dict()}, folder / "whole.pth")
    save_model(SLSTT(**SMALL), folder / "whole.safetensors")
    return folder


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_to_a_few_bytes(suffix: str, whole_files: Path, tmp_path: Path) -> None:
    """Too short to tell the format: still a truncated file, not one with code in it."""
    data = (whole_files / f"whole{suffix}").read_bytes()
    for length in range(64):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError, match="unreadable as a weight file, perhaps truncated"):
            read_weights(path)


@given(share=st.floats(0, 0.999), suffix=st.sampled_from([".pth", ".safetensors"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncated_anywhere(share: float, suffix: str, whole_files: Path, tmp_path: Path) -> None:
    data = (whole_files / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError, match="unreadable as a weight file, perhaps truncated"):
        read_weights(path)


@given(data=st.binary(max_size=300))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_not_a_weight_file_at_all(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "noise.pth"
    path.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


class Recorder:
    """What a training script may have pickled beside its weights; a stand-in for code in a file."""


def test_code_in_a_file_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": timm_vit().state_dict(), "recorder": Recorder()}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match=r"Python objects beside the weights.*keep only the weights"):
        read_weights(tmp_path / "code.pth")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weight file; give a file, imagenet"):
        load_encoder(SLSTT(**SMALL), tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="no such file"):
        load_model(tmp_path / "absent.safetensors")
    with pytest.raises(WeightsError, match="no such file"):
        read_header(tmp_path / "absent.safetensors")
    with pytest.raises(WeightsError, match="unreadable"):
        load_model(tmp_path)


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for function in (load_model, read_header):
        with pytest.raises(WeightsError, match="not an slstt model file"):
            function(tmp_path / "other.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "newer.safetensors", {"arguments": '{"colour": 1}'})
    with pytest.raises(WeightsError, match=r"describes no SLSTT of this version.*colour"):
        load_model(tmp_path / "newer.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "wrong.safetensors", {"arguments": json.dumps(SMALL)})
    with pytest.raises(WeightsError, match="header says depth 2, the file 0"):
        load_model(tmp_path / "wrong.safetensors")


def test_a_failed_save_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = SLSTT(**SMALL)
    save_model(model, path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_model(model, path, {"number": 3})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("source", "kind", "frames", "crop"),
    [
        ("synthetic", "flow_maps", 1, [-1.0, 1.0, -0.9, 2.0]),
        ("synthetic_displaced", "flow_maps", 1, [-1.0, 1.0, -0.9, 2.0]),
        ("synthetic_clip", "cache", 11, None),
        ("synthetic_recording", "flow_maps", 1, [-1.0, 1.0, -0.9, 2.0]),
    ],
)
def test_synthetic_weights_come_with_the_package(source: str, kind: str, frames: int, crop: list[float] | None) -> None:
    path = find_weights(source)
    shipped = load_model(path)
    header = read_header(path)
    assert json.loads(header["classes"]) == ["negative", "positive", "surprise"]
    assert (header["kind"], int(header["frames"]), json.loads(header["crop"])) == (kind, frames, crop)
    size = shipped.arguments["image_size"]
    assert shipped(torch.randn(2, frames, 3, size, size)).shape == (2, 3)
    model = SLSTT(**{**shipped.arguments, "aggregator": "lstm", "lstm_width": 8, "lstm_layers": 1, "head_width": 4})
    load_encoder(model, source)
    x = torch.randn(2, 3, size, size)
    torch.testing.assert_close(model.eval().encode(x), shipped.encode(x))
    with pytest.raises(WeightsError, match=r"of another architecture: .*width"):
        load_encoder(SLSTT(**SMALL), source)


def test_the_aggregator_can_be_loaded_too() -> None:
    shipped = load_model(find_weights("synthetic_clip"))
    model = SLSTT(**shipped.arguments).eval()
    load_encoder(model, "synthetic_clip")
    load_aggregator(model, "synthetic_clip")
    x = torch.randn(2, 11, 3, 32, 32)
    torch.testing.assert_close(model(x), shipped(x))
    for other in ({"classes": 5}, {"aggregator": "mean"}, {"lstm_width": 8}):
        model = SLSTT(**{**shipped.arguments, **other})
        with pytest.raises(
            WeightsError, match=r"synthetic_clip.safetensors: holds no .* aggregator of the model's sizes"
        ):
            load_aggregator(model, "synthetic_clip")


def test_the_weights_that_come_with_the_package_are_small() -> None:
    assert sum(path.stat().st_size for path in find_weights("synthetic").parent.iterdir()) < 5e6


def test_unknown_torchvision_name() -> None:
    with pytest.raises(WeightsError, match=r"torchvision has no weights ViT_B_16_Weights.BEST"):
        load_encoder(SLSTT(**SMALL), "ViT_B_16_Weights.BEST")


@pytest.mark.parametrize("source", ["imagenet", "ViT_L_16_Weights.IMAGENET1K_V1"])
def test_other_sizes_are_refused_before_any_download(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"another architecture: patch_size 16 \(the model: 8\), width"):
        load_encoder(SLSTT(**SMALL), source)
    assert list(tmp_path.iterdir()) == []


def test_no_network(tmp_path: Path) -> None:
    """With every connection refused: one line with the file's address, where to put it, and the other way."""
    program = """
import torch
from slstt.errors import WeightsError
from slstt.models.model_file import load_encoder
from slstt.models.slstt import SLSTT
with torch.device("meta"):
    model = SLSTT()
try:
    load_encoder(model, "imagenet")
except WeightsError as error:
    print(error)
"""
    environment = {
        "https_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "TORCH_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, cwd=Path.cwd()
    )
    target = tmp_path / "hub" / "checkpoints" / "vit_b_16-c867db91.pth"
    assert done.stdout.startswith("https://download.pytorch.org/models/vit_b_16-c867db91.pth: cannot be downloaded (")
    assert f"elsewhere and put it at {target}, or give a file as model.pretrained" in done.stdout
    assert done.stdout.count("\n") == 1
    assert list(target.parent.iterdir()) == []


def test_check_does_not_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="not downloaded yet"):
        find_weights("imagenet", fetch=False)
    assert list(tmp_path.iterdir()) == []


def published(folder: Path, data: bytes, claimed: bytes | None = None) -> str:
    """A file in `folder` named as torch names published weights, with the hash of `claimed`; its address."""
    digest = hashlib.sha256(data if claimed is None else claimed).hexdigest()
    folder.mkdir()
    (folder / f"vit-{digest[:8]}.pth").write_bytes(data)
    return (folder / f"vit-{digest[:8]}.pth").as_uri()


def test_download_is_checked_and_kept(tmp_path: Path) -> None:
    url = published(tmp_path / "server", b"weights")
    path = cached_download(url, tmp_path / "cache")
    assert path.read_bytes() == b"weights"
    Path(url.removeprefix("file://")).unlink()
    assert cached_download(url, tmp_path / "cache", fetch=False) == path  # from the cache


def test_download_with_another_hash(tmp_path: Path) -> None:
    url = published(tmp_path / "server", b"tampered", claimed=b"weights")
    with pytest.raises(WeightsError, match=r"cannot be downloaded .*hash"):
        cached_download(url, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_file_in_the_cache(tmp_path: Path) -> None:
    url = published(tmp_path / "server", b"weights")
    path = cached_download(url, tmp_path / "cache")
    path.write_bytes(b"weigh")
    with pytest.raises(WeightsError, match=r"damaged .* delete it and try again"):
        cached_download(url, tmp_path / "cache")


def test_query_without_key_and_value_is_missing_not_half_filled() -> None:
    ours, surplus = translate({"vit.transformer.blocks.0.attn.proj_q.weight": torch.zeros(2, 2)}, "released")
    assert list(ours) == ["encoder.blocks.0.attention.q.weight"] and surplus == []


GOOD = {"classes": '["a", "b", "c"]', "kind": "cache", "encoding": "uv_magnitude", "normalize": "none", "frames": "3"}
DEEP = "[" * 90_000 + "]" * 90_000


def written(folder: Path, arguments: str | None = None, **header: str) -> Path:
    """A model file whose header says something else than the weights in it."""
    model = SLSTT(**SMALL)
    says = {**GOOD, "arguments": arguments or json.dumps(model.arguments), **header}
    save_file(dict(model.state_dict()), folder / "model.safetensors", metadata=says)
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"depth": 10**9}, "sizes that no model has (depth 1000000000)"),
        ({"depth": 900}, "header says depth 900, the file 2"),
        ({"lstm_layers": 90}, "header says lstm_layers 90, the file 1"),
        ({"width": 10**30}, "sizes that no model has (width 1"),
        ({"heads": 0}, "sizes that no model has (heads 0)"),
        ({"classes": True}, "sizes that no model has (classes True)"),
        ({"image_size": 32.0}, "sizes that no model has (image_size 32.0)"),
        ({"mlp_ratio": float("nan")}, "sizes that no model has (mlp_ratio nan)"),
        ({"mlp_ratio": float("inf")}, "sizes that no model has (mlp_ratio inf)"),
        ({"width": "wide"}, "sizes that no model has (width wide)"),
        ({"dept": 3}, "describes no SLSTT of this version (arguments dept)"),
        ({"norm": ["pre"]}, "describes no SLSTT of this version"),
        ({"classes": 999}, "does not fit the model"),
    ],
)
def test_sizes_in_a_header_are_compared_with_the_file_before_anything_is_built(
    change: dict[str, Any], line: str, tmp_path: Path
) -> None:
    path = written(tmp_path, json.dumps({**SLSTT(**SMALL).arguments, **change}))
    with pytest.raises(WeightsError) as raised:
        load_model(path)
    assert line in str(raised.value) and str(path) in str(raised.value) and len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (DEEP[:1000] + DEEP[-1000:], "'arguments' in its header is damaged"),
        (DEEP, "over 100000 characters"),
        ('{"depth": ' + "9" * 5000 + "}", "'arguments' in its header is damaged"),
        ("[1, 2]", "no names with values"),
        ("none", "'arguments' in its header is damaged"),
    ],
)
def test_a_header_that_is_no_settings_is_one_line(arguments: str, line: str, tmp_path: Path) -> None:
    path = written(tmp_path, arguments)
    for read in (load_model, read_header, read_model_input):
        with pytest.raises(WeightsError) as raised:
            read(path)
        assert line in str(raised.value) and str(path) in str(raised.value) and len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ({"classes": '["a", "a", "a"]'}, "names the class a more than once"),
        ({"classes": '["a", "b"]'}, "names 2 classes and has 3 outputs"),
        ({"classes": '"abc"'}, "no list of names"),
        ({"classes": '["a", 2, ""]'}, "no list of names"),
        ({"classes": DEEP[:5000] + DEEP[-5000:]}, "'classes' in its header is damaged"),
        ({"frames": "9" * 5000}, "not from 1 to 10000"),
        ({"frames": "0"}, "not from 1 to 10000"),
        ({"frames": "-3"}, "not from 1 to 10000"),
        ({"encoding": "unheard"}, "a kind this version does not know"),
        ({"kind": "unheard"}, "a kind this version does not know"),
        ({"normalize": "train"}, "lacks mean and deviation"),
        ({"normalize": "train", "mean": "[0, 0, 0]", "deviation": "[1, 0, 1]"}, "lacks mean and deviation above 0"),
        ({"normalize": "train", "mean": "[0, NaN, 0]", "deviation": "[1, 1, 1]"}, "'mean' in its header is no list"),
        ({"normalize": "train", "mean": "[0, 0]", "deviation": "[1, 1]"}, "'mean' in its header is no list of 3"),
        ({"crop": "[0, 1, 2]"}, "'crop' in its header is no list of 4 numbers"),
        ({"crop": "[1, 0, 0, 1]"}, "crop in its header is empty"),
        ({"preprocessing": "[1]"}, "preprocessing in its header is no settings"),
    ],
)
def test_what_a_header_says_of_input_and_answers_is_checked(header: dict[str, str], line: str, tmp_path: Path) -> None:
    assert read_model_input(written(tmp_path)).classes == ("a", "b", "c")
    path = written(tmp_path, **header)
    with pytest.raises(WeightsError) as raised:
        read_model_input(path)
    assert line in str(raised.value) and str(path) in str(raised.value) and len(str(raised.value)) < 400


def test_a_small_file_that_claims_a_huge_tensor_is_refused(tmp_path: Path) -> None:
    """Every number of the claimed terabytes is the same one in the file."""
    torch.save({"encoder.class_token": torch.zeros(1).expand(10**12)}, tmp_path / "huge.pth")
    with pytest.raises(WeightsError, match=r"encoder\.class_token not stored number by number"):
        read_weights(tmp_path / "huge.pth")


def test_neither_torchvision_nor_dynamo_is_loaded_for_our_own_files() -> None:
    program = (
        "import sys; from slstt.models.model_file import SYNTHETIC, load_model; load_model(SYNTHETIC)\n"
        "print(sorted({'torchvision', 'torch._dynamo', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
