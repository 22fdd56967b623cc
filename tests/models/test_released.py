"""Released SLSTT checkpoints: a random one in their naming, against a plain forward pass written here."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slstt.errors import WeightsError
from slstt.models.model_file import load_encoder, load_model, load_released_slstt, save_model
from slstt.models.slstt import SLSTT

WIDTH, DEPTH, HEADS, PATCH, GRID, HIDDEN, CLASSES = 32, 2, 4, 8, 2, 48, 5
LSTM_WIDTH, LAYERS, HEAD_WIDTH = 12, 3, 10


def random_checkpoint(seed: int = 0) -> dict[str, Tensor]:
    """A state dict with the released files' keys, small and random."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        return 0.2 * torch.randn(*shape, generator=generator)

    state = {
        "vit.class_token": numbers(1, 1, WIDTH),
        "vit.positional_embedding.pos_embedding": numbers(1, GRID**2 + 1, WIDTH),
        "vit.patch_embedding.weight": numbers(WIDTH, 3, PATCH, PATCH),
        "vit.patch_embedding.bias": numbers(WIDTH),
    }

    def linear(name: str, inputs: int, outputs: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = numbers(outputs, inputs), numbers(outputs)

    def norm(name: str) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + numbers(WIDTH), numbers(WIDTH)

    for index in range(DEPTH):
        block = f"vit.transformer.blocks.{index}"
        for part in ("attn.proj_q", "attn.proj_k", "attn.proj_v", "proj"):
            linear(f"{block}.{part}", WIDTH, WIDTH)
        linear(f"{block}.pwff.fc1", WIDTH, HIDDEN)
        linear(f"{block}.pwff.fc2", HIDDEN, WIDTH)
        norm(f"{block}.norm1")
        norm(f"{block}.norm2")
    norm("vit.norm")
    linear("vit.fc", WIDTH, CLASSES)
    for layer in range(LAYERS):
        inputs = WIDTH if layer == 0 else LSTM_WIDTH
        state[f"lstm.weight_ih_l{layer}"] = numbers(4 * LSTM_WIDTH, inputs)
        state[f"lstm.weight_hh_l{layer}"] = numbers(4 * LSTM_WIDTH, LSTM_WIDTH)
        state[f"lstm.bias_ih_l{layer}"] = numbers(4 * LSTM_WIDTH)
        state[f"lstm.bias_hh_l{layer}"] = numbers(4 * LSTM_WIDTH)
    linear("fc1", LSTM_WIDTH, HEAD_WIDTH)
    linear("fc2", HEAD_WIDTH, CLASSES)
    return state


def reference(state: dict[str, Tensor], clip: Tensor, aggregator: str) -> Tensor:
    """The released network, one frame and one token row at a time; clip (T, 3, H, W) -> logits (classes,)."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-6)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def gelu(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    features = []
    for frame in clip:
        rows = [state["vit.class_token"][0, 0]]
        for i in range(GRID):
            for j in range(GRID):
                patch = frame[:, i * PATCH : (i + 1) * PATCH, j * PATCH : (j + 1) * PATCH]
                product = (state["vit.patch_embedding.weight"] * patch).sum(dim=(1, 2, 3))
                rows.append(product + state["vit.patch_embedding.bias"])
        x = torch.stack(rows) + state["vit.positional_embedding.pos_embedding"][0]
        for index in range(DEPTH):
            block = f"vit.transformer.blocks.{index}"
            y = norm(f"{block}.norm1", x)
            q, k, v = (linear(f"{block}.attn.proj_{part}", y) for part in "qkv")
            size = WIDTH // HEADS
            heads = []
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                scores = (q[:, part] @ k[:, part].T) / math.sqrt(size)
                heads.append(scores.softmax(dim=1) @ v[:, part])
            x = x + linear(f"{block}.proj", torch.cat(heads, dim=1))
            x = x + linear(f"{block}.pwff.fc2", gelu(linear(f"{block}.pwff.fc1", norm(f"{block}.norm2", x))))
        features.append(norm("vit.norm", x)[0])
    if aggregator == "mean":
        return torch.stack([linear("vit.fc", feature) for feature in features]).mean(dim=0)
    sequence = features
    for layer in range(LAYERS):
        h = c = torch.zeros(LSTM_WIDTH, dtype=clip.dtype)
        outputs = []
        for x in sequence:
            gates = (
                state[f"lstm.weight_ih_l{layer}"] @ x
                + state[f"lstm.bias_ih_l{layer}"]
                + state[f"lstm.weight_hh_l{layer}"] @ h
                + state[f"lstm.bias_hh_l{layer}"]
            )
            i, f, g, o = gates.chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        sequence = outputs
    return linear("fc2", F.relu(linear("fc1", sequence[-1])))


def write(path: Path, state: dict[str, Tensor], prefix: str = "", **beside: Any) -> Path:
    torch.save({"state_dict": {prefix + key: value for key, value in state.items()}, **beside}, path)
    return path


@pytest.mark.parametrize("aggregator", ["lstm", "mean"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_logits_are_the_released_networks(aggregator: Any, prefix: str, tmp_path: Path) -> None:
    """float64, sums in another order: worst over 20 seeds 1.6e-15; allowed 1e-12."""
    state = random_checkpoint()
    path = write(tmp_path / "best.pth.tar", state, prefix, epoch=7, best_acc1=np.float64(0.8), arch="slstt")
    model = load_released_slstt(path, aggregator, heads=HEADS).double().eval()
    clips = torch.randn(3, 4, 3, PATCH * GRID, PATCH * GRID, dtype=torch.float64)
    double = {key: value.double() for key, value in state.items()}
    expected = torch.stack([reference(double, clip, aggregator) for clip in clips])
    torch.testing.assert_close(model(clips), expected, rtol=0, atol=1e-12)


def test_sizes_are_read_off_the_file(tmp_path: Path) -> None:
    model = load_released_slstt(write(tmp_path / "a.pth.tar", random_checkpoint()), heads=HEADS)
    expected = {
        "image_size": 16,
        "patch_size": 8,
        "width": 32,
        "depth": 2,
        "heads": 4,
        "mlp_ratio": 1.5,
        "classes": 5,
        "aggregator": "lstm",
        "gelu": "tanh",
        "lstm_width": 12,
        "lstm_layers": 3,
        "head_width": 10,
    }
    assert {name: model.arguments[name] for name in expected} == expected


def test_heads_are_64_wide_unless_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pth.tar", random_checkpoint())
    assert load_released_slstt(path).arguments["heads"] == 1


def test_another_image_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pth.tar", random_checkpoint())
    model = load_released_slstt(path, image_size=32)
    assert model.encoder.positions.shape == (1, 17, WIDTH)
    assert model(torch.zeros(1, 2, 3, 32, 32)).shape == (1, CLASSES)


@pytest.mark.parametrize("aggregator", ["lstm", "mean"])
def test_exported_and_read_back(aggregator: Any, tmp_path: Path) -> None:
    model = load_released_slstt(write(tmp_path / "a.pth.tar", random_checkpoint()), aggregator, heads=HEADS).eval()
    save_model(model, tmp_path / "a.safetensors")
    clips = torch.randn(2, 3, 3, 16, 16)
    assert torch.equal(load_model(tmp_path / "a.safetensors")(clips), model(clips))


def test_either_head_alone_is_enough(tmp_path: Path) -> None:
    state = random_checkpoint()
    only_mean = {key: value for key, value in state.items() if key.startswith("vit.")}
    path = write(tmp_path / "mean.pth.tar", only_mean)
    assert load_released_slstt(path, "mean").arguments["classes"] == CLASSES
    with pytest.raises(WeightsError, match=r"lstm aggregator needs .* is missing; choose the other aggregator"):
        load_released_slstt(path, "lstm")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("vit.norm.weight"), r"missing: encoder\.norm\.weight"),
        (
            lambda s: s.pop("vit.transformer.blocks.1.attn.proj_k.bias"),
            r"missing: encoder\.blocks\.1\.attention\.qkv\.bias",
        ),
        (lambda s: s.update({"vit.pre_logits.weight": torch.zeros(1)}), r"surplus: vit\.pre_logits\.weight"),
        (lambda s: s.update({"lstm.weight_ih_l0_reverse": torch.zeros(1)}), r"surplus: lstm\.weight_ih_l0_reverse"),
        (
            lambda s: s.update({"fc1.weight": torch.zeros(10, 99)}),
            r"aggregator\.hidden\.weight is \(10, 99\), expected \(10, 12\)",
        ),
        (lambda s: s.pop("vit.patch_embedding.weight"), r"not a released SLSTT checkpoint"),
        (lambda s: s.update({"vit.class_token": torch.full((1, 1, WIDTH), torch.nan)}), r"vit\.class_token not finite"),
        (lambda s: s.update({"vit.positional_embedding.pos_embedding": torch.zeros(1, 4, WIDTH)}), "square"),
    ],
)
def test_faults_give_one_clear_line(change: Any, message: str, tmp_path: Path) -> None:
    state = random_checkpoint()
    change(state)
    path = write(tmp_path / "bad.pth.tar", state)
    with pytest.raises(WeightsError, match=message) as caught:
        load_released_slstt(path, heads=HEADS)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_its_encoder_alone_into_another_model(tmp_path: Path) -> None:
    state = random_checkpoint()
    path = write(tmp_path / "a.pth.tar", state)
    sizes: dict[str, Any] = {"image_size": 16, "patch_size": 8, "width": 32, "depth": 2, "heads": 4, "mlp_ratio": 1.5}
    model = SLSTT(**sizes, gelu="tanh", aggregator="mean", classes=2).eval()
    head = model.aggregator.classifier.weight.clone()
    line = load_encoder(model, path)
    frames = torch.randn(2, 3, 16, 16)
    assert torch.equal(model.encode(frames), load_released_slstt(path, heads=HEADS).encode(frames))
    assert torch.equal(model.aggregator.classifier.weight, head)
    assert "GELU" not in line
    assert "tanh form of GELU" in load_encoder(SLSTT(**sizes), path)


def test_the_imagenet_file_that_the_published_program_starts_from(tmp_path: Path) -> None:
    """Its names are the released encoder's without `vit.`; it has ImageNet's classes, which are left out."""
    released = random_checkpoint()
    alone = {key.removeprefix("vit."): value for key, value in released.items() if key.startswith("vit.")}
    torch.save(released, tmp_path / "released.pth")
    torch.save(alone, tmp_path / "B_16_imagenet1k.pth")
    models = []
    for name in ("released.pth", "B_16_imagenet1k.pth"):
        torch.manual_seed(0)
        model = SLSTT(GRID * PATCH, PATCH, WIDTH, DEPTH, HEADS, HIDDEN / WIDTH, gelu="tanh")
        said = load_encoder(model, tmp_path / name)
        models.append(model)
    assert "pytorch_pretrained_vit naming" in said
    for key, value in models[0].encoder.state_dict().items():
        assert torch.equal(models[1].encoder.state_dict()[key], value), key
