"""The committee against the same idea written again from its description, and what must hold of its answers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.svm import SVC
from test_classifiers import CLASSES, CONFIGS

from slstt.cli.train import main
from slstt.datasets import flow_maps
from slstt.evaluation.predictions import read_predictions
from slstt.flow.encoding import normalize_each
from slstt.training.committee import FLATTENED, SLOPES, Seen, committee, inner_folds, see, shrunk_lda

KEYS = tuple(("smic", f"s{subject:02}", f"c{clip}") for subject in range(12) for clip in range(5))
LABELS = np.arange(len(KEYS)) % 3


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    """60 normalised maps (u, v, strain): each class moves a pair of places that a mirror exchanges."""
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 1, (len(KEYS), 3, 28, 28))
    for picture, label in zip(noise, LABELS, strict=True):
        rows = slice(9 * label, 9 * label + 9)
        picture[0, rows, 4:10] += 0.5
        picture[0, rows, 18:24] -= 0.5
        picture[1, rows, 4:24] += 0.35
    return normalize_each(torch.from_numpy(noise).float()[:, None])[:, 0].numpy()


def features(maps: np.ndarray) -> np.ndarray:
    """One window of 28 x 28 weights for each of the 196 places."""
    y, x = np.mgrid[:28, :28]
    places = [(2 * i + 0.5, 2 * j + 0.5) for i in range(14) for j in range(14)]
    shares = np.stack([np.exp(-((y - i) ** 2 + (x - j) ** 2) / 2) for i, j in places])
    shares /= shares.sum((1, 2), keepdims=True)
    smooth = np.clip(maps.astype(np.float64), -2, 2)
    for axis in (2, 3):
        smooth = gaussian_filter1d(smooth, 0.7, axis=axis, mode="nearest")
    return (smooth.reshape(len(maps), 3, -1) @ shares.reshape(196, -1).T).reshape(len(maps), -1)


def mirrored(maps: np.ndarray) -> np.ndarray:
    flipped = np.flip(maps, -1)
    return np.stack([-flipped[:, 0], flipped[:, 1], flipped[:, 2]], 1)


def lda(a, am, y, b, bm):
    """scikit-learn's, with the covariance worked out in full."""
    x, t = np.concatenate([a, am]), np.concatenate([y, y])
    within = np.concatenate([x[t == k] - x[t == k].mean(0) for k in range(3)])
    covariance = within.T @ within / len(x)
    shrunk = 0.4 * covariance + 0.6 * np.trace(covariance) / x.shape[1] * np.eye(x.shape[1])
    known = LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / 3] * 3, covariance_estimator=Given(shrunk)).fit(x, t)
    return (softmax(0.2 * known.decision_function(b), 1) + softmax(0.2 * known.decision_function(bm), 1)) / 2


class Given:
    """A covariance that is known: what scikit-learn weights by the priors, so 1/3 + 1/3 + 1/3 of it."""

    def __init__(self, covariance_) -> None:
        self.covariance_ = covariance_

    def fit(self, x):
        return self


def machine(kernel, penalty):
    """With kernels entry by entry as scikit-learn has them: gamma 1 / features, or products / features."""
    from sklearn.metrics.pairwise import linear_kernel, rbf_kernel

    def of(p, q):
        return rbf_kernel(p, q, gamma=1 / p.shape[1]) if kernel == "rbf" else linear_kernel(p, q) / p.shape[1]

    def answer(a, am, y, b, bm):
        fitted = SVC(C=penalty, kernel="precomputed", class_weight="balanced").fit((of(a, a) + of(a, am)) / 2, y)
        return softmax(fitted.decision_function((of(b, a) + of(bm, a)) / 2), 1)

    return answer


def expected(maps, labels, fold, asked) -> np.ndarray:
    def member(answer, inside, labels, outside):
        f, fm, g, gm = (features(x) for x in (inside, mirrored(inside), outside, mirrored(outside)))
        m, s = np.concatenate([f, fm]).mean(0), np.concatenate([f, fm]).std(0)
        return answer(*((x - m) / s for x in (f, fm)), labels, *((x - m) / s for x in (g, gm)))

    found = []
    for answer in (lda, machine("rbf", 1.0), machine("linear", 0.7)):
        inner = np.zeros((len(labels), 3))
        for k in range(5):
            inner[fold == k] = member(answer, maps[fold != k], labels[fold != k], maps[fold == k])
        weight = 1 / np.bincount(labels)[labels]
        fits = []
        for slope in SLOPES:
            powered = inner**slope / (inner**slope).sum(1, keepdims=True)
            fits.append((weight * np.log(powered[np.arange(len(labels)), labels])).sum())
        scores = member(answer, maps, labels, asked) ** SLOPES[np.argmax(fits)]
        found.append(scores / scores.sum(1, keepdims=True))
    return np.mean(found, 0)


