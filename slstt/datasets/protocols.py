"""Evaluation protocols: which clips count, as which class, which are left out, and what each fold leaves out.

`counts` and `subjects` are the published ones. `manifest_difference` compares a list of clips with the published list,
of which the package holds only digests (`protocol_digests.json`, written by `scripts/write_protocol_digests.py`): the
first 24 bits of a salted SHA-256 for each clip and its class. They confirm a clip or deny it, but do not list any.
Where no published list is known clip by clip, the clips follow from the rule alone, and the counts are compared.

Sources: SDE and CDE, and hold-out-database evaluation (HDE), from MEGC (Yap et al. 2018, See et al. 2019); CAS(ME)^3
from its paper (Li et al. 2022) and sheet; MMEW from its paper (Ben et al. 2021); CASME's four classes as in Yan et al.
2013 without its rare emotions; DFME's split from its owners' lists.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal

from slstt.datasets import DATASETS
from slstt.datasets.clips import Clip

_NEGATIVE, _POSITIVE, _SURPRISE = "negative", "positive", "surprise"
_THREE = (_NEGATIVE, _POSITIVE, _SURPRISE)

_COMPOSITE_CLASSES = {
    "casme2": {"disgust": _NEGATIVE, "repression": _NEGATIVE, "happiness": _POSITIVE, "surprise": _SURPRISE},
    "samm": {
        **dict.fromkeys(("anger", "contempt", "disgust", "fear", "sadness"), _NEGATIVE),
        "happiness": _POSITIVE,
        "surprise": _SURPRISE,
    },
    "smic": {name: name for name in _THREE},
}

_COMPOSITE_WITHOUT = frozenset(
    {
        ("casme2", "sub04", "EP12_01f"),
        ("casme2", "sub05", "EP09_05f"),
        ("casme2", "sub24", "EP07_01"),
        ("casme2", "sub24", "EP07_04f"),
        ("casme2", "sub24", "EP10_03"),
    }
)
"""Clips whose emotion has a class but which the MEGC2019 list leaves out."""


@dataclass(frozen=True)
class Protocol:
    """One evaluation protocol."""

    name: str
    title: str
    classes: tuple[str, ...]
    """In the order of predictions and confusion matrices."""
    emotions: Mapping[str, Mapping[str, str]]
    """Data set -> emotion -> class; an emotion that is not there is left out."""
    without: frozenset[tuple[str, str, str]]
    """Keys of clips left out although their emotion has a class."""
    counts: Mapping[str, Mapping[str, int]]
    """Data set -> class -> published number of clips."""
    subjects: Mapping[str, int]
    """Data set -> published number of subjects; a data set whose number is not published is not there."""
    published: str | None
    """The published list it takes its clips from: its own name, or that of a protocol over more data sets. None: no
    list is known clip by clip, the clips follow from the rule (emotions -> classes)."""
    leaves_out: Literal["subject", "dataset", "test_sets"] = "subject"
    """What a fold tests: one subject, one data set, or the owners' test sets (one fold)."""
    test_sets: Mapping[str, int] = field(default_factory=dict)
    """The owners' test sets -> published number of clips."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets it takes clips from."""
        return tuple(self.emotions)

    @property
    def by_rule(self) -> bool:
        """Whether the clips follow from the rule alone, since no published list is known clip by clip."""
        return self.published is None

    @property
    def heading(self) -> str:
        """The title, and whether it is by rule."""
        return f"{self.title}, by rule" if self.by_rule and self.name != OWN else self.title


def _counts(classes: tuple[str, ...], *numbers: int) -> dict[str, int]:
    return dict(zip(classes, numbers, strict=True))


_CASME2_FIVE = ("disgust", "happiness", "repression", "surprise", "others")
_SAMM_FIVE = ("anger", "contempt", "happiness", "surprise", "other")
_COMPOSITE_COUNTS = {
    "casme2": _counts(_THREE, 88, 32, 25),
    "samm": _counts(_THREE, 92, 26, 15),
    "smic": _counts(_THREE, 70, 51, 43),
}
_COMPOSITE_SUBJECTS = {"casme2": 24, "samm": 28, "smic": 16}


