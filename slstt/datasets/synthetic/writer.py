"""Writes a synthetic data set: subjects, clips and the truth about them."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from slstt.datasets.synthetic.action_units import EMOTIONS
from slstt.datasets.synthetic.clips import Stream, draw_clip, face_size, render
from slstt.datasets.synthetic.faces import draw_face
from slstt.datasets.synthetic.layouts import LAYOUTS, SMIC_CODE, Layout, Row
from slstt.datasets.synthetic.portrait import Portrait, paint
from slstt.datasets.synthetic.truth import SETTINGS, write_table, write_truth
from slstt.errors import ConfigError, DataError
from slstt.files import write_json
from slstt.progress import Progress

VERSION = 1
"""Raised whenever the same settings would give other bytes."""
SHORT_SHARE = 6
"""One clip in so many has fewer than 11 frames after its onset, so that interpolation has work."""


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
    _check(layout, subjects, clips_per_subject, difficulty, motion, size, emotions)
    native = LAYOUTS[layout]
    emotions = tuple(emotions or native.emotions)
    settings = {
        "version": VERSION, "layout": layout, "subjects": subjects, "clips_per_subject": clips_per_subject,
        "difficulty": difficulty, "seed": seed, "motion": motion, "size": list(size), "emotions": list(emotions),
    }  # fmt: skip
    if _already_there(root, settings):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".part", dir=root.parent))
    try:
        part.chmod(0o755)
        tasks = [(subject, clip) for subject in range(1, subjects + 1) for clip in range(1, clips_per_subject + 1)]
        names = _deal(subjects, clips_per_subject, emotions, seed, native)
        portraits = lru_cache(maxsize=2 + 2 * (workers or os.cpu_count() or 1))(
            lambda subject: _portrait(seed, subject, size, native.grey)
        )

        def one(task: tuple[int, int]) -> Row:
            name, emotion = names[task]
            return _write_clip(part, native, portraits(task[0]), task, name, emotion, settings)

        with (
            Progress("synthetic clips", len(tasks), quiet=quiet) as progress,
            ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        ):
            rows = []
            for row in pool.map(one, tasks):
                rows.append(row)
                progress.advance()
        if native.sheet is not None:
            native.sheet(part, rows)
        write_table(part, native.dataset, rows)
        write_json(part / SETTINGS, settings)
        if root.exists():
            root.rmdir()  # empty, or _already_there had refused it
        part.replace(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def _check(
    layout: str, subjects: int, clips: int, difficulty: float, motion: float, size: tuple[int, int],
    emotions: Sequence[str] | None,
) -> None:  # fmt: skip
    """Raise ConfigError with every setting that makes no sense."""
    problems = []
    if layout not in LAYOUTS:
        problems.append(f"layout: '{layout}' is not one of {', '.join(LAYOUTS)}")
    problems += [f"{n}: {v}; at least 1" for n, v in (("subjects", subjects), ("clips_per_subject", clips)) if v < 1]
    if not 0 <= difficulty <= 1:
        problems.append(f"difficulty: {difficulty}; from 0 (easy) to 1")
    if motion < 0:
        problems.append(f"motion: {motion}; 0 (none) or more")
    if min(size) < 160:
        problems.append(f"size: {size[0]}x{size[1]}; at least 160 pixels each way")
    known = SMIC_CODE if layout == "smic" else EMOTIONS
    problems += [f"emotions: '{e}' is not one of {', '.join(known)}" for e in emotions or () if e not in known]
    if problems:
        raise ConfigError(*problems)


def _already_there(root: Path, settings: dict) -> bool:
    """Whether `root` holds this very data set. Raises DataError where it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        if json.loads((root / SETTINGS).read_text(encoding="utf-8")) == settings:
            return True
    except (OSError, ValueError):
        pass
    raise DataError(f"{root}: holds something else already; delete it or choose another folder")


def _deal(
    subjects: int, clips: int, emotions: tuple[str, ...], seed: int, layout: Layout
) -> dict[tuple[int, int], tuple[str, str]]:  # fmt: skip
    """(subject, clip) -> (clip name, emotion): dealt evenly over all subjects, in random order within each."""
    generator = np.random.default_rng([6, seed, 0, 0])
    dealt = [
        emotions[i] for _ in range(-(-subjects * clips // len(emotions))) for i in generator.permutation(len(emotions))
    ]
    names = {}
    for subject in range(1, subjects + 1):
        hand = dealt[(subject - 1) * clips : subject * clips]
        hand = [hand[i] for i in generator.permutation(clips)]
        for clip, emotion in enumerate(hand, start=1):
            shown = hand[:clip].count(emotion)
            names[subject, clip] = (layout.clip(layout.subject(subject), clip, emotion, shown), emotion)
    return names


def _portrait(seed: int, subject: int, size: tuple[int, int], grey: bool) -> Portrait:
    """The subject's picture at twice the frames' resolution."""
    portrait = paint(draw_face(np.random.default_rng([7, seed, subject, 0])), scale=2 * face_size(size))
    if not grey:
        return portrait
    weights = np.array([[0.299, 0.587, 0.114]], np.float32)
    return replace(
        portrait,
        eyes_open=cv2.transform(portrait.eyes_open, weights),
        eyes_closed=cv2.transform(portrait.eyes_closed, weights),
    )


def _write_clip(
    root: Path, layout: Layout, portrait: Portrait, task: tuple[int, int], name: str, emotion: str, settings: dict
) -> Row:  # fmt: skip
    """Draw one clip, write its frames and its truth."""
    subject = layout.subject(task[0])
    stream = Stream(settings["seed"], *task)
    numbering = stream.generator(0)
    clip = draw_clip(
        portrait, emotion, stream,
        difficulty=settings["difficulty"], motion=settings["motion"], size=tuple(settings["size"]), rate=layout.rate,
        first=int(numbering.integers(*layout.first_number)), short=numbering.integers(SHORT_SHARE) == 0,
    )  # fmt: skip
    numbers = range(clip.onset, clip.offset + 1) if layout.only_onset_to_offset else range(clip.first, clip.last + 1)
    for number, picture in render(portrait, clip, numbers):
        path = root / layout.frame(subject, name, emotion, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_picture(path, picture, layout.encoding)
    write_truth(root, subject, name, portrait, clip, numbers)
    return Row(subject, name, clip)


def _write_picture(path: Path, picture: np.ndarray, encoding: tuple[int, ...]) -> None:
    encoded = cv2.imencode(path.suffix, picture[..., ::-1] if picture.ndim == 3 else picture, encoding)[1]
    path.write_bytes(encoded.tobytes())
