from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import resnet18
from torchvision.models.video import r3d_18

from slstt.errors import ConfigError, WeightsError
from slstt.models.baselines import HTNet, OFFApexNet, SSSNet, STSTNet, baseline, load_pretrained


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


def test_sssnet_agrees_with_the_plain_formula() -> None:
    torch.manual_seed(0)
    model, x = SSSNet().eval(), torch.randn(2, 1, 3, 28, 28)
    first, second = (model.features[i] for i in (0, 5))
    y = F.interpolate(x[:, 0], scale_factor=64 / 28, mode="bilinear", align_corners=False)
    for convolution, norm, pool in ((first, model.features[3], 3), (second, model.features[8], 2)):
        windows = F.relu(F.conv2d(y, convolution.weight, convolution.bias)).unfold(2, pool, pool).unfold(3, pool, pool)
        y = windows.amax((-1, -2)) / (norm.running_var + norm.eps).sqrt()[:, None, None]  # mean 0, scale 1 so far
    assert y.shape == (2, 32, 9, 9)
    hidden, classes = model.classifier[0], model.classifier[3]
    expected = F.linear(F.relu(F.linear(y.flatten(1), hidden.weight, hidden.bias)), classes.weight, classes.bias)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in model.parameters()) == 75 * 16 + 16 + 32 + 144 * 32 + 32 + 64 + 2592 * 128 + 128 + 387


@pytest.fixture(scope="module")
def htnet() -> HTNet:
    """Narrow, so that it is quick: 24, 48 and 96 numbers instead of 256, 512 and 1024."""
    torch.manual_seed(0)

    class Narrow(HTNet):
        WIDTH, DEPTHS = 24, (2, 2, 3)

    return Narrow().eval()


def test_htnet_sees_four_squares_of_the_face(htnet: HTNet) -> None:
    x = torch.zeros(1, 3, 28, 28)
    for number, (column, row) in enumerate(HTNet.CENTRES, start=1):
        x[:, :, row, column] = number
    seen = htnet.squares(x)
    assert seen.shape == (1, 3, 28, 28)
    places = [[seen[0, 0, i, j].item() for j in (7, 21)] for i in (7, 21)]
    assert places == [[1, 3], [2, 4]]  # left eye, left corner of the mouth; right eye, right corner


def test_htnet_agrees_with_a_loop_over_areas(htnet: HTNet) -> None:
    """One token an area: softmax over one is one, so attention is the values' projection, and areas do not mix."""
    x = torch.randn(2, 1, 3, 28, 28)
    y = F.conv2d(htnet.squares(x[:, 0]), htnet.embedding.weight, htnet.embedding.bias, stride=7)
    for level, blocks in enumerate(htnet.levels):
        z = torch.empty_like(y)
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                token = y[:, :, i, j] + htnet.positions[level]
                for block in blocks:  # type: ignore[union-attr]
                    values = F.linear(block.attention_norm(token), block.qkv.weight.chunk(3)[2])
                    token = token + block.out(values)
                    token = token + block.mlp(block.mlp_norm(token))
                z[:, :, i, j] = token
        y = htnet.between[level](z) if level < 2 else z
    assert y.shape == (2, 96, 1, 1)
    expected = htnet.classifier(htnet.norm(y[:, :, 0, 0]))
    torch.testing.assert_close(htnet(x), expected, rtol=1e-4, atol=1e-5)


def test_htnet_has_the_published_sizes() -> None:
    with torch.device("meta"):
        model = HTNet()

    def block(d: int, inner: int) -> int:  # two norms, q k v, out, two layers of the MLP
        return 4 * d + 3 * d * inner + inner * d + d + 4 * d * d + 4 * d + 4 * d * d + d

    blocks = 2 * block(256, 255) + 2 * block(512, 510) + 10 * block(1024, 1020)
    between = sum(9 * a * b + b + 2 * b for a, b in ((256, 512), (512, 1024)))
    assert sum(p.numel() for p in model.parameters()) == 147 * 256 + 256 + 3 + blocks + between + 2048 + 3072 + 3


@pytest.mark.parametrize("name", ["ststnet", "off_apexnet", "sssnet"])
def test_small_networks_learn_ten_maps_by_heart(name: str) -> None:
    torch.manual_seed(0)
    model, x, y = baseline(name, 28, 3), torch.randn(10, 1, 3, 28, 28), torch.arange(10) % 3
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert torch.equal(model.eval()(x).argmax(1), y)


@pytest.mark.parametrize(("name", "theirs"), [("r3d_18", r3d_18), ("resnet18", resnet18)])
def test_networks_on_clips_are_torchvision_s_with_another_last_layer(name: str, theirs, tmp_path: Path) -> None:
    """Their file with 400 classes fills all but that layer; a clip's answer is then what theirs gives."""
    torch.manual_seed(0)
    known = theirs(num_classes=400).eval()
    torch.save(known.state_dict(), tmp_path / "learned.pth")
    model = baseline(name, 32, 3).eval()
    load_pretrained(model, str(tmp_path / "learned.pth"))
    last: torch.nn.Linear = model.network.fc  # type: ignore[union-attr]
    assert last.weight.shape == (3, 512)
    known.fc = last
    x = torch.randn(2, 4, 3, 32, 32)
    with torch.no_grad():
        frames = torch.stack([known(x[:, t]) for t in range(4)], dim=1) if name == "resnet18" else None
        expected = known(x.transpose(1, 2)) if frames is None else frames.mean(1)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
        in_another_order = (model(x.flip(1)) - model(x)).abs().max()
    assert in_another_order > 1e-3 if name == "r3d_18" else in_another_order < 1e-5


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(resnet18(num_classes=3).state_dict(), tmp_path / "resnet.pth")
    model = baseline("r3d_18", 32, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for source in (str(tmp_path / "resnet.pth"), "synthetic"):
        with pytest.raises(WeightsError, match="not weights of torchvision's r3d_18"):
            load_pretrained(model, source)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_wrong_names_and_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="r3d_18 or resnet18"):
        baseline("alexnet", 28, 3)
    for name in ("ststnet", "off_apexnet"):
        with pytest.raises(ConfigError, match="too small"):
            baseline(name, 2, 3)
    with pytest.raises(ConfigError, match="not a multiple of 28"):
        baseline("htnet", 30, 3)