def test_it_is_the_mean_of_three_calibrated_members(maps: np.ndarray) -> None:
    """Float64 throughout; the SVM's solver stops at 1e-3 of its dual, the rest is the order of sums."""
    train, test = np.arange(50), np.arange(50, 60)
    keys = [KEYS[i] for i in train]
    found, seats = committee(maps[train], LABELS[train], keys, maps[test], 3)
    assert seats == ("lda 0.6", "rbf 1.0", "linear 0.7")
    np.testing.assert_allclose(found, expected(maps[train], LABELS[train], inner_folds(keys), maps[test]), atol=2e-3)
    assert (found.argmax(1) == LABELS[test]).mean() > 0.6


def test_shrunk_lda_is_scikit_learn_s(maps: np.ndarray) -> None:
    learned, asked = see(maps[:50]), see(maps[50:])
    found = shrunk_lda(0.6)(learned, LABELS[:50], asked, 3)
    again = lda(learned.plain, learned.mirrored, LABELS[:50], asked.plain, asked.mirrored)
    np.testing.assert_allclose(np.exp(found), again, atol=1e-8)
    assert FLATTENED == 0.2


def test_answers_do_not_depend_on_company_or_on_the_mirror(maps: np.ndarray) -> None:
    keys = KEYS[:50]
    together, _ = committee(maps[:50], LABELS[:50], keys, maps[50:], 3)
    alone = np.concatenate([committee(maps[:50], LABELS[:50], keys, one[None], 3)[0] for one in maps[50:54]])
    np.testing.assert_allclose(together[:4], alone, atol=1e-9)
    in_the_mirror, _ = committee(maps[:50], LABELS[:50], keys, mirrored(maps[50:]), 3)
    np.testing.assert_allclose(together, in_the_mirror, atol=1e-9)


def test_inner_choice_takes_candidates_and_subjects_stay_whole(maps: np.ndarray) -> None:
    _, seats = committee(maps[:50], LABELS[:50], KEYS[:50], maps[50:], 3, inner=True)
    assert [seat.split()[0] for seat in seats] == ["lda", "rbf", "linear"]
    fold = inner_folds(KEYS)
    assert all(len({f for f, key in zip(fold, KEYS, strict=True) if key[:2] == one[:2]}) == 1 for one in KEYS)
    assert set(fold) == set(range(5))


def test_missing_classes_are_no_failure(maps: np.ndarray) -> None:
    two = LABELS % 2
    found, _ = committee(maps, two, KEYS, maps[:4], 3)
    assert np.allclose(found.sum(1), 1) and (found[:, 2] < 0.05).all()
    found, seats = committee(maps, np.full(len(maps), 1), KEYS, maps[:4], 3)
    assert seats == () and found.tolist() == [[0, 1, 0]] * 4
    assert isinstance(see(maps[:1]), Seen)


def test_a_run_is_the_committee_on_each_fold(maps: np.ndarray, tmp_path: Path, capsys) -> None:
    root, lines = tmp_path / "maps", ["dataset,subject,clip,label"]
    root.mkdir()
    for (dataset, subject, _), label, picture, number in zip(KEYS, LABELS, maps, range(60), strict=True):
        short = f"s{int(subject[1:]) + 1}"
        name = f"{short}_{('ne', 'po', 'sur')[label]}_{number + 1:02}"
        bytes_ = np.clip(128 + 30 * picture.transpose(1, 2, 0), 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / f"{short}_{name} .png"), bytes_[..., ::-1])
        lines.append(f"{dataset},{short},{name},{label}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    words = [
        "--config",
        str(CONFIGS / "committee.yaml"),
        "--out",
        str(tmp_path / "run"),
        "--quiet",
        f"data.root={root}",
    ]
    assert main([*words, "data.protocol=smic_sde"]) == 0
    found, data = read_predictions(tmp_path / "run" / "predictions.csv"), flow_maps.read(root)
    x = normalize_each(torch.from_numpy(data.maps)[:, None])[:, 0].numpy()
    labels = np.array([CLASSES.index(label) for label in data.labels])
    tested = np.array([key[1] == "s03" for key in data.keys])
    keys = [key for key, test in zip(data.keys, tested, strict=True) if not test]
    again, _ = committee(x[~tested], labels[~tested], keys, x[tested], 3)
    np.testing.assert_allclose(found.probabilities[tested], again, atol=1e-5)
    assert main([*words, "data.normalize=none", "model.pretrained=synthetic"]) == 2
    said = capsys.readouterr().err
    assert "wants normalised maps" in said and "no SLSTT encoder" in said
