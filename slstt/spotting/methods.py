"""The ways of spotting: what each keeps of a recording, and the intervals that a threshold and a length make of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.signal import find_peaks

from slstt.config.preprocess import Spotting
from slstt.datasets.clips import KINDS, Kind
from slstt.evaluation.intervals import LONGEST_MICRO, kind_of
from slstt.prediction.face_motion import FaceMotion
from slstt.prediction.recording import Recording
from slstt.prediction.spotting import Interval, ranked_intervals
from slstt.spotting import rivals

LONGEST_MACRO = 4.0
"""Seconds; longer ones are moods or talk (MEGC 2020: 0.5 to 4 s)."""
Pieces = Sequence[tuple[int, np.ndarray]]
"""As `face_motion.track_face_motion` gives them."""
Signals = dict[Kind, np.ndarray]
"""What a method keeps of a recording for each kind: a curve (n,) over its frames, or `slstt`'s candidates (N, 5)."""
VERSION = 1
"""Raised whenever a method begins to give other signals."""


@dataclass(frozen=True)
class Choice:
    """What is chosen on the other subjects, or given."""

    threshold: float
    length_ms: float
    """Shortest interval, onset to offset; with `feature_difference` the length of all."""
    strongest: float | None = None
    """Largest strength with `slstt`; None: any."""


@dataclass(frozen=True)
class SpottingMethod:
    """One way of spotting."""

    title: str
    thresholds: tuple[float, ...]
    """The grid; a higher one gives fewer intervals."""
    lengths_ms: Mapping[Kind, tuple[float, ...]]
    """The grid."""
    fixed: Mapping[Kind, Choice]
    """What `--fixed` takes where nothing is given: as published, where anything is."""
    measure: Callable[[Recording, FaceMotion, Pieces, Mapping[Kind, Choice]], Signals]
    """The last argument is the least that may be asked for: threshold and length."""
    spot: Callable[[np.ndarray, float, Kind, Choice], list[Interval]]
    """(signals of one kind, frames a second, kind, choice) -> intervals in order, numbered from the first frame, 0."""


def _candidates(recording: Recording, motion: FaceMotion, pieces: Pieces, least: Mapping[Kind, Choice]) -> Signals:
    """`slstt`: every interval from the least threshold on as (onset, apex, offset, strength, height)."""
    found: Signals = {}
    for kind in KINDS:
        settings = Spotting(
            shortest_ms=least[kind].length_ms,
            longest_ms=1000 * (LONGEST_MICRO if kind == "micro" else LONGEST_MACRO),
            threshold=least[kind].threshold,
            smoothing_ms=12.0 if kind == "micro" else 40.0,
        )
        rows = [(i.onset, i.apex, i.offset, i.strength, h) for h, i in ranked_intervals(pieces, motion.rate, settings)]
        found[kind] = np.array(rows, np.float64).reshape(-1, 5)
    return found


def _kept_candidates(candidates: np.ndarray, rate: float, kind: Kind, choice: Choice) -> list[Interval]:
    return [
        Interval(int(onset), int(apex), int(offset), float(strength))
        for onset, apex, offset, strength, height in candidates[np.argsort(candidates[:, 0], kind="stable")]
        if height >= choice.threshold
        and (choice.strongest is None or strength <= choice.strongest)
        and _fits(int(onset), int(offset), rate, kind, choice.length_ms)
    ]


def _peaks(curve: np.ndarray, rate: float, kind: Kind, choice: Choice) -> list[Interval]:
    """Peaks above mean + threshold (max - mean), each with an interval of the chosen length, at least half apart."""
    known = np.isfinite(curve)
    if not known.any():
        return []
    filled = np.where(known, curve, 0.0)
    mean, top = filled[known].mean(), filled[known].max()
    half = max(1, round(choice.length_ms / 2000 * rate))
    found, _ = find_peaks(filled, height=mean + choice.threshold * (top - mean), distance=half)
    last = len(curve) - 1
    return [Interval(max(0, p - half), int(p), min(last, int(p) + half), float(filled[p])) for p in found if known[p]]


def _runs_of_share(curve: np.ndarray, rate: float, kind: Kind, choice: Choice) -> list[Interval]:
    """Runs above mean + threshold (max - mean)."""
    known = curve[np.isfinite(curve)]
    if not len(known):
        return []
    mean = float(known.mean())
    return _runs(curve, mean + choice.threshold * (float(known.max()) - mean), rate, kind, choice, 0.0)


GAPS: dict[Kind, float] = {"micro": 0.065, "macro": 0.21}
"""Seconds; between rise and fall an expression rests, and so does the flow of neighbours."""


def _runs_of_deviations(curve: np.ndarray, rate: float, kind: Kind, choice: Choice) -> list[Interval]:
    """Runs above mean + threshold deviations, short gaps closed."""
    known = curve[np.isfinite(curve)]
    if not len(known):
        return []
    limit = float(known.mean() + choice.threshold * known.std())
    return _runs(curve, limit, rate, kind, choice, GAPS[kind])


def _runs(curve: np.ndarray, limit: float, rate: float, kind: Kind, choice: Choice, gap: float) -> list[Interval]:
    above = np.flatnonzero(np.nan_to_num(curve, nan=-np.inf) > limit)
    if not len(above):
        return []
    found = []
    for run in np.split(above, np.flatnonzero(np.diff(above) > max(1.0, gap * rate)) + 1):
        onset, offset = int(run[0]), int(run[-1])
        if _fits(onset, offset, rate, kind, choice.length_ms):
            apex = int(run[np.argmax(curve[run])])
            found.append(Interval(onset, apex, offset, float(curve[apex])))
    return found


def _fits(onset: int, offset: int, rate: float, kind: Kind, shortest_ms: float) -> bool:
    longest = (LONGEST_MICRO if kind == "micro" else LONGEST_MACRO) * rate
    return kind_of(onset, offset, rate) == kind and ceil(shortest_ms * rate / 1000) <= offset - onset <= longest


_SHORTEST: dict[Kind, tuple[float, ...]] = {"micro": (65.0, 130.0, 200.0), "macro": (500.0, 800.0, 1200.0)}
_SHARES = (0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)

METHODS: dict[str, SpottingMethod] = {
    "slstt": SpottingMethod(
        "motion of tracked patches that comes back",
        (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0),
        _SHORTEST,
        {"micro": Choice(5.0, 65.0), "macro": Choice(5.0, 500.0)},
        _candidates,
        _kept_candidates,
    ),
    "feature_difference": SpottingMethod(
        "feature difference (Moilanen et al. 2014)",
        _SHARES,
        {"micro": (200.0, 320.0, 440.0), "macro": (800.0, 1300.0, 2000.0)},
        {"micro": Choice(0.2, 320.0), "macro": Choice(0.2, 1040.0)},
        lambda recording, motion, pieces, least: rivals.feature_difference(recording, motion),
        _peaks,
    ),
    "mdmd": SpottingMethod(
        "main directional maximal difference (MEGC 2020 baseline)",
        _SHARES,
        _SHORTEST,
        {"micro": Choice(0.01, 200.0), "macro": Choice(0.01, 520.0)},
        lambda recording, motion, pieces, least: rivals.mdmd(recording, motion),
        _runs_of_share,
    ),
    "neighbour_flow": SpottingMethod(
        "flow of neighbouring frames",
        (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
        _SHORTEST,
        {"micro": Choice(2.0, 65.0), "macro": Choice(2.0, 500.0)},
        lambda recording, motion, pieces, least: rivals.neighbour_flow(recording, motion),
        _runs_of_deviations,
    ),
}