def _sde(dataset: str, title: str, classes: tuple[str, ...], numbers: tuple[int, ...], subjects: int) -> Protocol:
    name, emotions = f"{dataset}_sde", {dataset: {emotion: emotion for emotion in classes}}
    counts = {dataset: _counts(classes, *numbers)}
    return Protocol(name, title, classes, emotions, frozenset(), counts, {dataset: subjects}, name)


def _cde(
    name: str,
    title: str,
    datasets: tuple[str, ...],
    leaves_out: Literal["subject", "dataset"] = "subject",
) -> Protocol:
    return Protocol(
        name,
        title,
        _THREE,
        {dataset: _COMPOSITE_CLASSES[dataset] for dataset in datasets},
        _COMPOSITE_WITHOUT,
        {dataset: _COMPOSITE_COUNTS[dataset] for dataset in datasets},
        {dataset: _COMPOSITE_SUBJECTS[dataset] for dataset in datasets},
        "cde",
        leaves_out,
    )


def _by_rule(
    dataset: str, title: str, groups: Mapping[str, tuple[str, ...]], numbers: Mapping[str, int], subjects: int | None
) -> Protocol:
    """A protocol of one data set by the rule class -> emotions; `numbers` are the published ones of each emotion."""
    emotions = {emotion: label for label, group in groups.items() for emotion in group}
    return Protocol(
        f"{dataset}_{len(groups)}",
        f"{title}, {len(groups)} classes",
        tuple(groups),
        {dataset: emotions},
        frozenset(),
        {dataset: {label: sum(numbers[emotion] for emotion in group) for label, group in groups.items()}},
        {} if subjects is None else {dataset: subjects},
        None,
    )


def _long(dataset: str, title: str, emotions: Mapping[str, str]) -> Protocol:
    """The micro-expressions of a data set of recordings in the three classes of spot-then-recognise (MEGC 2022 on)."""
    name, title = f"{dataset}_3", f"{title}, micro-expressions, 3 classes"
    return Protocol(name, title, _THREE, {dataset: emotions}, frozenset(), {}, {}, None)


def _each(*emotions: str) -> dict[str, tuple[str, ...]]:
    return {emotion: (emotion,) for emotion in emotions}


