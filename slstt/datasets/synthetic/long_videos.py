"""Synthetic data sets of long recordings: several micro- and macro-expressions in one, or none."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from slstt.datasets.synthetic.action_units import EMOTIONS, code
from slstt.datasets.synthetic.dataset import SETTINGS, already_there, new_folder
from slstt.datasets.synthetic.layouts import (
    JPEG,
    LONG_LAYOUTS,
    LongLayout,
    LongRow,
    casme_square_name,
    samm_long_name,
    write_picture,
)
from slstt.datasets.synthetic.recordings import SyntheticRecording, draw_recording
from slstt.errors import ConfigError
from slstt.files import write_csv, write_json
from slstt.progress import Progress

EXPRESSIONS = "truth/expressions.csv"
VIDEOS = "truth/videos.csv"
LONG_VERSION = 1
"""Raised whenever the same settings would give other bytes."""


@dataclass(frozen=True)
class LongPlan:
    """The settings of `write` for layouts of long recordings. Raises ConfigError with every one that makes no sense."""

    layout: str
    subjects: int = 2
    recordings: int = 3
    difficulty: float = 0.0
    seed: int = 0
    size: tuple[int, int] = (640, 480)
    emotions: tuple[str, ...] = ()
    """Empty: the layout's own."""
    seconds: float = 6.0
    version: int = LONG_VERSION

    def __post_init__(self) -> None:
        problems = []
        if self.subjects < 1:
            problems.append(f"subjects: {self.subjects}; at least 1")
        if not 1 <= self.recordings <= self.native.most:
            problems.append(f"clips_per_subject: {self.recordings}; 1 to {self.native.most} recordings a subject")
        if not 0 <= self.difficulty <= 1:
            problems.append(f"difficulty: {self.difficulty}; from 0 (easy) to 1")
        if self.seed < 0:
            problems.append(f"seed: {self.seed}; 0 or more")
        if min(self.size) < 160:
            problems.append(f"size: {self.size[0]}x{self.size[1]}; at least 160 pixels each way")
        if not 1 <= self.seconds <= 600:
            problems.append(f"seconds: {self.seconds}; from 1 to 600")
        problems += [f"emotions: '{e}' is not one of {', '.join(EMOTIONS)}" for e in self.emotions if e not in EMOTIONS]
        if problems:
            raise ConfigError(*problems)
        if not self.emotions:
            object.__setattr__(self, "emotions", self.native.emotions)

    @property
    def native(self) -> LongLayout:
        """The layout's own facts."""
        return LONG_LAYOUTS[self.layout]

    def settings(self) -> dict:
        """Everything the bytes depend on, as JSON values."""
        return {**asdict(self), "size": list(self.size), "emotions": list(self.emotions)}

    @property
    def tasks(self) -> list[tuple[int, int]]:
        """All (subject, recording), both from 1."""
        return [(s, r) for s in range(1, self.subjects + 1) for r in range(1, self.recordings + 1)]

    def draw(self, subject: int, recording: int) -> SyntheticRecording:
        """One recording; every third shows no expression."""
        return draw_recording(
            self.seconds,
            self.seed,
            rate=self.native.rate,
            difficulty=self.difficulty,
            size=self.size,
            emotions=self.emotions,
            grey=self.native.grey,
            person=subject,
            take=recording,
            resting=recording % 3 == 0,
        )


def write_recordings(root: Path, plan: LongPlan, workers: int | None, quiet: bool) -> Path:
    """Write the data set of `plan` below `root`, whole or not at all; see `slstt.datasets.synthetic.write`."""
    if already_there(root, plan.settings()):
        return root
    native = plan.native
    with new_folder(root) as part:
        rows: list[LongRow] = []
        videos = []
        with (
            Progress("synthetic recordings", len(plan.tasks), quiet=quiet) as progress,
            ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        ):
            for (subject, recording), drawn in zip(
                plan.tasks, pool.map(lambda task: _write_recording(part, plan, *task), plan.tasks), strict=True
            ):
                rows += _rows(native, subject, recording, drawn)
                videos.append((native.dataset, native.subject(subject), native.video(subject, recording), drawn.count))
                progress.advance()
        native.sheets(part, rows)
        name = casme_square_name if native.dataset == "casme_square" else samm_long_name
        told = [
            (native.dataset, native.subject(r.subject), r.video, name(r), r.onset, r.apex, r.offset,
             "micro" if r.micro else "macro", r.emotion, r.units)
            for r in rows
        ]  # fmt: skip
        header = ("dataset", "subject", "video", "clip", "onset", "apex", "offset", "kind", "emotion", "units")
        write_csv(part / EXPRESSIONS, header, told)
        write_csv(part / VIDEOS, ("dataset", "subject", "video", "frames"), videos)
        write_json(part / SETTINGS, plan.settings())
    return root


def _write_recording(root: Path, plan: LongPlan, subject: int, recording: int) -> SyntheticRecording:
    """Write the frames of one recording, numbered from 1."""
    native, drawn = plan.native, plan.draw(subject, recording)
    for number, picture in drawn.frames():
        path = root / native.frame(native.subject(subject), native.video(subject, recording), number + 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, picture[..., 0] if native.grey else picture, JPEG)
    return drawn


def _rows(native: LongLayout, subject: int, recording: int, drawn: SyntheticRecording) -> Iterator[LongRow]:
    # With expressions, there is a part for each of them.
    for place, (shown, part) in enumerate(zip(drawn.expressions, drawn.parts, strict=False), start=1):
        numbers = (shown.onset + 1, shown.apex + 1, shown.offset + 1)
        video = native.video(subject, recording)
        yield LongRow(subject, recording, video, place, *numbers, code(part.units), shown.emotion, shown.micro)
