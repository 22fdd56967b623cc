"""The ViT against torchvision's and timm's with identical random weights, and its own arguments.

Tolerances. The same real-number function is computed with sums in another order (the last block's queries, keys and
values come from two matrix products, and torchvision's attention is another kernel), so the difference is rounding
alone: relative to features of unit variance a few 1e-16 an operation in float64 and a few 1e-7 in float32, adding up
through the blocks. Each test names the worst difference measured (x86-64 with AVX-512, torch 2.14); its tolerance is
at least ten times that (bfloat16: five), for other processors' orders of summation.
"""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT

from slstt.errors import ConfigError
from slstt.models.vit import TransformerBlock, VisionTransformer, resample_positions
from slstt.models.weight_files import translate

SMALL = {"image_size": 32, "patch_size": 8, "width": 48, "depth": 4, "heads": 3}


def ours_like(theirs: nn.Module, naming: str, **arguments: Any) -> VisionTransformer:
    """Our ViT with the weights of `theirs`; every key of ours must be filled."""
    with torch.device("meta"):
        model = VisionTransformer(**arguments)
    state, surplus = translate(theirs.state_dict(), naming)
    assert surplus == []
    model.load_state_dict({key.removeprefix("encoder."): value for key, value in state.items()}, assign=True)
    return model.eval()


def small_torchvision() -> nn.Module:
    model = TorchvisionViT(image_size=32, patch_size=8, num_layers=4, num_heads=3, hidden_dim=48, mlp_dim=192)
    model.heads = nn.Identity()  # type: ignore[assignment]
    return model


def small_timm(**arguments: Any) -> nn.Module:
    return TimmViT(img_size=32, patch_size=8, embed_dim=48, depth=4, num_heads=3, num_classes=0, **arguments)


@pytest.mark.parametrize(("naming", "build"), [("torchvision", small_torchvision), ("timm", small_timm)])
def test_small_float64(
    naming: str, build: Callable[[], nn.Module], fill: Callable[..., None], frames: Callable[..., Tensor]
) -> None:
    """Outputs and the gradients of all weights.

    Worst measured over 20 seeds: outputs 4.7e-15, gradients (up to 50) 7.1e-14; allowed 1e-12.
    """
    theirs = build().double().eval()
    fill(theirs, scale=0.2)
    ours = ours_like(theirs, naming, **SMALL)
    x = frames(5, 32).double()
    for model in (ours, theirs):
        model.requires_grad_(True)
        model(x).square().sum().backward()
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)
    gradients, _ = translate({name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}, naming)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[f"encoder.{name}"], rtol=1e-12, atol=1e-12)


def test_small_tanh_gelu(fill: Callable[..., None], frames: Callable[..., Tensor]) -> None:
    """timm with torch's tanh form; and the exact form must differ, or the option would do nothing."""
    theirs = small_timm(act_layer="gelu_tanh").double().eval()
    fill(theirs, scale=0.2)
    x = frames(3, 32).double()
    torch.testing.assert_close(ours_like(theirs, "timm", **SMALL, gelu="tanh")(x), theirs(x), rtol=0, atol=1e-12)
    assert (ours_like(theirs, "timm", **SMALL)(x) - theirs(x)).abs().max() > 1e-5


@pytest.mark.parametrize("size", [224, 384])
def test_torchvision_vit_b_16(size: int, fill: Callable[..., None], frames: Callable[..., Tensor]) -> None:
    """Features of unit variance, float32. Worst over four seeds: 3.7e-6 at 224, 3.3e-6 at 384; allowed 4e-5."""
    with torch.device("meta"):
        theirs = torchvision.models.vit_b_16(image_size=size)
    theirs = theirs.to_empty(device="cpu").eval()
    theirs.heads = nn.Identity()  # type: ignore[assignment]
    fill(theirs)
    ours = ours_like(theirs, "torchvision", image_size=size)
    x = frames(1, size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=4e-5)


