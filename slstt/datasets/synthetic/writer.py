"""Writes a synthetic data set: frames, coding sheet and the truth about them."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from slstt.datasets.synthetic.clips import render
from slstt.datasets.synthetic.layouts import Row
from slstt.datasets.synthetic.plan import Plan
from slstt.datasets.synthetic.portrait import Portrait
from slstt.datasets.synthetic.truth import SETTINGS, write_table, write_truth
from slstt.errors import DataError
from slstt.files import write_json
from slstt.progress import Progress


def write(
    root: str | Path,
    layout: str = "casme2",
    subjects: int = 5,
    clips_per_subject: int = 6,
    difficulty: float = 0.0,
    seed: int = 0,
    motion: float = 1.0,
    size: tuple[int, int] = (640, 480),
    emotions: Sequence[str] | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Path:
    """Write a synthetic data set in a native layout (`LAYOUTS`) below `root`, sheet and `truth/` included.

    `difficulty` 0..1 makes the motion smaller (peak 1.5-3 px at 0, 0.2-0.6 px at 1, in 640x480 frames), blinks, noise
    and flicker stronger, and the annotated apex less exact. `motion` multiplies the action units' displacement; at 0
    nothing tells the emotions apart. `size` is (width, height). `emotions` default to the classes of the data set's
    protocol, dealt evenly. The bytes depend on the settings alone, not on `workers` (threads; default: all cores).

    Returns `root`, to be given as `--root`. A root that already holds the same data set is left as it is; any other
    folder with something in it raises DataError. Settings that make no sense raise ConfigError, all at once.
    """
    root = Path(root)
    plan = Plan(layout, subjects, clips_per_subject, difficulty, seed, motion, size, tuple(emotions or ()))
    if _already_there(root, plan):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".part", dir=root.parent))
    try:
        part.chmod(0o755)
        rows: list[Row] = []
        with (
            Progress("synthetic clips", len(plan.tasks), quiet=quiet) as progress,
            # Threads: nearly all the time is spent in OpenCV and numpy, which run beside each other.
            ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        ):
            numbers = range(1, subjects + 1)
            portraits = pool.map(plan.portrait, numbers)
            for subject, portrait in zip(numbers, portraits, strict=True):
                own = [clip for of, clip in plan.tasks if of == subject]
                for row in pool.map(lambda clip, s=subject, p=portrait: _write_clip(part, plan, p, s, clip), own):
                    rows.append(row)
                    progress.advance()
        if plan.native.sheet is not None:
            plan.native.sheet(part, rows)
        write_table(part, plan.native.dataset, rows)
        write_json(part / SETTINGS, plan.settings())
        if root.exists():
            root.rmdir()  # empty, or _already_there had refused it
        part.replace(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def _already_there(root: Path, plan: Plan) -> bool:
    """Whether `root` holds this very data set. Raises DataError where it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        if json.loads((root / SETTINGS).read_text(encoding="utf-8")) == plan.settings():
            return True
    except (OSError, ValueError):
        pass
    raise DataError(f"{root}: holds something else already; delete it or choose another folder")


def _write_clip(root: Path, plan: Plan, portrait: Portrait, subject: int, number: int) -> Row:
    """Write the frames and the truth of one clip."""
    native, row = plan.native, plan.clip(portrait, subject, number)
    clip = row.clip
    first, last = (clip.onset, clip.offset) if native.only_onset_to_offset else (clip.first, clip.last)
    numbers = range(first, last + 1)
    for frame, picture in render(portrait, clip, numbers):
        path = root / native.frame(row.subject, row.name, clip.emotion, frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_picture(path, picture, native.encoding)
    write_truth(root, row.subject, row.name, portrait, clip, numbers)
    return row


def _write_picture(path: Path, picture: np.ndarray, encoding: tuple[int, ...]) -> None:
    encoded = cv2.imencode(path.suffix, picture[..., ::-1] if picture.ndim == 3 else picture, encoding)[1]
    path.write_bytes(encoded.tobytes())
