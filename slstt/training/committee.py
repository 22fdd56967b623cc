"""A committee for flow maps: discriminant analysis and two support vector machines, their probabilities averaged.

Three classifiers that err differently and know that a face in a mirror shows the same emotion. Nothing is random.

1. Each normalised map (`data.normalize: map`) is clipped to +-2, blurred (0.7 px of 28) and seen through 14 x 14
   Gaussian windows (sigma 1 px of 28): 588 numbers, standardised over the training maps and their mirror images.
2. Shrunk linear discriminant analysis (equal priors; learned from maps and mirror images, answers averaged), an RBF and
   a linear SVM on the kernel averaged over mirror images.
3. One slope a member makes its log scores probabilities (Platt 1999), found by five folds over the training subjects,
   each class weighing the same; the answer is the mean of the three.

Shapes in this file: N clips learned from, M clips asked about, F = 588 features, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from scipy.special import log_softmax, softmax

from slstt.training.folds import ClipKey

PLACES, OF_SIDE = 14, 28
"""Windows a side; the pixels of a side that widths are told in."""
BLUR, CLIP = 0.7, 2.0
FOLDS, SLOPES = 5, np.geomspace(0.2, 20, 40)
FLATTENED = 0.2
"""LDA's scores times this before their softmax: a probability per map that is not all or nothing."""
ITERATIONS = 1_000_000

Numbers = Float[np.ndarray, "N F"]
Scores = Float[np.ndarray, "M K"]


@dataclass(frozen=True)
class Seen:
    """Clips by their features, and the features of their mirror images."""

    plain: np.ndarray
    """(N, F)."""
    mirrored: np.ndarray
    """(N, F)."""

    def of(self, rows: np.ndarray) -> "Seen":
        """Some of the clips."""
        return Seen(self.plain[rows], self.mirrored[rows])


Member = Callable[[Seen, np.ndarray, Seen, int], np.ndarray]
"""(learned from, labels (N,), asked about, K) -> log probabilities (M, K), not calibrated."""


def see(maps: Float[np.ndarray, "N 3 S S"]) -> Seen:
    """Features of normalised maps (u, v, strain) and of their mirror images."""
    flipped = maps[..., ::-1].copy()
    flipped[:, 0] *= -1
    return Seen(windows(maps), windows(flipped))


def windows(maps: Float[np.ndarray, "N 3 S S"]) -> Numbers:
    """Clipped, blurred maps through the windows, row by row, channel by channel: (N, 3 * 14 * 14) float64."""
    side = maps.shape[-1]
    unit = side / OF_SIDE
    clipped = np.clip(maps.astype(np.float64), -CLIP, CLIP)
    blurred = gaussian_filter(clipped, (0, 0, BLUR * unit, BLUR * unit), mode="nearest")
    centres = (np.arange(PLACES) + 0.5) * side / PLACES - 0.5
    weights = np.exp(-0.5 * ((np.arange(side) - centres[:, None]) / unit) ** 2)
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("ai,bj,nkij->nkab", weights, weights, blurred, optimize=True).reshape(len(maps), -1)


def shrunk_lda(shrinkage: float) -> Member:
    """Linear discriminant analysis with the covariance `shrinkage` of the way to a multiple of the identity."""

    def member(learned: Seen, labels: np.ndarray, asked: Seen, classes: int) -> np.ndarray:
        x, y = np.concatenate([learned.plain, learned.mirrored]), np.concatenate([labels, labels])
        present = np.unique(y)
        means = np.stack([x[y == one].mean(0) for one in present])
        within = (x - means[np.searchsorted(present, y)]) / np.sqrt(len(x))
        floor = shrinkage * (within**2).sum() / x.shape[1]
        # The covariance is F x F and of rank N: by Woodbury's identity a system as large as the clips is enough.
        small = (1 - shrinkage) * within @ within.T + floor * np.eye(len(within))
        directions = (means.T - (1 - shrinkage) * within.T @ np.linalg.solve(small, within @ means.T)) / floor
        offsets = -0.5 * (means.T * directions).sum(0)
        views = [softmax(FLATTENED * (view @ directions + offsets), axis=1) for view in (asked.plain, asked.mirrored)]
        return _spread(np.log(np.maximum(np.mean(views, axis=0), 1e-9)), present, classes)

    return member


