"""A synthetic subject's neutral picture: skin, brows, eyes, mouth and hair painted; every frame is a warp of it.

It is painted twice, with open and with closed eyes.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from slstt.datasets.synthetic import faces
from slstt.datasets.synthetic.faces import BROWS, CENTRE, LEFT_EYE, MOUTH, NOSE, RIGHT_EYE, Canvas, Face, curve, noise


def over(image: np.ndarray, mask: np.ndarray, colour: np.ndarray | tuple[float, float, float]) -> None:
    """Lay `colour`, (3,) or (H, W, 3), over `image` (H, W, 3) where `mask` (H, W) is 1; in place."""
    image += mask[..., None] * (np.asarray(colour, np.float32) - image)


def darken(image: np.ndarray, mask: np.ndarray, by: float) -> None:
    """Take the share `by` of the light away where `mask` is 1; in place."""
    image *= 1 - by * mask[..., None]


def eyelids(eye: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lid of an eye's six landmarks, each (48, 2) from the picture's left corner to the right."""
    return curve(eye[[0, 1, 2, 3]]), curve(eye[[0, 5, 4, 3]])


def paint_eye(image: np.ndarray, face: Face, canvas: Canvas, eye: np.ndarray, generator: np.random.Generator) -> None:
    """An open eye: ball, iris, pupil, highlight, the lid's shadow and lashes."""
    canvas, here = canvas.window(eye, 0.25)
    image = image[here]
    upper, lower = eyelids(eye)
    opening = canvas.area(np.vstack([upper, lower[::-1]]), 0.008)
    x, y = eye.mean(axis=0)
    y -= 0.008
    ball = np.ones((*canvas.shape, 3), np.float32) * (np.array([0.86, 0.82, 0.80]) * (0.7 + 0.3 * face.skin.mean()))
    darken(ball, 1 - canvas.bump((x, y), (0.17, 0.14)), 0.5)
    dx, dy = canvas.x[None] - np.float32(x), canvas.y[:, None] - np.float32(y)
    distance = np.sqrt(dx**2 + dy**2)
    spokes = 1 + 0.18 * np.sin(np.arctan2(dy, dx) * 23 + 6 * noise(generator, canvas, 0.08))
    soft = 0.008
    iris = np.clip((0.100 - distance) / soft + 0.5, 0, 1)
    over(ball, iris, np.clip(face.iris * 1.25, 0, 1)[None, None] * spokes[..., None])
    darken(ball, iris * np.clip((distance - 0.07) / 0.03, 0, 1), 0.65)
    over(ball, np.clip((0.042 - distance) / soft + 0.5, 0, 1), (0.03, 0.03, 0.03))
    lamp = face.light[:2] * 0.06
    glint = np.sqrt((dx - lamp[0]) ** 2 + (dy - lamp[1]) ** 2)
    over(ball, np.clip((0.016 - glint) / soft + 0.5, 0, 1), (0.95, 0.95, 0.95))
    darken(ball, canvas.blur(canvas.line(upper, 0.06), 0.025), 0.75)
    over(image, opening, ball)
    darken(image, canvas.blur(canvas.line(lower, 0.012), 0.008), 0.30)
    darken(image, canvas.blur(canvas.line(upper, 0.024), 0.008), 0.80)
    crease = curve(eye[[0, 1, 2, 3]] + np.array([(0.0, -0.02), (0.0, -0.075), (0.0, -0.075), (0.0, -0.03)]))
    darken(image, canvas.blur(canvas.line(crease, 0.014), 0.010), 0.35)


def close_eye(image: np.ndarray, canvas: Canvas, eye: np.ndarray) -> None:
    """A closed eye: skin, and the lashes where the lids meet."""
    canvas, here = canvas.window(eye, 0.25)
    image = image[here]
    _, lower = eyelids(eye)
    x, y = eye.mean(axis=0)
    image *= 1 + 0.06 * canvas.bump((x, y - 0.02), (0.14, 0.06))[..., None]
    darken(image, canvas.blur(canvas.line(lower, 0.024), 0.008), 0.70)


