"""Long recordings of one synthetic person: micro- and longer expressions with rest between, blinks, a moving head."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from slstt.datasets.synthetic.clips import (
    Stream,
    SyntheticClip,
    action_field,
    blink_profile,
    draw_units,
    face_size,
    head_drift,
    peak_range,
    profile,
    render,
    slow_wave,
)
from slstt.datasets.synthetic.dataset import Plan
from slstt.datasets.synthetic.portrait import Portrait
from slstt.files import write_csv

MICRO = (0.10, 0.48)
"""Shortest and longest micro-expression, seconds from onset to offset."""
LONG = (0.9, 2.0)
"""The same of the longer expressions among them, which are no micro-expressions."""
LONG_SHARE = 0.2
LONG_TIMES = 2.0
"""How many times stronger a longer expression is."""
PAUSES = (0.6, 2.5)
"""Shortest and longest rest between two expressions, seconds."""
BLINKS = 15.0
"""Blinks a minute."""
SPEECH = (1.0, 2.5)
"""Shortest and longest stretch of speech, seconds; the mouth opens and closes some four times a second."""
SYLLABLES = (3.0, 5.0)
SPOKEN = {25: (1.0, 1.0), 26: (0.8, 0.8)}
"""Action units of speech: the lips part, the jaw drops."""
EMOTIONS = ("happiness", "disgust", "surprise", "repression", "others")


@dataclass(frozen=True)
class Expression:
    """One expression: its frames, its emotion, its largest displacement in pixels, and whether it is a micro one."""

    onset: int
    apex: int
    offset: int
    emotion: str
    peak: float
    micro: bool


@dataclass(frozen=True)
class SyntheticRecording:
    """What happens in a recording of `count` frames, numbered from 0, `rate` a second."""

    portrait: Portrait
    rate: float
    count: int
    expressions: tuple[Expression, ...]
    parts: tuple[SyntheticClip, ...]
    """End to end: every expression, and stretch of speech, with the rest before it, and the rest after the last."""
    speech: tuple[tuple[int, int], ...] = ()
    """First and last frame of each stretch of speech."""

    @property
    def micro(self) -> tuple[Expression, ...]:
        """The micro-expressions alone."""
        return tuple(expression for expression in self.expressions if expression.micro)

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (number, picture (H, W, 3) uint8 RGB), one in memory at a time."""
        for part in self.parts:
            for number, picture in render(self.portrait, part, range(part.first, part.last + 1)):
                yield number, picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)


def draw_recording(
    seconds: float,
    seed: int = 0,
    *,
    rate: float = 100.0,
    difficulty: float = 0.0,
    head: float = 6.0,
    size: tuple[int, int] = (640, 480),
    emotions: Sequence[str] = EMOTIONS,
    grey: bool = False,
    speech: float = 0.0,
    person: int = 1,
    take: int = 0,
    resting: bool = False,
) -> SyntheticRecording:
    """Draw a recording of about `seconds` at most, which begins and ends at rest.

    `difficulty` as in `write`: motion small, noise, flicker and incidental motion strong at 1. `head` is how far the
    head sways to either side, in pixels of a 640x480 frame; it turns and nears in proportion and never rests. `grey`
    frames have three equal channels and are made in a third of the time. Of one `person` of a seed there may be
    several recordings, each a `take`; a `resting` person shows no expression. `speech` is the share of rests, 0..1, in
    which the person speaks.
    """
    layout = "samm" if grey else "casme2"
    plan = Plan(layout, subjects=person, clips_per_subject=1, difficulty=difficulty, seed=seed, size=size)
    portrait = plan.portrait(person)
    scene = plan.clip(portrait, person, 1).clip
    timing, around, acting, speaking = (Stream(seed, person, take).generator(purpose) for purpose in (11, 12, 13, 14))
    shown = 0.0 if resting else seconds
    expressions, spoken = _expressions(
        timing, acting, speaking, shown, rate, difficulty, face_size(size) / 96, emotions, speech
    )
    events = sorted(
        [(e.onset, e.offset, e) for e in expressions] + [(a, b, None) for a, b in spoken], key=lambda event: event[0]
    )
    count = round(seconds * rate) if not events else events[-1][1] + round(PAUSES[0] * rate)
    numbers = np.arange(count)
    at, pose, pixel = numbers / rate, scene.motion.pose, face_size(size) / 96
    reach = 1.8 * pose.interocular
    # A slow sway, and a tenth of it quicker: a head is never at rest.
    drift = head_drift(around, 0.2 * at, head * pixel, reach) + head_drift(around, at, 0.1 * head * pixel, reach)
    wander, lids = slow_wave(around, at), np.zeros(count)
    for start in around.uniform(0, count, around.poisson(BLINKS * seconds / 60)):
        closing, opening = around.uniform(0.06, 0.09) * rate, around.uniform(0.10, 0.15) * rate
        lids = np.maximum(lids, blink_profile(numbers, start, closing, opening))
    flicker = (0.002 + 0.006 * difficulty) * np.sin(2 * np.pi * around.uniform(2, 20) * at)
    gain = scene.gain.mean(axis=0) * (1 + flicker + around.normal(0, 0.001, count))[:, None]

    parts = []
    begins = [0, *(offset + 1 for _, offset, _ in events[:-1])]
    ends = [*(offset for _, offset, _ in events[:-1]), count - 1]
    for first, last, event in zip(begins, ends, events or [None], strict=True):
        here, shown = slice(first, last + 1), numbers[first : last + 1]
        intensity, action, units = np.zeros(len(shown)), np.zeros_like(scene.motion.action), {}
        if event is not None and event[2] is not None:
            expression = event[2]
            rise, fall = acting.uniform(0.8, 1.25, 2)
            intensity = profile(shown, expression.onset, expression.apex, expression.offset, rise, fall)
            units = draw_units(expression.emotion, difficulty, acting)
            action = action_field(size, pose, portrait.face.landmarks, units, expression.peak)
        elif event is not None:
            intensity = _syllables(shown, event[0], event[1], rate, speaking)
            action = action_field(size, pose, portrait.face.landmarks, SPOKEN, speaking.uniform(2, 5) * pixel)
        motion = replace(
            scene.motion,
            numbers=shown,
            intensity=intensity,
            action=action,
            drift=drift[here],
            wander=wander[here],
        )
        part = replace(scene, first=first, last=last, motion=motion, lids=lids[here], gain=gain[here])
        parts.append(replace(part, units=units))
    return SyntheticRecording(portrait, rate, count, tuple(expressions), tuple(parts), tuple(spoken))


