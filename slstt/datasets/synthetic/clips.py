"""One clip of a subject: everything about it is drawn first (`draw_clip`), then its frames are made (`render`).

What the emotion decides is the action units alone. Length, apex, pose, light, drift, blinks and noise come from random
streams of their own that never see it, so the class can be told from motion and from nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from slstt.datasets.synthetic import faces
from slstt.datasets.synthetic.action_units import EMOTIONS, ONE_SIDED, Sites, place
from slstt.datasets.synthetic.faces import LEFT_EYE, RIGHT_EYE
from slstt.datasets.synthetic.portrait import Portrait, eyelids


def profile(
    numbers: np.ndarray, onset: int, apex: int, offset: int, rise: float = 1.0, fall: float = 1.0
) -> np.ndarray:
    """Intensity of the expression at frames `numbers`: 0 up to the onset, 1 at the apex, 0 from the offset on.

    Between them a raised cosine of the elapsed share of the time, that share raised to `rise` or `fall` (> 0; 1 is
    symmetric), so it grows strictly to the apex and falls strictly after it. Needs onset < apex < offset.
    """
    at = np.asarray(numbers, float)
    up = np.clip((at - onset) / (apex - onset), 0, 1) ** rise
    down = np.clip((offset - at) / (offset - apex), 0, 1) ** fall
    return 0.5 - 0.5 * np.cos(np.pi * np.where(at <= apex, up, down))


def blink_profile(numbers: np.ndarray, start: float, closing: float, opening: float) -> np.ndarray:
    """How far the lids are closed at frames `numbers`, 0..1: shut after `closing` frames, open after `opening` more."""
    at = np.asarray(numbers, float) - start
    share = np.where(at < closing, at / closing, 1 - (at - closing) / opening)
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(share, 0, 1))


def slow_wave(generator: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """A slow unsteady motion at times `seconds` (F,): 0 at time 0, within -1..1, waves of 0.7 to 3 Hz."""
    total = np.zeros_like(seconds)
    for _ in range(2):
        frequency, phase = generator.uniform(0.7, 3.0), generator.uniform(0, 2 * np.pi)
        total += np.sin(2 * np.pi * frequency * seconds + phase) - np.sin(phase)
    return total / max(float(np.abs(total).max()), 1e-9) * generator.uniform(0.3, 1.0)


def head_drift(generator: np.random.Generator, seconds: np.ndarray, amplitude: float, reach: float) -> np.ndarray:
    """Slow motion of the head at times `seconds` (F,) after the onset: (F, 4), all 0 at the onset.

    Columns: right and down in pixels, roll in radians, scale - 1. The first is at most `amplitude` pixels, the others
    less; turning and growing move a point `reach` pixels from the head's centre by 0.4 `amplitude` at most.
    """
    shares = amplitude * np.array([1.0, 0.7, 0.4 / reach, 0.4 / reach])
    return np.stack([share * slow_wave(generator, seconds) for share in shares], axis=1)


@dataclass(frozen=True)
class Pose:
    """Where the head stands in a clip's onset frame."""

    interocular: float
    """Pixels."""
    x: float
    """Pixel column of the point between the eyes."""
    y: float
    roll: float
    """Radians, clockwise on the picture."""

    @cached_property
    def matrix(self) -> np.ndarray:
        """(2, 2): face vectors to pixel vectors."""
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return self.interocular * np.array([[cos, -sin], [sin, cos]])

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Face coordinates (..., 2) to pixels."""
        return np.asarray(points) @ self.matrix.T + (self.x, self.y)

    def face(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) to face coordinates."""
        return (np.asarray(pixels) - (self.x, self.y)) @ np.linalg.inv(self.matrix).T


