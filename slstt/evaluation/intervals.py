"""Spotted intervals against annotated ones, as the Facial Micro-Expression Grand Challenges (MEGC 2019 to 2025) score.

An interval is given by the numbers of its first and last frame, both included: onset 10, offset 12 are three frames.
Intersection and union are counted in frames. A spotted interval is a true positive where its intersection over union
(IoU) with an annotated one of its kind is at least 0.5; each annotated interval is found at most once, and the pairs
with the highest IoU are made first. TP, FP and FN are summed over all videos, those without an expression included,
before F1 = 2TP / (2TP + FP + FN) is taken. `all` sums micro and macro, as the challenges' own program does (He et al.
2020, arXiv 1912.11985: CAS(ME)^2 micro 21 of 5,035, macro 109 of 1,523, F1 of both .0376).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slstt.datasets.clips import KINDS, Kind
from slstt.evaluation.metrics import DRAWS, LEVEL, confusion, f1_of, interval, subject_weights

LEAST_IOU = 0.5
OTHER_IOUS = (0.2, 0.3, 0.4)
"""At which F1 is told as well: they show intervals that are found but badly delimited."""
LONGEST_MICRO = 0.5
"""Seconds from onset to offset; a longer expression is a macro-expression (MEGC 2020: 16 frames at 30 a second)."""
GROUPS: dict[str, tuple[Kind, ...]] = {"micro": ("micro",), "macro": ("macro",), "all": KINDS}
"""What is scored: each kind alone, and both."""
UNNAMED = "(none)"
"""Stands for the class of a spotted interval that could not be classified."""


@dataclass(frozen=True)
class VideoInterval:
    """An annotated or spotted expression: frame numbers of its video, onset <= apex <= offset, all included."""

    onset: int
    offset: int
    kind: Kind
    apex: int | None = None
    label: str = ""
    """The annotated or the predicted class; empty where there is none."""
    strength: float | None = None
    """Of a spotted one, in whatever unit its method has."""


@dataclass(frozen=True)
class SpottedVideo:
    """One video with what is annotated and what was found in it."""

    dataset: str
    subject: str
    video: str
    true: tuple[VideoInterval, ...]
    found: tuple[VideoInterval, ...]
    frames: int | None = None
    rate: float | None = None
    """Frames a second; None where it is not known, as `frames`."""
    first: int = 0
    """The number of its first frame."""

    @property
    def key(self) -> tuple[str, str, str]:
        """(dataset, subject, video): unique over all data sets."""
        return (self.dataset, self.subject, self.video)

    @property
    def minutes(self) -> float | None:
        """How long it lasts."""
        return None if self.frames is None or not self.rate else self.frames / self.rate / 60


def kind_of(onset: int, offset: int, rate: float) -> Kind:
    """Whether an interval is a micro- or a macro-expression by its length alone, at `rate` frames a second."""
    return "micro" if (offset - onset) / rate <= LONGEST_MICRO else "macro"


def iou(one: VideoInterval, other: VideoInterval) -> float:
    """Intersection over union in frames, 0..1."""
    shared = min(one.offset, other.offset) - max(one.onset, other.onset) + 1
    return max(0, shared) / (one.offset - one.onset + other.offset - other.onset + 2 - max(0, shared))


def pair(
    found: Sequence[VideoInterval], true: Sequence[VideoInterval], least: float = LEAST_IOU
) -> list[tuple[int, int]]:
    """(place in `found`, place in `true`) of the true positives: of one kind, IoU at least `least`, one to one.

    The best pairs are made first; of equally good ones that with the earlier annotated, then the earlier spotted onset.
    """
    candidates = []
    for f, spotted in enumerate(found):
        for t, annotated in enumerate(true):
            if spotted.kind == annotated.kind and (share := iou(spotted, annotated)) >= least:
                candidates.append((-share, annotated.onset, annotated.offset, spotted.onset, spotted.offset, t, f))
    pairs: list[tuple[int, int]] = []
    used_found: set[int] = set()
    used_true: set[int] = set()
    for *_, t, f in sorted(candidates):
        if f not in used_found and t not in used_true:
            pairs.append((f, t))
            used_found.add(f)
            used_true.add(t)
    return pairs


def counts_of(video: SpottedVideo, kind: Kind, least: float = LEAST_IOU) -> np.ndarray:
    """(3,) int64: TP, FP, FN of one kind in one video."""
    found, true = of_kind(video.found, kind), of_kind(video.true, kind)
    hits = len(pair(found, true, least))
    return np.array([hits, len(found) - hits, len(true) - hits], np.int64)


def of_kind(intervals: Sequence[VideoInterval], kind: Kind) -> list[VideoInterval]:
    """Those of one kind."""
    return [one for one in intervals if one.kind == kind]


def spotting_f1(counts: np.ndarray) -> np.ndarray:
    """F1 = 2TP / (2TP + FP + FN) of counts (..., 3) -> (...), and 0 where all three are 0."""
    hits = 2.0 * counts[..., 0]
    total = hits + counts[..., 1] + counts[..., 2]
    return np.divide(hits, total, out=np.zeros(np.shape(total)), where=total > 0)


def score(videos: Sequence[SpottedVideo], draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Counts, F1 with intervals, apex error and false alarms by kind; recognition and STRS where there are labels.

    Intervals are percentiles over `draws` bootstrap samples of subjects, None where there is one subject.
    """
    subjects = sorted({video.key[:2] for video in videos})
    place = {subject: row for row, subject in enumerate(subjects)}
    weights = subject_weights(len(subjects), draws, seed) if len(subjects) > 1 else None
    minutes = [video.minutes for video in videos]
    length = None if any(one is None for one in minutes) else float(sum(one or 0.0 for one in minutes))
    counts: dict[tuple[Kind, float], np.ndarray] = {}
    for kind in KINDS:
        for least in (*OTHER_IOUS, LEAST_IOU):
            counts[kind, least] = np.zeros((len(subjects), 3), np.int64)
            for video in videos:
                counts[kind, least][place[video.key[:2]]] += counts_of(video, kind, least)
    result: dict[str, Any] = {
        "videos": len(videos),
        "videos_without_expression": sum(not video.true for video in videos),
        "subjects": len(subjects),
        "minutes": length,
        "iou": LEAST_IOU,
        "spotting": {},
    }
    for name, kinds in GROUPS.items():
        rows = sum((counts[kind, LEAST_IOU] for kind in kinds), np.zeros((len(subjects), 3), np.int64))
        at = {f"{least:g}": sum(counts[kind, least].sum(0) for kind in kinds) for least in (*OTHER_IOUS, LEAST_IOU)}
        block = _block(rows, weights, length, at)
        result["spotting"][name] = block | _apex_error(videos, kinds)
    result |= _recognition(videos, counts, place, weights)
    result["bootstrap"] = {"unit": "subject", "draws": draws, "level": LEVEL, "seed": seed}
    return result


