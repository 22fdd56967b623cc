"""Video files, read with PyAV: what one holds, and its frames by number, from 0 in the order in which they show."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from slstt.errors import DataError
from slstt.files import is_video
from slstt.images import Picture, read_full_depth

ABSURD = 20_000
"""Longest side of a frame that is read at all, in pixels."""
FASTEST = 10_000.0
"""Frames a second above which a header's rate is none."""
FALLING = 0.2
"""Share of frames shown before the one before them: it is half where stamps tell the order of decoding, and next to
nothing in a damaged video whose stamps are right."""
FORMATS = tuple("mov matroska avi asf mpeg mpegts mpegvideo flv ogg gif nut ivf dv mxf rm h264 hevc mjpeg wtv".split())  # noqa: SIM905
"""FFmpeg's names of the formats that are read: all hold their pictures themselves. A play list or a list of parts names
other files and addresses, which FFmpeg would open in turn, whatever the file is called."""
FIRST_PACKETS = 50
"""Packets decoded when a video is looked into, to see whether its time stamps are those of the frames."""


@dataclass(frozen=True)
class VideoContent:
    """What a video file holds, found in one pass that decodes little."""

    first: Picture = field(repr=False)
    """The first frame that can be decoded."""
    stamps: np.ndarray = field(repr=False)
    """(count,) int64: presentation time stamps, rising, by which frames are numbered; empty where the file has none
    that can be trusted."""
    packets: int
    promised: int
    """How many frames the header says there are; 0 where it does not say."""
    header_rate: float
    """Frames a second; nan where the header does not say."""
    time_base: float
    """Seconds of one unit of a stamp."""

    @property
    def count(self) -> int:
        """How many frames there are, those that cannot be decoded included."""
        return len(self.stamps) or self.packets

    @property
    def known_rate(self) -> float | None:
        """The header's rate where it is a possible one."""
        return self.header_rate if math.isfinite(self.header_rate) and 0 < self.header_rate <= FASTEST else None

    @property
    def rate(self) -> float | None:
        """Frames a second: the header's, or the one measured where the stamps say otherwise; None where neither is."""
        # The times of the frames go before the rate in the header, which is a guess where they are uneven.
        span = (self.stamps[-1] - self.stamps[0]) * self.time_base if len(self.stamps) > 1 else math.nan
        measured = (self.count - 1) / span if span > 0 else math.nan
        if not 0 < measured <= FASTEST:
            return self.known_rate
        known = self.known_rate
        return known if known is not None and abs(known - measured) <= 0.01 * measured else float(measured)


def look_into(path: Path) -> VideoContent:
    """What the video at `path` holds. Raises DataError where it is missing, no video, damaged or too large."""
    with _opened(path) as (container, stream):
        header_rate = float(stream.average_rate or stream.guessed_rate or math.nan)
        promised, time_base = stream.frames, float(stream.time_base or math.nan)
        first, stamps, packets = _read_stamps(path, container, stream)
    return VideoContent(first, stamps, packets, promised, header_rate, time_base)


def numbered_frames(path: Path, stamps: np.ndarray) -> Iterator[tuple[int, Callable[[], Picture]]]:
    """(number, what makes its picture (H, W, 3) uint8 RGB) for every frame that can be decoded, numbers rising.

    `stamps` are those of `VideoContent`: with them a frame that cannot be decoded keeps its number.
    """
    before, to_picture = -1, _to_pictures()
    with _opened(path) as (container, stream):
        for frame in _decoded(container, stream):
            number = before + 1
            if len(stamps):
                if frame.pts is None or frame.pts < stamps[0]:
                    continue
                number = int(np.searchsorted(stamps, frame.pts))
                if number <= before:  # a damaged stream: its place has passed
                    continue
            before = number
            yield number, lambda frame=frame: to_picture(frame)


def pictures(path: Path, numbers: Collection[int]) -> Iterator[tuple[int, Picture]]:
    """(number, picture) of those frames `numbers` of a video that can be decoded, in one pass over the file.

    Raises DataError where it is no readable video.
    """
    if not numbers:
        return
    wanted, last = set(numbers), max(numbers)
    state = path.stat() if path.is_file() else None
    stamps = _stamps(path, state.st_size if state else 0, state.st_mtime_ns if state else 0)
    for number, picture in numbered_frames(path, stamps):
        if number > last:
            return
        if number in wanted:
            yield number, picture()


@lru_cache(maxsize=16)
def _stamps(path: Path, size: int, changed: int) -> np.ndarray:
    """Looked up once a file: several clips may lie in one video."""
    return look_into(path).stamps