_CASME3 = {
    "disgust": 250, "surprise": 187, "others": 161, "fear": 86, "anger": 64, "sadness": 57, "happiness": 55,
}  # fmt: skip
_MMEW = {"surprise": 89, "disgust": 72, "others": 66, "happiness": 36, "fear": 16, "sadness": 13, "anger": 8}
_CASME = {"tense": 69, "disgust": 44, "repression": 38, "surprise": 20}
_THREE_OF_SEVEN = {
    _NEGATIVE: ("disgust", "fear", "anger", "sadness"),
    _POSITIVE: ("happiness",),
    _SURPRISE: ("surprise",),
}
_DFME = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        _sde("casme2", "CASME II, 5 classes", _CASME2_FIVE, (63, 32, 27, 28, 99), 26),
        _sde("samm", "SAMM, 5 classes", _SAMM_FIVE, (57, 12, 26, 15, 26), 27),
        _sde("smic", "SMIC-HS, 3 classes", _THREE, (70, 51, 43), 16),
        _cde("cde", "MEGC2019 composite, 3 classes", ("casme2", "samm", "smic")),
        _cde("cde_casme2_smic", "MEGC2019 composite without SAMM, 3 classes", ("casme2", "smic")),
        _cde("hde", "MEGC2019 composite, leave one data set out", ("casme2", "samm", "smic"), "dataset"),
        _cde("casme2_3", "CASME II, 3 classes of the MEGC2019 composite", ("casme2",)),
        _cde("samm_3", "SAMM, 3 classes of the MEGC2019 composite", ("samm",)),
        _by_rule("casme3", "CAS(ME)^3 part A", _THREE_OF_SEVEN, _CASME3, 88),
        _by_rule("casme3", "CAS(ME)^3 part A", {**_THREE_OF_SEVEN, "others": ("others",)}, _CASME3, 94),
        _by_rule("casme3", "CAS(ME)^3 part A", _each(*_CASME3), _CASME3, 94),
        _by_rule("mmew", "MMEW", _THREE_OF_SEVEN, _MMEW, None),
        _by_rule("mmew", "MMEW", _each("surprise", "disgust", "others", "happiness"), _MMEW, None),
        _by_rule("mmew", "MMEW", _each("surprise", "disgust", "others", "happiness", "fear"), _MMEW, None),
        _by_rule("mmew", "MMEW", _each("surprise", "disgust", "happiness", "fear", "sadness", "anger"), _MMEW, None),
        _by_rule("mmew", "MMEW", _each(*_MMEW), _MMEW, 30),
        _by_rule("casme", "CASME", _each(*_CASME), _CASME, None),
        _long("casme_square", "CAS(ME)^2", {name: name for name in _THREE}),
        _long("samm_long", "SAMM Long Videos", _COMPOSITE_CLASSES["samm"]),
        Protocol(
            "dfme",
            "DFME, 7 classes, the owners' training and test sets",
            _DFME,
            {"dfme": {emotion: emotion for emotion in _DFME}},
            frozenset(),
            {},
            {},
            None,
            "test_sets",
            {"testA": 474, "testB": 299},
        ),
    )
}


OWN = "own"
"""The protocol of whoever has a collection of their own: the classes they name, every subject left out in turn."""


def protocol_of(name: str, classes: Sequence[str] = ()) -> Protocol:
    """The protocol called `name` (a key of PROTOCOLS); for `own` the one whose classes are the emotions `classes`.

    The latter takes the clips of any data set that show one of them.
    """
    if name != OWN:
        return PROTOCOLS[name]
    emotions = {emotion: emotion for emotion in classes}
    return Protocol(
        OWN, "own classes", tuple(classes), dict.fromkeys(DATASETS, emotions), frozenset(), {}, {}, published=None
    )


def class_of(protocol: Protocol, clip: Clip) -> str | None:
    """The clip's class in `protocol`; None where the protocol leaves it out, as all do with macro-expressions."""
    if clip.key in protocol.without or clip.kind != "micro":
        return None
    return protocol.emotions.get(clip.dataset, {}).get(clip.emotion)


def left_out(protocol: Protocol, keys: Iterable[tuple[str, str, str]]) -> list[str]:
    """What of `keys` the protocol does not take, one line for each data set and each clip it leaves out by name."""
    keys = sorted(set(keys))
    others = Counter(key[0] for key in keys if key[0] not in protocol.datasets)
    lines = [
        f"{dataset}: {count} clip{'s' * (count > 1)} left out ({protocol.name} takes {', '.join(protocol.datasets)})"
        for dataset, count in sorted(others.items())
    ]
    return lines + [f"{' '.join(key)}: left out, as the published list does" for key in keys if key in protocol.without]


Entry = tuple[str, str, str, str]
"""(dataset, subject, clip, class), ids in normal form."""


