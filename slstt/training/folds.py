"""Leave-one-subject-out folds, their choice (`--folds`, `--shard i/n`), inner validation, and the leakage audit."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from slstt.errors import ConfigError, DataError

ClipKey = tuple[str, str, str]
"""Data set, subject, clip."""


@dataclass(frozen=True)
class Fold:
    """Who is tested, who is learned from, who chooses the epoch: positions in the list of clips, ascending."""

    dataset: str
    subject: str
    train: tuple[int, ...]
    validation: tuple[int, ...]
    """Clips of the inner validation subjects; empty unless selection.method is inner."""
    test: tuple[int, ...]

    @property
    def name(self) -> str:
        """The fold's folder: `casme2-sub01`."""
        return f"{self.dataset}-{self.subject}"


def leave_one_subject_out(keys: Sequence[ClipKey]) -> list[Fold]:
    """One fold per (dataset, subject), sorted. Raises DataError where there are fewer than two subjects."""
    subjects = sorted({key[:2] for key in keys})
    if len(subjects) < 2:
        raise DataError(f"leave-one-subject-out needs at least two subjects; the clips are of {len(subjects)}")
    folds = []
    for dataset, subject in subjects:
        tested = [key[:2] == (dataset, subject) for key in keys]
        train = tuple(i for i, held_out in enumerate(tested) if not held_out)
        test = tuple(i for i, held_out in enumerate(tested) if held_out)
        folds.append(Fold(dataset, subject, train, (), test))
    return folds


def with_validation(fold: Fold, keys: Sequence[ClipKey], share: float, seed: int) -> Fold:
    """`fold` with `share` of its training subjects (at least one, never all) moved to inner validation.

    Drawn from `seed` and the fold's name alone. Raises DataError where the fold has one training subject only.
    """
    subjects = sorted({keys[i][:2] for i in fold.train})
    if len(subjects) < 2:
        raise DataError(f"{fold.name}: inner validation needs two training subjects, there is {len(subjects)}")
    count = min(max(1, round(share * len(subjects))), len(subjects) - 1)
    order = np.random.default_rng(seed_of(seed, fold.name, "validation")).permutation(len(subjects))
    chosen = {subjects[i] for i in order[:count]}
    return Fold(
        fold.dataset,
        fold.subject,
        tuple(i for i in fold.train if keys[i][:2] not in chosen),
        tuple(i for i in fold.train if keys[i][:2] in chosen),
        fold.test,
    )


def audit(fold: Fold, keys: Sequence[ClipKey], statistics: Iterable[int] = ()) -> None:
    """Raise DataError where the fold could know its test subject beforehand.

    No clip of the test subject may be trained on, choose the epoch or enter `statistics` (the clips whose mean and
    deviation normalise the data); validation subjects may enter neither training nor statistics; and the test clips
    must be exactly the test subject's.
    """
    tested = (fold.dataset, fold.subject)
    validated = {keys[i][:2] for i in fold.validation}
    uses = {
        "training": {keys[i][:2] for i in fold.train},
        "the normalisation's statistics": {keys[i][:2] for i in statistics},
    }
    problems = [
        f"{fold.name}: the test subject is in {use}"
        for use, subjects in {**uses, "validation": validated}.items()
        if tested in subjects
    ]
    problems += [
        f"{fold.name}: validation subject {'/'.join(subject)} is in {use}"
        for use, subjects in uses.items()
        for subject in sorted(subjects & (validated - {tested}))
    ]
    if {i for i, key in enumerate(keys) if key[:2] == tested} != set(fold.test):
        problems.append(f"{fold.name}: its test clips are not exactly those of {'/'.join(tested)}")
    if problems:
        raise DataError(*problems)


def choose(folds: Sequence[Fold], wanted: Sequence[str] | None, shard: tuple[int, int] | None) -> list[Fold]:
    """The folds named by `wanted` (`sub01`, `casme2-sub01` or `casme2/sub01`; None: all), of these the part i of n of
    `shard`.

    Every n-th fold belongs to a part, so that the parts of 1..n are disjoint and complete. Raises ConfigError naming
    unknown and ambiguous names, and where `wanted` holds none.
    """
    chosen, problems = list(folds), []
    if wanted is not None:
        if not wanted:
            problems.append(f"--folds: names no fold; there are {', '.join(fold.name for fold in folds)}")
        names: set[str] = set()
        for name in wanted:
            matches = [
                fold.name for fold in folds if name in (fold.name, fold.subject, f"{fold.dataset}/{fold.subject}")
            ]
            if len(matches) == 1:
                names.add(matches[0])
            elif matches:
                problems.append(f"--folds: '{name}' is a subject of several data sets; write {' or '.join(matches)}")
            else:
                problems.append(f"--folds: no subject '{name}'; there are {', '.join(fold.name for fold in folds)}")
        chosen = [fold for fold in folds if fold.name in names]
    if problems:
        raise ConfigError(*problems)
    if shard is not None:
        part, parts = shard
        chosen = chosen[part - 1 :: parts]
    return chosen


def seed_of(seed: int, *names: object) -> int:
    """A random seed (63 bits) that depends on `seed` and `names` and on nothing else."""
    text = "\0".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
