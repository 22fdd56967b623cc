from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from slstt.config.train import Encoding
from slstt.flow import optical_flow as preprocessing_flow
from slstt.flow.encoding import encode, normalize_each, resize_pictures, strain

ENCODINGS = get_args(Encoding)


def some_flow(seed: int = 0, clips: int = 2, frames: int = 3, size: int = 12) -> torch.Tensor:
    return torch.randn(clips, frames, 2, size, size, generator=torch.Generator().manual_seed(seed))


def test_strain_is_that_of_preprocessing() -> None:
    flow = some_flow()
    expected = preprocessing_flow.strain(flow.numpy())
    # The same central differences in single precision; the sums may be ordered otherwise. Worst seen: 5e-7.
    np.testing.assert_allclose(strain(flow)[:, :, 0].numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("per_frame", [True, False])
def test_the_colour_wheel_is_opencvs(per_frame: bool) -> None:
    flow = some_flow(1)
    pictures = encode(flow, "hsv_frame" if per_frame else "hsv_clip").numpy()
    for clip, frames in enumerate(flow.numpy()):
        lengths = np.sqrt((frames**2).sum(1))
        for number, (u, v) in enumerate(frames):
            scale = lengths[number] if per_frame else lengths
            value = (lengths[number] - scale.min()) / (scale.max() - scale.min())
            hue = np.degrees(np.arctan2(v, u)) % 360
            hsv = np.stack((hue, np.ones_like(hue), value), axis=-1).astype(np.float32)
            expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 2 - 1
            # OpenCV interpolates within a sixth of the wheel in single precision. Worst seen: 2e-6.
            np.testing.assert_allclose(pictures[clip, number].transpose(1, 2, 0), expected, rtol=0, atol=1e-5)


def test_lengths_are_in_percent_of_the_side() -> None:
    flow = torch.zeros(1, 1, 2, 50, 50)
    flow[0, 0, :, 0, 1] = torch.tensor([3.0, -4.0])
    picture = encode(flow, "uv_magnitude")[0, 0]
    assert picture[:, 0, 1].tolist() == [6.0, -8.0, 10.0]
    assert picture.abs().sum() == 24
    assert torch.equal(encode(flow, "uv_strain")[0, 0, :2], picture[:2])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_movement_filmed_larger_gives_the_same_numbers(encoding: str) -> None:
    """A smooth field sampled at 60 and at 240 pixels a side; the vectors grow with the picture."""
    line = {size: (torch.arange(size) + 0.5) / size for size in (60, 240)}

    def field(size: int) -> torch.Tensor:
        x, y = line[size][None, :], line[size][:, None]
        bump = torch.exp(-((x - 0.4) ** 2 + (y - 0.6) ** 2) / 0.02) * 0.01 * size
        return torch.stack((bump, 0.5 * bump + 0.001 * size))[None, None]

    small, large = (resize_pictures(encode(field(size), encoding), 48) for size in (60, 240))
    span = small.max() - small.min()
    # Sampling differs by a fraction of a pixel of the smaller picture; strain, a derivative, shows it most.
    assert (small - large).abs().mean() < 0.01 * span
    assert (small - large).abs().max() < 0.1 * span


def test_pictures_are_resized_as_opencv_and_pillow_do() -> None:
    pictures = encode(some_flow(5, size=64), "hsv_clip")
    smaller = resize_pictures(pictures, 24)
    expected = np.stack(
        [
            np.asarray(Image.fromarray(pictures[0, 0, channel].numpy()).resize((24, 24), Image.Resampling.BILINEAR))
            for channel in range(3)
        ]
    )
    # Pillow's triangle filter widened to the step is what antialiasing means; both in single precision.
    np.testing.assert_allclose(smaller[0, 0].numpy(), expected, rtol=0, atol=1e-5)
    larger = resize_pictures(pictures, 100)[0, 0, 0].numpy()
    wanted = cv2.resize(pictures[0, 0, 0].numpy(), (100, 100), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(larger, wanted, rtol=0, atol=1e-4)
    assert resize_pictures(pictures, 64) is pictures


def test_scaling_per_frame_loses_the_rise_of_the_motion_and_scaling_per_clip_keeps_it() -> None:
    rising = some_flow(2, clips=1, frames=1).repeat(1, 3, 1, 1, 1) * torch.tensor([1.0, 2.0, 4.0])[:, None, None, None]
    per_frame, per_clip = encode(rising, "hsv_frame")[0], encode(rising, "hsv_clip")[0]
    torch.testing.assert_close(per_frame[0], per_frame[2], rtol=0, atol=1e-5)
    brightness = (per_clip.amax(1) + 1).mean((1, 2))
    assert brightness[1] > 1.8 * brightness[0] and brightness[2] > 1.8 * brightness[1]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(ENCODINGS), st.floats(0, 50), st.integers(0, 99))
def test_every_encoding_is_finite_for_any_flow_even_none_at_all(encoding: str, scale: float, seed: int) -> None:
    pictures = encode(some_flow(seed) * scale, encoding)
    assert pictures.shape == (2, 3, 3, 12, 12)
    assert pictures.isfinite().all()
    if encoding.startswith("hsv"):
        assert pictures.min() >= -1 - 1e-6 and pictures.max() <= 1 + 1e-6


def test_a_batch_is_encoded_as_its_clips_alone() -> None:
    flow = some_flow(3, clips=4)
    for encoding in ENCODINGS:
        alone = torch.cat([encode(clip, encoding) for clip in flow.split(1)])
        assert torch.equal(encode(flow, encoding), alone)


def test_flow_maps_are_taken_as_they_are() -> None:
    maps = torch.randn(2, 1, 3, 4, 4)
    assert encode(maps, "uv_strain") is maps


def test_each_clip_is_normalised_by_its_own_median_and_deviation_over_all_frames() -> None:
    pictures = torch.randn(3, 5, 3, 6, 6, generator=torch.Generator().manual_seed(4)) * 7 + 2
    found = normalize_each(pictures).numpy()
    for clip in range(3):
        for channel in range(3):
            values = pictures[clip, :, channel].numpy()
            median = np.sort(values.ravel())[(values.size - 1) // 2]  # torch takes the lower of two middle values
            expected = (values - median) / values.std()
            np.testing.assert_allclose(found[clip, :, channel], expected, rtol=1e-4, atol=1e-5)
    scaled = normalize_each(pictures * 13 + 5)
    np.testing.assert_allclose(scaled.numpy(), found, rtol=1e-3, atol=1e-4)
    assert normalize_each(torch.zeros(1, 1, 3, 4, 4)).abs().max() == 0
