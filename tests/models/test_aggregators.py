"""The aggregators against plain loops over the frames.

Tolerance: float64 sums in another order, a few 1e-16 an operation on numbers of size 1; allowed 1e-12.
"""

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slstt.models.slstt import LSTMAggregator, MeanAggregator


def unrolled_lstm(aggregator: LSTMAggregator, features: Tensor) -> Tensor:
    """The LSTM's equations frame by frame and layer by layer (gates in torch's order: input, forget, cell, output)."""
    lstm = aggregator.lstm
    clips, count, _ = features.shape
    hidden = [features.new_zeros(clips, lstm.hidden_size) for _ in range(lstm.num_layers)]
    cell = [torch.zeros_like(state) for state in hidden]
    for t in range(count):
        x = features[:, t]
        for layer in range(lstm.num_layers):
            weights = {
                name: getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            gates = (
                x @ weights["weight_ih"].T
                + weights["bias_ih"]
                + hidden[layer] @ weights["weight_hh"].T
                + weights["bias_hh"]
            )
            i, f, g, o = gates.chunk(4, dim=1)
            cell[layer] = torch.sigmoid(f) * cell[layer] + torch.sigmoid(i) * torch.tanh(g)
            hidden[layer] = torch.sigmoid(o) * torch.tanh(cell[layer])
            x = hidden[layer]
    head = aggregator.hidden(hidden[-1]).clamp(min=0)
    return head @ aggregator.classifier.weight.T + aggregator.classifier.bias


def test_lstm_is_the_unrolled_loop(fill: Callable[..., None]) -> None:
    """Logits and gradients. Worst over 20 seeds: 7.1e-15; allowed 1e-12."""
    aggregator = LSTMAggregator(24, 5, lstm_width=16, lstm_layers=3, head_width=8).double()
    fill(aggregator, scale=0.4)
    features = torch.randn(4, 11, 24, dtype=torch.float64)
    results = []
    for function in (aggregator, lambda x: unrolled_lstm(aggregator, x)):
        aggregator.zero_grad()
        logits = function(features)
        logits.square().sum().backward()
        results.append([logits, *(p.grad.clone() for p in aggregator.parameters() if p.grad is not None)])
    assert len(results[0]) == 1 + len(list(aggregator.parameters()))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_published_sizes() -> None:
    aggregator = LSTMAggregator(768, 3)
    assert aggregator.lstm.num_layers == 3 and aggregator.lstm.hidden_size == 512
    assert aggregator.hidden.weight.shape == (256, 512)
    assert aggregator.classifier.weight.shape == (3, 256)


@given(clips=st.integers(1, 4), count=st.integers(1, 12), width=st.integers(1, 16), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_mean_of_logits_is_the_logit_of_the_mean(clips: int, count: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    aggregator = MeanAggregator(width, 3).double()
    features = torch.randn(clips, count, width, dtype=torch.float64)
    per_frame = aggregator.classifier(features)
    torch.testing.assert_close(aggregator(features), per_frame.mean(dim=1), rtol=0, atol=1e-12)


def test_order_matters_to_the_lstm_and_not_to_the_mean() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 6, 8, dtype=torch.float64)
    lstm, mean = LSTMAggregator(8, 3, 8, 2, 8).double(), MeanAggregator(8, 3).double()
    assert (lstm(features) - lstm(features.flip(1))).abs().max() > 1e-4
    torch.testing.assert_close(mean(features), mean(features.flip(1)), rtol=0, atol=1e-12)


def test_clips_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 5, 8, dtype=torch.float64)
    for aggregator in (LSTMAggregator(8, 3, 8, 2, 8).double(), MeanAggregator(8, 3).double()):
        together = aggregator(features)
        for index in range(3):
            alone = aggregator(features[index : index + 1])
            torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-12)
