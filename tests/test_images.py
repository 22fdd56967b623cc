"""Pictures survive the way to disk and back, and drawings put things where they are."""

import base64
import os
import socket
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.errors import DataError
from slstt.images import common_bits, data_uri, draw_landmarks, encode, flow_wheel, read_full_depth, read_image


@pytest.fixture
def picture():
    picture = np.zeros((30, 50, 3), np.uint8)
    picture[:10] = (250, 10, 20)  # red above
    picture[:, :5] = (10, 20, 240)  # blue at the left
    return picture


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_lossless_formats_keep_every_bit_as_rgb(tmp_path, picture, suffix):
    path = tmp_path / f"ärger 表情.{suffix}"
    path.write_bytes(encode(picture, path.suffix))
    np.testing.assert_array_equal(read_image(path), picture)


def test_jpeg_stays_close(tmp_path):
    ramp = np.tile(np.linspace(20, 220, 64).astype(np.uint8)[None, :, None], (48, 1, 3))
    (tmp_path / "ramp.jpg").write_bytes(encode(ramp, ".jpg"))
    assert np.abs(read_image(tmp_path / "ramp.jpg").astype(int) - ramp).max() <= 3


def test_grey_files_have_three_equal_channels(tmp_path):
    grey = np.arange(120, dtype=np.uint8).reshape(10, 12)
    (tmp_path / "grey.png").write_bytes(encode(grey, ".png"))
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
        encode(picture, ".xyz")


def encoded(suffix, picture, *flags):
    return bytearray(cv2.imencode(suffix, picture, list(flags))[1])


def textured(height=120, width=160, channels=3):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def bmp_header(width, height):
    return b"BM" + bytes(12) + struct.pack("<IiiHH", 40, width, height, 1, 24) + bytes(40)


def resized_header(suffix, width, height):
    """A small picture whose header says that it is another size."""
    raw = encoded(suffix, textured(16, 16))
    if suffix == ".png":
        raw[16:24] = struct.pack(">II", width, height)
    elif suffix == ".jpg":
        at = raw.index(b"\xff\xc0")
        raw[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif suffix == ".bmp":
        raw[18:26] = struct.pack("<ii", width, -height)
    else:
        (at,) = struct.unpack_from("<I", raw, 4)
        for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", raw, at)[0], 12):
            tag = struct.unpack_from("<H", raw, entry)[0]
            if tag in (256, 257):
                raw[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, width if tag == 256 else height)
    return raw


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_a_picture_too_large_is_refused_by_its_header(tmp_path, suffix):
    path = tmp_path / f"img1{suffix}"
    path.write_bytes(resized_header(suffix, 20_000, 2_001))
    with pytest.raises(DataError, match=r"img1\.\w+: 20000 x 2001 pixels; at most 40 million"):
        read_image(path)
    path.write_bytes(encoded(suffix, textured(30, 50)))
    assert read_image(path).shape == (30, 50, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("kept", [1, 3, 10, 20, 40])
def test_a_file_cut_inside_its_header_is_named(tmp_path, suffix, kept):
    (tmp_path / "img1").write_bytes(encoded(suffix, textured())[:kept])
    with pytest.raises(DataError, match="not a readable picture"):
        read_image(tmp_path / "img1")


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.png"))
        for name in ("pipe.png", "folder.png", "loop.png", "s.png", "a\0b.png", "n" * 300):
            with pytest.raises(DataError, match=r"not a file|cannot be read"):
                read_image(tmp_path / name)


# The share of random damage that the format's own rules can show; the rest gives another, well-formed picture.
@pytest.mark.parametrize(("count", "share"), [(1, 0.2), (40, 0.8), (400, 1.0)])
def test_damaged_jpeg_data_is_noticed(tmp_path, count, share):
    generator = np.random.default_rng(count)
    sound = encoded(".jpg", textured(240, 320))
    begin = sound.index(b"\xff\xda") + 14
    noticed = 0
    for _ in range(60):
        raw = sound.copy()
        for at in generator.integers(begin, len(raw) - 2, count):
            raw[at] = generator.integers(256)
        (tmp_path / "img1.jpg").write_bytes(raw)
        try:
            read_image(tmp_path / "img1.jpg")
        except DataError as error:
            noticed += "damaged JPEG" in str(error)
    assert noticed >= share * 60


SAMPLINGS = [getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}") for name in ("411", "420", "422", "440", "444")]


@pytest.mark.parametrize(
    "options",
    [
        [],
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
        *([cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling] for sampling in SAMPLINGS),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("end", [b"\xff\xd9", b"", b"\xff\xd9\0\0\0\0"])
def test_sound_jpegs_are_read_as_opencv_does(tmp_path, options, channels, end):
    raw = encoded(".jpg", textured(channels=channels), *options)
    (tmp_path / "img1.jpg").write_bytes(raw[:-2] + end)
    expected = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(read_image(tmp_path / "img1.jpg"), expected)


@pytest.mark.parametrize("mode", ["CMYK", "RGB"])
def test_other_colour_spaces_of_jpeg_are_read(tmp_path, mode):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(textured()).convert(mode).save(tmp_path / "img1.jpg", keep_rgb=mode == "RGB")
    expected = cv2.imread(str(tmp_path / "img1.jpg"))
    assert expected is not None and expected.shape == (120, 160, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "img1.jpg"), expected[..., ::-1])


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_pictures_are_read_with_the_bits_they_fill(tmp_path, suffix, bits):
    eight = textured()
    deep = (eight.astype(np.uint16) << (bits - 8)) | (1 if bits > 8 else 0)
    deep[0, 0] = (1 << bits) - 1
    (tmp_path / f"deep.{suffix}").write_bytes(encoded(f".{suffix}", deep[..., ::-1]))
    read = read_image(tmp_path / f"deep.{suffix}")
    np.testing.assert_array_equal(read[1:], eight[1:])
    assert read.max() == 255
    (tmp_path / f"dark.{suffix}").write_bytes(encoded(f".{suffix}", deep[..., ::-1] // 256))
    assert common_bits([tmp_path / f"dark.{suffix}", tmp_path / "none", tmp_path / f"deep.{suffix}"]) == bits
    assert read_full_depth(tmp_path / f"deep.{suffix}").dtype == np.uint16


def test_pictures_of_real_numbers_are_refused(tmp_path):
    (tmp_path / "img1.tif").write_bytes(encoded(".tif", textured().astype(np.float32)))
    with pytest.raises(DataError, match="float32; convert the picture"):
        read_image(tmp_path / "img1.tif")


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


def test_a_jpeg_that_says_it_is_turned_is_turned(tmp_path):
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:10] = 255
    plain = cv2.imencode(".jpg", picture)[1].tobytes()
    turned_right = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(turned_right) + 2).to_bytes(2, "big") + turned_right
    path = tmp_path / "frame.jpg"
    path.write_bytes(plain[:2] + segment + plain[2:])
    read = read_image(path)
    assert read.shape == (60, 40, 3) and read[:, 35].min() > 200 and read[:, 5].max() < 50
