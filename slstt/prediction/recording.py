"""A person's own recording: a video file, a folder of frames, or a folder of such clips; read one frame at a time."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np

from slstt.errors import ConfigError, DataError, listed
from slstt.files import PICTURES, VIDEOS, fingerprint, is_video
from slstt.images import Picture, common_bits, read_full_depth, to_8_bits
from slstt.video import FASTEST, look_into, numbered_frames, refuse_absurd

SMALL, ENLARGED = 200, 360
"""A frame with a shorter side below SMALL is enlarged by a whole number to ENLARGED or more: no small face is found."""
LARGEST = 1080
"""A frame whose shorter side is longer than this is reduced to it: the face then still has more pixels than is used."""
SLOW = 50.0
"""Frames per second below which an interval of 65 ms is three frames or fewer."""
SLOWEST = 1.0
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
        before, lost = -1, 0
        for number, picture in numbered_frames(self.path, self.stamps):
            lost += max(0, min(number, end) - max(before + 1, start))
            before = number
            if number >= end:
                break
            if number >= start and (kept is None or number in kept):
                yield number, picture()
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
    clips = [
        entry for entry in entries if (entry.is_file() and is_video(entry)) or (entry.is_dir() and _frame_files(entry))
    ]
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
    content = look_into(path)
    stamps, count, packets, known = content.stamps, content.count, content.packets, content.known_rate
    if max(packets, len(stamps)) < 2:
        raise DataError(f"{path}: has a single frame; motion needs at least two")
    remarks, stamp_times = [], (stamps - stamps[0]) * content.time_base if len(stamps) else None
    if rate is not None:
        if known is not None and abs(known - rate) > 0.01 * rate:
            remarks.append(f"{path}: says {known:.4g} frames per second; {rate:g} taken, as given")
        times = np.arange(count) / rate
    else:
        rate = content.rate
        if rate is None:
            raise ConfigError(f"{path}: does not say its frame rate; give it with --fps")
        times = np.arange(count) / rate if stamp_times is None else stamp_times
    if content.promised > packets:
        remarks.append(f"{path}: says {content.promised} frames, but holds only {packets}; is it damaged?")
    remarks += _uneven(path, stamp_times, rate)
    remarks += _about(path, rate, content.first)
    size = _checked_size(path, content.first)
    return Recording(path, path.name, rate, count, size, tuple(remarks), times=times, stamps=stamps)


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
    refuse_absurd(path, width, height)
    height, width = _sized(picture).shape[:2]
    return width, height


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


def _frame_files(folder: Path) -> tuple[Path, ...]:
    found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file() and not p.name.startswith(".")]
    return tuple(sorted(found, key=lambda p: natural(p.name)))


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
    # OpenCV 4 has it at the top, OpenCV 5 in a module; 0 is silence.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel  # pyright: ignore
    level = set_level(0)
    try:
        yield
    finally:
        set_level(level)
