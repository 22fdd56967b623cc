"""Folds (leave out a subject or a data set, or the owners' test sets), their choice, inner validation, the audit."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from slstt.errors import ConfigError, DataError

ClipKey = tuple[str, str, str]
"""Data set, subject, clip."""


@dataclass(frozen=True)
class Fold:
    """Who is tested, who is learned from, who chooses the epoch: positions in the list of clips, ascending."""

    dataset: str
    subject: str
    """Empty where a whole data set is tested, or the owners' test sets of it."""
    train: tuple[int, ...]
    validation: tuple[int, ...]
    """Clips of the inner validation subjects; empty unless selection.method is inner."""
    test: tuple[int, ...]
    test_sets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The owners' test sets, which together are `test`; empty in every other fold."""

    @property
    def name(self) -> str:
        """The fold's folder: `casme2-sub01`, or `casme2` for the whole data set."""
        return f"{self.dataset}-{self.subject}" if self.subject else self.dataset

    @property
    def tested(self) -> str:
        """What is tested, for messages: `casme2/sub01`, or `casme2`."""
        return f"{self.dataset}/{self.subject}" if self.subject else self.dataset


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


def leave_one_dataset_out(keys: Sequence[ClipKey]) -> list[Fold]:
    """One fold per data set, sorted. Raises DataError where there are fewer than two data sets."""
    datasets = sorted({key[0] for key in keys})
    if len(datasets) < 2:
        raise DataError(
            f"leave-one-data-set-out needs at least two data sets; the clips are of {', '.join(datasets) or 'none'}; "
            "name the folders of others in data.root too, or take a data.protocol that leaves out one subject"
        )
    return [
        Fold(
            dataset,
            "",
            tuple(i for i, key in enumerate(keys) if key[0] != dataset),
            (),
            tuple(i for i, key in enumerate(keys) if key[0] == dataset),
        )
        for dataset in datasets
    ]


def owners_split(keys: Sequence[ClipKey], sets: Sequence[str], test_sets: Sequence[str]) -> list[Fold]:
    """One fold: trained once, tested on each of the owners' `test_sets`; `sets` names each clip's (other: training).

    Raises DataError where there is nothing to train on or nothing to test.
    """
    parts = {name: tuple(i for i, found in enumerate(sets) if found == name) for name in test_sets}
    parts = {name: indices for name, indices in parts.items() if indices}
    test = tuple(sorted(i for indices in parts.values() for i in indices))
    train = tuple(i for i, found in enumerate(sets) if found not in test_sets)
    if not test or not train:
        what = "no training clip" if test else f"no clip of the test sets {', '.join(test_sets)}"
        raise DataError(f"the owners' split has {what}; preprocess the data set with its owners' lists")
    return [Fold(keys[test[0]][0], "", train, (), test, parts)]


def subjects_on_both_sides(fold: Fold, keys: Sequence[ClipKey]) -> list[str]:
    """Subjects of the owners' test sets who are in training too; the owners' split may have some."""
    tested = {keys[i][:2] for i in fold.test}
    return sorted("/".join(subject) for subject in tested & {keys[i][:2] for i in (*fold.train, *fold.validation)})


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
    return replace(
        fold,
        train=tuple(i for i in fold.train if keys[i][:2] not in chosen),
        validation=tuple(i for i in fold.train if keys[i][:2] in chosen),
    )


def audit(fold: Fold, keys: Sequence[ClipKey], statistics: Iterable[int] = ()) -> None:
    """Raise DataError where the fold could know what it tests beforehand.

    No clip of the test subject (or of the data set left out) may be trained on, choose the epoch or enter `statistics`
    (the clips whose mean and deviation normalise the data); validation subjects may enter neither training nor
    statistics; and the test clips must be exactly the test subject's (the data set's). In the owners' split no test
    clip may be used so; its subjects are the owners' choice.
    """
    statistics = tuple(statistics)
    if fold.test_sets:
        parts, what, whose = 3, "a test clip", {keys[i] for i in fold.test}
        exact = {i for indices in fold.test_sets.values() for i in indices} == set(fold.test)
    else:
        parts = 2 if fold.subject else 1
        what = "the test subject" if fold.subject else "the data set left out"
        whose = {(fold.dataset, fold.subject)[:parts]}
        exact = {i for i, key in enumerate(keys) if key[:parts] in whose} == set(fold.test)
    uses = {"training": fold.train, "the normalisation's statistics": statistics, "validation": fold.validation}
    problems = [
        f"{fold.name}: {what} is in {use}"
        for use, indices in uses.items()
        if whose & {keys[i][:parts] for i in indices}
    ]
    validated = {keys[i][:2] for i in fold.validation if keys[i][:parts] not in whose}
    problems += [
        f"{fold.name}: validation subject {'/'.join(subject)} is in {use}"
        for use, indices in uses.items()
        if use != "validation"
        for subject in sorted({keys[i][:2] for i in indices} & validated)
    ]
    if not exact:
        problems.append(f"{fold.name}: its test clips are not exactly those of {fold.tested}")
    if problems:
        raise DataError(*problems)


def choose(folds: Sequence[Fold], wanted: Sequence[str] | None, shard: tuple[int, int] | None) -> list[Fold]:
    """The folds named by `wanted` (`sub01`, `casme2-sub01` or `casme2/sub01`; None: all), of these the part i of n of
    `shard`.

    Every n-th fold belongs to a part, so that the parts of 1..n are disjoint and complete. Raises ConfigError naming
    unknown and ambiguous names, and where `wanted` holds none.
    """
    chosen, problems = list(folds), []
    what = "subject" if any(fold.subject for fold in folds) else "fold"
    if wanted is not None:
        if not wanted:
            problems.append(f"--folds: names no fold; there are {', '.join(fold.name for fold in folds)}")
        names: set[str] = set()
        for name in wanted:
            matches = [fold.name for fold in folds if name and name in (fold.name, fold.subject, fold.tested)]
            if len(matches) == 1:
                names.add(matches[0])
            elif matches:
                problems.append(f"--folds: '{name}' is a subject of several data sets; write {' or '.join(matches)}")
            else:
                problems.append(f"--folds: no {what} '{name}'; there are {', '.join(fold.name for fold in folds)}")
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
