"""Pictures survive the way to disk and back, and drawings put things where they are."""

import base64
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.errors import DataError
from slstt.images import data_uri, draw_landmarks, flow_wheel, read_image, write_image


@pytest.fixture
def picture():
    picture = np.zeros((30, 50, 3), np.uint8)
    picture[:10] = (250, 10, 20)  # red above
    picture[:, :5] = (10, 20, 240)  # blue at the left
    return picture


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_lossless_formats_keep_every_bit_as_rgb(tmp_path, picture, suffix):
    path = tmp_path / f"ärger 表情.{suffix}"
    write_image(path, picture)
    np.testing.assert_array_equal(read_image(path), picture)


def test_jpeg_stays_close(tmp_path):
    ramp = np.tile(np.linspace(20, 220, 64).astype(np.uint8)[None, :, None], (48, 1, 3))
    write_image(tmp_path / "ramp.jpg", ramp)
    assert np.abs(read_image(tmp_path / "ramp.jpg").astype(int) - ramp).max() <= 3


def test_grey_files_have_three_equal_channels(tmp_path):
    grey = np.arange(120, dtype=np.uint8).reshape(10, 12)
    write_image(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0 cut"])
def test_what_cannot_be_decoded_is_named(tmp_path, content):
    (tmp_path / "img46.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"img46\.jpg: not a readable picture"):
        read_image(tmp_path / "img46.jpg")


def test_missing_file_and_unknown_format_are_named(tmp_path, picture):
    with pytest.raises(DataError, match="not found"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"'\.xyz': no picture format"):
        write_image(tmp_path / "picture.xyz", picture)
    assert list(tmp_path.iterdir()) == []


def test_data_uri_holds_the_picture(picture):
    kind, encoded = data_uri(picture).split(",")
    assert kind == "data:image/png;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], picture)


def constant(u, v):
    return np.broadcast_to(np.array([u, v], np.float32)[:, None, None], (2, 4, 5))


@pytest.mark.parametrize(
    ("u", "v", "colour"),
    [(1, 0, (255, 0, 0)), (0, 1, (128, 255, 0)), (-1, 0, (0, 255, 255)), (0, -1, (128, 0, 255)), (0, 0, (255,) * 3)],
)
def test_wheel_directions(u, v, colour):
    """Right red, down yellow-green, left cyan, up violet, rest white (3 levels for the hue's two-degree steps)."""
    np.testing.assert_allclose(flow_wheel(constant(u, v), 1.0)[0, 0], colour, atol=3)


def test_one_maximum_makes_pictures_comparable():
    weak, strong = flow_wheel(constant(0.25, 0), 1.0), flow_wheel(constant(1, 0), 1.0)
    assert weak[0, 0, 1] > 180 > strong[0, 0, 1]
    np.testing.assert_array_equal(flow_wheel(constant(9, 0), 1.0), strong)  # beyond the maximum: full colour


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 50))
def test_scaling_a_field_leaves_its_own_wheel(seed, factor):
    field = np.random.default_rng(seed).normal(0, 1, (2, 8, 9))
    difference = flow_wheel(field).astype(int) - flow_wheel(factor * field)
    assert np.abs(difference).max() <= 5  # one step of the hue or strength may round the other way


def test_landmarks_are_drawn_at_x_y():
    drawn = draw_landmarks(np.zeros((40, 60), np.uint8), np.array([[50.0, 10.0]]), (5, 8, 20))
    assert drawn.shape == (40, 60, 3)
    assert drawn[10, 50, 1] > 200
    assert drawn[8, 5:25, 0].min() > 200
    assert drawn[27, 5:25, 0].min() > 200
    assert drawn[:8].max() == 0 or drawn[:8, :45].max() == 0


def test_drawing_leaves_the_picture_alone(picture):
    before = picture.copy()
    draw_landmarks(picture, np.full((68, 2), 12.0), (0, 0, 10))
    np.testing.assert_array_equal(picture, before)


def test_no_torch_is_loaded():
    code = "import slstt.images, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
