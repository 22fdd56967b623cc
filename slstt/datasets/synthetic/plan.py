"""A synthetic data set before any frame exists: who shows what in which clip, drawn from the settings alone."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from slstt.datasets.synthetic.action_units import EMOTIONS
from slstt.datasets.synthetic.clips import Stream, draw_clip, face_size
from slstt.datasets.synthetic.faces import draw_face
from slstt.datasets.synthetic.layouts import LAYOUTS, SMIC_CODE, Layout, Row
from slstt.datasets.synthetic.portrait import Portrait, paint
from slstt.errors import ConfigError

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
            problems.append(f"layout: '{self.layout}' is not one of {', '.join(LAYOUTS)}")
        for name in ("subjects", "clips_per_subject"):
            if getattr(self, name) < 1:
                problems.append(f"{name}: {getattr(self, name)}; at least 1")
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
    def native(self) -> Layout:
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
        return Row(name, native.clip(name, clip, emotion, shown), drawn)

    def clips(self) -> Iterator[tuple[Portrait, Row]]:
        """All clips in order, each with its subject's portrait; `clips.render` makes frames of them."""
        for subject in range(1, self.subjects + 1):
            portrait = self.portrait(subject)
            for clip in range(1, self.clips_per_subject + 1):
                yield portrait, self.clip(portrait, subject, clip)
