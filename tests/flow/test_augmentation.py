"""Augmented flow must be flow that some face could show: picture and vectors move together."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slstt.config.train import Augment
from slstt.flow.encoding import Changes, augment, draw_changes, intensify, mirror, retime, strain, transform

SIZE = 33


def grid(size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of each pixel from the picture's centre, in pixels."""
    line = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    return line[None, :].expand(size, size), line[:, None].expand(size, size)


def bump(x0: float, y0: float, u: float, v: float, width: float = 4.0) -> torch.Tensor:
    """Motion (u, v) of a spot around (x0, y0), as one clip of one frame."""
    x, y = grid()
    shape = torch.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * width**2))
    return torch.stack((u * shape, v * shape))[None, None]


def moved(flow: torch.Tensor, angle: float = 0, zoom: float = 1, shift: tuple[float, float] = (0, 0)) -> torch.Tensor:
    angles, zooms, shifts = (torch.tensor([value], dtype=torch.float32) for value in (angle, zoom, shift))
    return transform(flow, angles, zooms, shifts)


def test_mirroring_flips_left_and_right_turns_the_sign_of_u_and_is_its_own_inverse() -> None:
    maps = torch.randn(4, 1, 3, 6, 6)
    u, v, strain = maps.flip(-1).unbind(2)
    assert torch.equal(mirror(maps), torch.stack((-u, v, strain), 2))
    assert torch.equal(mirror(mirror(maps)), maps)


def test_published_maps_are_mirrored_as_255_minus_u_in_bytes() -> None:
    raw = torch.randint(0, 256, (4, 1, 3, 6, 6))
    u, v, strain = raw.flip(-1).unbind(2)
    expected = torch.stack((255 - u, v, strain), 2) / 127.5 - 1
    # 255 - u and -(u / 127.5 - 1) differ by the rounding of one float32 division.
    torch.testing.assert_close(mirror(raw / 127.5 - 1), expected, rtol=0, atol=2e-7)


def test_a_spot_that_moves_right_moves_left_in_the_mirror() -> None:
    torch.testing.assert_close(mirror(bump(6, -3, 2, 1)), bump(-6, -3, -2, 1))


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-math.pi / 4, math.pi / 4),
    st.floats(0.8, 1.25),
    st.floats(-0.1, 0.1),
    st.floats(-0.1, 0.1),
    st.floats(0, 2 * math.pi),
)
def test_a_moving_spot_lands_where_geometry_says_with_the_vectors_it_says(angle, zoom, dx, dy, direction) -> None:
    x0, y0, u, v = 4 * math.cos(direction), 4 * math.sin(direction), 1.5 * math.sin(direction), 1.0
    c, s = zoom * math.cos(angle), zoom * math.sin(angle)
    expected = bump(
        c * x0 - s * y0 + dx * SIZE, s * x0 + c * y0 + dy * SIZE, c * u - s * v, s * u + c * v, width=4.0 * zoom
    )
    # Bilinear interpolation flattens a Gaussian of 4 pixels by up to 1/8 of its second derivative: 2 % of 2.3 pixels.
    torch.testing.assert_close(moved(bump(x0, y0, u, v), angle, zoom, (dx, dy)), expected, rtol=0, atol=0.06)


def test_a_quarter_turn_is_exact() -> None:
    flow = torch.randn(1, 2, 2, 8, 8)
    turned = moved(flow, math.pi / 2)
    # Right becomes down: the picture as numpy turns it, u' = -v and v' = u.
    u, v = (torch.rot90(flow[:, :, i], -1, (-2, -1)) for i in (0, 1))
    torch.testing.assert_close(turned, torch.stack((-v, u), 2), rtol=0, atol=1e-5)


def test_a_spinning_field_looks_the_same_turned_and_enlarged_and_an_expanding_one_too() -> None:
    x, y = grid()
    inner = slice(8, -8)
    for field in (torch.stack((-y, x)), torch.stack((x, y))):
        changed = moved(field[None, None], 0.4, 1.2)
        torch.testing.assert_close(changed[0, 0, :, inner, inner], field[:, inner, inner], rtol=0, atol=1e-3)


