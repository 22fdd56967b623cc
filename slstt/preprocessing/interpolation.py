"""Which frames of a clip stand for it, and how missing ones are made.

SLSTT takes a fixed number of frames from every clip. A clip with enough frames gives a choice of its own; a shorter one
gives all it has, and middle frames are inserted from the apex outwards, where the expression says most. All positions
are frame numbers; an inserted one is a dyadic fraction (46.5, 46.25, ...), so it is exact in floating point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from slstt.errors import ConfigError, DataError
from slstt.preprocessing.rife import Rife

SELECTIONS = ("apex", "uniform")
METHODS = ("rife", "linear", "none")
Position = int | float
Image = UInt8[ndarray, "h w"] | UInt8[ndarray, "h w 3"]


@dataclass(frozen=True)
class FramePlan:
    """What stands for a clip: positions after the onset, ascending. Fractions are to be inserted."""

    positions: tuple[Position, ...]

    @property
    def inserted(self) -> tuple[Position, ...]:
        """The positions that no camera saw."""
        return tuple(p for p in self.positions if p != int(p))

    @property
    def needed(self) -> tuple[int, ...]:
        """The real frames that are chosen or that an inserted position is made from, ascending."""
        below = {int(p) for p in self.positions}
        above = {int(p) + 1 for p in self.inserted}
        return tuple(sorted(below | above))


def apex_first(onset: int, apex: int, offset: int, count: int) -> list[float]:
    """The first `count` positions to insert into the frames onset..offset, in order.

    All half positions strictly inside, nearest the apex first and on ties the one before it (when one side is used up
    the other goes on), then the odd quarters in the same way, then the odd eighths, and so on. Raises DataError where
    onset..offset has no room for any.
    """
    if count < 0:
        raise ValueError(f"count {count} is negative")
    if count and onset >= offset:
        raise DataError(f"nothing can be inserted between onset {onset} and offset {offset}; correct the annotation")
    order: list[float] = []
    parts = 2
    while len(order) < count:
        level = [onset + odd / parts for odd in range(1, (offset - onset) * parts, 2)]
        # A stable sort of ascending positions: of two equally near ones the earlier comes first.
        order += sorted(level, key=lambda position: abs(position - apex))
        parts *= 2
    return order[:count]


def choose_frames(onset: int, apex: int, offset: int, count: int, selection: str = "apex") -> FramePlan:
    """The `count` positions after the onset that stand for a clip (11 in the paper).

    A clip with at least `count` frames after its onset gives `apex`: a window of consecutive frames around the apex,
    from max(apex - count // 2, onset + 1) on, moved back where it would pass the offset; or `uniform`: evenly spaced
    frames from onset + 1 to the offset, both included, rounded half up. A shorter clip gives all its frames and
    `apex_first` insertions. Numbers are positions: where files are missing, pass places in the list of frames.
    Raises DataError where the clip has no frame after its onset.
    """
    if selection not in SELECTIONS:
        raise ConfigError(f"frames.selection={selection}: unknown; choose one of {', '.join(SELECTIONS)}")
    if count < 1:
        raise ConfigError(f"frames.count={count}: at least 1 frame is needed")
    available = offset - onset
    if available < 1:
        raise DataError(f"no frame after the onset {onset} (offset {offset}); correct the annotation")
    if available < count:
        inserted = apex_first(onset, apex, offset, count - available)
        return FramePlan(tuple(sorted([float(n) for n in range(onset + 1, offset + 1)] + inserted)))
    if count == 1:
        return FramePlan((float(min(max(apex, onset + 1), offset)),))
    if selection == "uniform":
        spans = count - 1
        steps = [(2 * i * (available - 1) + spans) // (2 * spans) for i in range(count)]
        return FramePlan(tuple(float(onset + 1 + step) for step in steps))
    start = min(max(apex - count // 2, onset + 1), offset - count + 1)
    return FramePlan(tuple(float(n) for n in range(start, start + count)))


def fill(
    frames: Mapping[Position, Image],
    positions: Sequence[Position],
    method: str = "rife",
    rife: Rife | None = None,
) -> dict[Position, Image]:
    """A picture for every one of `positions`, from real `frames` at whole numbers (grey or RGB, one size).

    `rife` makes middle frames of neighbouring positions, halves first, then quarters from halves and so on, one level
    in one batch; `linear` weights the two real neighbours by distance; `none` repeats the nearest real frame (the
    earlier one for a half). Raises DataError naming real frames that are needed and missing.
    """
    if method not in METHODS:
        raise ConfigError(f"interpolation.method={method}: unknown; choose one of {', '.join(METHODS)}")
    needed = FramePlan(tuple(positions)).needed
    if missing := [number for number in needed if number not in frames]:
        raise DataError(f"frames {', '.join(map(str, missing))} are needed and missing")
    if method == "rife":
        if rife is None:
            raise ValueError("method 'rife' needs a loaded Rife")
        made = dict(frames) | _midpoints(frames, positions, rife)
    else:
        single = _blend if method == "linear" else _nearest
        made = dict(frames) | {p: single(frames, p) for p in positions if p != int(p)}
    return {position: made[position] for position in positions}


def levels(positions: Sequence[Position]) -> list[list[Position]]:
    """The fractions among `positions` and all they are made from: halves, then quarters, and so on, each ascending."""
    found: dict[int, set[Position]] = {}
    waiting = [p for p in positions if p != int(p)]
    while waiting:
        position = waiting.pop()
        parts = _parts(position)
        if position in found.setdefault(parts, set()):
            continue
        found[parts].add(position)
        waiting += [p for p in (position - 1 / parts, position + 1 / parts) if p != int(p)]
    return [sorted(found[parts]) for parts in sorted(found)]


def _parts(position: Position) -> int:
    """The denominator of a dyadic fraction."""
    return float(position).as_integer_ratio()[1]


def _midpoints(frames: Mapping[Position, Image], positions: Sequence[Position], rife: Rife) -> dict[Position, Image]:
    made: dict[Position, Image] = dict(frames)
    for level in levels(positions):
        step = 1 / _parts(level[0])
        before = np.stack([_rgb(made[p - step]) for p in level])
        after = np.stack([_rgb(made[p + step]) for p in level])
        for position, middle in zip(level, rife.midpoint(before, after), strict=True):
            made[position] = middle
    grey = next(iter(frames.values())).ndim == 2
    # A grey pair may come back with channels a grey level apart: their mean is the grey picture.
    return {
        p: np.round(image.mean(axis=-1)).astype(np.uint8) if grey else image
        for p, image in made.items()
        if p not in frames
    }


def _rgb(image: Image) -> UInt8[ndarray, "h w 3"]:
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image


def _blend(frames: Mapping[Position, Image], position: Position) -> Image:
    below = int(position)
    share = position - below
    mixed = (1 - share) * frames[below].astype(np.float32) + share * frames[below + 1].astype(np.float32)
    return np.floor(mixed + 0.5).astype(np.uint8)


def _nearest(frames: Mapping[Position, Image], position: Position) -> Image:
    below = int(position)
    return frames[below] if position - below <= 0.5 else frames[below + 1]
