"""Action units: the units of CD6ME, what a sheet's text says of them, and the protocols that train them.

CD6ME (Varanka et al., arXiv 2211.11425): the 12 units that its authors' program names, each present or absent, over six
data sets, leaving one out. `counts` are the clips in which its authors found each unit.

Texts are read as coders write them. A side (`L10`, `R14`, `14L`) or an intensity (`12b`) does not change the unit, nor
does the prefix `AU`. `12 or 14`, `12/14` and `12?` leave it open which unit moved: such a unit is undecided, neither
present nor absent. `(k)`, as 4DME marks some units, takes the unit back: CD6ME's authors do not count it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17)
UNIT_NAMES = tuple(f"AU{number}" for number in UNITS)
HIGHEST = 99
"""FACS numbers its codes below 100."""

_UNIT = re.compile(
    r"(?:AUs?)?\s*(?:[LRTB]|left|right|both)?\s*(?:AU)?\s*(?P<number>\d{1,3})(?:\.0*)?\s*[LR]?[A-E]?[LR]?",
    re.IGNORECASE | re.ASCII,
)
_SEPARATORS = re.compile(r"[+,;&\uff0b\u3001]|\band\b", re.IGNORECASE)
_ALTERNATIVES = re.compile(r"\bor\b|/|\|", re.IGNORECASE)
_TAKEN_BACK = re.compile(r"\(\s*k\s*\)", re.IGNORECASE)
_NOTE = re.compile(r"\([^()]*\)")
_UNKNOWN = frozenset({"", "?", "-", "/", "nan", "none", "n/a", "na", "null"})


@dataclass(frozen=True)
class CodedUnits:
    """What a coder wrote of one clip."""

    present: frozenset[int]
    undecided: frozenset[int] = frozenset()
    """Named, but not for certain."""
    unread: tuple[str, ...] = ()
    """Parts of the text that name no unit."""


def read_units(text: str) -> CodedUnits | None:
    """The units in a sheet's cell; None where it says nothing (empty, `?`, `/`).

    A text of which no part is a unit gives no units and its parts in `unread`.
    """
    if text.strip().casefold() in _UNKNOWN:
        return None
    present: set[int] = set()
    undecided: set[int] = set()
    unread: list[str] = []
    for part in _SEPARATORS.split(text):
        if _TAKEN_BACK.search(part):
            continue
        alternatives = [found for one in _ALTERNATIVES.split(_NOTE.sub("", part)) if (found := one.strip())]
        for one in alternatives:
            found = _UNIT.fullmatch(one.rstrip("? ").strip())
            if found is None or int(found["number"]) > HIGHEST:
                unread.append(one)
            elif len(alternatives) > 1 or one.endswith("?"):
                undecided.add(int(found["number"]))
            else:
                present.add(int(found["number"]))
    return CodedUnits(frozenset(present), frozenset(undecided - present), tuple(unread))


@dataclass(frozen=True)
class UnitProtocol:
    """Which data sets' units are trained, and what each fold leaves out."""

    name: str
    title: str
    leaves_out: Literal["subject", "dataset"]
    clips: Mapping[str, int]
    """Data set -> published number of clips, those without any of the units included."""
    counts: Mapping[str, Mapping[str, int]]
    """Data set -> unit's name -> published number of clips that show it."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets it takes clips from."""
        return tuple(self.clips)


def _counts(*numbers: int) -> dict[str, int]:
    return dict(zip(UNIT_NAMES, numbers, strict=True))


_CLIPS = {"casme": 189, "casme2": 256, "samm": 159, "fourdme": 267, "mmew": 300, "casme3": 860}
_COUNTS = {
    "casme": _counts(23, 17, 70, 0, 1, 4, 40, 3, 9, 23, 14, 13),
    "casme2": _counts(26, 22, 130, 2, 13, 39, 13, 16, 34, 27, 16, 25),
    "samm": _counts(6, 18, 23, 10, 3, 46, 5, 6, 28, 13, 4, 6),
    "fourdme": _counts(46, 54, 102, 8, 25, 89, 1, 2, 53, 4, 6, 11),
    "mmew": _counts(50, 41, 109, 70, 10, 47, 8, 38, 37, 17, 6, 11),
    "casme3": _counts(153, 128, 274, 44, 8, 27, 50, 10, 15, 193, 6, 20),
}

UNIT_PROTOCOLS: dict[str, UnitProtocol] = {
    protocol.name: protocol
    for protocol in (
        UnitProtocol("cd6me", "CD6ME, 12 action units, leave one data set out", "dataset", _CLIPS, _COUNTS),
        UnitProtocol("cd6me_subjects", "CD6ME's 12 action units, leave one subject out", "subject", _CLIPS, _COUNTS),
    )
}

UnitRow = tuple[float, ...]
"""One clip's units in the order of UNITS: 1 present, 0 absent, nan undecided."""


def unit_row(coded: CodedUnits) -> UnitRow:
    """What is learned of one clip, and what an answer is compared with."""
    return tuple(1.0 if unit in coded.present else float("nan") if unit in coded.undecided else 0.0 for unit in UNITS)


def unit_differences(protocol: UnitProtocol, rows: Iterable[tuple[str, UnitRow]]) -> list[str]:
    """Where the clips of (data set, units) differ from the published counts, one line a data set; [] where nowhere.

    The published list is not known clip by clip: clips are counted and, where their number is right, the clips that
    show each unit.
    """
    by_dataset: dict[str, list[UnitRow]] = {}
    for dataset, row in rows:
        by_dataset.setdefault(dataset, []).append(row)
    lines = []
    for dataset, published in protocol.clips.items():
        found = by_dataset.pop(dataset, [])
        if not found:
            lines.append(f"{dataset}: {published} of {published} clips missing")
            continue
        shown = [sum(row[place] == 1 for row in found) for place in range(len(UNITS))]
        units = [
            f"{name} {count} instead of {protocol.counts[dataset][name]}"
            for name, count in zip(UNIT_NAMES, shown, strict=True)
            if count != protocol.counts[dataset][name]
        ]
        if len(found) != published:
            lines.append(f"{dataset}: {len(found)} clips instead of {published}")
        elif units:
            lines.append(f"{dataset}: {', '.join(units)}")
    return lines + [f"{dataset}: not in the protocol" for dataset in sorted(by_dataset)]


def undecided_count(rows: Sequence[UnitRow]) -> int:
    """How many clips have an undecided unit of the twelve."""
    return sum(any(value != value for value in row) for row in rows)
