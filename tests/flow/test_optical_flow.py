"""Flow methods against known warps, strain against its formula, and the paper's claim about long-term flow."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slstt.datasets.synthetic import Plan, render
from slstt.errors import ConfigError
from slstt.flow.optical_flow import consecutive_flow, onset_flow, strain

SIZE = 160
CENTRE = slice(40, 120)


@pytest.fixture(scope="module")
def texture():
    noise = np.random.default_rng(5).uniform(0, 255, (SIZE + 80, SIZE + 80)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255


def moved(texture, u, v):
    """The texture's centre, each point moved by (u, v): numbers, or fields given where the point arrives."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    picture = cv2.remap(texture, x + 40 - np.float32(u), y + 40 - np.float32(v), cv2.INTER_CUBIC)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("method", ["farneback", "dis"])
@pytest.mark.parametrize(("u", "v"), [(1.0, 0.0), (0.0, -1.5), (-2.0, 1.0), (0.4, 0.3), (4.0, 3.0)])
def test_a_shift_is_measured_in_pixels_right_and_down(texture, method, u, v):
    field = onset_flow(np.stack([moved(texture, 0, 0), moved(texture, u, v)]), method)
    assert field.shape == (1, 2, SIZE, SIZE)
    assert field.dtype == np.float32
    found = field[0, :, CENTRE, CENTRE].mean(axis=(1, 2))
    np.testing.assert_allclose(found, (u, v), atol=0.1)