def paint_brows(image: np.ndarray, face: Face, canvas: Canvas, generator: np.random.Generator) -> None:
    """Brows of single hairs over a soft ground, thinner towards the temple."""
    canvas, here = canvas.window(face.landmarks[BROWS], 0.25)
    image = image[here]
    hairs = np.zeros(canvas.shape, np.float32)
    for sign, brow in ((-1.0, face.landmarks[17:22]), (1.0, face.landmarks[22:27][::-1])):
        spine = curve(brow, 160) + np.array([0.0, 0.03])  # from the temple to the nose; landmarks are near its top
        along = np.linspace(0, 1, len(spine))
        thick = face.brow_thickness * np.clip(0.35 + 1.3 * along, 0, 1) * np.clip((1.06 - along) / 0.12, 0.4, 1)
        band = np.vstack([spine - np.outer(thick / 2, (0, 1)), (spine + np.outer(thick / 2, (0, 1)))[::-1]])
        hairs = np.maximum(hairs, 0.50 * canvas.area(band, 0.018))
        strokes = np.zeros(canvas.shape, np.uint8)
        for _ in range(170):
            at = int(generator.integers(0, len(spine)))
            root = spine[at] + (0.0, generator.uniform(-0.5, 0.45) * thick[at])
            lean = np.array([sign * (0.02 + 0.05 * (1 - along[at])), -0.035 * along[at] + 0.006])
            tip = root + lean * generator.uniform(0.6, 1.3)
            ends = np.round(canvas.pixels(np.array([root, tip])) * 16).astype(np.int32)
            cv2.polylines(strokes, [ends], False, int(generator.integers(110, 220)), 1, cv2.LINE_AA, 4)
        hairs = np.maximum(hairs, strokes.astype(np.float32) / 255)
    over(image, 0.9 * canvas.blur(hairs, 0.006), face.hair * 0.8)


def paint_lips(image: np.ndarray, face: Face, canvas: Canvas, light: np.ndarray) -> None:
    """Lips, lit like the skin around them, with a dark seam."""
    p = face.landmarks
    canvas, here = canvas.window(p[MOUTH], 0.4)
    image, light = image[here], light[here]
    border = np.vstack([curve(p[48:55], 64), curve(p[[54, 55, 56, 57, 58, 59, 48]], 64)])
    seam = curve(np.vstack([p[48], (p[60] + p[48]) / 2, p[61:64], (p[64] + p[54]) / 2, p[54]]))
    texture = 1 + 0.05 * np.sin(canvas.x * 130 + 3 * np.sin(canvas.x * 21))
    lit = face.lips[None, None] * light[..., None] * texture[None, :, None]
    over(image, 0.75 * canvas.area(border, 0.018), lit)
    darken(image, canvas.blur(canvas.line(seam, 0.016), 0.012), 0.55)
    darken(image, canvas.area(np.vstack([curve(p[48:55], 64), seam[::-1]]), 0.015), 0.14)
    darken(image, canvas.bump((p[62][0], p[57][1] + 0.05), (0.18, 0.03)), 0.14)


def paint_nostrils(image: np.ndarray, face: Face, canvas: Canvas) -> None:
    """Nostrils and the shadow under the nose."""
    p = face.landmarks
    canvas, here = canvas.window(p[NOSE], 0.4)
    image = image[here]
    for wing, inner in ((p[31], p[32]), (p[35], p[34])):
        x, y = wing * 0.42 + inner * 0.58
        darken(image, canvas.bump((x, y - 0.025), (0.042, 0.020)), 0.70)
        side = np.sign(wing[0])
        edge = curve(
            np.array(
                [(wing[0], wing[1] - 0.13), (wing[0] + side * 0.03, wing[1] - 0.05), (wing[0] - side * 0.04, wing[1])]
            )
        )
        darken(image, canvas.blur(canvas.line(edge, 0.014), 0.016), 0.32)
    darken(image, canvas.bump((p[33][0], p[33][1] + 0.03), (0.13, 0.035)), 0.16)


