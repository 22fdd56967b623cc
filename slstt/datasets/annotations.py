"""What the owners of a data set publish, as facts (ids, emotions, frame rate, folders, sheets), and sheets as rows.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from slstt.datasets.clips import KINDS, Kind, Remark, frame_rate, id_problem
from slstt.datasets.worksheets import Worksheet, read_worksheets
from slstt.errors import DataError

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


Cells = dict[str, str]
"""{our column name: text} of one row."""


@dataclass(frozen=True)
class Annotation:
    """One row of a coding sheet, ids and emotion in normal form."""

    line: int | None
    """Row of the sheet, counted from 1, as spreadsheet programs show it; None where the folder is the annotation."""
    subject: str
    clip: str
    emotion: str
    onset: int
    apex: int | None
    """None where the cell holds no whole number (`/`) or the sheet has no apex column."""
    apex_text: str
    """What the cell says."""
    offset: int | None
    """None where the sheet gives none, in a data set where that happens."""
    first: int | None = None
    """First frame of the long clip (SMIC-E-HS `FirstF`)."""
    second: bool = False
    """The row lists a further micro-expression of the same clip (SMIC-E-HS `Onset2F`)."""
    units: str = ""
    """Action units as the sheet has them."""
    kind: Kind = "micro"
    video: str = ""
    """The recording that the clip lies in; empty where the clip has a folder of its own."""

    fps: float | None = None
    """Frames a second, where the sheet says it of the clip."""
    split: str = ""
    """The owners' training or test set that lists the clip."""

    @property
    def place(self) -> tuple[str, str]:
        """(subject, clip or video): which folder holds the frames."""
        return self.subject, self.video or self.clip

    @property
    def source(self) -> str:
        """Where it stands, for messages."""
        return "the folder" if self.line is None else f"row {self.line} of the sheet"


def read_rows(
    path: Path, columns: Mapping[str, Sequence[str]] = COLUMNS, required: Sequence[str] = REQUIRED
) -> tuple[list[tuple[int, Cells]], list[str]]:
    """((row number, cells) for every row below the header that is not empty, what was not used).

    The header is the first row, over all visible worksheets, that names every column in `required`, in one of the
    spellings of `columns`. Further worksheets with such a header are said, one line each. Raises DataError that lists
    the columns missing from the best candidate, and where only a hidden worksheet has the header: what nobody sees is
    not taken for the coding.
    """
    best: list[str] = list(required)
    found: list[tuple[Worksheet, int, Mapping[str, int]]] = []
    for sheet in read_worksheets(path):
        for number, row in enumerate(sheet.rows, start=1):
            where = _columns(row, columns)
            missing = [name for name in required if name not in where]
            if not missing:
                found.append((sheet, number, where))
                break
            if len(missing) < len(best) and not sheet.hidden:
                best = missing
    if not found:
        wanted = ", ".join(f"{name} ({' / '.join(columns[name])})" for name in best)
        raise DataError(f"{path}: no header row found; missing columns: {wanted}")
    visible = [candidate for candidate in found if not candidate[0].hidden]
    if not visible:
        names = ", ".join(f"'{sheet.name}'" for sheet, _, _ in found)
        raise DataError(
            f"{path}: only the hidden worksheet {names} holds a coding table; unhide it where it is the right one, "
            "or save the table alone"
        )
    sheet, number, where = visible[0]
    rows = [
        (line, {name: cells[at] if at < len(cells) else "" for name, at in where.items()})
        for line, cells in enumerate(sheet.rows[number:], start=number + 1)
        if any(cells)
    ]
    others = [
        f"{path}: {'hidden ' * other.hidden}worksheet '{other.name}' holds a coding table as well; not used, "
        f"'{sheet.name}' is"
        for other, _, _ in found
        if other is not sheet
    ]
    return rows, others


def read_annotations(data_set: DataSet, path: Path) -> tuple[list[Annotation], list[Remark]]:
    """The annotations of a coding sheet, and remarks on rows that cannot be used. Needs no frames on disk."""
    rows, others = read_rows(path, data_set.columns, data_set.required)
    return as_annotations(data_set, path, rows, others)


