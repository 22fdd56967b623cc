"""The most confident mistakes, with what the network was shown where the data is still at hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slstt.errors import SlsttError
from slstt.evaluation.predictions import name_of
from slstt.evaluation.run import Run

PICTURE_SIDE = 144
"""Pixels; small, so that the page stays small."""


@dataclass(frozen=True)
class Mistake:
    """A wrongly labelled clip."""

    clip: str
    true: str
    predicted: str
    probability: float
    """Of the predicted class."""
    true_probability: float
    picture: str | None
    """A `data:` URI of its flow; None where the data is not at hand."""


def confident_mistakes(run: Run, limit: int = 12) -> list[Mistake]:
    """The first seed's wrong predictions, the highest probability first, at most `limit`."""
    predictions = run.predictions
    order = {name: i for i, name in enumerate(predictions.classes)}
    found = []
    for i, (key, true, predicted) in enumerate(
        zip(predictions.keys, predictions.true, predictions.predicted, strict=True)
    ):
        if true != predicted:
            p = predictions.probabilities[i]
            found.append((float(p[order[predicted]]), float(p[order[true]]), key, true, predicted))
    found.sort(key=lambda mistake: (-mistake[0], mistake[2]))
    found = found[:limit]
    picture = _pictures(run, [key for _, _, key, _, _ in found])
    return [Mistake(name_of(key), true, said, p, q, picture(key)) for p, q, key, true, said in found]


def picture_caption(run: Run) -> str:
    """What the pictures show."""
    if run.setting("data.kind") == "flow_maps":
        return "Flow map as the network sees it: u in red, v in green, strain in blue."
    return (
        "Flow of the frame with the most motion: hue is direction (red right, yellow-green down, cyan left, violet "
        "up), strength is length, relative to the clip's own maximum."
    )


def _pictures(run: Run, keys: Sequence[tuple[str, str, str]]) -> Callable[[tuple[str, str, str]], str | None]:
    """A function from a clip's key to its picture; it never fails, since the data may be gone or changed."""
    roots = run.setting("data.root")
    folders = [Path(root) for root in (roots if isinstance(roots, list) else [roots]) if isinstance(root, str)]
    if not keys or not any(folder.is_dir() for folder in folders):
        return lambda key: None
    maps = _flow_maps(folders) if run.setting("data.kind") == "flow_maps" else {}

    def picture(key: tuple[str, str, str]) -> str | None:
        from slstt.pictures import data_uri

        try:
            image = maps.get(key) if maps else _cached(folders, key)
            return None if image is None else data_uri(image)
        except (SlsttError, OSError, ValueError):
            return None

    return picture


def _flow_maps(folders: Sequence[Path]) -> dict[tuple[str, str, str], np.ndarray]:
    from slstt.datasets import flow_maps

    found: dict[tuple[str, str, str], np.ndarray] = {}
    for folder in folders:
        try:
            read = flow_maps.read(folder)
        except (SlsttError, OSError, ValueError):
            continue
        found |= dict(zip(read.keys, read.raw, strict=True))
    return found


def _cached(folders: Sequence[Path], key: tuple[str, str, str]) -> np.ndarray | None:
    from slstt.datasets.cache import flow_path, read_flow
    from slstt.pictures import flow_wheel

    for folder in folders:
        path = flow_path(folder, key)
        if path.is_file():
            flow = read_flow(path).astype(np.float32)
            strongest = flow[int(np.hypot(flow[:, 0], flow[:, 1]).mean((1, 2)).argmax())]
            step = max(1, strongest.shape[-1] // PICTURE_SIDE)
            return flow_wheel(strongest[:, ::step, ::step])
    return None