def paint_behind(image: np.ndarray, face: Face, canvas: Canvas, generator: np.random.Generator) -> None:
    """What the head stands in front of: the wall, long hair, the shirt, the neck and the ears."""
    image[:] = face.wall
    image *= (1 + 0.06 * np.linspace(1, -1, canvas.shape[1])[:, None] * np.sign(face.light[0])).astype(np.float32)
    image *= 1 + 0.012 * noise(generator, canvas, 0.6)[..., None]
    p = face.landmarks
    chin, jaw = p[8][1], np.abs(p[[4, 12], 0]).mean()
    if face.hair_length > 0:
        end = face.hair_length
        sides = np.array([(-1.15, -1.0), (-1.52, -0.2), (-1.60, 1.0), (-1.55, end), (0.0, end + 0.1)])
        mirrored = sides[-2::-1] * (-1, 1)
        over(image, canvas.area(np.vstack([curve(sides), curve(mirrored)]), 0.03), face.hair * 0.65)
    shoulders = [
        (-3.9, 3.3),
        (-3.4, 2.72),
        (-2.4, 2.42),
        (-1.2, 2.22),
        (0, 2.15),
        (1.2, 2.22),
        (2.4, 2.42),
        (3.4, 2.72),
    ]
    body = canvas.area(np.vstack([curve(np.array([*shoulders, (3.9, 3.3)])), (4.2, 4.0), (-4.2, 4.0)]), 0.01)
    cloth = 1 + 0.05 * noise(generator, canvas, 0.02) + 0.05 * noise(generator, canvas, 0.5)
    over(image, body, np.clip(face.shirt * cloth[..., None], 0, 1))
    half = jaw * 0.78
    neck = np.array([(-half, 1.0), (-half * 0.97, 1.9), (-half * 1.10, 2.2), (-half * 0.8, 2.45), (0, 2.62)])
    neck = canvas.area(np.vstack([curve(neck), curve(neck[::-1] * (-1, 1))]), 0.015)
    roundness = np.sqrt(np.clip(1 - (canvas.x / (half * 1.25)) ** 2, 0.15, 1))
    below = 0.62 + 0.28 * np.clip((canvas.y - chin + 0.05) / 0.55, 0, 1)
    tone = 1 + 0.02 * noise(generator, canvas, 0.03)
    over(image, neck, face.skin * (np.outer(below, roundness) * tone)[..., None])
    for ear in (p[0], p[16]):
        side = np.sign(ear[0])
        middle = ear + np.array([side * 0.06, 0.16])
        turn = np.linspace(0, 2 * np.pi, 40)
        shape = middle + np.stack([0.15 * np.cos(turn) + side * 0.04 * -np.sin(turn), 0.34 * np.sin(turn)], axis=1)
        over(image, canvas.area(shape, 0.012), face.skin * 0.80)
        darken(image, canvas.bump((middle[0] - side * 0.01, middle[1]), (0.05, 0.16)), 0.30)


