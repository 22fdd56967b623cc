"""Who a synthetic subject is: proportions, colours and light, and the 68 landmarks that follow from them.

Face coordinates: origin between the eyes, x to the picture's right, y down, unit the interocular distance.
"""

from dataclasses import dataclass

import numpy as np

from slstt.datasets.synthetic.action_units import MIRROR

# The left half and the midline of an average face in face coordinates, in dlib's order of 68 points. Drawn by hand:
# eyes half-way down the head, nose a third below, and so on; no data set's statistics.
# fmt: off
_LEFT_HALF = {
    0: (-1.20, -0.05), 1: (-1.19, 0.25), 2: (-1.16, 0.56), 3: (-1.09, 0.87), 4: (-0.97, 1.14), 5: (-0.78, 1.39),
    6: (-0.55, 1.59), 7: (-0.29, 1.75), 8: (0.0, 1.81),
    17: (-0.95, -0.27), 18: (-0.80, -0.40), 19: (-0.60, -0.45), 20: (-0.39, -0.42), 21: (-0.20, -0.34),
    27: (0.0, -0.05), 28: (0.0, 0.15), 29: (0.0, 0.35), 30: (0.0, 0.55),
    31: (-0.21, 0.72), 32: (-0.105, 0.76), 33: (0.0, 0.785),
    36: (-0.71, 0.01), 37: (-0.58, -0.07), 38: (-0.41, -0.07), 39: (-0.28, 0.03), 40: (-0.41, 0.07), 41: (-0.58, 0.07),
    48: (-0.42, 1.15), 49: (-0.26, 1.08), 50: (-0.09, 1.03), 51: (0.0, 1.05),
    57: (0.0, 1.32), 58: (-0.11, 1.31), 59: (-0.27, 1.25),
    60: (-0.36, 1.15), 61: (-0.10, 1.14), 62: (0.0, 1.145), 66: (0.0, 1.165), 67: (-0.10, 1.16),
}
# fmt: on
JAW, BROWS, NOSE = slice(0, 17), slice(17, 27), slice(27, 36)
LEFT_EYE, RIGHT_EYE, MOUTH = slice(36, 42), slice(42, 48), slice(48, 68)


def canonical_landmarks() -> np.ndarray:
    """(68, 2) float64: the average face, exactly symmetric."""
    points = np.empty((68, 2))
    for index, (x, y) in _LEFT_HALF.items():
        points[index] = (x, y)
        points[MIRROR[index]] = (-x, y)
    return points


@dataclass(frozen=True)
class Face:
    """One subject. Colours are RGB in 0..1, lengths in interocular distances."""

    landmarks: np.ndarray
    """(68, 2) float64 of the neutral face, face coordinates."""
    skin: np.ndarray
    """(3,) albedo of the skin."""
    lips: np.ndarray
    """(3,)"""
    hair: np.ndarray
    """(3,) colour of hair and brows."""
    iris: np.ndarray
    """(3,)"""
    shirt: np.ndarray
    """(3,)"""
    wall: np.ndarray
    """(3,) the background."""
    light: np.ndarray
    """(3,) unit vector towards the lamp, z towards the camera."""
    ambient: float
    """Share of the light that comes from everywhere, 0..1."""
    forehead: float
    """Height of the hairline above the eyes."""
    hair_length: float
    """How far the hair falls beside the face, y in face coordinates; below 0 it ends above the ears."""
    parting: float
    """x of the hair's parting."""
    brow_thickness: float
    nose_width: float
    wrinkles: float
    """Depth of the folds, about 0..1."""
    texture_seed: int
    """Seeds everything irregular: pores, moles, hairs."""


