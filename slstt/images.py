"""Pictures in and out, and drawings of flow (the colour wheel) and landmarks. No torch here: reports need none."""

import base64
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from slstt.errors import DataError

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]


MAX_PIXELS = 40_000_000
"""More are refused before anything is decoded: 8K video has 33 million, and a face is a few hundred pixels wide."""
MAX_BYTES = 500_000_000
DEPTHS = (8, 10, 12, 14, 16)
"""Bits a camera may fill of a 16-bit value."""


def read_image(path: Path) -> Picture:
    """Read a picture as uint8 RGB (H, W, 3); grey files get three equal channels. JPEG, PNG, BMP and TIFF are read.

    Of a 16-bit picture the bits that its own largest value fills count; frames of one clip want `read_full_depth` and
    `common_bits`. Raises DataError as `read_full_depth` does.
    """
    picture = read_full_depth(path)
    return to_8_bits(picture, significant_bits(picture))


def read_full_depth(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a picture as RGB (H, W, 3) with the values it holds: uint8, or uint16 where the file has 16 bits a channel.

    Raises DataError naming the file: missing, no ordinary file, of more than 40 million pixels (looked up in the
    header, before decoding), damaged, of another format, or of neither 8 nor 16 bits.
    """
    data = _file_bytes(path)
    size = _size_in_header(data)
    if size is None:
        raise _unreadable(path)
    width, height = size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million are read, make it smaller"
        )
    if data.startswith(JPEG):
        # Some programs leave the end marker out; with one added, only data that is really missing is complained about.
        data += JPEG_END
        picture = _decoded_jpeg(path, data)
        if picture is not None:
            return picture
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        decoded = None
    if decoded is None:
        raise _unreadable(path)
    if decoded.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: its values are {decoded.dtype}; convert the picture to 8 or 16 bits a channel")
    picture = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return np.asarray(picture, np.uint8) if picture.dtype == np.uint8 else np.asarray(picture, np.uint16)


def significant_bits(picture: NDArray[np.uint8] | NDArray[np.uint16]) -> int:
    """The fewest bits, of 8, 10, 12, 14 and 16, that hold the picture's largest value; 8 for any uint8 picture."""
    return next(bits for bits in DEPTHS if int(picture.max()) < 1 << bits)


def common_bits(paths: Iterable[Path]) -> int:
    """The bits that the frames of one clip fill, so that all are read on one scale; unreadable ones are passed over."""
    most = DEPTHS[0]
    for path in paths:
        with suppress(DataError):
            most = max(most, significant_bits(read_full_depth(path)))
    return most


def to_8_bits(picture: NDArray[np.uint8] | NDArray[np.uint16], bits: int) -> Picture:
    """The upper 8 of `bits` bits; a uint8 picture stays as it is."""
    return np.asarray(picture if picture.dtype == np.uint8 else picture >> (bits - 8), np.uint8)


def _file_bytes(path: Path) -> bytes:
    try:
        # A named pipe without a writer would be waited for without end.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            state = os.fstat(stream.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise DataError(f"{path}: not a file (a folder, pipe or device); restore the file")
            if state.st_size > MAX_BYTES:
                raise DataError(f"{path}: {state.st_size / 1e6:.0f} MB; at most {MAX_BYTES // 10**6} MB are read")
            return stream.read()
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from error


def _unreadable(path: Path) -> DataError:
    return DataError(f"{path}: not a readable picture (damaged, or of an unknown format); restore the file")


JPEG, JPEG_END, PNG, BMP = b"\xff\xd8\xff", b"\xff\xd9", b"\x89PNG\r\n\x1a\n", b"BM"
EXIF = b"Exif\0\0"
TIFF = (b"II*\0", b"MM\0*")
# All start-of-frame markers: C4, C8 and CC in between mean something else.
JPEG_SIZE_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def _size_in_header(data: bytes) -> tuple[int, int] | None:
    """(width, height) as the file's header has them; None where it is cut short or of another format."""
    try:
        if data.startswith(JPEG):
            return _jpeg_frame(data)[:2]
        if data.startswith(PNG):
            return struct.unpack_from(">II", data, 16)
        if data.startswith(BMP):
            (old,) = struct.unpack_from("<I", data, 14)
            width, height = struct.unpack_from("<HH" if old == 12 else "<ii", data, 18)
            return width, abs(height)  # negative where the rows stand from top to bottom
        if data[:4] in TIFF:
            return _tiff_size(data)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg_frame(data: bytes) -> tuple[int, int, int]:
    """(width, height, channels) of a JPEG; raises IndexError or struct.error where it says nothing of them."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in JPEG_SIZE_MARKERS:
            height, width, channels = struct.unpack_from(">HHB", data, at + 5)
            return width, height, channels
        # A further FF is padding; other segments have a length.
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise IndexError("no start of frame")


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    end = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{end}I", data, 4)
    (count,) = struct.unpack_from(f"{end}H", data, at)
    found = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{end}HH", data, entry)
        if tag in (256, 257) and kind in (3, 4):  # width, height; 16 or 32 bits
            (found[tag],) = struct.unpack_from(end + "HI"[kind - 3], data, entry + 8)
    return (found[256], found[257]) if len(found) == 2 else None


def _decoded_jpeg(path: Path, data: bytes) -> Picture | None:
    """The picture as RGB, the same values that OpenCV gives; None where OpenCV is to decode it.

    Raises DataError where the compressed data breaks the format's rules: OpenCV decodes on without a word.
    """
    # Pictures of four inks cannot be turned into RGB here, and a camera's note that the picture is turned is not read.
    for_opencv = _jpeg_frame(data)[2] == 4 or EXIF in data
    try:
        if for_opencv:  # everything is decompressed, but only an eighth of the picture is computed
            space = "CMYK" if _jpeg_frame(data)[2] == 4 else "GRAY"
            simplejpeg.decode_jpeg(data, space, min_height=1, min_width=1, strict=True)
            return None
        return simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        reason = str(error).split("(): ")[-1]  # behind the name of a C function
        if "subsampling" not in reason:  # unusual, which TurboJPEG does not know and OpenCV may
            raise DataError(f"{path}: damaged JPEG ({reason}); restore the file") from error
        return None


def data_uri(content: Picture | bytes, media_type: str = "image/png") -> str:
    """A picture as a `data:` URI, so that an HTML page needs no other file: an array as PNG, bytes as they are."""
    if isinstance(content, np.ndarray):
        content = encode(content, ".png")
    return f"data:{media_type};base64," + base64.b64encode(content).decode("ascii")


def flow_wheel(flow: NDArray[np.floating], maximum: float | None = None) -> Picture:
    """Draw a flow field as colours: hue is direction, strength of colour is length, white is rest.

    `flow` is (2, H, W), u right and v down, in pixels; `maximum` is the length drawn in full colour (None: the 99th
    percentile of this field), so fields drawn with one `maximum` can be compared. Returns uint8 RGB (H, W, 3).
    Red points right, and the hue turns on clockwise as seen: down is yellow-green, left is cyan, up is violet.
    """
    u, v = np.asarray(flow, dtype=np.float32)
    length = np.hypot(u, v)
    if maximum is None:
        maximum = float(np.percentile(length, 99))
    strength = np.clip(length / maximum, 0, 1) if maximum > 0 else np.zeros_like(length)
    hue = (np.degrees(np.arctan2(v, u)) % 360) / 2
    wheel = np.stack([np.round(hue) % 180, np.round(strength * 255), np.full_like(hue, 255)], axis=-1)
    return np.asarray(cv2.cvtColor(wheel.astype(np.uint8), cv2.COLOR_HSV2RGB), dtype=np.uint8)


def draw_landmarks(
    image: Picture,
    landmarks: NDArray[np.number],
    square: tuple[int, int, int] | None = None,
    colour: Colour = (60, 220, 60),
) -> Picture:
    """A copy of an RGB or grey picture with the points (N, 2), each at (x, y), and the square (x0, y0, side)."""
    drawn = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image.copy()
    radius = max(1, round(min(drawn.shape[:2]) / 240))
    for x, y in np.asarray(landmarks, dtype=np.float64):
        cv2.circle(drawn, (round(x), round(y)), radius, colour, -1)
    if square is not None:
        x0, y0, side = square
        cv2.rectangle(drawn, (x0, y0), (x0 + side - 1, y0 + side - 1), (235, 80, 60), max(1, radius))
    return np.asarray(drawn, dtype=np.uint8)


def encode(image: Picture, suffix: str, quality: int = 95) -> bytes:
    """Uint8 RGB (H, W, 3) or grey (H, W) as the bytes of a `.png`, `.jpg` or `.bmp` file; `quality` (0..100) is JPEG's.

    Raises DataError where the format is unknown or the array is no picture.
    """
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix.lower() in {".jpg", ".jpeg"} else []
    try:
        done, encoded = cv2.imencode(suffix, picture, jpeg)
    except cv2.error as error:
        raise DataError(f"'{suffix}': no picture format of this name; use .png, .jpg or .bmp") from error
    if not done:
        raise DataError(f"a picture of shape {image.shape} cannot be written as {suffix}")
    return encoded.tobytes()


STRIP_HEIGHT = 160
"""Pixels; with the JPEG quality it bounds the report to some 20 kB a clip."""
STRIP_QUALITY = 80


def draw_strip(
    frame: Picture, landmarks: np.ndarray, square: tuple[int, int, int], apex_cut: Picture, flow: np.ndarray
) -> bytes:
    """Apex frame with points and square, its cut, and the flow onset -> apex, side by side, as JPEG."""
    scale = STRIP_HEIGHT / frame.shape[0]
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x0, y0, side = (round(value * scale) for value in square)
    drawn = draw_landmarks(np.asarray(small, np.uint8), landmarks * scale, (x0, y0, side))
    cell = (STRIP_HEIGHT, STRIP_HEIGHT)
    small_flow = np.stack([cv2.resize(part, cell, interpolation=cv2.INTER_AREA) for part in flow])
    tiles = [drawn, cv2.resize(apex_cut, cell, interpolation=cv2.INTER_AREA), flow_wheel(small_flow)]
    return encode(np.asarray(np.concatenate(tiles, axis=1), np.uint8), ".jpg", STRIP_QUALITY)