def test_timm_vit_base_patch16_384(fill: Callable[..., None], frames: Callable[..., Tensor]) -> None:
    """Features of unit variance, float32. Worst over four seeds: 9.5e-7; allowed 4e-5, as for torchvision."""
    with torch.device("meta"):
        theirs = timm.create_model("vit_base_patch16_384", num_classes=0)
    theirs = theirs.to_empty(device="cpu").eval()
    fill(theirs)
    ours = ours_like(theirs, "timm")
    x = frames(1, 384)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=4e-5)


def test_post_norm_against_torchs_encoder_layer(fill: Callable[..., None], frames: Callable[..., Tensor]) -> None:
    """norm="post" is torch's TransformerEncoderLayer(norm_first=False). Worst over 20 seeds: 6.8e-15; allowed 1e-12."""
    model = VisionTransformer(**SMALL, norm="post").double().eval()
    fill(model, scale=0.2)
    x = model.embed(frames(3, 32).double())
    expected = x
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(
            48, 3, 192, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=False
        ).double()
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": block.attention.qkv.weight,
                "self_attn.in_proj_bias": block.attention.qkv.bias,
                "self_attn.out_proj.weight": block.attention.projection.weight,
                "self_attn.out_proj.bias": block.attention.projection.bias,
                "linear1.weight": block.mlp.expand.weight,
                "linear1.bias": block.mlp.expand.bias,
                "linear2.weight": block.mlp.contract.weight,
                "linear2.bias": block.mlp.contract.bias,
                "norm1.weight": block.attention_norm.weight,
                "norm1.bias": block.attention_norm.bias,
                "norm2.weight": block.mlp_norm.weight,
                "norm2.bias": block.mlp_norm.bias,
            }
        )
        layer.train(False)
        expected = layer(expected)
    torch.testing.assert_close(model.class_token_from(x), expected[:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_last_block_alone_for_the_class_token(
    norm: Any, fill: Callable[..., None], frames: Callable[..., Tensor]
) -> None:
    model = VisionTransformer(**SMALL, norm=norm).double().eval()
    fill(model, scale=0.2)
    tokens = model.embed(frames(3, 32).double())
    torch.testing.assert_close(model.class_token_from(tokens), model.run_blocks(tokens, 0, 4)[:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("regularizer", ["drop_path", "dropout"])
def test_regularizers_are_off_in_evaluation_and_random_in_training(
    regularizer: Any, frames: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    model = VisionTransformer(**SMALL, drop_path=0.5, regularizer=regularizer)
    x = frames(8, 32)
    assert torch.equal(model.eval()(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


def test_drop_path_drops_by_frame_and_dropout_by_number() -> None:
    torch.manual_seed(0)
    branch = torch.ones(64, 5, 48)
    arguments = {**SMALL, "drop_path": 0.5}
    zeros = {
        kind: (VisionTransformer(**arguments, regularizer=kind).train().blocks[3].drop(branch) == 0).flatten(1)
        for kind in ("drop_path", "dropout")
    }
    assert torch.equal(zeros["drop_path"].all(dim=1), zeros["drop_path"].any(dim=1))
    assert zeros["drop_path"].any() and not zeros["drop_path"].all()
    assert not zeros["dropout"].all(dim=1).any() and zeros["dropout"].any(dim=1).all()


def test_both_branches_of_a_block_are_dropped() -> None:
    """Of many samples a quarter lose both branches at rate 0.5 and leave the block as they came."""
    torch.manual_seed(0)
    block = VisionTransformer(**SMALL, drop_path=0.5).train().blocks[3]
    x = torch.randn(400, 5, 48)
    unchanged = (block(x) == x).flatten(1).all(dim=1).float().mean().item()
    assert abs(unchanged - 0.25) < 5 * (0.25 * 0.75 / 400) ** 0.5  # five standard errors of the binomial share


def test_set_dropout_drops_attention_and_both_branches_as_written_out_here() -> None:
    """The published program's frozen block, line by line with the same random numbers. Worst seen: 3e-7."""
    torch.manual_seed(0)
    block = TransformerBlock(16, 2, 32, rate=0.5, gelu="tanh").train()
    block.set_dropout(0.3)
    x = torch.randn(3, 5, 16)
    torch.manual_seed(1)
    found = block(x)
    torch.manual_seed(1)
    q, k, v = block.attention.qkv(block.attention_norm(x)).view(3, 5, 3, 2, 8).permute(2, 0, 3, 1, 4)
    weights = F.dropout((q @ k.transpose(-2, -1) / 8**0.5).softmax(-1), 0.3)
    heads = (weights @ v).transpose(1, 2).reshape(3, 5, 16)
    expected = x + F.dropout(block.attention.projection(heads), 0.3)
    expected = expected + F.dropout(block.mlp(block.mlp_norm(expected)), 0.3)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


def test_checkpointing_changes_no_number(fill: Callable[..., None], frames: Callable[..., Tensor]) -> None:
    """Same seed, so the recomputed blocks must draw the same DropPath: outputs and gradients are equal bit for bit."""
    x, gradients = frames(4, 32), []
    for checkpointing in (False, True):
        model = VisionTransformer(**SMALL, drop_path=0.5, checkpointing=checkpointing).train()
        fill(model)
        torch.manual_seed(3)
        output = model(x)
        output.square().sum().backward()
        gradients.append([output, *(p.grad for p in model.parameters())])
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.equal(plain, recomputed)


def test_checkpointing_keeps_fewer_activations(frames: Callable[..., Tensor]) -> None:
    def saved(checkpointing: bool) -> int:
        model, sizes = VisionTransformer(**SMALL, checkpointing=checkpointing), {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(frames(16, 32))
        parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        return sum(size for pointer, size in sizes.items() if pointer not in parameters)

    assert saved(True) < 0.25 * saved(False)


@pytest.mark.parametrize(("source", "grid"), [(14, 24), (24, 14), (4, 4)])
def test_positions_are_resampled_as_timm_does(source: int, grid: int) -> None:
    from timm.layers import resample_abs_pos_embed

    positions = torch.randn(1, source**2 + 1, 6)
    expected = resample_abs_pos_embed(positions, new_size=[grid, grid], num_prefix_tokens=1)
    torch.testing.assert_close(resample_positions(positions, grid), expected, rtol=0, atol=1e-6)


def test_positions_that_form_no_square() -> None:
    with pytest.raises(ValueError, match="square"):
        resample_positions(torch.zeros(1, 8, 4), 3)


def test_all_impossible_arguments_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        VisionTransformer(image_size=100, width=10, heads=3, drop_path=1.5)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "model.image_size",
        "model.width",
        "model.drop_path",
    ]
    with pytest.raises(ConfigError, match="depth: 0"):
        VisionTransformer(depth=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_cuda_agrees_with_cpu(
    dtype: torch.dtype,
    tolerance: float,
    fill: Callable[..., None],
    frames: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """float32: another order of sums; bfloat16 autocast: 8 bits of mantissa (2^-8 = 0.004) through four blocks."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # on by default for convolutions
    model = VisionTransformer(**SMALL).eval()
    fill(model)
    x = frames(4, 32)
    expected = model(x)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = model.cuda()(x.cuda())
    torch.testing.assert_close(output.float().cpu(), expected, rtol=0, atol=tolerance)


def test_bfloat16_autocast_on_the_cpu(fill: Callable[..., None], frames: Callable[..., Tensor]) -> None:
    """8 bits of mantissa (2^-8 = 0.004) through four blocks, features of unit variance.

    Worst measured over 20 seeds: 0.021; allowed 0.1.
    """
    model = VisionTransformer(**SMALL).eval()
    fill(model)
    x = frames(4, 32)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(x)
    torch.testing.assert_close(output.float(), model(x), rtol=0, atol=0.1)
