"""Spotting of intervals in a recording: motion above a threshold that comes back within half a second.

A short excursion shows as the second difference over a time a, d(t) - (d(t - a) + d(t + a)) / 2: a drift cancels in it,
and motion that does not come back counts half. Each peak of it is then judged on its own curve, the motion along the
direction in which the patches went, from which onset, apex and offset are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from slstt.config.preprocess import Spotting
from slstt.preprocessing.apex_spotting import STRONGEST

BLOCK = 2000
"""Frames worked on at a time, so that a long recording needs little memory."""

REMAINDER = 0.7
"""Share of the motion at the apex that the face may still be away from the onset at the offset, in any direction: noise
is that much of a weak movement, and a smile that stays is more."""
SPANS = (0.2, 0.35, 0.5, 0.7)
"""Times over which an excursion is looked for, as shares of the longest interval: brief ones need short ones."""


@dataclass(frozen=True)
class Interval:
    """A candidate micro-expression: frame numbers, onset <= apex <= offset, all three included.

    `strength` is the intensity at the apex against the onset, in thousandths of the interocular distance; `source` is
    `spotted` or `given` (`--onset`, `--apex`, `--offset`).
    """

    onset: int
    apex: int
    offset: int
    strength: float
    source: str = "spotted"


def strength(motion: np.ndarray) -> np.ndarray:
    """(n,) mean length of the strongest motion among the patches, `motion` (n, R, 2): a face moves in part only."""
    lengths = np.hypot(motion[..., 0], motion[..., 1])
    kept = max(1, round(STRONGEST * lengths.shape[1]))
    return np.partition(lengths, -kept, axis=1)[:, -kept:].mean(axis=1)


def lagged(moved: np.ndarray, lag: int) -> np.ndarray:
    """(n,) strength of the motion against `lag` frames before, NaN for the first `lag` frames; `moved` (n, R, 2)."""
    found = np.full(len(moved), np.nan, np.float32)
    for begin in range(lag, len(moved), BLOCK):
        end = min(begin + BLOCK, len(moved))
        now, before = moved[begin:end].astype(np.float32), moved[begin - lag : end - lag].astype(np.float32)
        found[begin:end] = strength(now - before)
    return found


def excursions(moved: np.ndarray, span: int) -> np.ndarray:
    """(n,) strength of what moves away and comes back within `span` frames to either side, 0 at the ends."""
    found = np.zeros(len(moved), np.float32)
    for begin in range(span, len(moved) - span, BLOCK):
        end = min(begin + BLOCK, len(moved) - span)
        now, before, after = (moved[begin + s : end + s].astype(np.float32) for s in (0, -span, span))
        found[begin:end] = strength(now - (before + after) / 2)
    return found


def find_intervals(stretches: Sequence[tuple[int, np.ndarray]], rate: float, settings: Spotting) -> list[Interval]:
    """The intervals of a recording, in order; `stretches` as in `ranked_intervals`."""
    return sorted((found for _, found in ranked_intervals(stretches, rate, settings)), key=lambda i: i.onset)


def ranked_intervals(
    stretches: Sequence[tuple[int, np.ndarray]], rate: float, settings: Spotting
) -> list[tuple[float, Interval]]:
    """(height, interval) of a recording, the highest first: how many usual deviations its peak stands above the median.

    `stretches` are its unbroken pieces, each (first frame's number, moved (n, R, 2) in thousandths of the interocular
    distance). What is usual, and so the threshold, is found over all of them together. A higher threshold gives the
    same list, cut off at that height: an interval only gives way to higher ones.
    """
    shortest, longest = ceil(settings.shortest_ms * rate / 1000), max(1, round(settings.longest_ms * rate / 1000))
    smoothed = [_smoothed(moved, settings.smoothing_ms * rate / 1000) for _, moved in stretches]
    candidates: list[tuple[float, int, int, int]] = []
    for span in sorted({max(2, round(longest * share)) for share in SPANS}):
        curves = [excursions(moved, span) for moved in smoothed]
        known = np.concatenate(
            [np.zeros(0), *(curve[span : len(curve) - span] for curve in curves if len(curve) > 2 * span)]
        )
        if not len(known):
            continue
        middle = float(np.median(known))
        deviation = max(1.4826 * float(np.median(np.abs(known - middle))), 1e-3)
        for stretch, curve in enumerate(curves):
            limit, distance = middle + settings.threshold * deviation, max(1, shortest // 2)
            peaks, about = find_peaks(curve, height=limit, distance=distance)
            heights = (about["peak_heights"] - middle) / deviation
            candidates += [(float(h), stretch, int(p), span) for h, p in zip(heights, peaks, strict=True)]
    kept: list[tuple[float, Interval]] = []
    for height, stretch, peak, span in sorted(candidates, reverse=True):
        first = stretches[stretch][0]
        if any(i.onset <= first + peak <= i.offset for _, i in kept):
            continue
        found = _delimited(smoothed[stretch], peak, span, shortest, longest, settings)
        if found is None:
            continue
        found = replace(found, onset=found.onset + first, apex=found.apex + first, offset=found.offset + first)
        if all(found.offset <= i.onset or found.onset >= i.offset for _, i in kept):
            kept.append((height, found))
    return kept


def _delimited(
    moved: np.ndarray, peak: int, span: int, shortest: int, longest: int, settings: Spotting
) -> Interval | None:
    """Onset, apex and offset around a peak of the excursion, by the motion along its direction; None if it is none."""
    begin, end = max(0, peak - longest - 2), min(len(moved), peak + longest + 3)
    piece = moved[begin:end].astype(np.float32)
    at = peak - begin
    direction = piece[at] - (piece[max(0, at - span)] + piece[min(len(piece) - 1, at + span)]) / 2
    lengths = np.hypot(*direction.T)
    direction[lengths < np.quantile(lengths, 1 - STRONGEST)] = 0
    along = (piece * direction).sum(axis=(1, 2)) / max(float(np.hypot(*direction.T).sum()), 1e-9)
    reach = max(1, span // 2)
    near = slice(max(0, at - reach), at + reach + 1)
    apex = near.start + int(np.argmax(along[near]))
    height = float(along[apex])
    left, right = along[: apex + 1][::-1][: longest + 1], along[apex:][: longest + 1]
    level_left, level_right = (float(np.quantile(side, 0.25)) for side in (left, right))
    level = max(level_left, level_right)
    rise = height - level
    whole = height - min(level_left, level_right)
    if rise <= 0 or rise < settings.back * whole:
        return None
    rising = np.flatnonzero(left <= level_left + settings.foot * (height - level_left))
    falling = np.flatnonzero(right <= level_right + settings.foot * (height - level_right))
    if not len(rising) or not len(falling):
        return None
    onset, offset = apex - int(rising[0]), apex + int(falling[0])
    if not shortest <= offset - onset <= longest:
        return None
    onset, apex, offset = onset + begin, apex + begin, offset + begin
    there, back = strength(moved[[apex, offset]].astype(np.float32) - moved[[onset]].astype(np.float32))
    if there < settings.weakest or back > REMAINDER * there:
        return None
    return Interval(onset, apex, offset, float(there))


def judged(count: int, rate: float, settings: Spotting) -> np.ndarray:
    """(count,) True where an unbroken stretch of `count` frames can be judged: neither end is too near for that."""
    longest = max(1, round(settings.longest_ms * rate / 1000))
    span = max(2, round(longest * min(SPANS)))
    found = np.zeros(count, bool)
    found[span : count - span] = True
    return found


def _smoothed(moved: np.ndarray, sigma: float) -> np.ndarray:
    if sigma < 0.3:
        return moved
    smoothed = np.empty_like(moved)
    reach = int(np.ceil(4 * sigma))
    for begin in range(0, len(moved), BLOCK):
        first, last = max(0, begin - reach), min(len(moved), begin + BLOCK + reach)
        part = gaussian_filter1d(moved[first:last].astype(np.float32), sigma, axis=0, mode="nearest")
        smoothed[begin : begin + BLOCK] = part[begin - first : begin - first + BLOCK]
    return smoothed