def mirror_svm(kind: str, penalty: float) -> Member:
    """A support vector machine, `linear` or `rbf`, on the mean kernel with a clip and with its mirror image."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        products = a @ b.T
        if kind == "linear":
            return products / a.shape[1]
        distances = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * products
        return np.exp(-np.maximum(distances, 0) / a.shape[1])

    def member(learned: Seen, labels: np.ndarray, asked: Seen, classes: int) -> np.ndarray:
        from sklearn.svm import SVC

        present = np.unique(labels)
        machine = SVC(C=penalty, kernel="precomputed", class_weight="balanced", max_iter=ITERATIONS)
        machine.fit((kernel(learned.plain, learned.plain) + kernel(learned.plain, learned.mirrored)) / 2, labels)
        decided = machine.decision_function(
            (kernel(asked.plain, learned.plain) + kernel(asked.mirrored, learned.plain)) / 2
        )
        scores = np.stack([-decided, decided], axis=1) if decided.ndim == 1 else decided
        return _spread(np.maximum(log_softmax(scores, axis=1), np.log(1e-9)), present, classes)

    return member


def _spread(scores: np.ndarray, present: np.ndarray, classes: int) -> np.ndarray:
    """Log scores of the classes learned from, in their columns among all; the others are all but impossible."""
    found = np.full((len(scores), classes), np.log(1e-9))
    found[:, present] = scores
    return found


MEMBERS: tuple[dict[str, Member], ...] = (
    {f"lda {strength}": shrunk_lda(strength) for strength in (0.6, 0.3, 0.9)},
    {f"rbf {strength}": mirror_svm("rbf", strength) for strength in (1.0, 0.3, 3.0)},
    {f"linear {strength}": mirror_svm("linear", strength) for strength in (0.7, 0.2, 2.0)},
)
"""The three seats with their candidates; the first is taken unless the candidates are compared."""


def committee(
    learned: Float[np.ndarray, "N 3 S S"],
    labels: Int[np.ndarray, " N"],
    keys: Sequence[ClipKey],
    asked: Float[np.ndarray, "M 3 S S"],
    classes: int,
    inner: bool = False,
) -> tuple[Scores, tuple[str, ...]]:
    """Probabilities (M, K) for the maps asked about, and who sat on the committee. Each map is answered by itself.

    `keys` name the subjects of the maps learned from. With `inner` each seat goes to the candidate with the least
    balanced log loss in the five folds over these subjects.
    """
    if len(np.unique(labels)) == 1:
        return np.eye(classes)[np.full(len(asked), labels[0])], ()
    seats = MEMBERS if inner else tuple(dict(list(seat.items())[:1]) for seat in MEMBERS)
    known, wanted = see(learned), see(asked)
    fold = inner_folds(keys)
    counts = np.bincount(labels, minlength=classes)
    weights = 1 / np.maximum(counts, 1)[labels]
    found, seated = [], []
    for seat in seats:
        best = min((_calibration(member, known, labels, fold, weights, classes), name) for name, member in seat.items())
        (_, slope), name = best
        scores = answers(seat[name], known, labels, wanted, classes)
        found.append(softmax(slope * scores, axis=1))
        seated.append(name)
    return np.mean(found, axis=0), tuple(seated)


def inner_folds(keys: Sequence[ClipKey]) -> Int[np.ndarray, " N"]:
    """Which of the five folds each clip is in: a subject's all in one, always the same for the same subjects."""
    subjects = sorted({key[:2] for key in keys})
    drawn = np.random.default_rng(0).permutation(len(subjects)) % FOLDS
    place = dict(zip(subjects, drawn, strict=True))
    return np.array([place[key[:2]] for key in keys])


def answers(member: Member, learned: Seen, labels: np.ndarray, asked: Seen, classes: int) -> Scores:
    """A member's log scores after standardising by the maps learned from and their mirror images."""
    both = np.concatenate([learned.plain, learned.mirrored])
    mean, deviation = both.mean(0), both.std(0) + 1e-6
    first, second = (
        Seen((one.plain - mean) / deviation, (one.mirrored - mean) / deviation) for one in (learned, asked)
    )
    return member(first, labels, second, classes)


def _calibration(
    member: Member, known: Seen, labels: np.ndarray, fold: np.ndarray, weights: np.ndarray, classes: int
) -> tuple[float, float]:
    """(balanced log loss, slope) of the best slope in the five folds; slope 1 where no fold can be learned from."""
    scores, tested = np.zeros((len(labels), classes)), np.zeros(len(labels), dtype=bool)
    for number in range(FOLDS):
        inside, outside = fold != number, fold == number
        if outside.any() and len(np.unique(labels[inside])) == len(np.unique(labels)):
            scores[outside] = answers(member, known.of(inside), labels[inside], known.of(outside), classes)
            tested |= outside
    if not tested.any():
        return 0.0, 1.0
    rows, found = np.flatnonzero(tested), []
    for slope in SLOPES:
        right = log_softmax(slope * scores[rows], axis=1)[np.arange(len(rows)), labels[rows]]
        found.append((-float((weights[rows] * right).sum()), float(slope)))
    return min(found)
