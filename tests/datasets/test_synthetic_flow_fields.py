"""Flow fields without pixels, against the slow way and against what they promise."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from slstt.config.pretrain import Fields
from slstt.datasets.synthetic.action_units import EMOTIONS, place
from slstt.datasets.synthetic.clips import displacement
from slstt.datasets.synthetic.faces import canonical_landmarks
from slstt.datasets.synthetic.flow_fields import (
    FIELD_UNITS,
    PUBLISHED_CROP,
    combinations,
    draw,
    face_crop,
    smooth_noise,
)
from slstt.flow.encoding import min_max


def bare(**changes: Any) -> Fields:
    """The units' motion and nothing else."""
    plain: dict[str, Any] = dict.fromkeys(("head", "blink", "noise", "place", "shape", "stray"), 0.0)
    return Fields(**{**plain, "shrinkage": (1.0, 1.0), "spread": (1.0, 1.0), **changes})


def points(crop, resolution):
    left, right, top, bottom = crop
    share = (np.arange(resolution) + 0.5) / resolution
    return np.stack(np.meshgrid(left + share * (right - left), top + share * (bottom - top)), axis=-1)


@pytest.mark.parametrize("crop", [None, PUBLISHED_CROP])
def test_fields_are_those_of_the_rendered_clips(crop):
    """One product of matrices over a batch against a loop over single pulls; float32 against float64."""
    fields = draw(bare(crop=crop), 20, seed=5)
    box = crop or face_crop()
    per_unit = 28 / np.array([box[1] - box[0], box[3] - box[2]])
    sites = place(FIELD_UNITS, canonical_landmarks())
    column = [FIELD_UNITS.index(unit) for unit in sites.unit]
    for found, units in zip(fields.maps[:, 0, :2], fields.units, strict=True):
        true = displacement(points(box, 28), sites, units[column, sites.right.astype(int)])
        expected = (true * per_unit).transpose(2, 0, 1)
        scale = np.abs(found).max() / np.abs(expected).max()  # the peak is drawn
        np.testing.assert_allclose(found, expected * scale, atol=1e-4 * np.abs(found).max())


def test_peaks_lie_in_their_range_and_fill_it():
    fields = draw(bare(), 400, seed=1, resolution=56)
    left, right, *_ = face_crop()
    peaks = np.sqrt((fields.maps[:, 0, :2] ** 2).sum(axis=1)).max(axis=(-2, -1)) / 56 * (right - left)
    assert peaks.min() >= 0.006 * 0.999 and peaks.max() <= 0.045 * 1.001
    assert peaks.min() < 0.0065 and peaks.max() > 0.043


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 11]), st.integers(12, 40))
@settings(max_examples=20, deadline=None)
def test_same_seed_same_values_in_the_promised_shape(seed, frames, resolution):
    wanted = Fields(frames=frames)
    one, two = (draw(wanted, 6, seed, resolution=resolution) for _ in range(2))
    assert one.maps.shape == (6, frames, 3, resolution, resolution)
    assert one.maps.dtype == np.float32
    assert np.isfinite(one.maps).all()
    np.testing.assert_array_equal(one.maps, two.maps)
    np.testing.assert_array_equal(one.units, two.units)
    assert (draw(wanted, 6, seed + 1, resolution=resolution).maps != one.maps).any()
    assert one.intensity.shape == (6, frames)
    np.testing.assert_allclose(one.intensity.max(axis=1), 1, rtol=1e-6)
    assert (one.intensity > 0).all()


def test_a_clip_rises_to_its_apex_and_falls():
    fields = draw(bare(frames=11), 50, seed=2)
    size = np.abs(fields.maps[:, :, :2]).max(axis=(2, 3, 4))
    np.testing.assert_allclose(size / size.max(axis=1, keepdims=True), fields.intensity, atol=1e-4)
    assert len(np.unique(fields.intensity.argmax(axis=1))) > 4
    for row in fields.intensity:
        apex = row.argmax()
        assert (np.diff(row[: apex + 1]) > 0).all() and (np.diff(row[apex:]) < 0).all()


def test_a_window_shows_less_of_the_rise_and_fall():
    whole, near = (draw(bare(frames=11, window=window), 50, seed=2).intensity
                   for window in ((1.0, 1.0), (0.2, 0.2)))  # fmt: skip
    np.testing.assert_array_equal(whole.argmax(axis=1), near.argmax(axis=1))
    assert (near >= whole - 1e-6).all() and near.min() > 0.7 and whole.min() < 0.2


def test_units_are_those_of_the_emotion():
    names = tuple(EMOTIONS)
    fields = draw(bare(dropped=0.0), 600, seed=3, emotions=names)
    assert len(np.unique(fields.emotions)) == len(EMOTIONS)
    for emotion, units in zip(fields.emotions, fields.units, strict=True):
        shown = tuple(unit for unit, sides in zip(FIELD_UNITS, units, strict=True) if sides.any())
        assert shown in EMOTIONS[names[emotion]]
        one_sided = (units.max(axis=0) == 0).any()
        assert one_sided == (names[emotion] == "contempt")


