"""The whole network: what flows where, and what learns in each mode."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from slstt import SLSTT as FROM_PACKAGE
from slstt.errors import ConfigError
from slstt.models.slstt import SLSTT, first_trainable_block, frozen_fingerprint, set_trainable

SMALL: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "width": 16,
    "depth": 4,
    "heads": 2,
    "lstm_width": 8,
    "lstm_layers": 2,
    "head_width": 8,
}
MODES = ["all", "last:1", "last:3", "last:4", "norm", "none"]
FROZEN = MODES[1:]


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(3, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(fill: Callable[..., None]) -> SLSTT:
    model = SLSTT(**SMALL)
    fill(model, scale=0.2)
    return model


def test_the_package_gives_the_class() -> None:
    assert FROM_PACKAGE is SLSTT


def test_paper_sizes_by_default() -> None:
    with torch.device("meta"):
        model = SLSTT()
        logits = model.eval()(torch.zeros(2, 11, 3, 384, 384))
    assert logits.shape == (2, 3)
    assert sum(p.numel() for p in model.encoder.parameters()) == 86_090_496  # torchvision's ViT-B/16 at 384, no head
    lstm = 4 * 512 * (768 + 512 + 2) + 2 * 4 * 512 * (512 + 512 + 2)
    assert sum(p.numel() for p in model.aggregator.parameters()) == lstm + 512 * 256 + 256 + 256 * 3 + 3


@pytest.mark.parametrize("aggregator", ["lstm", "mean"])
def test_forward_is_encode_then_aggregate(aggregator: Any, clips: Tensor) -> None:
    model = SLSTT(**SMALL, aggregator=aggregator, classes=5).eval()
    features = torch.stack([model.encode(clip) for clip in clips])
    assert features.shape == (3, 5, 16)
    assert model(clips).shape == (3, 5)
    # The encoder sees 15 frames at once here and 5 at a time there: float32 rounding of features of size 1.
    torch.testing.assert_close(model(clips), model.aggregate(features), rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 11])
def test_any_number_of_frames(frames: int) -> None:
    assert SLSTT(**SMALL)(torch.zeros(2, frames, 3, 16, 16)).shape == (2, 3)


def test_wrong_shapes_are_refused(model: SLSTT) -> None:
    with pytest.raises(TypeCheckError):
        model(torch.zeros(5, 3, 16, 16))


@pytest.mark.parametrize("trainable", MODES)
def test_what_learns(trainable: str, model: SLSTT, clips: Tensor) -> None:
    """After one step exactly the parts named by the mode have moved."""
    expected = {
        "all": {"embedding", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "norm", "aggregator"},
        "last:1": {"blocks.3", "norm", "aggregator"},
        "last:3": {"blocks.1", "blocks.2", "blocks.3", "norm", "aggregator"},
        "last:4": {"blocks.0", "blocks.1", "blocks.2", "blocks.3", "norm", "aggregator"},
        "norm": {"norm", "aggregator"},
        "none": {"aggregator"},
    }[trainable]
    set_trainable(model, trainable)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()(clips).square().sum().backward()
    optimizer.step()

    def part(name: str) -> str:
        words = name.split(".")
        if words[0] == "aggregator" or words[1] == "norm":
            return words[0] if words[0] == "aggregator" else "norm"
        return f"blocks.{words[2]}" if words[1] == "blocks" else "embedding"

    assert {
        part(name) for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    } == expected


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("trainable", FROZEN)
def test_training_from_frozen_features_is_training_from_frames(
    trainable: str, norm: Any, fill: Callable[..., None], clips: Tensor
) -> None:
    """Logits and gradients, in training mode with DropPath 0.5 (same seed). float32 rounding only; allowed 1e-5."""
    results = []
    model = SLSTT(**SMALL, norm=norm, drop_path=0.5)
    fill(model, scale=0.2)
    set_trainable(model, trainable)
    model.train()
    cached = torch.stack([model.frozen_features(clip) for clip in clips])
    assert cached.shape == ((3, 5, 16) if trainable in ("norm", "none") else (3, 5, 5, 16))
    assert not cached.requires_grad
    for function, data in ((model.forward, clips), (model.forward_from, cached)):
        model.zero_grad()
        torch.manual_seed(7)
        logits = function(data)
        logits.square().sum().backward()
        results.append([logits, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) == 1 + sum(p.requires_grad for p in model.parameters())
    for from_frames, from_features in zip(*results, strict=True):
        torch.testing.assert_close(from_features, from_frames, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("regularizer", ["drop_path", "dropout"])
def test_frozen_part_has_no_noise_in_training(regularizer: Any, clips: Tensor) -> None:
    model = SLSTT(**SMALL, drop_path=0.9, regularizer=regularizer)
    set_trainable(model, "last:1")
    model.train()
    assert torch.equal(model.frozen_features(clips[0]), model.frozen_features(clips[0]))
    assert [block.training for block in model.encoder.blocks] == [False, False, False, True]
    set_trainable(model, "all")
    assert all(block.training for block in model.encoder.blocks)


def test_nothing_frozen_has_no_frozen_features(model: SLSTT, clips: Tensor) -> None:
    with pytest.raises(ValueError, match="nothing is frozen"):
        model.frozen_features(clips[0])


def test_frozen_blocks_with_dropout_are_random_in_training_and_get_no_gradient(
    fill: Callable[..., None], clips: Tensor
) -> None:
    model = SLSTT(**SMALL, drop_path=0.0)
    fill(model, scale=0.2)
    set_trainable(model, "norm", dropout=0.1)
    assert not torch.equal(model.train()(clips), model(clips))
    model(clips).sum().backward()
    learning = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learning == {n for n, _ in model.named_parameters() if n.startswith(("encoder.norm", "aggregator"))}
    plain = model.eval()(clips)
    assert torch.equal(model(clips), plain)
    set_trainable(model, "norm")
    assert torch.equal(model.train()(clips), plain), "without dropout the frozen part is as in evaluation"
    set_trainable(model, "last:1", dropout=0.1)
    assert [block.dropout for block in model.encoder.blocks] == [0.1, 0.1, 0.1, 0.0]  # pyright: ignore
    set_trainable(model, "all")
    assert torch.equal(model.train()(clips), model(clips)), "blocks that learn have their own DropPath, here 0"


@pytest.mark.parametrize("trainable", ["last", "last:", "last:0", "last:5", "last:-1", "last:x", "head", ""])
def test_unknown_mode(trainable: str, model: SLSTT) -> None:
    with pytest.raises(ConfigError, match=r"choose all, last:<n> with n in 1\.\.4, norm or none"):
        set_trainable(model, trainable)
    assert model.trainable == "all"
    assert all(p.requires_grad for p in model.parameters())


def test_first_trainable_block() -> None:
    assert [first_trainable_block(mode, 4) for mode in MODES] == [0, 3, 1, 0, 4, 4]


def test_fingerprint_follows_the_frozen_part_alone(fill: Callable[..., None]) -> None:
    def fingerprint(trainable: str, change: str = "", **arguments: Any) -> str:
        model = SLSTT(**{**SMALL, **arguments})
        fill(model)
        if change:
            with torch.no_grad():
                model.get_parameter(change).flatten()[0] += 1e-3
        set_trainable(model, trainable)
        return frozen_fingerprint(model)

    norm = fingerprint("norm")
    assert norm == fingerprint("norm") == fingerprint("none")  # the same class tokens
    assert norm == fingerprint("norm", "encoder.norm.weight") == fingerprint("norm", "aggregator.hidden.bias")
    assert norm == fingerprint("norm", classes=5)
    others = [
        fingerprint("last:1"),
        fingerprint("norm", "encoder.blocks.3.mlp.expand.bias"),
        fingerprint("norm", "encoder.positions"),
        fingerprint("norm", heads=4),
        fingerprint("norm", norm="post"),
        fingerprint("norm", gelu="tanh"),
    ]
    assert len({norm, *others}) == 1 + len(others)
    assert fingerprint("last:1") == fingerprint("last:1", "encoder.blocks.3.mlp.expand.bias")
    assert fingerprint("last:1") != fingerprint("last:1", "encoder.blocks.2.mlp.expand.bias")
    assert fingerprint("last:4") != fingerprint("last:3")


def test_wrong_names_outside_the_test_run() -> None:
    """In the test run the shapes' checker stops a wrong name first; a user has no such checker."""
    program = """
import json, slstt
from slstt.errors import ConfigError
found = []
for arguments in ({"regularizer": "none", "norm": "mid", "gelu": "relu"}, {"aggregator": "max"}):
    try:
        slstt.SLSTT(image_size=16, patch_size=8, width=8, depth=1, heads=1, **arguments)
    except ConfigError as error:
        found.append(error.problems)
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [
        [
            "model.regularizer: 'none' is unknown; choose drop_path or dropout",
            "model.norm: 'mid' is unknown; choose pre or post",
            "model.gelu: 'relu' is unknown; choose exact or tanh",
        ],
        ["model.aggregator: 'max' is unknown; choose lstm or mean"],
    ]


@pytest.mark.parametrize("aggregator", ["lstm", "mean"])
def test_it_learns(aggregator: Any, clips: Tensor) -> None:
    """Three random clips of three classes are told apart after a few dozen steps, without DropPath's luck."""
    torch.manual_seed(0)
    model = SLSTT(**{**SMALL, "lstm_width": 32, "head_width": 32}, aggregator=aggregator, drop_path=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    target = torch.arange(3)
    for _ in range(100):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(clips), target).backward()
        optimizer.step()
    assert torch.equal(model.eval()(clips).argmax(dim=1), target)


