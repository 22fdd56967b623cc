import pytest
import torch
import torch.nn.functional as F

from slstt.errors import ConfigError
from slstt.models.baselines import OFFApexNet, STSTNet, baseline


def test_ststnet_has_the_paper_s_sizes() -> None:
    model = STSTNet()
    # 3x3x3 kernels (3, 5, 8 of them) with biases, batch norm, and 5 * 5 * 16 = 400 numbers into three classes
    assert sum(p.numel() for p in model.parameters()) == 27 * 16 + 16 + 2 * 16 + 400 * 3 + 3
    assert model.classifier.in_features == 400


def test_ststnet_agrees_with_the_plain_formula() -> None:
    torch.manual_seed(0)
    model, x = STSTNet().eval(), torch.randn(2, 1, 3, 28, 28)
    maps, (convolution, _, norm, *_) = [], model.streams
    norm.running_mean.uniform_(0, 1)
    norm.running_var.uniform_(0.5, 2)
    for kernels in torch.arange(16).split([3, 5, 8]):  # each stream by itself, as the paper draws them
        y = F.relu(F.conv2d(x[:, 0], convolution.weight[kernels], convolution.bias[kernels], padding=1))
        mean, variance = norm.running_mean[kernels, None, None], norm.running_var[kernels, None, None]
        y = (y - mean) / (variance + norm.eps).sqrt()
        padded = F.pad(y, (1, 1, 1, 1), value=-torch.inf)
        windows = padded.unfold(2, 3, 3).unfold(3, 3, 3)
        maps.append(windows.amax((-1, -2)))
    pooled = torch.cat(maps, 1).unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    expected = F.linear(pooled.flatten(1), model.classifier.weight, model.classifier.bias)
    torch.testing.assert_close(model(x), expected)


def test_off_apexnet_has_the_paper_s_sizes_and_does_not_see_strain() -> None:
    torch.manual_seed(0)
    model, x = OFFApexNet().eval(), torch.randn(2, 1, 3, 28, 28)
    streams = 2 * (25 * 6 + 6 + 25 * 6 * 16 + 16)
    assert sum(p.numel() for p in model.parameters()) == streams + 1568 * 1024 + 1024 + 1024**2 + 1024 + 3 * 1024 + 3
    other = x.clone()
    other[:, :, 2] = torch.randn(2, 1, 28, 28)
    assert torch.equal(model(x), model(other))
    other[:, :, 1] = torch.randn(2, 1, 28, 28)
    assert not torch.allclose(model(x), model(other))


@pytest.mark.parametrize("name", ["ststnet", "off_apexnet"])
def test_small_networks_learn_ten_maps_by_heart(name: str) -> None:
    torch.manual_seed(0)
    model, x, y = baseline(name, 28, 3), torch.randn(10, 1, 3, 28, 28), torch.arange(10) % 3
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert torch.equal(model.eval()(x).argmax(1), y)


def test_wrong_names_and_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="ststnet or off_apexnet"):
        baseline("alexnet", 28, 3)
    for name in ("ststnet", "off_apexnet"):
        with pytest.raises(ConfigError, match="too small"):
            baseline(name, 2, 3)
