"""The recording as a video with what was found drawn in, its codec and its times; one frame in memory at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError

from slstt.errors import DataError
from slstt.files import whole_file
from slstt.images import Picture
from slstt.prediction.face_motion import FaceMotion
from slstt.prediction.recording import Recording
from slstt.prediction.results import FoundInterval, PredictionResult

NAME = "annotated.mp4"
FOR_BROWSERS = "H.264"
ENCODERS = (
    ("libx264", FOR_BROWSERS, {"preset": "veryfast", "crf": "20"}),
    ("libopenh264", FOR_BROWSERS, {}),
    ("mpeg4", "MPEG-4 Part 2", {"qmin": "2", "qmax": "6"}),
)
"""(encoder, codec, options) in order of preference: browsers play the first two. PyAV has some of them."""
CLOCK = Fraction(1, 60_000)
"""The video's unit of time, in seconds: fine enough for 10,000 frames per second, and the finest that MPEG-4 allows."""
LARGEST = 1280
"""Longest side of the video's picture, in pixels."""
STRIP = 84
"""Height of the curve below the picture, in pixels."""
SPAN = 4.0
"""Seconds of the curve that are seen at once."""
INK, PAPER, CURVE, MARK = (25, 25, 25), (255, 255, 255), (8, 81, 156), (217, 95, 2)


def write_video(recording: Recording, motion: FaceMotion, result: PredictionResult, folder: Path) -> tuple[str, str]:
    """Write `annotated.mp4`; returns (its name, a line that says how it is encoded).

    Every measured frame is shown at its own time; where one cannot be decoded, the one before it stands. Raises
    DataError where it cannot be written or the recording cannot be read again.
    """
    width, height = recording.size
    by = min(1.0, LARGEST / max(width, height))
    size = (max(160, round(width * by) // 2 * 2), max(120, round(height * by) // 2 * 2))
    curve = _Curve(motion, result, size[0])
    scale = (size[0] / width, size[1] / height)
    with _writer(folder / NAME, motion.rate, (size[0], size[1] + STRIP)) as (write, codec):
        for number, picture in _every_frame(recording, len(motion.intensity)):
            frame = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
            _draw(frame, number, scale, motion, result)
            write(np.concatenate([frame, curve.at(number)]), float(motion.times[number]))
    return NAME, f"{NAME}: {codec}, {motion.rate:.4g} frames per second"


def _every_frame(recording: Recording, count: int) -> Iterator[tuple[int, Picture]]:
    """(number, picture) of the frames 0..count - 1, none left out: the last picture stands for what is not decoded."""
    done, last = 0, None
    for number, picture in recording.frames(0, count):
        yield from ((missing, picture if last is None else last) for missing in range(done, number))
        yield number, picture
        done, last = number + 1, picture
    if last is not None:
        yield from ((missing, last) for missing in range(done, count))


@contextmanager
def _writer(path: Path, rate: float, size: tuple[int, int]) -> Iterator[tuple[Callable[[Picture, float], None], str]]:
    """(the call that adds a picture at a time in seconds, codec); the file is whole or absent. `size` is even."""
    encoder, codec, options = _encoder()
    with whole_file(path) as part:
        try:
            # The index goes to the front, so that a browser plays before all is loaded.
            with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as container:
                per_second = Fraction(rate).limit_denominator(1001)
                stream = cast(av.VideoStream, container.add_stream(encoder, per_second, options))
                stream.width, stream.height = size
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = CLOCK
                last = -1

                def write(picture: Picture, seconds: float) -> None:
                    nonlocal last
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    last = max(last + 1, round(seconds / CLOCK))
                    frame.pts, frame.time_base = last, CLOCK
                    container.mux(stream.encode(frame))

                yield write, codec
                container.mux(stream.encode(None))
        except FFmpegError as error:
            what = f"{path}: cannot be written ({error.strerror}); free space or choose another --out"
            raise DataError(what) from error


def _encoder() -> tuple[str, str, dict[str, str]]:
    for name, codec, options in ENCODERS:
        try:
            av.Codec(name, "w")
        except UnknownCodecError:
            continue
        return name, codec, options
    raise DataError("this PyAV can write no video (neither H.264 nor MPEG-4); leave --video out")


class _Curve:
    """The strip below the picture: the last and next seconds of the curve, the present in the middle."""

    def __init__(self, motion: FaceMotion, result: PredictionResult, width: int) -> None:
        self.values, self.times, self.width = np.nan_to_num(motion.intensity), motion.times, width
        self.top = max(1e-6, float(np.percentile(self.values, 99.5)) * 1.3)
        self.inside = np.zeros(len(self.values), bool)
        for one in result.found:
            self.inside[one.interval.onset : one.interval.offset + 1] = True

    def at(self, number: int) -> Picture:
        strip = np.full((STRIP, self.width, 3), PAPER, np.uint8)
        seconds = self.times[number] + (np.arange(self.width) / self.width - 0.5) * SPAN
        there = (seconds >= 0) & (seconds <= self.times[-1])
        index = np.clip(np.searchsorted(self.times, seconds, side="right") - 1, 0, len(self.times) - 1)
        strip[:, there & self.inside[index]] = (253, 214, 178)
        values = np.interp(seconds, self.times, self.values)
        heights = np.clip(values / self.top, 0, 1) * (STRIP - 8)
        points = np.stack([np.arange(self.width), STRIP - 4 - heights], axis=1)[there]
        if len(points) > 1:
            cv2.polylines(strip, [np.rint(points).astype(np.int32)], False, CURVE, 2, cv2.LINE_AA)
        cv2.line(strip, (self.width // 2, 0), (self.width // 2, STRIP), INK, 1)
        return strip


def _draw(
    frame: Picture, number: int, scale: tuple[float, float], motion: FaceMotion, result: PredictionResult
) -> None:
    points = motion.landmarks[number] if number < len(motion.landmarks) else np.full((68, 2), np.nan)
    known = bool(np.isfinite(points).all())
    now = next(
        ((n, one) for n, one in enumerate(result.found, 1) if one.interval.onset <= number <= one.interval.offset), None
    )
    if known:
        points = points * scale
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        corners = (round(left), round(top)), (round(right), round(bottom))
        cv2.rectangle(frame, *corners, MARK if now else (235, 235, 235), 3 if now else 1)
        for x, y in points:
            cv2.circle(frame, (round(x), round(y)), 1, MARK if now else (235, 235, 235), -1)
    _write(frame, f"{motion.times[number]:.2f} s" + ("" if known else "   no face"), 0)
    if now is not None:
        _write(frame, _named(*now, result), 1)


def _named(number: int, one: FoundInterval, result: PredictionResult) -> str:
    if not one.label:
        return f"interval {number}: not classified"
    # OpenCV's letters are ASCII.
    label = one.label.encode("ascii", "replace").decode()
    return f"interval {number}: {label} {one.probabilities[result.classes.index(one.label)]:.2f}"


def _write(frame: Picture, text: str, line: int) -> None:
    size = max(0.4, frame.shape[1] / 1280)
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    y = 6 + (line + 1) * (height + base + 6)
    cv2.rectangle(frame, (4, y - height - 5), (10 + width, y + base), PAPER, -1)
    cv2.putText(frame, text, (7, y - 2), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
