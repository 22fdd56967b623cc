"""A subject's neutral picture, once with open and once with closed eyes; every frame of a clip is a warp of it."""

from dataclasses import dataclass

import cv2
import numpy as np

from slstt.datasets.synthetic import features, surface
from slstt.datasets.synthetic.faces import LEFT_EYE, RIGHT_EYE, Face
from slstt.datasets.synthetic.surface import Canvas


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
    features.paint_behind(picture, face, canvas, generator)

    # What is smooth is computed at half the resolution.
    radius = surface.relative_radius(face, coarse)
    light, shine = surface.shading(face, coarse, surface.height_map(face, coarse, radius))
    size = canvas.shape[1], canvas.shape[0]
    radius, light, shine = (cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in (radius, light, shine))
    head = np.clip((1 - radius) / 0.012 + 0.5, 0, 1)
    lit = surface.skin(face, canvas, generator) * light[..., None]
    lit += (0.11 * shine * np.clip(1 + 0.25 * surface.noise(generator, canvas, 0.012), 0, None))[..., None]
    features.over(picture, head, lit)

    features.paint_nostrils(picture, face, canvas)
    features.paint_lips(picture, face, canvas, light)
    features.paint_brows(picture, face, canvas, generator)
    features.paint_hair(picture, face, canvas, radius, generator)
    closed = picture.copy()
    for eye in (LEFT_EYE, RIGHT_EYE):
        features.paint_eye(picture, face, canvas, face.landmarks[eye], generator)
        features.close_eye(closed, canvas, face.landmarks[eye])
    # A frame samples every second pixel: what it cannot hold is blurred away, so that nothing flickers as it moves.
    pictures = [np.clip(cv2.GaussianBlur(image, (0, 0), 0.9), 0.0, 1.0) * 255 for image in (picture, closed)]
    return Portrait(face, canvas, *pictures)
