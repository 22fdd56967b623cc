"""A tiny cache of flow that can be learned from, and settings of seconds, for the tests of training."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from slstt.config.load import load_config
from slstt.config.train import TrainConfig
from slstt.datasets.clips import Clip, write_index
from slstt.flow.flow_files import flow_path, write_flow

CLASSES = ("negative", "positive", "surprise")
SETTINGS = """\
data: {protocol: smic_sde, encoding: uv_magnitude}
model: {image_size: 16, patch_size: 8, width: 16, depth: 2, heads: 2, mlp_ratio: 1, lstm_width: 8, lstm_layers: 1,
        head_width: 8, drop_path: 0.1}
training: {epochs: 3, batch_size: 8, optimizer: adamw, learning_rate: 3e-3, schedule: cosine, warmup_epochs: 1}
"""


def write_cache(root: Path, subjects: int = 3, clips: int = 6, frames: int = 3, size: int = 16, seed: int = 0) -> Path:
    """What slstt-preprocess would leave of SMIC-like clips: each class moves another corner of the face."""
    generator = np.random.default_rng(seed)
    corners = {"negative": (0, 0, 1.0, 0.0), "positive": (1, 1, 0.0, -1.0), "surprise": (1, 0, -1.0, 0.5)}
    listed = []
    for subject in range(1, subjects + 1):
        for number in range(clips):
            emotion = CLASSES[number % len(CLASSES)]
            row, column, u, v = corners[emotion]
            flow = generator.normal(0, 0.1, (frames, 2, size, size))
            half = size // 2
            patch = flow[:, :, row * half :, column * half :][:, :, :half, :half]
            patch += np.linspace(0.5, 1.5, frames)[:, None, None, None] * np.array([u, v])[:, None, None]
            clip = Clip("smic", f"s{subject:02}", f"s{subject:02}_{emotion[:2]}_{number:02}", emotion, 1, 5, 9, Path())
            write_flow(flow_path(root, clip.key), flow, f"flow {seed} {subject} {number}")
            listed.append(clip)
    write_index(root / "index.csv", listed)
    return root


def settings_file(folder: Path, text: str = SETTINGS) -> Path:
    """The tiny settings as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(text)
    return folder / "tiny.yaml"


def tiny(root: Path, *overrides: str) -> TrainConfig:
    """The tiny settings with overrides."""
    return load_config(TrainConfig, settings_file(root), [f"data.root={root}", *overrides])


def arguments(root: Path, run: Path, *more: str) -> list[str]:
    """The arguments of slstt-train for a tiny run."""
    return ["--config", str(settings_file(root)), "--out", str(run), "--quiet", f"data.root={root}", *more]


def start(argv: list[str], **options) -> subprocess.Popen:
    """The real command in its own process and process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "slstt.cli.train", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        **options,
    )


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run that its result is made of, by name."""
    files = [run / "predictions.csv", *sorted(run.glob("folds/*/*.csv"))]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}