def test_units_can_be_named_in_place_of_an_emotion():
    fields = draw(bare(dropped=0.0, one_sided=0.25), 600, seed=3, emotions=("4+7", "12"))
    shown = fields.units.max(axis=2) > 0
    for emotion, units in ((0, (4, 7)), (1, (12,))):
        assert (shown[fields.emotions == emotion] == [unit in units for unit in FIELD_UNITS]).all()
    one_sided = (fields.units.max(axis=1) == 0).any(axis=1)
    assert 0.15 < one_sided.mean() < 0.35  # 0.25 +- 0.02; five deviations
    with pytest.raises(ValueError, match=r"'4\+3' is neither an emotion .* nor units such as 4\+7"):
        combinations("4+3")


def test_some_units_may_be_missing_but_never_all():
    fields = draw(bare(dropped=0.9), 300, seed=4)
    counts = (fields.units.max(axis=2) > 0).sum(axis=1)
    assert counts.min() >= 1
    assert (counts == 1).any()


def test_scaled_maps_fill_zero_to_one_per_clip_and_channel():
    maps = draw(Fields(frames=3), 10, seed=6, scaled=True).maps
    np.testing.assert_allclose(maps.min(axis=(1, 3, 4)), 0, atol=1e-6)
    np.testing.assert_allclose(maps.max(axis=(1, 3, 4)), 1, atol=1e-6)
    assert (min_max(np.ones((2, 1, 3, 4, 4))) == 0).all()


def test_noise_is_smooth_and_of_unit_deviation():
    noise = smooth_noise(np.random.default_rng(0), 400, 28)
    assert 0.95 < noise.std() < 1.05
    assert np.abs(np.diff(noise, axis=-1)).mean() < 0.35 * np.abs(noise).mean()


def test_each_disturbance_moves_what_it_says():
    still = draw(bare(peak=(1e-9, 1e-9)), 30, seed=7).maps
    assert np.abs(still).max() < 1e-6
    eyes = np.abs(points(face_crop(), 28)[..., 1]) < 0.35
    blinking = draw(bare(peak=(1e-9, 1e-9), blink=1.0), 60, seed=7).maps[:, 0, 1]
    assert np.abs(blinking[:, eyes]).max() > 0.5  # of a pixel of 2.4 / 28 interocular distances
    assert np.abs(blinking[:, ~eyes]).max() < 0.02
    shifted = draw(bare(peak=(1e-9, 1e-9), head=0.01), 60, seed=7).maps[:, 0, :2]
    assert (np.abs(shifted.mean(axis=(-2, -1))) > shifted.std(axis=(-2, -1))).mean() > 0.4


def test_emotions_can_be_learned_from_the_maps():
    train, test = draw(Fields(), 1500, seed=8), draw(Fields(), 500, seed=9)
    flat = [(fields.maps / fields.maps.std(axis=(1, 2, 3, 4), keepdims=True)).reshape(len(fields.maps), -1)
            for fields in (train, test)]  # fmt: skip
    classifier = LogisticRegression(C=0.001, max_iter=300).fit(flat[0], train.emotions)
    assert 0.6 < classifier.score(flat[1], test.emotions) < 0.99


def test_what_is_no_expression_has_only_units_of_speech_and_leaves_the_expressions_alone():
    with_none, without = draw(Fields(none=0.5), 400, 2), draw(Fields(), 400, 2)
    shown = ~with_none.none
    assert 150 < shown.sum() < 250 and not without.none.any()
    np.testing.assert_array_equal(with_none.maps[shown], without.maps[shown])
    np.testing.assert_array_equal(with_none.units[shown], without.units[shown])
    units = with_none.units[with_none.none].max(axis=2) > 0.45  # weaker ones are strays
    upper = [FIELD_UNITS.index(unit) for unit in (1, 2, 4, 5, 6, 7, 9)]
    assert not units[:, upper].any()
    # Speech is .35 of them and opens the mouth unless a unit is dropped: 70 +- 9 of 200.
    opened = units[:, [FIELD_UNITS.index(25), FIELD_UNITS.index(26)]].any(axis=1)
    assert 30 < opened.sum() < 110
    assert np.isfinite(with_none.maps).all()
    assert draw(Fields(none=0.5, frames=11), 20, 2).maps.shape == (20, 11, 3, 28, 28)


def test_the_background_moves_alone():
    still, moving = (draw(bare(crop=PUBLISHED_CROP, background=b), 8, 0).maps[:, 0, :2] for b in (0.0, 0.1))
    inside, corner = np.s_[:, :, 10:18, 8:20], np.s_[:, :, -2:, :2]
    np.testing.assert_array_equal(still[inside], moving[inside])
    assert (np.abs(moving - still)[corner].max(axis=(1, 2, 3)) > 0.01).all()