def _expressions(
    timing: np.random.Generator,
    acting: np.random.Generator,
    speaking: np.random.Generator,
    seconds: float,
    rate: float,
    difficulty: float,
    pixel: float,
    emotions: Sequence[str],
    speech: float,
) -> tuple[list[Expression], list[tuple[int, int]]]:
    """(expressions, stretches of speech), each in order."""
    expressions: list[Expression] = []
    spoken: list[tuple[int, int]] = []
    now = 0.0
    while True:
        micro = timing.uniform() >= LONG_SHARE
        pause, length = timing.uniform(*PAUSES), timing.uniform(*(MICRO if micro else LONG))
        talk = speaking.uniform(*SPEECH) if speech and speaking.uniform() < speech else 0.0
        if now + pause + talk + length + PAUSES[0] > seconds:
            return expressions, spoken
        if talk:  # at rest before and after it
            spoken.append((round((now + pause / 2) * rate), round((now + pause / 2 + talk) * rate)))
            now += talk
        onset = round((now + pause) * rate)
        frames = max(2, round(length * rate))
        apex = onset + int(np.clip(round(frames * timing.uniform(0.3, 0.6)), 1, frames - 1))
        peak = float(acting.uniform(*peak_range(difficulty))) * pixel * (1 if micro else LONG_TIMES)
        emotion = emotions[int(acting.integers(len(emotions)))]
        expressions.append(Expression(onset, apex, onset + frames, emotion, peak, micro))
        now += pause + length


def _syllables(numbers: np.ndarray, first: int, last: int, rate: float, speaking: np.random.Generator) -> np.ndarray:
    """(n,) 0..1: how far the mouth is open while the person speaks, from frame `first` to `last`."""
    inside = (numbers >= first) & (numbers <= last)
    pace = np.cumsum(speaking.uniform(*SYLLABLES, len(numbers)) * 0.5 + np.mean(SYLLABLES) * 0.5) / rate
    stress = np.interp(numbers, np.linspace(first, last, 12), speaking.uniform(0.2, 1.0, 12))
    return np.where(inside, stress * (0.5 - 0.5 * np.cos(2 * np.pi * (pace - pace[inside.argmax()]))), 0.0)


def write_video(path: Path, pictures: Iterable[np.ndarray], rate: float) -> Path:
    """Write pictures (H, W, 3) uint8 RGB as a video: `.avi` Motion JPEG of high quality, else MPEG-4 of some 2 kB a
    picture of 640 x 480. Width and height must be even."""
    motion_jpeg = path.suffix == ".avi"
    with av.open(str(path), "w") as container:
        per_second = Fraction(rate).limit_denominator(1001)
        # MPEG-4: rate control that is even over the pictures; else key pictures take the bits that show small motion.
        options = {"qmin": "2", "qmax": "2"} if motion_jpeg else {"qmin": "3"}
        stream = container.add_stream("mjpeg" if motion_jpeg else "mpeg4", per_second, options)
        stream.pix_fmt = "yuvj420p" if motion_jpeg else "yuv420p"
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
                stream.bit_rate = round(0.055 * picture.shape[0] * picture.shape[1] * rate)
                stream.codec_context.bit_rate_tolerance = stream.bit_rate
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_recording(path: Path, recording: SyntheticRecording) -> Path:
    """Write the frames as a video (`.mp4` MPEG-4, `.avi` Motion JPEG of high quality), or PNG files where `path` has no
    suffix, and the truth beside them in `<path>.truth.csv`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        write_video(path, (picture for _, picture in recording.frames()), recording.rate)
    else:
        path.mkdir(exist_ok=True)
        for number, picture in recording.frames():
            (path / f"frame{number:06d}.png").write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    rows = [(e.onset, e.apex, e.offset, e.emotion, f"{e.peak:.3f}", int(e.micro)) for e in recording.expressions]
    write_csv(path.with_name(path.name + ".truth.csv"), ("onset", "apex", "offset", "emotion", "peak", "micro"), rows)
    return path