def test_bfloat16_autocast_trains(model: SLSTT, clips: Tensor) -> None:
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(model(clips).float(), torch.arange(3))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


AVX2_ALONE = """
import torch
from slstt.models.slstt import LSTMAggregator
with torch.autocast("cpu", dtype=torch.bfloat16):
    LSTMAggregator(8, 3, 4, 2, 5)(torch.zeros(2, 3, 8)).float().sum().backward()
"""


def test_bfloat16_autocast_needs_no_bfloat16_lstm_of_the_cpu() -> None:
    """Not every CPU has one: oneDNN is told here to use nothing newer than AVX2."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    said = subprocess.run([sys.executable, "-c", AVX2_ALONE], env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


def test_bfloat16_autocast_leaves_the_lstm_in_float32_on_the_cpu(model: SLSTT) -> None:
    found = []
    model.aggregator.lstm.register_forward_hook(lambda module, inputs, outputs: found.append(outputs[0].dtype))  # type: ignore[union-attr]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.aggregate(torch.randn(2, 3, model.arguments["width"]))
    assert found == [torch.float32]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("aggregator", ["lstm", "mean"])
def test_cuda_training_step_agrees_with_cpu(
    aggregator: Any, fill: Callable[..., None], clips: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits and gradients, float32 in another order of sums (and TF32 off): 1e-4 of numbers of size 1."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # on by default for convolutions and LSTMs
    model = SLSTT(**SMALL, aggregator=aggregator, drop_path=0.0).train()
    fill(model, scale=0.2)
    results = []
    for device in ("cpu", "cuda"):
        model.zero_grad()
        model.to(device)
        logits = model(clips.to(device))
        logits.square().mean().backward()
        results.append([value.cpu() for value in (logits, *(p.grad for p in model.parameters() if p.grad is not None))])
    for cpu, cuda in zip(*results, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-4, atol=1e-4)
