"""How a synthetic face moves: where every point of the onset frame lies in a later frame, in pixels.

The displacement field is known in closed form: action units times their intensity over time, plus the head's drift.
Frames are the onset picture warped by its inverse, so texture moves exactly with the field and true flow is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from slstt.datasets.synthetic.action_units import Sites, place


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