@pytest.mark.parametrize("method", ["farneback", "dis"])
def test_a_local_bulge_is_followed(texture, method):
    """A Gaussian displacement 1.5 pixels high and 18 wide, as of a lip corner: its peak is found within 20%."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    bump = np.exp(-((x - 80) ** 2 + (y - 80) ** 2) / (2 * 18**2))
    field = onset_flow(np.stack([moved(texture, 0, 0), moved(texture, 1.5 * bump, -0.8 * bump)]), method)[0]
    np.testing.assert_allclose(field[:, 78:83, 78:83].mean(axis=(1, 2)), (1.5, -0.8), rtol=0.2)
    error = np.hypot(field[0] - 1.5 * bump, field[1] + 0.8 * bump)[CENTRE, CENTRE]
    assert error.mean() < 0.15


@pytest.mark.skipif(not hasattr(cv2, "optflow"), reason="needs opencv-contrib-python-headless")
def test_tv_l1_measures_a_shift(texture):
    field = onset_flow(np.stack([moved(texture, 0, 0), moved(texture, 1.0, -0.5)]), "tvl1")
    np.testing.assert_allclose(field[0, :, CENTRE, CENTRE].mean(axis=(1, 2)), (1.0, -0.5), atol=0.1)


def test_farneback_has_the_published_parameters(texture):
    a, b = moved(texture, 0, 0), moved(texture, 1, 1)
    direct = cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    np.testing.assert_array_equal(onset_flow(np.stack([a, b]))[0], direct.transpose(2, 0, 1))


@pytest.mark.parametrize("method", ["farneback", "dis"])
def test_equal_frames_do_not_move(texture, method):
    still = moved(texture, 0, 0)
    field = np.abs(onset_flow(np.stack([still] * 4), method))
    assert field[:, :, CENTRE, CENTRE].max() < 1e-3
    assert field.max() < 0.1  # Farneback's upsampled levels leave up to 0.06 pixels along the border


def test_colour_is_measured_on_its_grey(texture):
    grey = np.stack([moved(texture, d, 0) for d in (0, 1)])
    np.testing.assert_array_equal(onset_flow(np.repeat(grey[..., None], 3, axis=-1)), onset_flow(grey))


def test_onset_and_consecutive_agree_on_the_first_pair(texture):
    frames = np.stack([moved(texture, d, 0) for d in (0, 1, 2)])
    onset, consecutive = onset_flow(frames), consecutive_flow(frames)
    np.testing.assert_array_equal(onset[0], consecutive[0])
    np.testing.assert_array_equal(consecutive[1], onset_flow(frames[1:])[0])
    assert onset[1, 0, CENTRE, CENTRE].mean() > 1.9
    assert consecutive[1, 0, CENTRE, CENTRE].mean() < 1.1


def test_a_result_does_not_depend_on_frames_around_it(texture):
    """DIS keeps state inside one estimator: it must not leak from pair to pair."""
    frames = np.stack([moved(texture, d, 0.3 * d) for d in (0, 3, 1)])
    for method in ("farneback", "dis"):
        np.testing.assert_array_equal(onset_flow(frames, method)[1], onset_flow(frames[[0, 2]], method)[0])


def test_the_papers_claim(texture):
    """Long-term flow keeps its direction and rises and falls with the expression; short-term flow turns round.

    A lip corner is drawn up and out with intensity 0 ... 1 ... 0 over ten frames, the apex being the fifth.
    """
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    bump = np.exp(-((x - 80) ** 2 + (y - 80) ** 2) / (2 * 18**2))
    intensity = np.sin(np.linspace(0, np.pi, 11)) ** 2
    frames = np.stack([moved(texture, 2.4 * i * bump, -1.8 * i * bump) for i in intensity])
    direction = np.array([0.8, -0.6])
    weight = bump / bump.sum()

    def along(field):  # the mean motion in the expression's direction, weighted by where it is
        return np.einsum("tchw,c,hw->t", field, direction, weight)

    onset, consecutive = along(onset_flow(frames)), along(consecutive_flow(frames))
    assert np.argmax(onset) == 4
    assert np.all(np.diff(onset[:5]) > 0)
    assert np.all(np.diff(onset[4:9]) < 0)
    assert onset[:9].min() > 0
    assert np.all(consecutive[:4] > 0)
    assert np.all(consecutive[6:9] < 0)
    # ... and the sum of short-term flow is the long-term flow: nothing but the reference differs.
    np.testing.assert_allclose(np.cumsum(consecutive), onset, atol=0.12)


def test_strain_by_hand():
    y, x = np.mgrid[0:6, 0:8].astype(np.float32)
    stretch = np.stack([0.1 * x, np.zeros_like(x)])
    shear = np.stack([0.1 * y, np.zeros_like(x)])
    turn = np.stack([-0.1 * y, 0.1 * x])
    np.testing.assert_allclose(strain(stretch), 0.1, rtol=1e-5)
    np.testing.assert_allclose(strain(shear), 0.1 / np.sqrt(2), rtol=1e-5)
    np.testing.assert_allclose(strain(turn), 0, atol=1e-7)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(-3, 3))
def test_strain_ignores_shifts_and_scales_with_motion(seed, u, v):
    field = np.random.default_rng(seed).normal(0, 1, (3, 2, 9, 11)).astype(np.float32)
    expected = strain(field)
    assert expected.shape == (3, 9, 11)
    assert expected.min() >= 0
    shifted = field + np.array([u, v], np.float32)[:, None, None]
    np.testing.assert_allclose(strain(shifted), expected, atol=1e-5)
    np.testing.assert_allclose(strain(-2 * field), 2 * expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(strain(field)[1], strain(field[1]))


def test_an_unknown_method_names_the_known_ones(texture):
    with pytest.raises(ConfigError, match=r"flow\.method=lucas: unknown; choose one of farneback, dis, tvl1$"):
        onset_flow(np.stack([moved(texture, 0, 0)] * 2), "lucas")


def test_one_frame_is_no_clip(texture):
    with pytest.raises(ValueError, match="at least one frame after"):
        onset_flow(moved(texture, 0, 0)[None])


def test_the_papers_claim_on_a_face():
    """The same on a synthetic subject whose true motion is known: shares of the apex's motion, frame by frame."""
    plan = Plan(subjects=1, clips_per_subject=1, emotions=("happiness",), seed=2, size=(320, 240), motion=2.0)
    portrait, row = next(plan.clips())
    clip = row.clip
    numbers = np.linspace(clip.onset, clip.offset, 9).round().astype(int)
    pictures = dict(render(portrait, clip, numbers.tolist()))
    frames = np.stack([pictures[number] for number in numbers.tolist()])
    action = clip.motion.action.transpose(2, 0, 1)

    def share(flow):
        size = action.shape[2], action.shape[1]
        small = np.stack([[cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in field] for field in flow])
        return np.einsum("tchw,chw->t", small, action) / (action**2).sum()

    true = clip.motion.intensity[numbers - clip.first]
    onset, consecutive = share(onset_flow(frames)), share(consecutive_flow(frames))
    # Farneback smooths over its window, so peaks come out lower; the profile is the true one.
    assert np.corrcoef(onset, true[1:])[0, 1] > 0.98
    assert onset.min() > -0.1
    assert 0.6 < onset.max() < 1.1
    rising = np.diff(true) > 0.02
    falling = np.diff(true) < -0.02
    assert np.all(consecutive[rising] > 0)
    assert np.all(consecutive[falling] < 0)
