"""A synthetic data set before any frame exists: who shows what in which clip, drawn from the settings alone."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from slstt.datasets.synthetic.action_units import EMOTIONS, code
from slstt.datasets.synthetic.clips import Motion, Pose, Stream, SyntheticClip, draw_clip, face_size, landmarks, render
from slstt.datasets.synthetic.faces import draw_face
from slstt.datasets.synthetic.layouts import LAYOUTS, LONG_LAYOUTS, SMIC_CODE, Row, SyntheticLayout, write_picture
from slstt.datasets.synthetic.portrait import Portrait, paint
from slstt.errors import ConfigError, DataError
from slstt.files import write_csv, write_json
from slstt.progress import Progress

VERSION = 1
"""Raised whenever the same settings would give other bytes."""
SHORT_SHARE = 6
"""About one clip in so many has fewer than 11 frames after its onset, so that interpolation has work."""


@dataclass(frozen=True)
class Plan:
    """The settings of `write` (which explains them). Raises ConfigError with every one that makes no sense."""

    layout: str = "casme2"
    subjects: int = 5
    clips_per_subject: int = 6
    difficulty: float = 0.0
    seed: int = 0
    motion: float = 1.0
    size: tuple[int, int] = (640, 480)
    emotions: tuple[str, ...] = ()
    """Empty: the layout's own."""
    version: int = VERSION

    def __post_init__(self) -> None:
        problems = []
        if self.layout not in LAYOUTS:
            problems.append(f"layout: '{self.layout}' is not one of {', '.join((*LAYOUTS, *LONG_LAYOUTS))}")
        for name in ("subjects", "clips_per_subject"):
            if getattr(self, name) < 1:
                problems.append(f"{name}: {getattr(self, name)}; at least 1")
        if self.layout == "casme3" and self.clips_per_subject > 26:
            problems.append(f"clips_per_subject: {self.clips_per_subject}; a subject has 26 recordings, a to z")
        if not 0 <= self.difficulty <= 1:
            problems.append(f"difficulty: {self.difficulty}; from 0 (easy) to 1")
        if not 0 <= self.motion < float("inf"):
            problems.append(f"motion: {self.motion}; 0 (none) or more")
        if self.seed < 0:
            problems.append(f"seed: {self.seed}; 0 or more")
        if min(self.size) < 160:
            problems.append(f"size: {self.size[0]}x{self.size[1]}; at least 160 pixels each way")
        known = SMIC_CODE if self.layout == "smic" else EMOTIONS
        problems += [f"emotions: '{e}' is not one of {', '.join(known)}" for e in self.emotions if e not in known]
        if problems:
            raise ConfigError(*problems)
        if not self.emotions:
            object.__setattr__(self, "emotions", self.native.emotions)

    @property
    def native(self) -> SyntheticLayout:
        """The layout's own facts."""
        return LAYOUTS[self.layout]

    def settings(self) -> dict:
        """Everything the bytes depend on, as JSON values."""
        return {**asdict(self), "size": list(self.size), "emotions": list(self.emotions)}

    @property
    def tasks(self) -> list[tuple[int, int]]:
        """All (subject, clip), both from 1."""
        return [(s, c) for s in range(1, self.subjects + 1) for c in range(1, self.clips_per_subject + 1)]

    @cached_property
    def emotion(self) -> dict[tuple[int, int], str]:
        """(subject, clip) -> emotion: dealt evenly to each subject and over the whole set, in random order.

        Where the clips do not go round evenly, the emotions shown least so far come first.
        """
        generator = np.random.default_rng([6, self.seed, 0, 0])
        rounds, rest = divmod(self.clips_per_subject, len(self.emotions))
        shown = np.zeros(len(self.emotions), int)
        dealt = {}
        for subject in range(1, self.subjects + 1):
            least = np.lexsort((generator.random(len(shown)), shown))[:rest]
            shown[least] += 1
            hand = generator.permutation([*range(len(shown))] * rounds + least.tolist())
            dealt |= {(subject, clip): self.emotions[kind] for clip, kind in enumerate(hand, start=1)}
        return dealt

    def portrait(self, subject: int) -> Portrait:
        """The subject's picture at twice the frames' resolution, grey where the layout is."""
        face = draw_face(np.random.default_rng([7, self.seed, subject, 0]))
        portrait = paint(face, scale=2 * face_size(self.size))
        if not self.native.grey:
            return portrait
        weights = np.array([[0.299, 0.587, 0.114]], np.float32)
        return replace(
            portrait,
            eyes_open=cv2.transform(portrait.eyes_open, weights),
            eyes_closed=cv2.transform(portrait.eyes_closed, weights),
        )

    def clip(self, portrait: Portrait, subject: int, clip: int) -> Row:
        """What happens in one clip."""
        native, emotion = self.native, self.emotion[subject, clip]
        name = native.subject(subject)
        shown = sum(self.emotion[subject, other] == emotion for other in range(1, clip + 1))
        stream = Stream(self.seed, subject, clip)
        numbering = stream.generator(0)
        drawn = draw_clip(
            portrait,
            emotion,
            stream,
            difficulty=self.difficulty,
            motion=self.motion,
            size=self.size,
            rate=native.rate,
            first=int(numbering.integers(*native.first_number)),
            short=bool(numbering.integers(SHORT_SHARE) == 0),
        )
        return Row(name, native.clip(name, clip, emotion, shown).format(onset=drawn.onset), drawn)

    def clips(self) -> Iterator[tuple[Portrait, Row]]:
        """All clips in order, each with its subject's portrait; `clips.render` makes frames of them."""
        for subject in range(1, self.subjects + 1):
            portrait = self.portrait(subject)
            for clip in range(1, self.clips_per_subject + 1):
                yield portrait, self.clip(portrait, subject, clip)


