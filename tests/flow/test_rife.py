"""Our IFNet with the official weights makes true middle frames; wrong weights are refused."""

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from slstt.errors import WeightsError
from slstt.flow.interpolation import IFNet, Rife, fill, warp_backward


@pytest.fixture(scope="session")
def weights(official_rife):
    return official_rife


@pytest.fixture(scope="module")
def rife(weights):
    return Rife.load(weights)


@pytest.fixture(scope="module")
def texture():
    noise = np.random.default_rng(0).uniform(0, 255, (320, 320, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255


def shifted(texture, dx, dy=0.0, size=(192, 192)):
    """A window into the texture whose content has moved by (dx, dy) pixels."""
    matrix = np.array([[1, 0, dx - 64], [0, 1, dy - 64]], np.float32)
    moved = cv2.warpAffine(texture, matrix, size, flags=cv2.INTER_CUBIC)
    return np.clip(np.round(moved), 0, 255).astype(np.uint8)


def psnr(a, b, border=24):
    inside = slice(border, -border)
    difference = a[inside, inside].astype(float) - b[inside, inside]
    return 10 * np.log10(255**2 / np.mean(difference**2))


@pytest.mark.parametrize(("half", "blend_reaches"), [((1, 0), 47), ((2, 1), 36), ((0, 4), 27), ((8, -5), 21)])
def test_the_middle_of_a_shift(rife, texture, half, blend_reaches):
    """50 dB and more where blending gets 19 to 46: contents move by twice `half` between the two pictures."""
    dx, dy = half
    before, true, after = shifted(texture, -dx, -dy), shifted(texture, 0), shifted(texture, dx, dy)
    blended = ((before.astype(int) + after + 1) // 2).astype(np.uint8)
    assert psnr(blended, true) < blend_reaches
    assert psnr(rife.midpoint(before, after), true) > 50


def test_equal_pictures_stay(rife, texture):
    still = shifted(texture, 0)
    assert np.abs(rife.midpoint(still, still).astype(int) - still).max() <= 2


def test_time_reversed_gives_the_same(rife, texture):
    a, b = shifted(texture, -3, 1), shifted(texture, 2, -2)
    # Every block averages both orders, so only the order of float additions differs: one grey level at most.
    assert np.abs(rife.midpoint(a, b).astype(int) - rife.midpoint(b, a)).max() <= 1


def test_a_batch_equals_its_pairs(rife, texture):
    a = np.stack([shifted(texture, -d, size=(96, 64)) for d in (1, 2, 3)])
    b = np.stack([shifted(texture, d, d, size=(96, 64)) for d in (1, 2, 3)])
    together = rife.midpoint(a, b)
    assert together.shape == a.shape
    for one, first, second in zip(together, a, b, strict=True):
        assert np.abs(one.astype(int) - rife.midpoint(first, second)).max() <= 1


@pytest.mark.parametrize("size", [(97, 130), (31, 33), (20, 200)])
def test_any_size(rife, texture, size):
    a, true, b = (shifted(texture, d, size=size) for d in (-1, 0, 1))
    middle = rife.midpoint(a, b)
    assert middle.shape == a.shape == (size[1], size[0], 3)
    assert psnr(middle, true, border=4) > 36


def test_bf16_stays_near_fp32(weights, rife, texture):
    a, true, b = (shifted(texture, d, size=(128, 128)) for d in (-2, 0, 2))
    low = Rife.load(weights, precision="bf16").midpoint(a, b)
    # bfloat16 keeps 8 bits: the flow is off by hundredths of a pixel. Measured: 45 dB from the truth.
    assert psnr(low, rife.midpoint(a, b)) > 38
    assert psnr(low, true) > 38


def test_unequal_sizes_are_refused(rife):
    with pytest.raises(ValueError, match="one size"):
        rife.midpoint(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 33, 3), np.uint8))


def test_warp_fetches_where_the_flow_points():
    picture = torch.arange(30.0).reshape(1, 1, 5, 6)
    flow = torch.zeros(1, 2, 5, 6)
    flow[:, 0], flow[:, 1] = 1, 2
    fetched = warp_backward(picture, flow)
    torch.testing.assert_close(fetched[0, 0, :3, :5], picture[0, 0, 2:, 1:])
    torch.testing.assert_close(fetched[0, 0, 4], picture[0, 0, 4, [1, 2, 3, 4, 5, 5]])  # the border repeats


def test_the_official_weights_fill_every_parameter(weights):
    tensors = load_file(weights)
    assert tensors.keys() == IFNet().state_dict().keys()
    # With the training-only teacher block the published file has 3,038,015 values.
    assert sum(tensor.numel() for tensor in tensors.values()) == 2_277_600


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "cut", "text"])
def test_other_weights_are_refused(tmp_path, fault):
    tensors = {name: tensor.clone() for name, tensor in IFNet().state_dict().items()}
    match fault:
        case "missing":
            del tensors["block1.conv1.0.weight"]
        case "extra":
            tensors["block3.conv1.0.weight"] = torch.zeros(2)
        case "shape":
            tensors["block1.conv1.0.weight"] = torch.zeros(90, 45, 3, 3)
    path = tmp_path / "rife.safetensors"
    save_file(tensors, path)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    if fault == "text":
        path.write_text("no tensors here")
    with pytest.raises(WeightsError, match=r"rife\.safetensors: .*(conv1\.0\.weight|unreadable)"):
        Rife.load(path)


def test_fill_makes_one_batch_a_level(rife, texture):
    """Positions 0.25, 0.5 and 1.5 need two halves in one batch and one quarter in another."""
    batches = []

    class Counted(Rife):
        def midpoint(self, a, b):
            batches.append(len(a))
            return super().midpoint(a, b)

    counted = Counted(rife.network)
    frames = {n: shifted(texture, 2 * n, size=(128, 128)) for n in range(3)}
    filled = fill(frames, [0.25, 0.5, 1, 1.5], "rife", counted)
    assert batches == [2, 1]
    assert list(filled) == [0.25, 0.5, 1, 1.5]
    np.testing.assert_array_equal(filled[1], frames[1])
    for position in (0.25, 0.5, 1.5):
        assert psnr(filled[position], shifted(texture, 2 * position, size=(128, 128))) > 45


def test_fill_keeps_grey_grey(rife, texture):
    frames = {n: shifted(texture, 2 * n, size=(128, 128))[..., 0] for n in range(2)}
    middle = fill(frames, [0.5], "rife", rife)[0.5]
    assert middle.shape == (128, 128)
    assert psnr(middle, shifted(texture, 1, size=(128, 128))[..., 0]) > 45
