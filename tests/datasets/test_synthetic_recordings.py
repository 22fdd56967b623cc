"""Rendered recordings as video files: a small motion is still there after the encoder."""

from pathlib import Path

import av
import cv2
import numpy as np

from slstt.datasets.synthetic.recordings import write_video

WIDTH, HEIGHT, APEX, REST = 320, 240, 40, 20
PEAK = 0.8
"""Pixels, the motion of a weak micro-expression."""


def _pictures(region: np.ndarray) -> list[np.ndarray]:
    """Sixty frames of a noisy texture; the region moves by `PEAK` at the apex and rests before and after it."""
    generator = np.random.default_rng(0)
    texture = cv2.GaussianBlur(generator.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 2.5)
    texture = 128 + 25 * texture / texture.std()
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    moved = PEAK * np.exp(-(((np.arange(60) - APEX) / 6) ** 2))
    pictures = []
    for by in moved.astype(np.float32):
        grey = cv2.remap(texture, x, y + by * region, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        grey = np.clip(grey + generator.normal(0, 1, grey.shape), 0, 255).astype(np.uint8)
        pictures.append(np.repeat(grey[..., None], 3, axis=-1))
    return pictures


def test_mpeg4_keeps_a_motion_below_one_pixel(tmp_path: Path) -> None:
    """What the encoder adds is smaller than what the motion changes (0.65 of it); FFmpeg's default rate control adds
    1.7 times as much, because key pictures come out sharp and those between them blurred."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    region = np.exp(-((x - WIDTH / 2) ** 2 + (y - HEIGHT / 2) ** 2) / (2 * (HEIGHT / 12) ** 2))
    drawn = _pictures(region)
    path = write_video(tmp_path / "clip.mp4", drawn, 100)
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == len(drawn)
    inside = region > 0.3

    def change(pictures: list[np.ndarray]) -> np.ndarray:
        apex, rest = (pictures[at].astype(np.float32).mean(axis=-1) for at in (APEX, REST))
        return (apex - rest)[inside]

    wanted = change(drawn)
    assert np.sqrt(np.mean((change(decoded) - wanted) ** 2)) < np.sqrt(np.mean(wanted**2))