def grid(size: tuple[int, int]) -> np.ndarray:
    """(h, w, 2) float64: pixel coordinates of a field's points in a frame of `size` (width, height).

    Every fourth pixel each way at 640x480: no pull there is narrower than seven pixels (standard deviation).
    """
    width, height = size
    step = max(1, min(size) // 120)
    columns, rows = -(-width // step), -(-height // step)
    x = (np.arange(columns) + 0.5) * (width / columns) - 0.5
    y = (np.arange(rows) + 0.5) * (height / rows) - 0.5
    return np.stack(np.meshgrid(x, y), axis=-1)


def displacement(points: np.ndarray, sites: Sites, weights: np.ndarray) -> np.ndarray:
    """Displacement (..., 2) at `points` (..., 2) in face coordinates, of `sites` with `weights` (N,)."""
    total = np.zeros(points.shape)
    for position, direction, spread, weight in zip(
        sites.position, sites.direction, sites.spread, weights, strict=True
    ):  # fmt: skip
        away = (points - position) / spread
        total += (weight * np.exp(-0.5 * (away**2).sum(axis=-1)))[..., None] * direction
    return total


@dataclass(frozen=True)
class Motion:
    """All that moves in one clip. F frames, fields on `grid(size)` (h, w)."""

    size: tuple[int, int]
    """Width and height of a frame."""
    pose: Pose
    numbers: np.ndarray
    """(F,) frame numbers."""
    intensity: np.ndarray
    """(F,) 0..1, the units' profile."""
    action: np.ndarray
    """(h, w, 2) displacement at full intensity, pixels."""
    drift: np.ndarray
    """(F, 4) the head's shift in pixels, roll in radians, scale - 1; 0 at the onset."""
    weight: np.ndarray
    """(h, w) 0..1: how far a point belongs to the head."""
    incidental: np.ndarray
    """(h, w, 2) displacement by what no unit explains (swallowing, tension), pixels."""
    wander: np.ndarray
    """(F,) -1..1, how much of `incidental` shows; 0 at the onset."""

    def field(self, index: int) -> np.ndarray:
        """(h, w, 2) float64: true flow from the onset to the frame at `index`, on the onset's grid, pixels."""
        shift_x, shift_y, roll, scale = self.drift[index]
        away = grid(self.size) - (self.pose.x, self.pose.y)
        turned = np.stack([scale * away[..., 0] - roll * away[..., 1], roll * away[..., 0] + scale * away[..., 1]], -1)
        head = self.weight[..., None] * (turned + np.array([shift_x, shift_y]))
        return self.intensity[index] * self.action + self.wander[index] * self.incidental + head


def action_field(
    size: tuple[int, int],
    pose: Pose,
    landmarks: np.ndarray,
    units: Mapping[int, tuple[float, float]],
    peak: float,
) -> np.ndarray:
    """(h, w, 2) displacement at full intensity whose largest length is `peak` pixels.

    `landmarks` (68, 2) in face coordinates; `units` gives each unit's intensity on the picture's left and right half.
    """
    sites = place(tuple(units), landmarks)
    weights = np.array([units[int(unit)][int(right)] for unit, right in zip(sites.unit, sites.right, strict=True)])
    field = displacement(pose.face(grid(size)), sites, weights) @ pose.matrix.T
    return _with_peak(field, peak)


def incidental_field(
    size: tuple[int, int], pose: Pose, landmarks: np.ndarray, peak: float, generator: np.random.Generator
) -> np.ndarray:
    """(h, w, 2) a smooth displacement of some places of the face that belongs to no unit, at most `peak` pixels."""
    count = 5
    turn = generator.uniform(0, 2 * np.pi, count)
    sites = Sites(
        unit=np.zeros(count, int),
        right=np.zeros(count, bool),
        position=landmarks[generator.integers(3, 68, count)] + generator.normal(0, 0.1, (count, 2)),
        direction=np.stack([np.cos(turn), np.sin(turn)], axis=1),
        spread=np.repeat(generator.uniform(0.15, 0.35, (count, 1)), 2, axis=1),
    )
    field = displacement(pose.face(grid(size)), sites, generator.uniform(0.4, 1.0, count)) @ pose.matrix.T
    return _with_peak(field, peak)


def _with_peak(field: np.ndarray, peak: float) -> np.ndarray:
    """`field` scaled so that its longest vector measures `peak`; all zeros stay."""
    longest = float(np.sqrt((field**2).sum(axis=-1)).max())
    return field * (peak / longest) if longest > 0 else field


def look_up(image: np.ndarray, at: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Values of `image` (H, W[, C]) at its pixel coordinates `at` (h, w, 2); outside it, those of its border."""
    at = np.ascontiguousarray(at, np.float32)
    return cv2.remap(image, at, None, interpolation, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore


def sample(field: np.ndarray, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values (N, 2) of a field (h, w, 2) at pixel coordinates (N, 2)."""
    rows, columns = field.shape[:2]
    at = (np.asarray(points) + 0.5) * (columns / size[0], rows / size[1]) - 0.5
    found = look_up(field.astype(np.float32), at[None], cv2.INTER_CUBIC)
    return found[0].astype(float)


def inverse(field: np.ndarray, size: tuple[int, int], steps: int = 4) -> np.ndarray:
    """(h, w, 2) float32: v with v(q) = field(q - v(q)), so the point shown at q came from q - v(q).

    A fixed-point iteration; fields here change by less than 0.3 px a pixel, so four steps leave an error below 1 %.
    """
    rows, columns = field.shape[:2]
    per_pixel = np.array([columns / size[0], rows / size[1]], np.float32)
    here = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float32)
    moved = field = field.astype(np.float32)
    for _ in range(steps):
        moved = look_up(field, here - moved * per_pixel)
    return moved


_PEAK = ((0.0, 1.5, 3.0), (0.5, 0.4, 1.1), (0.9, 0.3, 0.9), (1.0, 0.2, 0.6))
"""Difficulty -> smallest and largest peak displacement, pixels of a 640x480 frame."""
_INCIDENTAL = 0.6
"""Peak of the incidental motion at difficulty 1, in shares of the largest peak of the units."""


@dataclass(frozen=True)
class Stream:
    """The random streams of one clip; each purpose has its own, so drawing more for one changes no other."""

    seed: int
    subject: int
    clip: int

    def generator(self, purpose: int) -> np.random.Generator:
        """A generator for `purpose`: 1 timing, 2 surroundings, 3 action units, 4 sensor noise."""
        return np.random.default_rng([purpose, self.seed, self.subject, self.clip])


@dataclass(frozen=True)
class SyntheticClip:
    """What happens in one clip; frame numbers are the data set's own."""

    emotion: str
    units: Mapping[int, tuple[float, float]]
    """Unit -> intensity on the picture's left and right half."""
    peak: float
    """Largest displacement by the units, pixels."""
    first: int
    onset: int
    apex: int
    offset: int
    last: int
    annotated_apex: int
    """What the coding sheet says; at higher difficulty some frames from the truth."""
    motion: Motion
    lids: np.ndarray
    """(F,) 0..1: how far a blink has closed the eyes."""
    gain: np.ndarray
    """(F, 3) brightness of each frame and colour channel."""
    shot: float
    """Standard deviation of shot noise at mid-grey, grey levels."""
    read: float
    """Standard deviation of read noise, grey levels."""
    noise_seed: Stream


def peak_range(difficulty: float) -> tuple[float, float]:
    """Smallest and largest peak displacement of a clip in pixels of a 640x480 frame."""
    at, low, high = zip(*_PEAK, strict=True)
    return (
        float(np.exp(np.interp(difficulty, at, np.log(low)))),
        float(np.exp(np.interp(difficulty, at, np.log(high)))),
    )


def face_size(size: tuple[int, int]) -> float:
    """The usual interocular distance in a frame of `size` (width, height), pixels: 96 at 640x480."""
    return 0.2 * min(size[1], 0.75 * size[0])


def draw_units(
    emotion: str, difficulty: float, generator: np.random.Generator
) -> dict[int, tuple[float, float]]:  # fmt: skip
    """The units of one showing of `emotion`, with unequal intensities over units and sides."""
    alternatives = EMOTIONS[emotion]
    chosen = alternatives[int(generator.integers(len(alternatives)))]
    one_side = int(generator.integers(2)) if emotion in ONE_SIDED else None
    units = {}
    for unit in chosen:
        strength = generator.uniform(0.75 - 0.35 * difficulty, 1.0)
        sides = strength * generator.uniform(0.8 - 0.25 * difficulty, 1.0, 2)
        if one_side is not None:
            sides[1 - one_side] = 0.0
        units[unit] = (float(sides[0]), float(sides[1]))
    return units


def draw_clip(
    portrait: Portrait,
    emotion: str,
    stream: Stream,
    *,
    difficulty: float,
    motion: float,
    size: tuple[int, int],
    rate: float,
    first: int,
    short: bool,
) -> SyntheticClip:
    """Draw a clip. `rate` in frames a second, `first` its first frame's number, `short`: fewer than 11 frames."""
    timing, around, acting = stream.generator(1), stream.generator(2), stream.generator(3)
    pace = rate / 200
    onset = first + int(timing.integers(3, 9))
    if short:
        rise, fall = (int(v) for v in timing.integers(3, 6, 2))
    else:
        rise, fall = (max(4, round(v * pace)) for v in timing.integers(9, 20, 2))
    apex, offset = onset + rise, onset + rise + fall
    last = offset + int(timing.integers(3, 9))
    numbers = np.arange(first, last + 1)
    wrong = round(float(timing.normal(0, 2.5 * difficulty * pace)))
    annotated = int(np.clip(apex + wrong, onset + 1, offset - 1))

    seat = np.random.default_rng([5, stream.seed, stream.subject, 0])  # how this subject sits
    interocular = face_size(size) * seat.uniform(0.92, 1.06) * around.uniform(0.985, 1.015)
    pose = Pose(
        interocular=interocular,
        x=size[0] * (0.5 + seat.uniform(-0.02, 0.02) + around.uniform(-0.012, 0.012)),
        y=size[1] * 0.44 + interocular * (seat.uniform(-0.06, 0.06) + around.uniform(-0.06, 0.06)),
        roll=float(np.deg2rad(seat.uniform(-2, 2) + around.uniform(-1.5, 1.5))),
    )
    pixel = face_size(size) / 96  # a pixel of a 640x480 frame
    low, high = peak_range(difficulty)
    reach = 1.8 * interocular
    seconds = (numbers - onset) / rate
    drift = head_drift(around, seconds, 0.25 * low * pixel, reach)
    points = portrait.face.landmarks
    incidental = incidental_field(size, pose, points, _INCIDENTAL * difficulty * high * pixel, around)
    wander = slow_wave(around, seconds)
    radius = _head_weight(portrait, pose, size)
    lids = np.zeros(len(numbers))
    blinks, start = around.uniform() < 0.05 + 0.3 * difficulty, around.integers(first - 10, last)
    closing, opening = around.uniform(12, 18) * pace, around.uniform(20, 30) * pace
    if blinks:
        lids = blink_profile(numbers, float(start), closing, opening)
    flicker = 0.002 + 0.006 * difficulty
    beat = np.sin(2 * np.pi * around.uniform(2, 20) * numbers / rate + around.uniform(0, 6.28)) * flicker
    colour = around.normal(0, 0.004, 3)
    gain = around.uniform(0.94, 1.06) * (1 + beat + around.normal(0, 0.001, len(numbers)))[:, None] * (1 + colour)

    peak = float(acting.uniform(low, high)) * pixel * motion
    rising, falling = acting.uniform(0.8, 1.25, 2)
    units = draw_units(emotion, difficulty, acting)
    return SyntheticClip(
        emotion, units, peak, first, onset, apex, offset, last, annotated,
        Motion(
            size, pose, numbers, profile(numbers, onset, apex, offset, rising, falling),
            action_field(size, pose, points, units, peak), drift, radius, incidental, wander,
        ),
        lids, gain, shot=0.5 + 1.2 * difficulty, read=0.4 + 0.8 * difficulty, noise_seed=stream,
    )  # fmt: skip


def _head_weight(portrait: Portrait, pose: Pose, size: tuple[int, int]) -> np.ndarray:
    """(h, w): 1 on the head, falling to 0 over neck and surroundings."""
    coarse = faces.Canvas(16.0)
    radius = faces.relative_radius(portrait.face, coarse)
    found = look_up(radius, coarse.pixels(pose.face(grid(size))))
    share = np.clip((1.9 - found) / 0.75, 0, 1)
    return share * share * (3 - 2 * share)


def landmarks(portrait: Portrait, clip: SyntheticClip, number: int) -> np.ndarray:
    """(68, 2) float64: the true landmarks in frame `number`, pixels. (A blink moves lids only on the picture.)"""
    points = clip.motion.pose.pixels(portrait.face.landmarks)
    return points + sample(clip.motion.field(number - clip.first), points, clip.motion.size)


def render(portrait: Portrait, clip: SyntheticClip, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, picture) for `numbers`: (H, W, 3) uint8 RGB, or (H, W) where the portrait is grey."""
    motion, (width, height) = clip.motion, clip.motion.size
    pose, scale = motion.pose, portrait.canvas.scale
    # A frame's pixel shows the portrait at `base`, less what the motion brought there.
    to_source = scale * np.linalg.inv(pose.matrix)
    start = portrait.canvas.pixels(pose.face(np.zeros(2)))
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    base = np.empty((height, width, 2), np.float32)
    for axis in (0, 1):
        base[..., axis] = to_source[axis, 0] * x + to_source[axis, 1] * y + start[axis]
    grey = portrait.eyes_open.ndim == 2
    gain = (clip.gain @ (0.299, 0.587, 0.114) if grey else clip.gain).astype(np.float32)
    for number in numbers:
        index = number - clip.first
        source = _blink(portrait, clip.lids[index]) if clip.lids[index] > 0.01 else portrait.eyes_open
        came = cv2.transform(inverse(motion.field(index), motion.size), to_source.astype(np.float32))
        at = base - cv2.resize(came, (width, height), interpolation=cv2.INTER_CUBIC)
        clean = look_up(source, at) * gain[index]
        generator = np.random.default_rng(
            [4, clip.noise_seed.seed, clip.noise_seed.subject, clip.noise_seed.clip, number]
        )
        deviation = np.sqrt(clean * np.float32(clip.shot**2 / 128) + np.float32(clip.read**2))
        clean += generator.standard_normal(clean.shape, dtype=np.float32) * deviation
        yield number, np.clip(np.rint(clean), 0, 255).astype(np.uint8)


def _blink(portrait: Portrait, closed: float) -> np.ndarray:
    """The portrait with both upper lids lowered by the share `closed` of the opening."""
    picture = portrait.eyes_open.copy()
    canvas = portrait.canvas
    for eye in (LEFT_EYE, RIGHT_EYE):
        points = portrait.face.landmarks[eye]
        upper, lower = (canvas.pixels(lid) for lid in eyelids(points))
        corners = canvas.pixels(np.array([points.min(axis=0) - 0.12, points.max(axis=0) + 0.12])).astype(int)
        (left, top), (right, bottom) = corners
        columns, rows = np.arange(left, right), np.arange(top, bottom)[:, None]
        edge = np.interp(columns, upper[:, 0], upper[:, 1]) * (1 - closed)
        edge = edge + np.interp(columns, lower[:, 0], lower[:, 1]) * closed
        lid = 1 / (1 + np.exp(np.clip((rows - edge) / (0.006 * canvas.scale), -30, 30)))
        lash = 0.6 * np.exp(-0.5 * ((rows - edge) / (0.013 * canvas.scale)) ** 2)
        within = (columns > upper[0, 0]) & (columns < upper[-1, 0])
        here = slice(top, bottom), slice(left, right)
        lid, lash = (part[..., None] if picture.ndim == 3 else part for part in (lid, lash * within))
        mixed = picture[here] * (1 - lid) + portrait.eyes_closed[here] * lid
        picture[here] = mixed * (1 - lash * min(1.0, 4 * closed))
    return picture
