"""What the owners of one data set publish, as facts: ids, emotions, frame rate, folders, sheets and their columns.

Ids have one normal form each, though releases, sheets and lists write them differently:

| data set | subject | clip | seen in the wild |
|---|---|---|---|
| CASME II | `sub01` | `EP02_01f` | `1`, `01`, `1.0`, `sub1`; the clip with blanks round it or in other case |
| SAMM | `006` | `006_1_2` | `6`, `6.0`, `6_1_2` |
| SMIC | `s01` | `s01_ne_01` | `1`, `s1`, `s1_ne_01` |
| CAS(ME)^3 | `spNO.1` | `a_355` | `spNo.1`, `SPNO.1`; video `A` for `a` |

Ids are always text: a spreadsheet turns `006` into 6, YAML turns `013` into 11.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from slstt.datasets.clips import id_problem

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "subject": ("subject",),
    "clip": ("filename",),
    "onset": ("onsetframe", "onset", "onsetf"),
    "apex": ("apexframe", "apex", "apexf"),
    "offset": ("offsetframe", "offset", "offsetf"),
    "emotion": ("estimatedemotion", "emotion"),
    "units": ("actionunits", "au", "aus"),
    "first": ("firstf",),
    "second onset": ("onset2f", "onsetf2"),
}
"""Our name of a column -> what headers call it, in lower case with only letters and digits kept."""

REQUIRED = ("subject", "clip", "onset", "offset", "emotion")


def named(text: str) -> re.Pattern[str]:
    """A pattern for names: without regard to capitals, and with `\\d` for 0 to 9 alone."""
    return re.compile(text, re.IGNORECASE | re.ASCII)


def whole_number(text: str) -> int | None:
    """`46`, ` 46 ` and `46.0` as 46; None for everything else (`/`, an empty cell, `4.5`, a note)."""
    found = re.fullmatch(r"\s*([+-]?\d{1,12})(?:\.0*)?\s*", text, re.ASCII)
    return int(found[1]) if found else None


@dataclass(frozen=True)
class IdForm:
    """How an id is spelled in the wild, and its normal form."""

    pattern: re.Pattern[str]
    """Fits every spelling."""
    normal: Callable[[re.Match[str]], str]
    """What the pattern found -> the normal form, which the pattern fits as well."""
    example: str


def as_written(form: str, example: str) -> IdForm:
    """Ids that are kept as they are."""
    return IdForm(named(form), lambda found: found[0], example)


@dataclass(frozen=True)
class Tree:
    """Where folders of frames lie: below a common folder, one level of folders after the other.

    Each level is a pattern that fits a folder's whole name. Its groups `subject` and `clip` (or `video`) are ids.
    """

    levels: tuple[re.Pattern[str], ...]
    title: str = ""
    """For people, where a data set has several trees."""


@dataclass(frozen=True)
class DataSet:
    """The facts of one data set, in one place."""

    name: str
    """As `--dataset` takes it."""
    title: str
    rate: float | None
    """Frames a second; None where they differ."""
    emotions: tuple[str, ...]
    """The emotions that its annotation knows, in our spelling; empty where any may occur."""
    subject: IdForm
    clip: IdForm
    trees: tuple[Tree, ...]
    example: str
    """A frame's path below the root, for error messages."""
    sheets: tuple[str, ...] = ()
    """Stems of the coding sheets in circulation, the one to prefer first; empty where the folders say all."""
    sheet_pattern: re.Pattern[str] = re.compile(r"(?!)")
    """Fits the lower-case file name of any coding sheet, listed above or not; as it stands, none."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: COLUMNS)
    """Our name of a column -> what its headers call it."""
    required: tuple[str, ...] = REQUIRED
    """The columns without which a row is no header."""
    video: IdForm | None = None
    """Where clips lie in recordings that hold several: the recording's id."""
    spellings: Mapping[str, str] = field(default_factory=dict)
    """Emotions that sheets spell differently -> our spelling."""
    not_given: frozenset[str] = frozenset()
    """What stands in the cell of an apex or offset that was not coded, e.g. `0`. Where it is empty, a row without an
    offset cannot be used."""

    def subject_id(self, text: str) -> str:
        """The subject in normal form. Raises ValueError where `text` names no subject."""
        # A spreadsheet may make 6.0 of 6; the zeros of 006 stay, for some collections count them.
        found = self.subject.pattern.fullmatch(re.sub(r"^(\d+)\.0*$", r"\1", text.strip(), flags=re.ASCII))
        if not found:
            raise ValueError(f"'{text[:40]}' is not a subject of {self.name}; expected e.g. {self.subject.example}")
        if (problem := id_problem(self.subject.normal(found))) is not None:
            raise ValueError(problem)
        return self.subject.normal(found)

    def clip_id(self, text: str) -> str:
        """The clip's name in normal form. Raises ValueError where `text` names no clip or is too long."""
        return self._id("clip", self.clip, text)

    def video_id(self, text: str) -> str:
        """The recording's name in normal form. Raises ValueError where `text` names none."""
        assert self.video is not None
        return self._id("video", self.video, text)

    def emotion_name(self, text: str) -> str:
        """The emotion in lower case and our spelling; unknown ones unchanged."""
        name = text.strip().lower()
        return self.spellings.get(name, name)

    def _id(self, what: Literal["clip", "video"], form: IdForm, text: str) -> str:
        name = text.strip()
        if (problem := id_problem(name)) is not None:
            raise ValueError(problem)
        found = form.pattern.fullmatch(name)
        if not found:
            raise ValueError(f"'{text}' is not a {what} of {self.name}; expected e.g. {form.example}")
        return form.normal(found)
