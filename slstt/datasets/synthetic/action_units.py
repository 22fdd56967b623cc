"""The one table of action units: where on the face each pulls and which way, and which units each emotion shows.

Rendered clips (`clips.py`) and flow without pixels (`flow_fields.py`) move by this table. Units and what they do follow
Ekman and Friesen's Facial Action Coding System; the emotions' combinations follow the codes that CASME II (Yan et al.
2014, table 3) and SAMM (Davison et al. 2018) report for their classes.

Lengths are in interocular distances (the distance between the eyes' centres), x to the right, y down. Each unit is
given for the half of the face on the picture's left; the other half is its mirror image with an intensity of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# fmt: off
MIRROR = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])
"""MIRROR[i] is the landmark (of dlib's 68) that landmark i becomes when the face is mirrored."""
# fmt: on


@dataclass(frozen=True)
class Pull:
    """One smooth pull of a unit: a displacement at a site, falling off as a Gaussian."""

    landmarks: tuple[int, ...]
    """The site is the mean of these landmarks (of the picture's left half, or on the midline) ..."""
    offset: tuple[float, float]
    """... moved by this much."""
    direction: tuple[float, float]
    """Displacement at the site when the unit's intensity is 1."""
    spread: tuple[float, float]
    """Standard deviations of the fall-off, across and down."""


UNITS: Mapping[int, tuple[Pull, ...]] = {
    # the inner brow and the forehead above it go up
    1: (Pull((20, 21), (0.0, 0.0), (0.0, -1.0), (0.20, 0.20)), Pull((20, 21), (0.0, -0.35), (0.0, -0.5), (0.28, 0.25))),
    2: (Pull((17, 18), (0.0, 0.0), (0.0, -1.0), (0.24, 0.20)), Pull((18,), (0.0, -0.35), (0.0, -0.5), (0.30, 0.25))),
    # down and towards the midline
    4: (
        Pull((20, 21), (0.0, 0.0), (0.45, 0.80), (0.22, 0.18)),
        Pull((18, 19), (0.0, 0.0), (0.20, 0.45), (0.24, 0.18)),
        Pull((21, 27), (0.0, -0.08), (0.15, 0.35), (0.14, 0.18)),
    ),
    5: (Pull((37, 38), (0.0, -0.02), (0.0, -1.0), (0.20, 0.10)),),
    # the cheek goes up, the outer corner of the eye is gathered
    6: (
        Pull((40, 41), (-0.08, 0.38), (0.0, -0.9), (0.30, 0.22)),
        Pull((36,), (-0.14, 0.06), (0.45, -0.25), (0.16, 0.16)),
        Pull((40, 41), (0.0, 0.06), (0.0, -0.4), (0.22, 0.10)),
    ),
    7: (
        Pull((40, 41), (0.0, 0.03), (0.05, -0.9), (0.20, 0.10)),
        Pull((37, 38), (0.0, -0.04), (0.0, 0.35), (0.20, 0.09)),
    ),
    # the nose's side and wing go up, the inner brow down
    9: (
        Pull((31,), (0.02, -0.06), (0.10, -1.0), (0.16, 0.18)),
        Pull((29,), (-0.14, 0.0), (0.05, -0.7), (0.14, 0.22)),
        Pull((21,), (0.06, 0.06), (0.20, 0.45), (0.14, 0.16)),
    ),
    # the upper lip and the fold beside the nose go up
    10: (
        Pull((49, 50), (0.0, -0.03), (-0.10, -1.0), (0.18, 0.14)),
        Pull((31, 48), (-0.06, -0.06), (-0.10, -0.65), (0.16, 0.18)),
    ),
    # up and outwards, the cheek follows
    12: (
        Pull((48,), (0.0, 0.0), (-0.72, -0.70), (0.22, 0.20)),
        Pull((48,), (-0.22, -0.32), (-0.25, -0.55), (0.24, 0.24)),
    ),
    # the corner is drawn outwards and in against the teeth
    14: (
        Pull((48,), (0.0, 0.0), (-0.95, 0.10), (0.18, 0.15)),
        Pull((48,), (-0.30, 0.0), (0.35, 0.0), (0.12, 0.16)),
    ),
    15: (
        Pull((48,), (-0.02, 0.04), (-0.20, 1.0), (0.18, 0.18)),
        Pull((48,), (-0.06, 0.25), (0.0, 0.4), (0.18, 0.18)),
    ),
    # the chin's skin and the lower lip go up
    17: (
        Pull((8,), (-0.14, -0.26), (0.0, -0.65), (0.20, 0.17)),
        Pull((57, 58), (0.0, 0.02), (0.0, -0.40), (0.18, 0.10)),
    ),
    # the corner goes far outwards, a little down
    20: (
        Pull((48,), (0.0, 0.02), (-0.95, 0.28), (0.24, 0.18)),
        Pull((48,), (-0.25, 0.10), (-0.45, 0.20), (0.22, 0.22)),
    ),
    # lips narrowed and rolled in
    23: (
        Pull((48,), (0.0, 0.0), (0.85, 0.0), (0.18, 0.14)),
        Pull((50, 51), (-0.05, 0.0), (0.0, 0.35), (0.18, 0.07)),
        Pull((57, 58), (0.0, 0.0), (0.0, -0.35), (0.18, 0.07)),
    ),
    25: (
        Pull((57, 58), (0.0, 0.02), (0.0, 0.70), (0.20, 0.10)),
        Pull((50, 51), (-0.03, -0.02), (0.0, -0.30), (0.18, 0.08)),
    ),
    # chin and lower lip go down together
    26: (
        Pull((7, 8), (-0.08, -0.10), (0.0, 0.65), (0.34, 0.26)),
        Pull((57, 58), (-0.05, 0.04), (0.0, 0.35), (0.24, 0.12)),
    ),
    # flow fields only (rendered blinks close a painted lid)
    45: (
        Pull((37, 38), (0.0, 0.0), (0.0, 1.0), (0.20, 0.09)),
        Pull((40, 41), (0.0, 0.02), (0.05, -0.15), (0.20, 0.08)),
    ),
}
"""Unit -> its pulls."""

NAMES: Mapping[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    25: "lips part",
    26: "jaw drop",
    45: "blink",
}
"""Unit -> what the Facial Action Coding System calls it."""

EMOTIONS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "happiness": ((6, 12),),
    "disgust": ((4, 9, 10),),
    "surprise": ((1, 2, 5),),
    "repression": ((14, 17),),
    "others": ((4,), (14,)),
    "sadness": ((1, 4, 15),),
    "fear": ((1, 2, 4, 20),),
    "anger": ((4, 5, 7, 23),),
    "contempt": ((14,),),
    "other": ((4,), (7,)),
    "negative": ((4, 9, 10), (1, 4, 15), (4, 7, 23)),
    "positive": ((6, 12),),
}
"""Emotion -> its alternatives, each a combination of units. One is drawn for each clip."""

