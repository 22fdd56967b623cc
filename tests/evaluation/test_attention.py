"""Attention rollout and output gates against independent computations."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slstt.errors import DataError
from slstt.evaluation.saliency import AttentionInput, attention_maps, output_gate, rollout, write_attention
from slstt.models.slstt import SLSTT


def small(aggregator: str = "lstm", norm: str = "pre") -> SLSTT:
    torch.manual_seed(0)
    model = SLSTT(
        image_size=16, patch_size=4, width=24, depth=3, heads=2, aggregator=aggregator, norm=norm,
        lstm_width=10, lstm_layers=2, head_width=8,
    )  # fmt: skip
    for parameter in model.parameters():  # initial attention is nearly even; make it say something
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_rollout_equals_the_product_of_torchs_own_attention_matrices(norm: str) -> None:
    model, frames = small(norm=norm), torch.randn(3, 3, 16, 16)
    tokens = model.encoder.embed(frames)
    product = torch.eye(17).expand(3, 17, 17)
    for block in model.encoder.blocks:
        theirs = torch.nn.MultiheadAttention(24, 2, batch_first=True)
        theirs.load_state_dict(
            {
                "in_proj_weight": block.attention.qkv.weight,
                "in_proj_bias": block.attention.qkv.bias,
                "out_proj.weight": block.attention.projection.weight,
                "out_proj.bias": block.attention.projection.bias,
            }
        )
        seen = block.attention_norm(tokens) if norm == "pre" else tokens
        _, weights = theirs(seen, seen, seen, need_weights=True, average_attn_weights=True)
        product = (0.5 * weights + 0.5 * torch.eye(17)) @ product
        tokens = block(tokens)
    expected = product[:, 0, 1:] / product[:, 0, 1:].sum(1, keepdim=True)
    torch.testing.assert_close(rollout(model, frames).flatten(1), expected, rtol=1e-4, atol=1e-6)


def test_shares_are_not_negative_and_sum_to_one() -> None:
    shares = rollout(small(), torch.randn(5, 3, 16, 16))
    assert shares.shape == (5, 4, 4) and (shares >= 0).all()
    torch.testing.assert_close(shares.sum((1, 2)), torch.ones(5))


def test_without_queries_and_keys_attention_is_even() -> None:
    model = small()
    for block in model.encoder.blocks:
        torch.nn.init.zeros_(block.attention.qkv.weight)
        torch.nn.init.zeros_(block.attention.qkv.bias)
    torch.testing.assert_close(rollout(model, torch.randn(2, 3, 16, 16)), torch.full((2, 4, 4), 1 / 16))


def test_gates_reproduce_the_lstm() -> None:
    lstm, features = small().aggregator.lstm, torch.randn(4, 6, 24)
    gates = output_gate(lstm, features)
    outputs, _ = lstm(features)
    assert gates.shape == outputs.shape and ((gates > 0) & (gates < 1)).all()
    # h = o * tanh(c), so the output never exceeds its gate; and o = sigmoid(W_o x + U_o h_before + b_o).
    assert (outputs.abs() <= gates + 1e-6).all()
    below = torch.nn.LSTM(24, 10, 1, batch_first=True)
    below.load_state_dict({name: value for name, value in lstm.state_dict().items() if name.endswith("l0")})
    first, _ = below(features)
    before = torch.cat((torch.zeros(4, 1, 10), outputs[:, :-1]), dim=1)
    weights = {name: value[30:] for name, value in lstm.state_dict().items() if name.endswith("l1")}
    sums = first @ weights["weight_ih_l1"].T + before @ weights["weight_hh_l1"].T
    expected = (sums + weights["bias_ih_l1"] + weights["bias_hh_l1"]).sigmoid()
    torch.testing.assert_close(gates, expected, rtol=1e-5, atol=1e-6)


def shown(model: SLSTT, channels: int = 2, frames: int = 5) -> AttentionInput:
    return AttentionInput(
        model, torch.randn(3, frames, 3, 16, 16), torch.randn(3, frames, channels, 16, 16), ("happy", "sad", "happy")
    )


def test_classes_are_summed_apart_and_nothing_depends_on_the_grouping() -> None:
    group = shown(small())
    found = attention_maps([group])
    assert {name: summed.clips for name, summed in found.items()} == {"happy": 2, "sad": 1}
    singly = attention_maps(
        AttentionInput(group.model, group.pictures[i : i + 1], group.flow[i : i + 1], group.classes[i : i + 1])
        for i in range(3)
    )
    for name, summed in found.items():
        np.testing.assert_allclose(summed.attention, singly[name].attention)
        np.testing.assert_allclose(summed.gate, singly[name].gate)
        assert summed.attention.mean() / summed.clips == pytest.approx(1)  # times even attention
        assert 0 < summed.intensity.max() / summed.clips <= 1


def test_figures_are_drawn_for_lstm_and_for_single_frames(tmp_path: Path) -> None:
    written = write_attention(attention_maps([shown(small())]), ("happy", "sad", "never"), tmp_path)
    assert [path.name for path in written] == ["attention.png", "attention_gate.png"]
    assert all(path.stat().st_size > 5000 for path in written)
    alone = write_attention(
        attention_maps([shown(small("mean"), channels=3, frames=1)]), ("happy", "sad"), tmp_path / "maps"
    )
    assert [path.name for path in alone] == ["attention.png"]
    with pytest.raises(DataError, match="save_models"):
        write_attention({}, ("happy",), tmp_path)
