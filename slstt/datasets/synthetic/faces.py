"""Who a synthetic subject is: proportions, colours and light, and the 68 landmarks that follow from them.

Face coordinates: origin between the eyes, x to the picture's right, y down, unit the interocular distance.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
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


WHOLE = (-3.9, 3.9, -2.75, 3.25)
"""Left, right, top, bottom of a portrait in face coordinates: a whole frame and a margin for the clip's own pose."""
CENTRE = (0.0, 0.05)
"""The head's centre, from which its outline is measured."""


@dataclass(frozen=True)
class Canvas:
    """A raster over face coordinates with `scale` pixels to an interocular distance."""

    scale: float
    left: float = WHOLE[0]
    top: float = WHOLE[2]
    shape: tuple[int, int] = (0, 0)
    """Height and width in pixels; (0, 0) stands for the whole portrait."""

    def __post_init__(self) -> None:
        if self.shape == (0, 0):
            left, right, top, bottom = WHOLE
            size = round((bottom - top) * self.scale), round((right - left) * self.scale)
            object.__setattr__(self, "shape", size)

    def window(self, points: np.ndarray, margin: float) -> tuple["Canvas", tuple[slice, slice]]:
        """The part around `points` (N, 2) as a canvas of its own, and where it lies in this one's pictures."""
        low = np.floor(self.pixels(points.min(axis=0) - margin)).astype(int).clip(0)
        high = np.ceil(self.pixels(points.max(axis=0) + margin)).astype(int).clip(0, self.shape[::-1])
        part = Canvas(
            self.scale,
            self.left + low[0] / self.scale,
            self.top + low[1] / self.scale,
            (int(high[1] - low[1]), int(high[0] - low[0])),
        )
        return part, (slice(low[1], high[1]), slice(low[0], high[0]))

    @cached_property
    def x(self) -> np.ndarray:
        """(W,) float32: face x of the pixel centres."""
        return (self.left + (np.arange(self.shape[1]) + 0.5) / self.scale).astype(np.float32)

    @cached_property
    def y(self) -> np.ndarray:
        """(H,) float32: face y of the pixel centres."""
        return (self.top + (np.arange(self.shape[0]) + 0.5) / self.scale).astype(np.float32)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Face coordinates (..., 2) -> pixel coordinates, pixel centres at whole numbers."""
        return (np.asarray(points) - (self.left, self.top)) * self.scale - 0.5

    def bump(self, centre: tuple[float, float], spread: tuple[float, float], height: float = 1.0) -> np.ndarray:
        """(H, W) float32: a Gaussian, axis-aligned, hence an outer product."""
        across = np.exp(-0.5 * ((self.x - centre[0]) / spread[0]) ** 2)
        down = np.exp(-0.5 * ((self.y - centre[1]) / spread[1]) ** 2)
        return np.outer(height * down, across).astype(np.float32)

    def line(self, points: np.ndarray, width: float, closed: bool = False) -> np.ndarray:
        """(H, W) float32 in 0..1: an antialiased stroke of `width` through `points` (N, 2)."""
        image = np.zeros(self.shape, np.uint8)
        thickness = max(1, round(width * self.scale))
        cv2.polylines(image, [_fixed(self.pixels(points))], closed, 255, thickness, cv2.LINE_AA, 4)
        return image.astype(np.float32) / 255

    def area(self, points: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """(H, W) float32 in 0..1: a filled polygon, its edge blurred by `soft` (standard deviation)."""
        image = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(image, [_fixed(self.pixels(points))], 255, cv2.LINE_AA, 4)
        return self.blur(image.astype(np.float32) / 255, soft)

    def blur(self, image: np.ndarray, spread: float) -> np.ndarray:
        """Gaussian blur with the standard deviation in face units."""
        return cv2.GaussianBlur(image, (0, 0), spread * self.scale) if spread > 0 else image


def _fixed(points: np.ndarray) -> np.ndarray:
    """Pixel coordinates as OpenCV's fixed-point numbers with four fractional bits."""
    return np.round(points * 16).astype(np.int32)