def manifest_difference(
    protocol: Protocol,
    entries: Iterable[Entry],
    *,
    datasets: Collection[str] | None = None,
    candidates: Iterable[tuple[str, str, str]] = (),
    lists: "PublishedLists | None" = None,
) -> list[str]:
    """What differs between `entries` and the published list, one line each; [] where they are exactly the same.

    Of a protocol by rule only the counts are compared, of the data sets and classes whose numbers are published.
    Clips that are not on the list, are listed twice or have another class there are named. Missing clips are counted
    by data set and class, and named where `candidates` (e.g. the keys in `failures.csv`) contain them. `datasets`
    restricts the comparison to some of the protocol's data sets. `lists` replaces the published lists of the package.
    """
    entries = list(entries)
    wanted = [name for name in protocol.datasets if datasets is None or name in datasets]
    lines, found = [], Counter()
    given = Counter(entry[:3] for entry in entries)
    lines += [f"{' '.join(key)}: listed {count} times" for key, count in given.items() if count > 1]
    for key, label in {entry[:3]: entry[3] for entry in entries}.items():
        if protocol.by_rule:
            published = label if key[0] in wanted and label in protocol.classes else None
        else:
            published = published_class(protocol, key, lists) if key[0] in wanted else None
        found[key[0], published] += 1
        if published is None:
            lines.append(f"{' '.join(key)} ({label}): not in the protocol")
        elif published != label:
            lines.append(f"{' '.join(key)}: class {label}, in the protocol {published}")
    for key in sorted(set(candidates) - set(given)):
        published = published_class(protocol, key, lists) if key[0] in wanted else None
        if published is not None:
            lines.append(f"{' '.join(key)} ({published}): missing")
            found[key[0], published] += 1
    for dataset in wanted:
        counts = protocol.counts.get(dataset, {})
        lines += _count_lines(dataset, counts, {label: found[dataset, label] for label in counts})
    return lines


def _count_lines(dataset: str, published: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """How many clips of a data set are missing, and (by rule only) how many are there beyond the published ones."""
    lines, whole = [], sum(published.values())
    short = {label: count - found[label] for label, count in published.items() if count > found[label]}
    over = {label: found[label] - count for label, count in published.items() if count < found[label]}
    for counts, what in ((short, f"of {whole} clips missing"), (over, f"clips more than the {whole} published")):
        if counts:
            parts = ", ".join(f"{count} {label}" for label, count in counts.items())
            lines.append(f"{dataset}: {sum(counts.values())} {what} ({parts})")
    return lines


def test_set_differences(protocol: Protocol, found: Mapping[str, int]) -> list[str]:
    """Where the owners' test sets (name -> number of clips) have not the published numbers, one line each."""
    return [
        f"{name}: {found.get(name, 0)} clips instead of {count}"
        for name, count in protocol.test_sets.items()
        if found.get(name, 0) != count
    ]


@dataclass(frozen=True)
class PublishedLists:
    """Digests of the clips that count and of their classes (see `digest`)."""

    salt: str
    digests: Mapping[str, Mapping[str, frozenset[str]]]
    """Name of the list -> data set -> digests."""


def published_class(protocol: Protocol, key: tuple[str, str, str], lists: PublishedLists | None = None) -> str | None:
    """The class the published list gives the clip `key`; None where it is not on the list, or no list is known."""
    if protocol.published is None or key[0] not in protocol.counts:
        return None
    lists = lists or _published_lists()
    listed = lists.digests[protocol.published].get(key[0], frozenset())
    matching = (name for name in protocol.classes if digest(lists.salt, protocol.published, *key, name) in listed)
    return next(matching, None)


def digest(salt: str, published: str, dataset: str, subject: str, clip: str, label: str) -> str:
    """The first 24 bits, as 6 hexadecimal digits, that stand for one clip and its class in a published list.

    A clip that is not on a list of n passes for one with probability n / 2**24 (442 clips: 0.003 %).
    """
    return hashlib.sha256("|".join((salt, published, dataset, subject, clip, label)).encode()).hexdigest()[:6]


@cache
def _published_lists() -> PublishedLists:
    table = json.loads(files("slstt.datasets").joinpath("protocol_digests.json").read_text(encoding="utf-8"))
    digests = {
        name: {dataset: frozenset(text.split()) for dataset, text in parts.items()}
        for name, parts in table["lists"].items()
    }
    return PublishedLists(table["salt"], digests)