_SKIN = np.array([[0.94, 0.77, 0.68], [0.88, 0.69, 0.56], [0.78, 0.57, 0.43], [0.62, 0.43, 0.32], [0.45, 0.30, 0.22]])
_HAIR = np.array([[0.45, 0.32, 0.19], [0.25, 0.17, 0.11], [0.13, 0.09, 0.07], [0.06, 0.05, 0.05]])
_GREY = np.array([0.36, 0.35, 0.35])
_IRIS = np.array([[0.34, 0.42, 0.48], [0.32, 0.31, 0.20], [0.25, 0.16, 0.09], [0.15, 0.09, 0.06]])
"""Each from light to dark, RGB."""


def _between(table: np.ndarray, dark: float) -> np.ndarray:
    """A colour at the share `dark` of `table` (N, 3)."""
    return np.array([np.interp(dark * (len(table) - 1), range(len(table)), column) for column in table.T])


def draw_face(generator: np.random.Generator) -> Face:
    """A subject drawn at random: proportions vary by some percent, colours over the human range."""

    def vary(spread: float) -> float:
        return float(np.clip(generator.normal(0.0, spread), -2 * spread, 2 * spread))

    points = canonical_landmarks()
    points[JAW, 0] *= 1 + vary(0.035)
    lower = np.clip((points[JAW, 1] - 0.5) / 1.3, 0, 1)
    points[JAW, 1] += lower * vary(0.05)
    points[JAW, 0] *= 1 - lower * (1 - lower) * vary(0.15)  # squarer or more pointed
    for eye, corner in ((LEFT_EYE, -0.5), (RIGHT_EYE, 0.5)):
        points[eye, 0] -= corner
    width, opening, slant = 1 + vary(0.05), 1 + vary(0.12), vary(0.05)
    for eye, corner in ((LEFT_EYE, -0.5), (RIGHT_EYE, 0.5)):
        points[eye] *= (width, opening)
        points[eye, 1] -= slant * np.sign(corner) * points[eye, 0]
        points[eye, 0] += corner
    points[BROWS] *= (1 + vary(0.03), 1)
    points[BROWS, 1] += vary(0.03)
    points[BROWS, 1] -= vary(0.06) * (np.abs(points[BROWS, 0]) - 0.6)
    nose_width, nose_length = 1 + vary(0.08), 1 + vary(0.05)
    points[NOSE] *= (nose_width, nose_length)
    mouth = points[[51, 57]].mean(axis=0)
    points[MOUTH] -= mouth
    points[MOUTH] *= (1 + vary(0.06), 1 + vary(0.12))
    points[MOUTH, 1] += vary(0.04) * points[MOUTH, 0] ** 2 * 4 + vary(0.03)
    points[MOUTH] += mouth
    points += generator.normal(0.0, 0.004, points.shape)  # no face is quite symmetric

    dark = float(generator.uniform())  # of skin, hair and eyes together, loosely
    skin = _between(_SKIN, dark) * (1 + generator.normal(0, 0.02, 3))
    light = np.array([generator.uniform(-0.45, 0.45), generator.uniform(-0.75, -0.35), 1.0])
    return Face(
        landmarks=points,
        skin=skin,
        lips=skin * (0.88, 0.62, 0.62) * (1 + vary(0.05)),
        hair=_GREY if generator.uniform() < 0.1 else _between(_HAIR, dark * 0.6 + generator.uniform(0, 0.4)),
        iris=_between(_IRIS, dark * 0.6 + generator.uniform(0, 0.4)),
        shirt=generator.uniform(0.12, 0.75, 3) * 0.6 + generator.uniform(0.05, 0.3),
        wall=generator.uniform(0.45, 0.78) * (1 + generator.normal(0, 0.04, 3)),
        light=light / np.linalg.norm(light),
        ambient=float(generator.uniform(0.45, 0.6)),
        forehead=float(generator.uniform(1.02, 1.22)),
        hair_length=float(generator.choice([-0.3, -0.1, 2.6, 3.4])),
        parting=float(generator.uniform(-0.5, 0.5)),
        brow_thickness=float(generator.uniform(0.055, 0.09)),
        nose_width=nose_width,
        wrinkles=float(generator.uniform(0.1, 0.8)),
        texture_seed=int(generator.integers(2**31)),
    )
