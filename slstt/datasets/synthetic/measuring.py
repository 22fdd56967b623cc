"""What lies between a motion and its published map: noise, strain, scaling."""

import numpy as np


def smooth_noise(generator: np.random.Generator, count: int, resolution: int) -> np.ndarray:
    """(count, R, R) float32: smooth noise of unit deviation, features of about a seventh of the map."""
    knots = 8
    small = generator.standard_normal((count, knots, knots), dtype=np.float32)
    at = np.linspace(0, knots - 1, resolution)
    weights = np.exp(-0.5 * ((at[:, None] - np.arange(knots)) / 0.7) ** 2)
    weights = (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)
    return np.matmul(np.matmul(weights, small), weights.T)


def strain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Optical strain of fields (..., R, R), sqrt(u_x^2 + v_y^2 + (u_y + v_x)^2 / 2), by central differences."""
    u_y, u_x = np.gradient(u, axis=(-2, -1))
    v_y, v_x = np.gradient(v, axis=(-2, -1))
    return np.sqrt(u_x**2 + v_y**2 + 0.5 * (u_y + v_x) ** 2)


def min_max(maps: np.ndarray) -> np.ndarray:
    """Scale each channel of each clip (N, T, C, R, R) to 0..1 over frames and pixels, as published flow maps are."""
    low, high = maps.min(axis=(1, 3, 4), keepdims=True), maps.max(axis=(1, 3, 4), keepdims=True)
    return (maps - low) / np.maximum(high - low, 1e-12)