def decodable(frames: Mapping[int, Path]) -> Iterator[tuple[int, np.ndarray]]:
    """(number, picture (H, W, 3) RGB, uint8 or uint16) of those `frames` of a clip that can be decoded.

    A frame's path is its picture file, or the video file in which it has that number.
    """
    of_videos: dict[Path, list[int]] = {}
    for number, path in frames.items():
        if is_video(path):
            of_videos.setdefault(path, []).append(number)
            continue
        try:
            yield number, read_full_depth(path)
        except DataError:
            continue
    for path, numbers in of_videos.items():
        try:
            yield from pictures(path, numbers)
        except DataError:
            continue


def _read_stamps(path: Path, container: InputContainer, stream: av.VideoStream) -> tuple[Picture, np.ndarray, int]:
    """(first frame that can be decoded, rising time stamps from it on, packets): one pass that decodes little.

    There are no stamps where a packet has none, two have the same, or the frames' own do not rise: AVI, for one, may
    know only the order in which frames are decoded.
    """
    found: list[int | None] = []
    shown: list[int] = []
    picture: Picture | None = None
    to_picture = _to_pictures()
    for packet in _packets(container, stream):
        if packet.is_discard:
            continue
        found.append(packet.pts)
        if picture is None or len(found) <= FIRST_PACKETS:
            for frame in _frames_of(stream, packet):
                picture = picture if picture is not None else to_picture(frame)
                shown += [] if frame.pts is None else [frame.pts]
    for frame in _frames_of(stream, None):
        picture = picture if picture is not None else to_picture(frame)
        shown += [] if frame.pts is None else [frame.pts]
    if picture is None:
        raise DataError(f"{path}: no frame can be decoded; the file is empty or damaged, restore or convert it")
    stamps = np.array(sorted(stamp for stamp in found if stamp is not None), np.int64)
    if len(stamps) < len(found) or np.any(np.diff(stamps) == 0) or not shown or _falling(shown) > FALLING:
        return picture, np.zeros(0, np.int64), len(found)
    return picture, stamps[stamps >= shown[0]], len(found)


def _falling(stamps: list[int]) -> float:
    return float(np.mean(np.diff(stamps) <= 0)) if len(stamps) > 1 else 0.0


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """(the file, its video), closed at the end. Raises DataError where there is none."""
    if not path.is_file():
        raise DataError(f"{path}: not found")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file; restore it")
    try:
        # Absolute, for FFmpeg takes what stands before a colon for a protocol. Titles may be in any encoding.
        container = av.open(
            str(path.absolute()), metadata_errors="replace", container_options={"format_whitelist": ",".join(FORMATS)}
        )
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except FFmpegError as error:
        raise DataError(
            f"{path}: not a readable video (damaged, or of an unknown format); restore or convert it"
        ) from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            raise DataError(f"{path}: holds no video{', only sound' if container.streams.audio else ''}; give a video")
        if stream.codec_context is None:
            raise DataError(f"{path}: its video is of a format that cannot be decoded; convert it to H.264")
        refuse_absurd(path, stream.codec_context.width, stream.codec_context.height)
        stream.thread_type = "AUTO"
        yield container, stream


def _decoded(container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The frames that can be decoded, in the order in which they are shown."""
    for packet in _packets(container, stream):
        yield from _frames_of(stream, packet)
    yield from _frames_of(stream, None)


def _packets(container: InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The encoded frames, as far as the file can be read."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except FFmpegError:  # a torn file ends here
        return


def _frames_of(stream: av.VideoStream, packet: av.Packet | None) -> list[av.VideoFrame]:
    """What comes out of the decoder after `packet`, None being the end: nothing where it cannot be decoded."""
    try:
        return [frame for frame in stream.decode(packet) if isinstance(frame, av.VideoFrame)]
    except FFmpegError:
        return []


def _to_pictures() -> Callable[[av.VideoFrame], Picture]:
    """What makes (H, W, 3) uint8 RGB of a frame, upright: phones write beside the frames how they were held."""
    # One for all frames of a video, and one thread: `frame.to_ndarray` sets up anew each time, which takes 1 to 2 ms.
    colours = VideoReformatter()

    def picture(frame: av.VideoFrame) -> Picture:
        flat = colours.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return np.ascontiguousarray(np.rot90(flat, round(frame.rotation / 90) % 4), np.uint8)

    return picture


def refuse_absurd(path: Path, width: int, height: int) -> None:
    """Raise DataError where a frame is larger than any that is read."""
    if max(height, width) > ABSURD:
        raise DataError(f"{path}: frames of {width} x {height} are too large; reduce them below {ABSURD} pixels a side")