SETTINGS = "truth/settings.json"
TABLE = "truth/clips.csv"


@dataclass(frozen=True)
class Truth:
    """One clip's truth."""

    onset: int
    apex: int
    offset: int
    landmarks_onset: np.ndarray
    """(68, 2) float32, pixels."""
    landmarks_apex: np.ndarray
    """(68, 2) float32, pixels."""
    lids: np.ndarray
    """(F,) float32, 0..1: how far a blink has closed the eyes. Lids close over the eye: they are not in the flow."""
    motion: Motion

    @property
    def numbers(self) -> np.ndarray:
        """(F,) the numbers of the clip's frames."""
        return self.motion.numbers

    def flow(self, number: int) -> np.ndarray:
        """(2, h, w) float32: true flow from the onset to frame `number`, (u right, v down) in pixels of the frame.

        On the points of `motion.grid`, every fourth pixel each way at 640x480: (2, 120, 160).
        """
        return self.motion.field(number - int(self.numbers[0])).transpose(2, 0, 1).astype(np.float32)


def truth_path(root: Path, subject: str, clip: str) -> Path:
    """Where a clip's truth lies below a data set's root; names as in its folders."""
    return Path(root) / "truth" / subject / f"{clip}.safetensors"


def write_truth(
    root: Path, subject: str, name: str, portrait: Portrait, clip: SyntheticClip, numbers: range
) -> None:  # fmt: skip
    """Write one clip's truth for the frames `numbers`."""
    path = truth_path(root, subject, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    motion, kept = clip.motion, slice(numbers.start - clip.first, numbers.stop - clip.first)
    pose = motion.pose
    save_file(
        {
            "frames": np.array([clip.onset, clip.apex, clip.offset]),
            "numbers": motion.numbers[kept].copy(),
            "landmarks_onset": landmarks(portrait, clip, clip.onset).astype(np.float32),
            "landmarks_apex": landmarks(portrait, clip, clip.apex).astype(np.float32),
            "lids": clip.lids[kept].astype(np.float32),
            "size": np.array(motion.size),
            "pose": np.array([pose.interocular, pose.x, pose.y, pose.roll]),
            "intensity": motion.intensity[kept].astype(np.float32),
            "action": motion.action.astype(np.float16),
            "drift": motion.drift[kept].astype(np.float32),
            "weight": motion.weight.astype(np.float16),
            "incidental": motion.incidental.astype(np.float16),
            "wander": motion.wander[kept].astype(np.float32),
        },
        path,
    )


def read_truth(root: Path, subject: str, clip: str) -> Truth:
    """Read a clip's truth back. Raises DataError where it is missing or damaged."""
    path = truth_path(root, subject, clip)
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: no readable truth file ({error}); write the data set again") from error
    onset, apex, offset = (int(number) for number in stored["frames"])
    width, height = (int(side) for side in stored["size"])
    interocular, x, y, roll = (float(value) for value in stored["pose"])
    motion = Motion(
        (width, height), Pose(interocular, x, y, roll), stored["numbers"], stored["intensity"],
        stored["action"].astype(float), stored["drift"].astype(float), stored["weight"].astype(float),
        stored["incidental"].astype(float), stored["wander"].astype(float),
    )  # fmt: skip
    return Truth(
        onset, apex, offset, stored["landmarks_onset"], stored["landmarks_apex"], stored["lids"], motion
    )  # fmt: skip


def write_table(root: Path, dataset: str, rows: Sequence[Row]) -> None:
    """Write `truth/clips.csv`: one line a clip with its true frame numbers, units and peak displacement."""
    header = ("dataset", "subject", "clip", "emotion", "units", "onset", "apex", "offset", "peak_pixels", "blink")
    write_csv(
        root / TABLE,
        header,
        [
            (dataset, r.subject, r.name, r.clip.emotion, code(r.clip.units), r.clip.onset, r.clip.apex, r.clip.offset,
             f"{r.clip.peak:.3f}", f"{r.clip.lids.max():.2f}")
            for r in rows
        ],
    )  # fmt: skip


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
    seconds: float = 6.0,
) -> Path:
    """Write a synthetic data set in a native layout below `root`, sheet and `truth/` included.

    Layouts are those of clips (`LAYOUTS`) and those of long recordings (`LONG_LAYOUTS`: several micro- and
    macro-expressions in one, every third without any), of which `clips_per_subject` counts the recordings of a
    subject, each `seconds` long at most.

    `difficulty` 0..1 makes the motion smaller (peak 1.5-3 px at 0, 0.2-0.6 px at 1, in 640x480 frames), blinks, noise
    and flicker stronger, and the annotated apex less exact. `motion` multiplies the action units' displacement; at 0
    nothing tells the emotions apart. `size` is (width, height). `emotions` default to the classes of the data set's
    protocol, dealt evenly. The bytes depend on the settings alone, not on `workers` (threads; default: all cores).

    Returns `root`, to be given as `--root`. A root that already holds the same data set is left as it is; any other
    folder with something in it raises DataError. Settings that make no sense raise ConfigError, all at once.
    """
    root = Path(root)
    if layout in LONG_LAYOUTS:
        from slstt.datasets.synthetic.long_videos import LongPlan, write_recordings  # which uses plans of clips

        long = LongPlan(layout, subjects, clips_per_subject, difficulty, seed, size, tuple(emotions or ()), seconds)
        return write_recordings(root, long, workers, quiet)
    plan = Plan(layout, subjects, clips_per_subject, difficulty, seed, motion, size, tuple(emotions or ()))
    if already_there(root, plan.settings()):
        return root
    with new_folder(root) as part:
        rows: list[Row] = []
        with (
            Progress("synthetic clips", len(plan.tasks), quiet=quiet) as progress,
            # Threads: nearly all the time is spent in OpenCV and numpy, which run beside each other.
            ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        ):
            numbers = range(1, subjects + 1)
            portraits = pool.map(plan.portrait, numbers)
            for subject, portrait in zip(numbers, portraits, strict=True):
                clips = [clip for of, clip in plan.tasks if of == subject]
                for row in pool.map(lambda clip, s=subject, p=portrait: _write_clip(part, plan, p, s, clip), clips):
                    rows.append(row)
                    progress.advance()
        if plan.native.sheet is not None:
            plan.native.sheet(part, rows)
        write_table(part, plan.native.dataset, rows)
        write_json(part / SETTINGS, plan.settings())
    return root


@contextmanager
def new_folder(root: Path) -> Iterator[Path]:
    """A folder beside `root` that takes its place once all is written; nothing is left of it otherwise."""
    root.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".part", dir=root.parent))
    try:
        part.chmod(0o755)
        yield part
        if root.exists():
            root.rmdir()  # empty, or already_there had refused it
        part.replace(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def already_there(root: Path, settings: dict) -> bool:
    """Whether `root` holds the very data set of these settings. Raises DataError where it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        if json.loads((root / SETTINGS).read_text(encoding="utf-8")) == settings:
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
        write_picture(path, picture, native.encoding)
    write_truth(root, row.subject, row.name, portrait, clip, numbers)
    return row
