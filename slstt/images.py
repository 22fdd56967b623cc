"""Pictures in and out, and drawings of flow and landmarks. No torch here: reports need none."""

import base64
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from slstt.errors import DataError
from slstt.files import whole_file

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]


def read_image(path: Path) -> Picture:
    """Read a picture as uint8 RGB (H, W, 3); grey files get three equal channels. Raises DataError naming the file."""
    try:
        data = np.fromfile(path, dtype=np.uint8)  # not cv2.imread: it fails on non-ASCII paths on some systems
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        decoded = None
    if decoded is None:
        raise DataError(f"{path}: not a readable picture (damaged, or of an unknown format); restore the file")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def write_image(path: Path, image: Picture) -> None:
    """Write uint8 RGB (H, W, 3) or grey (H, W) in the format of the suffix, whole or not at all; JPEG at quality 95."""
    encoded = encode(image, path.suffix or ".png")
    with whole_file(path) as part:
        part.write_bytes(encoded)


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
