"""A person's own recording: a video file, a folder of frames, or a folder of such clips; read one frame at a time."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from slstt.errors import ConfigError, DataError, listed
from slstt.files import fingerprint
from slstt.images import Picture, common_bits, read_full_depth, to_8_bits

VIDEOS = frozenset(".mp4 .m4v .mov .avi .mkv .webm .wmv .mpg .mpeg .mts .m2ts .ts .3gp .flv .ogv .gif".split())  # noqa: SIM905
PICTURES = frozenset(".jpg .jpeg .png .bmp .tif .tiff".split())  # noqa: SIM905
SMALL, ENLARGED = 200, 360
"""A frame with a shorter side below SMALL is enlarged by a whole number to ENLARGED or more: no small face is found."""
LARGEST = 1080
"""A frame whose shorter side is longer than this is reduced to it: the face then still has more pixels than is used."""
ABSURD = 20_000
"""Longest side of a frame that is read at all, in pixels."""
SLOW = 50.0
"""Frames per second below which an interval of 65 ms is three frames or fewer."""
SLOWEST, FASTEST = 1.0, 10_000.0
FALLING = 0.2
"""Share of frames shown before the one before them: it is half where stamps tell the order of decoding, and next to
nothing in a damaged video whose stamps are right."""
FIRST_PACKETS = 50
"""Packets decoded when a video is opened, to see whether its time stamps are those of the frames."""
UNREADABLE = 0.1
"""Share of a folder's frames that may be unreadable before the recording is given up."""

RecordingRemark = Callable[[str], object]


def _nothing(text: str) -> None:
    """Drop a remark."""


@dataclass(frozen=True)
class Recording:
    """One video file or folder of frames. Frames are numbered from 0 in their order.

    `rate` is in frames per second, on average; `count` is how many frames there are, those that cannot be decoded
    included; `size` is (width, height) of the pictures that `frames` yields. `remarks` are lines for the user. A clip
    of a folder that cannot be used has `problem`, which `frames` raises as DataError.
    """

    path: Path
    name: str
    rate: float
    count: int
    size: tuple[int, int]
    remarks: tuple[str, ...] = ()
    problem: str | None = None
    files: tuple[Path, ...] = ()
    """The frames of a folder; empty for a video."""
    times: np.ndarray = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)
    """(count,) float64: when each frame is shown, in seconds from the first; number / rate where no file says it."""
    stamps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), compare=False, repr=False)
    """(count,) int64: a video's presentation time stamps, rising, by which its frames are numbered; else empty."""

    def frames(
        self, start: int = 0, stop: int | None = None, remark: RecordingRemark = _nothing
    ) -> Iterator[tuple[int, Picture]]:
        """Yield (number, picture (H, W, 3) uint8 RGB) for the frames start..stop - 1, one in memory at a time.

        What cannot be decoded goes to `remark`: a frame of a folder is replaced by the one before it, a frame of a
        video is passed over, and its number with it. Raises DataError where frames differ in size or too many frames
        of a folder cannot be decoded.
        """
        if self.problem is not None:
            raise DataError(self.problem)
        source = self._folder(start, stop, remark) if self.files else self._video(start, stop, remark)
        for number, picture in source:
            reduced = _sized(picture)
            if reduced.shape[1::-1] != self.size:
                height, width = picture.shape[:2]
                raise DataError(f"{self.path}: frame {number} is {width} x {height}, unlike the first; make them equal")
            yield number, reduced

    def at(self, numbers: Iterable[int]) -> Iterator[tuple[int, Picture]]:
        """Yield the frames `numbers` in rising order, each once, in one pass over the file; otherwise like `frames`."""
        if self.problem is not None:
            raise DataError(self.problem)
        wanted = sorted(set(numbers))
        if not wanted:
            return
        if self.files:
            for number in wanted:
                yield from self.frames(number, number + 1)
            return
        found = self._video(wanted[0], wanted[-1] + 1, _nothing, set(wanted))
        yield from ((n, _sized(picture)) for n, picture in found)

    def _video(
        self, start: int, stop: int | None, remark: RecordingRemark, kept: set[int] | None = None
    ) -> Iterator[tuple[int, Picture]]:
        end = self.count if stop is None else min(stop, self.count)
        before, lost, to_picture = -1, 0, _to_pictures()
        with _opened(self.path) as (container, stream):
            for frame in _decoded(container, stream):
                number = before + 1
                if len(self.stamps):
                    if frame.pts is None or frame.pts < self.stamps[0]:
                        continue
                    number = int(np.searchsorted(self.stamps, frame.pts))
                    if number <= before:  # a damaged stream: its place has passed
                        continue
                lost += max(0, min(number, end) - max(before + 1, start))
                before = number
                if number >= end:
                    break
                if number >= start and (kept is None or number in kept):
                    yield number, to_picture(frame)
        lost += max(0, end - max(before + 1, start))
        if lost:
            remark(f"{self.path}: {lost} of {end - start} frames cannot be decoded; is it damaged?")

    def _folder(self, start: int, stop: int | None, remark: RecordingRemark) -> Iterator[tuple[int, Picture]]:
        wanted = range(len(self.files))[start:stop]
        last: Picture | None = None
        lost: list[int] = []
        for number in wanted:
            try:
                picture = _read(self.files, number)
            except DataError:
                lost.append(number)
                picture = self._neighbour(number) if last is None else last
            last = picture
            yield number, picture
        if lost:
            names = ", ".join(self.files[n].name for n in lost[:5]) + (", ..." if len(lost) > 5 else "")
            text = f"{self.path}: {len(lost)} of {len(wanted)} frames cannot be decoded ({names})"
            if len(lost) > max(1, UNREADABLE * len(wanted)):
                raise DataError(f"{text}; restore the files")
            remark(f"{text}; the frame before stands for each")

    def _neighbour(self, number: int) -> Picture:
        """The nearest frame before, or else after, `number` that can be decoded."""
        for other in islice(chain(range(number - 1, -1, -1), range(number + 1, len(self.files))), 50):
            try:
                return _read(self.files, other)
            except DataError:
                continue
        raise DataError(f"{self.path}: no frame of 50 tried in a row can be decoded; restore the files")


