import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slstt.config.train import Training
from slstt.training.checkpoint import Average, learning_rate, make_optimizer
from slstt.training.trainer import batches, class_weights, epoch_order, loss_sum


def test_class_weights_make_every_class_count_the_same() -> None:
    labels = [0] * 60 + [1] * 30 + [3] * 10
    weights = class_weights(labels, 4)
    assert weights[2] == 0
    shares = [float(weights[label]) * labels.count(label) for label in (0, 1, 3)]
    assert shares == pytest.approx([100 / 3] * 3)


def test_an_epoch_is_a_permutation_and_balanced_sampling_draws_every_class_alike() -> None:
    labels = [0] * 900 + [1] * 90 + [2] * 10
    assert sorted(epoch_order(labels, "none", torch.Generator().manual_seed(0))) == list(range(1000))
    drawn = epoch_order(labels, "sampling", torch.Generator().manual_seed(0))
    counts = [sum(labels[i] == label for i in drawn) for label in range(3)]
    # Binomial with n = 1000 and p = 1/3: four standard deviations are 60.
    assert len(drawn) == 1000 and all(abs(count - 1000 / 3) < 60 for count in counts)


def test_batches_leave_nothing_out() -> None:
    assert batches([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_summed_loss_over_the_summed_weights_is_torchs_mean(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(9, 3, generator=generator), torch.randint(0, 3, (9,), generator=generator)
    weights = torch.tensor([0.5, 1.0, 2.5])
    expected = F.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
    found = loss_sum(logits, labels, weights, smoothing) / weights[labels].sum()
    torch.testing.assert_close(found, expected)


def test_warm_up_rises_linearly_and_cosine_falls_to_zero() -> None:
    training = Training(epochs=20, warmup_epochs=5, learning_rate=0.4, schedule="cosine")
    assert learning_rate(training, 0) > 0
    assert learning_rate(training, 2.5) == pytest.approx(0.2, rel=1e-3)
    assert learning_rate(training, 5) == pytest.approx(0.4)
    assert learning_rate(training, 12.5) == pytest.approx(0.2)
    assert learning_rate(training, 20) == pytest.approx(0, abs=1e-12)
    rates = [learning_rate(training, step / 10) for step in range(50, 200)]
    assert rates == sorted(rates, reverse=True)


def test_the_published_schedule_drops_tenfold_after_thirty_epochs() -> None:
    published = Training()
    assert [learning_rate(published, epoch) for epoch in (0, 29.99, 30, 39.9)] == pytest.approx(
        [0.01, 0.01, 1e-3, 1e-3]
    )
    constant = Training(schedule="constant")
    assert learning_rate(constant, 39) == constant.learning_rate


def test_adamw_decays_matrices_and_leaves_norms_biases_and_tokens_alone() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 3), nn.LayerNorm(3)
            self.positions, self.class_token = (nn.Parameter(torch.ones(1, 2, 3)) for _ in range(2))
            self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)

    model = Small()
    groups = make_optimizer(model, Training(optimizer="adamw", weight_decay=0.3)).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] == 0.3 for p in group["params"]}
    every = {id(p) for group in groups for p in group["params"]}
    assert decayed == {id(model.linear.weight)}
    assert every == {id(p) for p in model.parameters() if p.requires_grad}


def test_sgd_steps_as_its_formula_says() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = make_optimizer(model, Training(learning_rate=0.1, momentum=0.5, weight_decay=0.01))
    velocity, weight = 0.0, 2.0
    for gradient in (1.0, -0.5, 0.25):
        optimizer.zero_grad()
        (model.weight * gradient).sum().backward()
        optimizer.step()
        velocity = 0.5 * velocity + gradient + 0.01 * weight
        weight -= 0.1 * velocity
    assert model.weight.item() == pytest.approx(weight, rel=1e-6)


def test_the_average_follows_its_recursion_and_warms_up() -> None:
    parameter = torch.zeros(1)
    average = Average([("p", parameter)], decay=0.9)
    expected = 0.0
    for step in range(1, 200):
        parameter.fill_(math.sin(step))
        average.update([("p", parameter)])
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * math.sin(step)
    assert average.values["p"].item() == pytest.approx(expected, abs=1e-5)