ONE_SIDED = frozenset({"contempt"})
"""Emotions shown by one half of the face."""


@dataclass(frozen=True)
class Sites:
    """Pulls placed on one face. Arrays run over the N pulls of the chosen units, left half first, then its mirror."""

    unit: np.ndarray
    """(N,) int: the unit each pull belongs to."""
    right: np.ndarray
    """(N,) bool: whether it lies on the picture's right half."""
    position: np.ndarray
    """(N, 2) float: x, y in face coordinates."""
    direction: np.ndarray
    """(N, 2) float."""
    spread: np.ndarray
    """(N, 2) float."""


def place(units: Sequence[int], landmarks: np.ndarray) -> Sites:
    """The pulls of `units` on a face.

    `landmarks` (68, 2) are in face coordinates: interocular distances, so that sites follow the person's own face.
    """
    unit, right, position, direction, spread = [], [], [], [], []
    for side, sign in ((False, 1.0), (True, -1.0)):
        for number in units:
            for pull in UNITS[number]:
                points = [MIRROR[i] if side else i for i in pull.landmarks]
                unit.append(number)
                right.append(side)
                position.append(landmarks[points].mean(axis=0) + np.array(pull.offset) * (sign, 1))
                direction.append(np.array(pull.direction) * (sign, 1))
                spread.append(pull.spread)
    return Sites(
        np.array(unit, int),
        np.array(right, bool),
        np.array(position, float).reshape(-1, 2),
        np.array(direction, float).reshape(-1, 2),
        np.array(spread, float).reshape(-1, 2),
    )


def code(units: Mapping[int, tuple[float, float]]) -> str:
    """Unit -> (left, right) intensity as a coder writes it, e.g. `6+12`, or `R14` for the subject's right half only.

    The picture's left half is the subject's right.
    """
    return "+".join(
        f"{'L' if left == 0 else 'R' if right == 0 else ''}{unit}" for unit, (left, right) in sorted(units.items())
    )
