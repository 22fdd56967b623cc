"""The face square is the paper's formula to the pixel; cutting keeps it square past any border."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.errors import DataError
from slstt.face.crop import cut, face_square, runs_past


def points(brow=100, lip=250, chin=300, nose=(320, 200)):
    landmarks = np.zeros((68, 2), np.int16)
    landmarks[19, 1], landmarks[57, 1], landmarks[8, 1] = brow, lip, chin
    landmarks[30] = nose
    return landmarks


def test_square_by_hand():
    # (300 - 100) + (300 - 250) = 250, centred on (320, 200)
    assert face_square(points()) == (195, 75, 250)


def test_an_odd_side_has_the_nose_pixel_at_its_centre():
    x0, y0, side = face_square(points(brow=99))
    assert side == 251
    assert (x0 + (side - 1) // 2, y0 + (side - 1) // 2) == (320, 200)


@pytest.mark.parametrize(("brow", "side"), [(100.5, 250), (101.5, 249)])  # 249.5, 248.5: half to even gives 248
def test_fractional_points_round_half_up(brow, side):
    landmarks = points().astype(np.float32)
    landmarks[19, 1] = brow
    for nose in (320.5, 321.5):
        landmarks[30] = nose, nose
        corner = int(nose + 0.5) - side // 2
        assert face_square(landmarks) == (corner, corner, side)


@pytest.mark.parametrize("brow", [360, 349, 400])
def test_points_upside_down_are_refused(brow):
    with pytest.raises(DataError, match="not an upright face"):
        face_square(points(brow=brow))


def test_not_a_number_is_refused():
    landmarks = points().astype(np.float32)
    landmarks[3, 0] = np.nan
    with pytest.raises(DataError, match="not an upright face"):
        face_square(landmarks)


@given(
    brow=st.integers(0, 200),
    lip=st.integers(220, 260),
    chin=st.integers(270, 300),
    shift=st.tuples(st.integers(-300, 300), st.integers(-300, 300)),
)
def test_the_square_follows_the_face(brow, lip, chin, shift):
    landmarks = points(brow, lip, chin)
    x0, y0, side = face_square(landmarks)
    assert side == 2 * chin - brow - lip
    assert face_square(landmarks + np.array(shift, np.int16)) == (x0 + shift[0], y0 + shift[1], side)


def test_real_squares_past_the_border(shared_data):
    """Of the real apex frames 42 of CASME II and 9 of SMIC have a square that runs past 640x480, none of SAMM's."""
    with np.load(shared_data / "annotations" / "landmarks.npz") as real:
        counts = {}
        for name, size in (("casme2", (640, 480)), ("smic", (640, 480)), ("samm", (960, 650))):
            chosen = real["landmarks"][real["dataset"] == name]
            counts[name] = sum(runs_past(face_square(own), *size) for own in chosen)
    assert counts == {"casme2": 42, "smic": 9, "samm": 0}


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
def test_a_square_inside_is_the_plain_slice(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(cut(image, (5, 7, 20)), image[7:27, 5:25])


@given(x0=st.integers(-50, 80), y0=st.integers(-50, 60), side=st.integers(1, 90))
def test_past_the_border_equals_opencvs_replication(x0, y0, side):
    image = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    margin = 200
    padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    expected = padded[y0 + margin : y0 + margin + side, x0 + margin : x0 + margin + side]
    np.testing.assert_array_equal(cut(image, (x0, y0, side)), expected)
    assert runs_past((x0, y0, side), 60, 40) == (x0 < 0 or y0 < 0 or x0 + side > 60 or y0 + side > 40)


@pytest.mark.parametrize("size", [8, 20, 33])
def test_resizing_keeps_a_ramp_a_ramp(size):
    ramp = np.tile(np.linspace(0, 200, 40).astype(np.uint8), (40, 1))
    resized = cut(ramp, (10, 10, 20), size)
    assert resized.shape == (size, size)
    assert np.all(np.diff(resized.astype(int), axis=1) >= 0)
    assert abs(float(resized.mean()) - float(ramp[10:30, 10:30].mean())) < 1


@pytest.mark.parametrize(("brow", "side"), [(100, 250), (99, 251)])
def test_the_published_place_is_the_floor_of_the_nose_minus_half_the_side(brow, side):
    landmarks = points(brow=brow)
    x, y = landmarks[30]
    assert face_square(landmarks, "published") == (math.floor(x - side / 2), math.floor(y - side / 2), side)