def test_strain_is_blind_to_turning_and_to_zoom() -> None:
    flow = bump(0, 0, 2, 1, width=5)
    before = strain(flow)[0, 0, 0, 16, 8:25].max()
    for angle, zoom in ((0.5, 1.0), (0.0, 1.2)):
        assert strain(moved(flow, angle, zoom)).max() == pytest.approx(float(strain(flow).max()), rel=0.05)
    assert before > 0


def test_the_third_channel_only_moves() -> None:
    scalar = torch.rand(1, 1, 1, 8, 8)
    flow = torch.cat((torch.zeros(1, 1, 2, 8, 8), scalar), 2)
    torch.testing.assert_close(moved(flow, math.pi / 2)[:, :, 2:], torch.rot90(scalar, -1, (-2, -1)))
    assert torch.equal(mirror(flow)[:, :, 2:], scalar.flip(-1))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.floats(0, 5), st.integers(0, 1000))
def test_jittered_time_never_runs_backwards_nor_leaves_the_clip(frames: int, jitter: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    clock = torch.arange(frames, dtype=torch.float32)[None, :, None, None, None].expand(2, -1, 2, 1, 1)
    times = retime(clock, (torch.rand(2, frames, generator=generator) * 2 - 1) * jitter)[:, :, 0, 0, 0]
    assert (times.diff(dim=1) >= -1e-5).all()
    assert times.min() >= 0 and times.max() <= frames - 1


def test_retiming_interpolates_between_neighbours() -> None:
    flow = torch.randn(1, 3, 2, 2, 2)
    found = retime(flow, torch.tensor([[0.25, 0.0, -0.5]]))
    torch.testing.assert_close(found[:, 0], 0.75 * flow[:, 0] + 0.25 * flow[:, 1])
    torch.testing.assert_close(found[:, 1], flow[:, 1])
    torch.testing.assert_close(found[:, 2], 0.5 * flow[:, 1] + 0.5 * flow[:, 2])
    assert torch.equal(retime(flow, torch.zeros(1, 3)), flow)


def test_intensity_changes_lengths_and_no_direction() -> None:
    flow = torch.randn(2, 1, 2, 3, 3)
    torch.testing.assert_close(intensify(flow, torch.tensor([0.5, 2.0])), torch.stack((flow[0] / 2, flow[1] * 2)))


def test_nothing_switched_on_changes_nothing() -> None:
    flow = torch.randn(2, 3, 2, 4, 4)
    assert augment(flow, draw_changes(2, 3, Augment(), torch.Generator())) is flow


def test_changes_depend_on_the_generator_alone_and_are_one_per_clip() -> None:
    everything = Augment(mirror=True, rotate=10, zoom=0.1, shift=0.05, intensity=0.2, jitter=1)
    flow = torch.randn(1, 1, 2, 8, 8).repeat(6, 4, 1, 1, 1)

    def drawn(seed: int) -> Changes:
        return draw_changes(6, 4, everything, torch.Generator().manual_seed(seed))

    torch.manual_seed(1)
    first = augment(flow, drawn(3))
    torch.manual_seed(2)
    assert torch.equal(first, augment(flow, drawn(3)))
    assert not torch.equal(first, augment(flow, drawn(4)))
    assert all(torch.allclose(clip[0], frame, atol=1e-6) for clip in first for frame in clip)
    assert not torch.allclose(first[0], first[1])


def test_about_half_the_clips_are_mirrored() -> None:
    flow = torch.randn(400, 1, 2, 2, 2)
    changed = augment(flow, draw_changes(400, 1, Augment(mirror=True), torch.Generator().manual_seed(0)))
    mirrored = (changed != flow).flatten(1).any(1)
    assert torch.equal(changed[mirrored], mirror(flow)[mirrored])
    assert 160 < mirrored.sum() < 240  # 4 standard deviations of a fair coin


def test_clips_of_different_sizes_are_changed_as_in_a_batch() -> None:
    """Each alone, with its part of the numbers drawn for the batch."""
    settings = Augment(mirror=True, rotate=10, zoom=0.1, shift=0.05, intensity=0.2, jitter=1)
    flow = torch.randn(5, 4, 2, 8, 8)
    changes = draw_changes(5, 4, settings, torch.Generator().manual_seed(7))
    together = augment(flow, changes)
    for clip in range(5):
        # The same sums in single precision, in batches of another size.
        torch.testing.assert_close(augment(flow[clip : clip + 1], changes.of(clip))[0], together[clip])