def as_annotations(
    data_set: DataSet, path: Path, rows: Iterable[tuple[int, Cells]], others: Iterable[str] = ()
) -> tuple[list[Annotation], list[Remark]]:
    """The rows of the sheet at `path` as annotations, and remarks on rows that cannot be used.

    A row counts as data when its onset is a number or both its ids are valid: notes below the table do not. A data row
    without valid ids or without onset and offset is a failure of kind `bad_row`, one whose ids would leave the folder
    as well. `others` are lines on worksheets that were not used. Raises DataError where there is no data row.
    """
    annotations: list[Annotation] = []
    remarks: list[Remark] = []
    for line, cells in rows:
        found, problems = _annotation(data_set, line, cells)
        if found is not None:
            annotations.append(found)
        elif problems:
            reason = f"{path.name} row {line}: {'; '.join(problems)}; row not used"
            subject, clip = _normal_where_valid(data_set, cells)
            about = "macro" if cells.get("kind") == "macro" else "micro"
            remarks.append(Remark(data_set.name, subject, clip, "bad_row", reason, "failure", about))
    if not annotations and not remarks:
        raise DataError(f"{path}: no row of {data_set.name} below the header")
    remarks += [Remark(data_set.name, "", "", "other_worksheet", line, "ignored") for line in others]
    return annotations, remarks


def told_apart(rows: Iterable[tuple[int, Cells]]) -> list[tuple[int, Cells]]:
    """The rows of a sheet that may use one clip's name for several expressions: the later ones get their onset too.

    A row that repeats name and onset keeps the name: it is the same expression twice.
    """
    first: dict[tuple[str, str], str] = {}
    named = []
    for line, cells in rows:
        onset = first.setdefault((cells["subject"], cells["clip"].casefold()), cells["onset"])
        clip = cells["clip"] if cells["onset"] == onset else f"{cells['clip']}_{cells['onset']}"
        named.append((line, {**cells, "clip": clip}))
    return named


def _annotation(data_set: DataSet, line: int, cells: Mapping[str, str]) -> tuple[Annotation | None, list[str]]:
    """The row, or else what is wrong with it; neither where it holds no data."""
    numbers = {name: whole_number(cells.get(name, "")) for name in ("onset", "apex", "offset")}
    absent = {name for name in ("apex", "offset") if cells.get(name, "").strip() in data_set.not_given}
    problems, ids = [], {"video": ""}
    for name, normal in (("subject", data_set.subject_id), ("clip", data_set.clip_id), ("video", data_set.video_id)):
        if name in cells:
            try:
                ids[name] = normal(cells[name])
            except ValueError as error:
                problems.append(str(error))
    onset = numbers["onset"]
    if problems and onset is None:
        return None, []
    problems += [
        f"{name} '{cells[name]}' is not a frame number"
        for name in ("onset", "offset")
        if numbers[name] is None and name not in absent
    ]
    kind = cells.get("kind", "") or "micro"
    if kind not in KINDS:
        problems.append(f"kind '{kind}' is none of {', '.join(KINDS)}")
    fps = frame_rate(cells.get("fps", ""))
    if fps is None:
        problems.append(f"fps '{cells['fps']}' is not a number above 0")
    if problems or onset is None:
        return None, problems
    return Annotation(
        line,
        ids["subject"],
        ids["clip"],
        data_set.emotion_name(cells["emotion"]),
        onset,
        None if "apex" in absent else numbers["apex"],
        cells.get("apex", ""),
        None if "offset" in absent else numbers["offset"],
        whole_number(cells.get("first", "")),
        whole_number(cells.get("second onset", "")) is not None,
        cells.get("units", "").strip(),
        cast(Kind, kind),
        ids["video"],
        fps or None,
    ), []


def _normal_where_valid(data_set: DataSet, cells: Mapping[str, str]) -> tuple[str, str]:
    """(subject, clip) for a remark: normal forms where there are any, else what the cells say."""
    subject, clip = cells["subject"], cells["clip"]
    with suppress(ValueError):
        subject = data_set.subject_id(subject)
    with suppress(ValueError):
        clip = data_set.clip_id(clip)
    return subject, clip


def _columns(row: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
    headings = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in row]
    return {
        name: next(headings.index(spelling) for spelling in spellings if spelling in headings)
        for name, spellings in columns.items()
        if any(spelling in headings for spelling in spellings)
    }
