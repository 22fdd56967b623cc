"""The frames of one clip: which are there, which are needed, decoded when asked for; and what is noted on the way."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from slstt.config.preprocess import PreprocessConfig
from slstt.datasets.clip import Clip
from slstt.errors import DataError
from slstt.pictures import Picture, read_image
from slstt.preprocessing.interpolation import FramePlan, choose_frames


def present(clip: Clip) -> list[int]:
    """The numbers of the frames onset..offset that are there, ascending.

    Plans are made of places in this list, not of numbers: a missing frame leaves a gap in the numbers, not in the plan.
    """
    return [number for number in clip.frames if clip.onset <= number <= clip.offset]


def nearest_place(numbers: list[int], wanted: int) -> int:
    """The place whose number is nearest to `wanted`; of two equally near the earlier one."""
    return min(range(len(numbers)), key=lambda place: (abs(numbers[place] - wanted), place))


def plan_frames(numbers: list[int], apex_place: int, config: PreprocessConfig) -> FramePlan:
    """The plan in places (the onset is place 0)."""
    return choose_frames(0, apex_place, len(numbers) - 1, config.frames.count, config.frames.selection)


def needed_frames(clip: Clip, config: PreprocessConfig) -> Collection[int]:
    """The frame numbers that a run decodes and cannot do without, as far as the sheet alone tells."""
    numbers = present(clip)
    if len(numbers) < 2 or clip.apex is None or not clip.onset <= clip.apex <= clip.offset:
        return {clip.onset}
    place = nearest_place(numbers, clip.apex)
    return {numbers[at] for at in (0, place, *plan_frames(numbers, place, config).needed)}


class Unusable(Exception):
    """The clip cannot be used: (kind, reason)."""


@dataclass
class Notes:
    """What is learnt about one clip on the way."""

    used: set[str] = field(default_factory=lambda: {"version", "clip", "files", "landmarks"})
    """Names of the determinants that had a say."""
    remarks: list[tuple[str, str]] = field(default_factory=list)
    """(kind, reason) of what is to be flagged."""
    seconds: dict[str, float] = field(default_factory=dict)
    inner: float = 0.0
    """Time taken by the stages inside the one that is running."""

    def flag(self, kind: str, reason: str) -> None:
        """List the clip in flags.csv; the same thing noticed twice is listed once."""
        if (kind, reason) not in self.remarks:
            self.remarks.append((kind, reason))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent in the block to the stage `name`; what an inner stage takes counts for that one only."""
        started, inner = time.perf_counter(), self.inner
        self.inner = 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self.inner
            self.inner = inner + took


class Pictures:
    """The frames of one clip by number, each decoded at most once, and only when asked for."""

    def __init__(self, clip: Clip, notes: Notes) -> None:
        self.clip, self.notes = clip, notes
        self.decoded: dict[int, Picture] = {}

    def __getitem__(self, number: int) -> Picture:
        if number not in self.decoded:
            with self.notes.stage("decode"):
                try:
                    self.decoded[number] = read_image(self.clip.frames[number])
                except DataError as error:
                    raise Unusable("undecodable_frame", f"frame {number} is needed: {error}") from error
        return self.decoded[number]

    def forget(self, number: int) -> None:
        """Let go of a decoded frame."""
        self.decoded.pop(number, None)