def _block(rows: np.ndarray, weights: np.ndarray | None, minutes: float | None, at: dict[str, Any]) -> dict[str, Any]:
    """Scores of per-subject counts (S, 3)."""
    tp, fp, fn = (int(count) for count in rows.sum(0))
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / (tp + fn) if tp + fn else 0.0,
        "f1": float(spotting_f1(rows.sum(0))),
        "ci": None if weights is None else interval(spotting_f1(weights @ rows)),
        "f1_at": {least: float(spotting_f1(np.asarray(counts))) for least, counts in at.items()},
        "false_alarms_per_minute": fp / minutes if minutes else None,
    }


def _apex_error(videos: Sequence[SpottedVideo], kinds: Sequence[Kind]) -> dict[str, Any]:
    """Mean distance of spotted and annotated apex over the true positives in which both are known."""
    frames: list[int] = []
    seconds: list[float] = []
    for video in videos:
        for kind in kinds:
            found, true = of_kind(video.found, kind), of_kind(video.true, kind)
            for f, t in pair(found, true):
                spotted, annotated = found[f].apex, true[t].apex
                if spotted is not None and annotated is not None:
                    frames.append(abs(spotted - annotated))
                    seconds += [abs(spotted - annotated) / video.rate] if video.rate else []
    known = len(seconds) == len(frames) > 0
    return {
        "apex_error_frames": float(np.mean(frames)) if frames else None,
        "apex_error_seconds": float(np.mean(seconds)) if known else None,
        "apexes": len(frames),
    }


def _recognition(
    videos: Sequence[SpottedVideo],
    counts: dict[tuple[Kind, float], np.ndarray],
    place: dict[tuple[str, str], int],
    weights: np.ndarray | None,
) -> dict[str, Any]:
    """UF1 over the true positives, and STRS = F1 of spotting x UF1 (MEGC 2022 on), by kind; {} without labels.

    A true positive that could not be classified counts as missed by its class. One whose annotation has no label is
    left out of UF1. The classes are all labels that are annotated or predicted for the kinds in question. `strs` is
    that of the kinds whose annotation has labels: of SAMM Long Videos the micro-expressions alone.
    """
    if not any(one.label for video in videos for one in video.found):
        return {}
    labelled = {kind for kind in KINDS if any(one.label for v in videos for one in of_kind(v.true, kind))}
    result: dict[str, Any] = {}
    for name, kinds in GROUPS.items():
        if not set(kinds) <= labelled:
            continue
        classes = sorted(
            {one.label for v in videos for one in (*v.true, *v.found) if one.kind in kinds and one.label} - {UNNAMED}
        )
        every = [*classes, UNNAMED]
        matrices = np.zeros((len(place), len(every), len(every)), np.int64)
        for video in videos:
            for kind in kinds:
                found, true = of_kind(video.found, kind), of_kind(video.true, kind)
                named = [(true[t].label, found[f].label or UNNAMED) for f, t in pair(found, true) if true[t].label]
                matrices[place[video.key[:2]]] += confusion([a for a, _ in named], [b for _, b in named], every)
        rows = sum((counts[kind, LEAST_IOU] for kind in kinds), np.zeros((len(place), 3), np.int64))
        pooled = matrices.sum(0)
        uf1, f1 = _uf1(pooled), float(spotting_f1(rows.sum(0)))
        ci = None
        if weights is not None:
            size = len(every)
            drawn = (weights @ matrices.reshape(len(matrices), -1)).reshape(-1, size, size)
            ci = interval(spotting_f1(weights @ rows) * _uf1(drawn))
        result[name] = {
            "n": int(pooled.sum()),
            "classes": classes,
            "confusion": pooled[:-1].tolist(),
            "uf1": float(uf1),
            "strs": f1 * float(uf1),
            "strs_ci": ci,
        }
    if not result:
        return {}
    of = "all" if "all" in result else next(iter(result))
    return {"recognition": result, "strs": result[of]["strs"], "strs_of": of}


def _uf1(matrices: np.ndarray) -> np.ndarray:
    """UF1 of (..., C + 1, C + 1), the last class being no class at all."""
    return f1_of(matrices)[..., :-1].mean(-1)
