"""Evaluation protocols: which clips count, as which class; SDE (one data set) and CDE (MEGC2019, See et al. 2019).

`counts` and `subjects` are the published ones; `manifest_difference` compares a list of clips with the published list.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from slstt.datasets.clip import Clip

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

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets it takes clips from."""
        return tuple(self.counts)


def _same(names: tuple[str, ...]) -> dict[str, str]:
    return {name: name for name in names}


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
    counts = {dataset: _counts(classes, *numbers)}
    return Protocol(
        f"{dataset}_sde", title, classes, {dataset: _same(classes)}, frozenset(), counts, {dataset: subjects}
    )


def _cde(name: str, title: str, datasets: tuple[str, ...]) -> Protocol:
    return Protocol(
        name,
        title,
        _THREE,
        {dataset: _COMPOSITE_CLASSES[dataset] for dataset in datasets},
        _COMPOSITE_WITHOUT,
        {dataset: _COMPOSITE_COUNTS[dataset] for dataset in datasets},
        {dataset: _COMPOSITE_SUBJECTS[dataset] for dataset in datasets},
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
