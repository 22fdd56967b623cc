"""The picture that the report shows of a clip: apex frame with points and square, its cut, and its flow."""

import cv2
import numpy as np

from slstt.images import Picture, draw_landmarks, encode, flow_wheel

STRIP_HEIGHT = 160
"""Pixels; with the JPEG quality it bounds the report to some 20 kB a clip."""
STRIP_QUALITY = 80


def draw_strip(
    frame: Picture, landmarks: np.ndarray, square: tuple[int, int, int], apex_cut: Picture, flow: np.ndarray
) -> bytes:
    """Apex frame with points and square, its cut, and the flow onset -> apex, side by side, as JPEG."""
    scale = STRIP_HEIGHT / frame.shape[0]
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x0, y0, side = (round(value * scale) for value in square)
    drawn = draw_landmarks(np.asarray(small, np.uint8), landmarks * scale, (x0, y0, side))
    cell = (STRIP_HEIGHT, STRIP_HEIGHT)
    small_flow = np.stack([cv2.resize(part, cell, interpolation=cv2.INTER_AREA) for part in flow])
    tiles = [drawn, cv2.resize(apex_cut, cell, interpolation=cv2.INTER_AREA), flow_wheel(small_flow)]
    return encode(np.asarray(np.concatenate(tiles, axis=1), np.uint8), ".jpg", STRIP_QUALITY)