def curve(points: np.ndarray, count: int = 48) -> np.ndarray:
    """(count, 2): a smooth curve through `points` (N, 2), Catmull-Rom by chord length."""
    points = np.asarray(points, float)
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    at = np.linspace(0, len(points) - 1, count)
    i = np.minimum(at.astype(int), len(points) - 2)
    t = (at - i)[:, None]
    a, b, c, d = padded[i], padded[i + 1], padded[i + 2], padded[i + 3]
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def outline(face: Face) -> np.ndarray:
    """(N, 2): the head's outline, jaw and skull, clockwise on the picture from the left ear over the chin."""
    jaw = curve(face.landmarks[0:17], 80)
    left, right = face.landmarks[0], face.landmarks[16]
    skull = [(right[0] + 0.01, right[1] - 0.35), (right[0] * 0.97, -0.8), (0.88, -1.38), (0.47, -1.72), (0.0, -1.83)]
    skull += [(-0.47, -1.72), (-0.88, -1.38), (left[0] * 0.97, -0.8), (left[0] - 0.01, left[1] - 0.35)]
    return np.vstack([jaw, curve(np.array([right, *skull, left]), 80)[1:-1]])


def relative_radius(face: Face, canvas: Canvas) -> np.ndarray:
    """(H, W) float32: distance from the head's centre, 1 on its outline."""
    around = outline(face) - CENTRE
    angle, radius = np.arctan2(around[:, 1], around[:, 0]), np.hypot(around[:, 0], around[:, 1])
    order = np.argsort(angle)
    bins = np.linspace(-np.pi, np.pi, 721)[:-1]
    radii = np.interp(bins, angle[order], radius[order], period=2 * np.pi)
    kernel = np.hanning(31) / np.hanning(31).sum()
    radii = np.convolve(np.concatenate([radii[-15:], radii, radii[:15]]), kernel, "valid").astype(np.float32)
    dx, dy = canvas.x - np.float32(CENTRE[0]), (canvas.y - np.float32(CENTRE[1]))[:, None]
    position = (np.arctan2(dy, dx[None]) + np.float32(np.pi)) * np.float32(720 / (2 * np.pi))
    below = np.floor(position).astype(np.int32)
    part = position - below
    at_angle = radii[below % 720] * (1 - part) + radii[(below + 1) % 720] * part
    return (np.sqrt(dx[None] ** 2 + dy**2) / at_angle).astype(np.float32)


def height_map(face: Face, canvas: Canvas, radius: np.ndarray) -> np.ndarray:
    """(H, W) float32: how far the face stands towards the camera."""
    p, bump = face.landmarks, canvas.bump
    height = np.float32(1.15) * np.sqrt(np.clip(1 - (radius / np.float32(1.04)) ** np.float32(2.3), 0, None))
    width = face.nose_width
    for at, (spread, rise) in zip(
        np.linspace(0, 1, 6), [(0.11, 0.05), (0.11, 0.08), (0.12, 0.10), (0.13, 0.13), (0.14, 0.15), (0.15, 0.12)],
        strict=True,
    ):  # fmt: skip
        x, y = p[27] * (1 - at) + p[30] * at
        height += bump((x, y), (spread * width, 0.13), rise)
    height += bump((p[30][0], p[30][1] + 0.02), (0.13 * width, 0.10), 0.14)
    for wing in (p[31], p[35]):
        height += bump((wing[0] * 0.85, wing[1] - 0.05), (0.075 * width, 0.085), 0.11)
    height -= bump((p[33][0], p[33][1] + 0.06), (0.22, 0.05), 0.04)
    for side, eye, brow, corner in ((-1, p[36:42], p[17:22], p[48]), (1, p[42:48], p[22:27], p[54])):
        x, y = eye.mean(axis=0)
        height -= bump((x - side * 0.06, y - 0.02), (0.26, 0.15), 0.15)
        height += bump((x, y - 0.01), (0.17, 0.10), 0.06)
        height -= bump((x - side * 0.05, y + 0.24), (0.20, 0.05), 0.012 + 0.02 * face.wrinkles)
        height += bump((brow[2][0], brow[2][1] + 0.02), (0.34, 0.10), 0.06)
        height += bump((x + side * 0.16, y + 0.52), (0.32, 0.22), 0.09)
        fold = curve(
            np.array(
                [
                    (side * 0.30 * width, p[33][1] - 0.06),
                    (side * 0.44, 0.93),
                    (corner[0] + side * 0.10, corner[1] + 0.05),
                ]
            )
        )
        height -= canvas.blur(canvas.line(fold, 0.03), 0.035) * np.float32(0.012 + 0.035 * face.wrinkles)
        height -= bump((corner[0] + side * 0.03, corner[1]), (0.06, 0.05), 0.012)
    mouth_x, top, bottom, between = p[62][0], p[51][1], p[57][1], (p[62][1] + p[66][1]) / 2
    height += bump((mouth_x, between), (0.34, 0.20), 0.05)
    height += bump((mouth_x, (top + between) / 2), (0.24, 0.04), 0.035)
    height += bump((mouth_x, (bottom + between) / 2), (0.22, 0.05), 0.05)
    height -= bump((mouth_x, between), (0.30, 0.015), 0.03)
    height -= bump((mouth_x, top - 0.13), (0.04, 0.09), 0.012)
    height -= bump((mouth_x, bottom + 0.09), (0.22, 0.045), 0.045)
    return height + bump((p[8][0], p[8][1] - 0.22), (0.22, 0.14), 0.06)


