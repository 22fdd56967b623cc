"""Video files for the tests: any codec, any presentation times, and some damage."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np

GRAIN = 1000
"""Presentation times are whole milliseconds."""


def encode(
    path: Path,
    pictures: Iterable[np.ndarray],
    times: Sequence[int] | None = None,
    rate: int = 100,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Write pictures (H, W, 3) uint8 RGB of even sizes; `times` in milliseconds, or `rate` pictures a second."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        if title:
            container.metadata["title"] = title
        stream = cast(av.VideoStream, container.add_stream(codec, rate, options or {}))
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if times is not None:
            stream.codec_context.time_base = Fraction(1, GRAIN)
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, GRAIN)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turned(path: Path, degrees: int) -> Path:
    """Say in an MP4 that it must be turned clockwise by `degrees` to be seen upright, as phones do."""
    data = bytearray(path.read_bytes())
    a, b = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    upright, matrix = (
        struct.pack(">9i", *(65536 * v for v in (x, y, 0, -y, x, 0, 0, 0)), 1 << 30) for x, y in ((1, 0), (a, b))
    )
    place = data.index(upright, data.index(b"tkhd"))
    data[place : place + len(matrix)] = matrix
    path.write_bytes(data)
    return path


def spoil(path: Path, numbers: Iterable[int]) -> Path:
    """Overwrite the encoded pictures `numbers` of an MP4, in the order of the file, so that they cannot be decoded."""
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    data = bytearray(path.read_bytes())
    for number in numbers:
        place, size = places[number]
        assert place is not None
        data[place : place + size] = bytes(size)
    path.write_bytes(data)
    return path