def open_recordings(path: Path, rate: float | None = None) -> list[Recording]:
    """The recordings at `path`: a video file, a folder of frames, or a folder of clips (videos, folders of frames).

    `rate` (frames per second) goes before what a video says; folders of frames need it. Raises ConfigError for a
    missing or impossible rate, DataError where there is nothing to read; one bad clip among several is kept with its
    `problem`. What lies in a folder of clips and is none is named in the first recording's remarks.
    """
    if rate is not None and not SLOWEST <= rate <= FASTEST:
        raise ConfigError(f"--fps {rate:g}: not a frame rate; give frames per second, {SLOWEST:g} to {FASTEST:g}")
    path = Path(path)
    try:
        if not path.is_dir():
            return [_open_video(path, rate)]
        entries = sorted((e for e in path.iterdir() if not e.name.startswith(".")), key=lambda e: natural(e.name))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    clips = [entry for entry in entries if _is_video(entry) or (entry.is_dir() and _frame_files(entry))]
    if not clips:
        if not _frame_files(path):
            raise DataError(
                f"{path}: holds no video, no frames and no folder of frames; "
                f"videos end in {', '.join(sorted(VIDEOS))}, frames in {', '.join(sorted(PICTURES))}"
            )
        return [_open_folder(path, rate)]
    recordings = []
    for clip in clips:
        try:
            recordings.append(_open_folder(clip, rate) if clip.is_dir() else _open_video(clip, rate))
        except DataError as error:
            recordings.append(Recording(clip, clip.name, rate or 0.0, 0, (0, 0), problem=str(error)))
    skipped = [entry.name for entry in entries if entry not in clips]
    if skipped:
        text = f"{path}: passed over (no video, no folder of frames): {listed(skipped)}"
        recordings[0] = replace(recordings[0], remarks=(*recordings[0].remarks, text))
    return recordings


