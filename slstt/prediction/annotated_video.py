"""The recording as a video with what was found drawn in; read and written one frame at a time."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from slstt.errors import DataError
from slstt.images import Picture
from slstt.prediction.face_motion import FaceMotion
from slstt.prediction.recording import Recording
from slstt.prediction.result import FoundInterval, PredictionResult

CODECS = (("avc1", ".mp4", "H.264"), ("mp4v", ".mp4", "MPEG-4 Part 2"), ("MJPG", ".avi", "Motion JPEG"))
"""In order of preference; which of them OpenCV can write depends on how it was built."""
LARGEST = 1280
"""Longest side of the video's picture, in pixels."""
STRIP = 84
"""Height of the curve below the picture, in pixels."""
SPAN = 4.0
"""Seconds of the curve that are seen at once."""
INK, PAPER, CURVE, MARK = (25, 25, 25), (255, 255, 255), (8, 81, 156), (217, 95, 2)


def write_video(recording: Recording, watched: FaceMotion, result: PredictionResult, folder: Path) -> tuple[str, str]:
    """Write `annotated.mp4` (or `.avi`); returns (its name, a line that says how it is encoded).

    Raises DataError where it cannot be written or the recording cannot be read again.
    """
    width, height = recording.size
    by = min(1.0, LARGEST / max(width, height))
    size = (max(160, round(width * by) // 2 * 2), max(120, round(height * by) // 2 * 2))
    curve = _Curve(watched, result, size[0])
    last = len(watched.intensity)
    with _writer(folder, watched.rate, (size[0], size[1] + STRIP)) as (video, name, codec):
        for number, picture in recording.frames(0, last):
            frame = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
            scale = (size[0] / picture.shape[1], size[1] / picture.shape[0])
            _draw(frame, number, scale, watched, result)
            whole = np.concatenate([frame, curve.at(number)])
            video.write(cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))
    return name, f"{name}: {codec}, {watched.rate:.4g} frames per second"


@contextmanager
def _writer(folder: Path, rate: float, size: tuple[int, int]) -> Iterator[tuple[cv2.VideoWriter, str, str]]:
    """(writer, file name, codec) of the first codec that works; the file is whole or absent."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # pyright: ignore
    try:
        for code, suffix, codec in CODECS:
            try:
                handle, place = tempfile.mkstemp(prefix=".annotated.", suffix=f".part{suffix}", dir=folder)
                os.close(handle)
            except OSError as error:
                raise DataError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
            part = Path(place)
            try:
                video = cv2.VideoWriter(place, cv2.VideoWriter.fourcc(*code), rate, size)
                if video.isOpened():
                    yield video, f"annotated{suffix}", codec
                    video.release()
                    if part.stat().st_size == 0:
                        raise DataError(f"{folder}: the annotated video could not be written; free space")
                    part.chmod(0o644)
                    part.replace(folder / f"annotated{suffix}")
                    return
                video.release()
            finally:
                part.unlink(missing_ok=True)
        raise DataError("this OpenCV can write no video (H.264, MPEG-4, Motion JPEG); leave --video out")
    finally:
        cv2.utils.logging.setLogLevel(level)  # pyright: ignore


class _Curve:
    """The strip below the picture: the last and next seconds of the curve, the present in the middle."""

    def __init__(self, watched: FaceMotion, result: PredictionResult, width: int) -> None:
        self.values, self.width = np.nan_to_num(watched.intensity), width
        self.step = SPAN * watched.rate / width
        self.top = max(1e-6, float(np.percentile(self.values, 99.5)) * 1.3)
        self.inside = np.zeros(len(self.values), bool)
        for one in result.found:
            self.inside[one.interval.onset : one.interval.offset + 1] = True

    def at(self, number: int) -> Picture:
        strip = np.full((STRIP, self.width, 3), PAPER, np.uint8)
        frames = number + (np.arange(self.width) - self.width / 2) * self.step
        there = (frames >= 0) & (frames < len(self.values))
        index = np.clip(np.rint(frames), 0, len(self.values) - 1).astype(int)
        strip[:, there & self.inside[index]] = (253, 214, 178)
        values = np.interp(frames, np.arange(len(self.values)), self.values)
        heights = np.clip(values / self.top, 0, 1) * (STRIP - 8)
        points = np.stack([np.arange(self.width), STRIP - 4 - heights], axis=1)[there]
        if len(points) > 1:
            cv2.polylines(strip, [np.rint(points).astype(np.int32)], False, CURVE, 2, cv2.LINE_AA)
        cv2.line(strip, (self.width // 2, 0), (self.width // 2, STRIP), INK, 1)
        return strip


def _draw(
    frame: Picture, number: int, scale: tuple[float, float], watched: FaceMotion, result: PredictionResult
) -> None:
    points = watched.landmarks[number] if number < len(watched.landmarks) else np.full((68, 2), np.nan)
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
    _write(frame, f"{number / watched.rate:.2f} s" + ("" if known else "   no face"), 0)
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
