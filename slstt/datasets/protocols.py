"""Evaluation protocols: which clips count, as which class, which are left out; SDE and CDE (MEGC2019, See et al. 2019).

`counts` and `subjects` are the published ones. `manifest_difference` compares a list of clips with the published list,
of which the package holds only digests (`protocol_digests.json`, written by `scripts/write_protocol_digests.py`): the
first 24 bits of a salted SHA-256 for each clip and its class. They confirm a clip or deny it, but do not list any.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

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
    """Data set -> published number of subjects."""
    published: str
    """The published list it takes its clips from: its own name, or that of a protocol over more data sets."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets it takes clips from."""
        return tuple(self.counts)


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


def _cde(name: str, title: str, datasets: tuple[str, ...]) -> Protocol:
    return Protocol(
        name,
        title,
        _THREE,
        {dataset: _COMPOSITE_CLASSES[dataset] for dataset in datasets},
        _COMPOSITE_WITHOUT,
        {dataset: _COMPOSITE_COUNTS[dataset] for dataset in datasets},
        {dataset: _COMPOSITE_SUBJECTS[dataset] for dataset in datasets},
        "cde",
    )


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        _sde("casme2", "CASME II, 5 classes", _CASME2_FIVE, (63, 32, 27, 28, 99), 26),
        _sde("samm", "SAMM, 5 classes", _SAMM_FIVE, (57, 12, 26, 15, 26), 27),
        _sde("smic", "SMIC-HS, 3 classes", _THREE, (70, 51, 43), 16),
        _cde("cde", "MEGC2019 composite, 3 classes", ("casme2", "samm", "smic")),
        _cde("cde_casme2_smic", "MEGC2019 composite without SAMM, 3 classes", ("casme2", "smic")),
    )
}


def class_of(protocol: Protocol, clip: Clip) -> str | None:
    """The clip's class in `protocol`; None where the protocol leaves it out."""
    if clip.key in protocol.without:
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
        short = {label: count - found[dataset, label] for label, count in protocol.counts[dataset].items()}
        total = sum(short.values())
        if any(short.values()):
            parts = ", ".join(f"{count} {label}" for label, count in short.items() if count)
            lines.append(f"{dataset}: {total} of {sum(protocol.counts[dataset].values())} clips missing ({parts})")
    return lines


@dataclass(frozen=True)
class PublishedLists:
    """Digests of the clips that count and of their classes (see `digest`)."""

    salt: str
    digests: Mapping[str, Mapping[str, frozenset[str]]]
    """Name of the list -> data set -> digests."""


def published_class(protocol: Protocol, key: tuple[str, str, str], lists: PublishedLists | None = None) -> str | None:
    """The class the published list gives the clip `key`; None where it is not on the list."""
    if key[0] not in protocol.counts:
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