def paint_hair(
    image: np.ndarray, face: Face, canvas: Canvas, radius: np.ndarray, generator: np.random.Generator
) -> None:
    """The hair on the head: everything above the hairline, in strands that run from the parting."""
    line = -face.forehead
    temple = np.abs(face.landmarks[[0, 16], 0]).mean()
    end = min(face.hair_length, 0.25) if face.hair_length < 0 else 1.2
    inner = [
        (-temple * 0.99, end),
        (-temple * 0.97, -0.25),
        (-temple * 0.90, -0.62),
        (-0.72, line * 0.90),
        (face.parting, line),
    ]
    inner += [(0.72, line * 0.90), (temple * 0.90, -0.62), (temple * 0.97, -0.25), (temple * 0.99, end)]
    skin_below = canvas.area(np.vstack([curve(np.array(inner), 120), (0.9 * temple, 3.0), (-0.9 * temple, 3.0)]), 0.02)
    volume = 0.99 + 0.13 * np.sqrt(np.clip((end - canvas.y) / 0.9, 0, 1))[:, None]
    around = np.clip((volume - radius) / 0.025 + 0.5, 0, 1)
    fall = np.clip((end - canvas.y) / 0.12 + 0.5, 0, 1)[:, None]
    ragged = 0.06 * noise(generator, canvas, 0.05)
    mask = around * np.clip((1 - skin_below) * (1.7 + 4 * ragged), 0, 1) * fall
    dx, dy = canvas.x[None] - np.float32(face.parting), canvas.y[:, None] + np.float32(1.85)
    angle = np.arctan2(dy, dx) * 40
    strands = generator.standard_normal((64, 1024), dtype=np.float32)
    strands = cv2.GaussianBlur(strands, (0, 0), sigmaX=1.0, sigmaY=4.0)
    strands /= strands.std()
    away = np.sqrt(dx**2 + dy**2) * 12
    across = np.mod(angle * 8 + 500, 1000).astype(np.float32)
    lines = cv2.remap(strands, across, away.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    sheen = np.exp(-(((radius - 0.82) / 0.16) ** 2)) * np.clip(-(canvas.y[:, None] - CENTRE[1]) / 1.5, 0, 1)
    lit = face.hair * (0.85 + 0.22 * lines + 0.75 * sheen * (0.7 + 0.3 * lines))[..., None]
    darken(image, np.clip(canvas.blur(mask, 0.06) * 1.2, 0, 1) * (1 - mask) * (radius < 1), 0.35)
    over(image, mask, np.clip(lit, 0.01, 1))


@dataclass(frozen=True)
class Portrait:
    """Pictures are (H, W, 3) float32 RGB in 0..255 on `canvas`, finer than the frames to be made of them."""

    face: Face
    canvas: Canvas
    eyes_open: np.ndarray
    eyes_closed: np.ndarray


def paint(face: Face, scale: float) -> Portrait:
    """Render `face` with `scale` pixels to the interocular distance."""
    canvas, coarse = Canvas(scale), Canvas(scale / 2)
    generator = np.random.default_rng(face.texture_seed)
    picture = np.empty((*canvas.shape, 3), np.float32)
    paint_behind(picture, face, canvas, generator)

    # What is smooth is computed at half the resolution.
    radius = faces.relative_radius(face, coarse)
    light, shine = faces.shading(face, coarse, faces.height_map(face, coarse, radius))
    size = canvas.shape[1], canvas.shape[0]
    radius, light, shine = (cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in (radius, light, shine))
    head = np.clip((1 - radius) / 0.012 + 0.5, 0, 1)
    lit = faces.skin(face, canvas, generator) * light[..., None]
    lit += (0.11 * shine * np.clip(1 + 0.25 * faces.noise(generator, canvas, 0.012), 0, None))[..., None]
    over(picture, head, lit)

    paint_nostrils(picture, face, canvas)
    paint_lips(picture, face, canvas, light)
    paint_brows(picture, face, canvas, generator)
    paint_hair(picture, face, canvas, radius, generator)
    closed = picture.copy()
    for eye in (LEFT_EYE, RIGHT_EYE):
        paint_eye(picture, face, canvas, face.landmarks[eye], generator)
        close_eye(closed, canvas, face.landmarks[eye])
    # A frame samples every second pixel: what it cannot hold is blurred away, so that nothing flickers as it moves.
    pictures = [np.clip(cv2.GaussianBlur(image, (0, 0), 0.9), 0.0, 1.0) * 255 for image in (picture, closed)]
    return Portrait(face, canvas, *pictures)