def shading(face: Face, canvas: Canvas, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) light falling on the surface (about 0.4..1.2) and (H, W) highlight (0..1)."""
    across = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=canvas.scale / 8)
    down = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=canvas.scale / 8)
    length = np.sqrt(across**2 + down**2 + 1)
    x, y, z = face.light
    diffuse = np.clip((-across * x - down * y + z) / length, 0, None)
    hollow = np.clip(canvas.blur(height, 0.12) - height, 0, 0.2)
    light = (face.ambient + (1 - face.ambient) * diffuse / z) * (1 - 1.8 * hollow)
    half = face.light + np.array([0.0, 0.0, 1.0])
    half = half / np.linalg.norm(half)
    shine = np.clip((-across * half[0] - down * half[1] + half[2]) / length, 0, None) ** 28
    return light.astype(np.float32), shine.astype(np.float32)


def noise(generator: np.random.Generator, canvas: Canvas, spread: float) -> np.ndarray:
    """(H, W) float32 smooth noise of unit deviation whose features measure about `spread`."""
    step = max(1.0, spread * canvas.scale / 1.5)
    height, width = canvas.shape
    small = generator.standard_normal((round(height / step) + 4, round(width / step) + 4), dtype=np.float32)
    if step > 1:
        small = cv2.GaussianBlur(small, (0, 0), 1.0)
        small /= small.std()
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def skin(face: Face, canvas: Canvas, generator: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32 albedo: skin tone with blood under it, mottling, pores and moles."""
    p = face.landmarks
    blood = canvas.bump((p[30][0], p[30][1]), (0.2, 0.18), 0.6)
    for side in (-1, 1):
        blood += canvas.bump((side * 0.72, 0.62), (0.32, 0.26), 0.8)
        blood += canvas.bump((side * 0.45, 0.12), (0.25, 0.10), 0.35)
    blood += 0.25 * noise(generator, canvas, 0.25)
    mottle = (
        0.016 * noise(generator, canvas, 0.12)
        + 0.018 * noise(generator, canvas, 0.045)
        + 0.022 * noise(generator, canvas, 0.018)
    )
    albedo = face.skin.astype(np.float32) * (1 + mottle[..., None])
    albedo *= 1 - 0.10 * np.clip(blood, 0, None)[..., None] * np.array([0.15, 1.0, 0.85], np.float32)
    for _ in range(int(generator.integers(2, 10))):
        x, y = generator.normal(0, 0.6), generator.normal(0.4, 0.6)
        size = float(generator.uniform(0.008, 0.018))
        albedo *= 1 - canvas.bump((x, y), (size, size), float(generator.uniform(0.10, 0.40)))[..., None]
    return albedo