def identity(recording: Recording) -> str:
    """A short name of the recording's files: names, sizes, times of last change. Raises DataError where one is gone."""
    state = {}
    for path in recording.files or (recording.path,):
        try:
            found = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        state[path.name] = (found.st_size, found.st_mtime_ns)
    return fingerprint(state)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """The key that sorts names by the numbers in them: img2 before img10."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part)


def _open_video(path: Path, rate: float | None) -> Recording:
    if path.suffix.lower() in PICTURES:
        raise DataError(f"{path}: one picture; give a video, or the folder of its frames")
    with _opened(path) as (container, stream):
        header_rate = float(stream.average_rate or stream.guessed_rate or math.nan)
        promised, time_base = stream.frames, float(stream.time_base or math.nan)
        first, stamps, packets = _read_stamps(path, container, stream)
    if max(packets, len(stamps)) < 2:
        raise DataError(f"{path}: has a single frame; motion needs at least two")
    count, stamp_times = len(stamps) or packets, (stamps - stamps[0]) * time_base if len(stamps) else None
    remarks, known = [], math.isfinite(header_rate) and 0 < header_rate <= FASTEST
    if rate is not None:
        if known and abs(header_rate - rate) > 0.01 * rate:
            remarks.append(f"{path}: says {header_rate:.4g} frames per second; {rate:g} taken, as given")
        times = np.arange(count) / rate
    else:
        # The times of the frames go before the rate in the header, which is a guess where they are uneven.
        measured = None if stamp_times is None else (count - 1) / stamp_times[-1]
        if measured is not None and 0 < measured <= FASTEST:
            rate = header_rate if known and abs(header_rate - measured) <= 0.01 * measured else float(measured)
        elif known:
            rate = header_rate
        else:
            raise ConfigError(f"{path}: does not say its frame rate; give it with --fps")
        times = np.arange(count) / rate if stamp_times is None else stamp_times
    if promised > packets:
        remarks.append(f"{path}: says {promised} frames, but holds only {packets}; is it damaged?")
    remarks += _uneven(path, stamp_times, rate)
    remarks += _about(path, rate, first)
    size = _checked_size(path, first)
    return Recording(path, path.name, rate, count, size, tuple(remarks), times=times, stamps=stamps)


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


def _uneven(path: Path, times: np.ndarray | None, rate: float) -> list[str]:
    if times is None:
        return []
    steps = 1000 * np.diff(times)
    usual = float(np.median(steps))
    if np.mean(np.abs(steps - usual) > max(1.5, 0.3 * usual)) <= 0.01:
        return []
    return [
        f"{path}: uneven frame rate ({steps.min():.0f} to {steps.max():.0f} ms between frames); intervals are looked "
        f"for as if it were {rate:.4g} frames per second throughout; film or convert at a constant rate"
    ]


def _open_folder(path: Path, rate: float | None) -> Recording:
    if rate is None:
        raise ConfigError(f"{path}: a folder of frames has no frame rate; give it with --fps")
    return recording_of_files(path, _frame_files(path), rate)


def recording_of_files(path: Path, files: tuple[Path, ...], rate: float) -> Recording:
    """The recording whose frames are `files` in this order, all in the folder `path`, `rate` a second.

    Raises DataError where there are fewer than two or none can be read.
    """
    if len(files) < 2:
        raise DataError(f"{path}: has {'a single' if files else 'no'} frame; motion needs at least two")
    times = np.arange(len(files)) / rate
    recording = Recording(path, path.name, rate, len(files), (0, 0), files=files, times=times)
    first = recording._neighbour(-1)
    return replace(recording, size=_checked_size(path, first), remarks=_about(path, rate, first))


def _about(path: Path, rate: float, first: np.ndarray) -> tuple[str, ...]:
    remarks = []
    if rate < SLOW:
        remarks.append(
            f"{path}: {rate:.4g} frames per second are few: a micro-expression of 65 to 500 ms is "
            f"{0.065 * rate:.1f} to {0.5 * rate:.1f} frames, so short ones are missed and intervals are coarse; "
            "film at 100 or more"
        )
    height, width = first.shape[:2]
    if min(height, width) > LARGEST:
        remarks.append(f"{path}: frames of {width} x {height} are reduced to a shorter side of {LARGEST}")
    if min(height, width) < SMALL:
        remarks.append(f"{path}: frames of {width} x {height} are small and enlarged; they hold no faint motion")
    return tuple(remarks)


def _checked_size(path: Path, picture: np.ndarray) -> tuple[int, int]:
    height, width = picture.shape[:2]
    _refuse_absurd(path, width, height)
    height, width = _sized(picture).shape[:2]
    return width, height


def _refuse_absurd(path: Path, width: int, height: int) -> None:
    if max(height, width) > ABSURD:
        raise DataError(f"{path}: frames of {width} x {height} are too large; reduce them below {ABSURD} pixels a side")


def _sized(picture: Picture) -> Picture:
    shorter = min(picture.shape[:2])
    if SMALL <= shorter <= LARGEST:
        return picture
    by = LARGEST / shorter
    if shorter < SMALL:
        by = min(math.ceil(ENLARGED / shorter), max(1, 2000 // max(picture.shape)))
    method = cv2.INTER_CUBIC if by > 1 else cv2.INTER_AREA
    size = round(picture.shape[1] * by), round(picture.shape[0] * by)
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEOS


def _frame_files(folder: Path) -> tuple[Path, ...]:
    found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file() and not p.name.startswith(".")]
    return tuple(sorted(found, key=lambda p: natural(p.name)))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """(the file, its video), closed at the end. Raises DataError where there is none."""
    if not path.is_file():
        raise DataError(f"{path}: not found")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file; restore it")
    try:
        # Absolute, for FFmpeg takes what stands before a colon for a protocol. Titles may be in any encoding.
        container = av.open(str(path.absolute()), metadata_errors="replace")
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
        _refuse_absurd(path, stream.codec_context.width, stream.codec_context.height)
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


def _read(files: tuple[Path, ...], number: int) -> Picture:
    with _silent():
        picture = read_full_depth(files[number])
        return to_8_bits(picture, 8 if picture.dtype == np.uint8 else _bits(files))


@lru_cache(maxsize=1)
def _bits(files: tuple[Path, ...]) -> int:
    """Looked up once a folder: it takes decoding every frame."""
    return common_bits(files)


@contextmanager
def _silent() -> Iterator[None]:
    """OpenCV's own lines about damaged files kept off stderr."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # pyright: ignore
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)  # pyright: ignore
