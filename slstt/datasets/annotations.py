"""Coding sheets as rows, and one normal form for the ids that releases, sheets and lists write differently.

| data set | subject | clip | seen in the wild |
|---|---|---|---|
| CASME II | `sub01` | `EP02_01f` | `1`, `01`, `1.0`, `sub1`; the clip with blanks round it or in other case |
| SAMM | `006` | `006_1_2` | `6`, `6.0`, `6_1_2` |
| SMIC | `s01` | `s01_ne_01` | `1`, `s1`, `s1_ne_01` |

Ids are always text: a spreadsheet turns `006` into 6, YAML turns `013` into 11.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slstt.datasets.clips import Remark, id_problem
from slstt.datasets.worksheets import Worksheet, read_worksheets
from slstt.errors import DataError

DATASETS = ("casme2", "samm", "smic")

EMOTIONS = {
    "casme2": ("happiness", "disgust", "repression", "surprise", "sadness", "fear", "others"),
    "samm": ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise", "other"),
    "smic": ("negative", "positive", "surprise"),
}
"""The emotions each data set's annotation knows, in our spelling."""

_OTHER = {"casme2": {"other": "others"}, "samm": {"others": "other"}}

_SUBJECT = {
    "casme2": re.compile(r"(?:sub[ _-]?)?0*(\d{1,2})", re.IGNORECASE | re.ASCII),
    "samm": re.compile(r"0*(\d{1,3})", re.ASCII),
    "smic": re.compile(r"s?0*(\d{1,2})", re.IGNORECASE | re.ASCII),
}
_SUBJECT_FOLDER = {
    "casme2": re.compile(r"sub[ _-]?0?\d{1,2}", re.IGNORECASE | re.ASCII),
    "samm": re.compile(r"\d{3}", re.ASCII),
    "smic": re.compile(r"s\d{1,2}", re.IGNORECASE | re.ASCII),
}
_SUBJECT_FORM = {"casme2": "sub{:02d}", "samm": "{:03d}", "smic": "s{:02d}"}

_CASME2_CLIP = re.compile(r"ep([0-9a-z_-]+)", re.IGNORECASE | re.ASCII)
_SAMM_CLIP = re.compile(r"0*(\d{1,3})_(\d{1,3})_(\d{1,3})", re.ASCII)
_SMIC_CLIP = re.compile(r"s?0*(\d{1,2})_(ne|po|sur)_0*(\d{1,3})", re.IGNORECASE | re.ASCII)


def whole_number(text: str) -> int | None:
    """`46`, ` 46 ` and `46.0` as 46; None for everything else (`/`, an empty cell, `4.5`, a note)."""
    found = re.fullmatch(r"\s*([+-]?\d{1,12})(?:\.0*)?\s*", text, re.ASCII)
    return int(found[1]) if found else None


def subject_id(dataset: str, text: str) -> str:
    """The subject in normal form. Raises ValueError where `text` names no subject of `dataset`."""
    number = whole_number(text)
    found = _SUBJECT[dataset].fullmatch(text.strip() if number is None else str(number))
    if not found:
        raise ValueError(
            f"'{text[:40]}' is not a subject of {dataset}; expected e.g. {_SUBJECT_FORM[dataset].format(6)}"
        )
    return _SUBJECT_FORM[dataset].format(int(found[1]))


def clip_id(dataset: str, text: str) -> str:
    """The clip's name in normal form. Raises ValueError where `text` names no clip of `dataset` or is too long."""
    name = text.strip()
    if (problem := id_problem(name)) is not None:
        raise ValueError(problem)
    if dataset == "casme2" and (found := _CASME2_CLIP.fullmatch(name)):
        return f"EP{found[1].lower()}"
    if dataset == "samm" and (found := _SAMM_CLIP.fullmatch(name)):
        return f"{int(found[1]):03d}_{int(found[2])}_{int(found[3])}"
    if dataset == "smic" and (found := _SMIC_CLIP.fullmatch(name)):
        return f"s{int(found[1]):02d}_{found[2].lower()}_{int(found[3]):02d}"
    example = {"casme2": "EP02_01f", "samm": "006_1_2", "smic": "s01_ne_01"}[dataset]
    raise ValueError(f"'{text}' is not a clip of {dataset}; expected e.g. {example}")


def emotion_name(dataset: str, text: str) -> str:
    """The emotion in lower case, `Other` and `Others` in the data set's own spelling; unknown ones unchanged."""
    name = text.strip().lower()
    return _OTHER.get(dataset, {}).get(name, name)


def is_subject_folder(dataset: str, name: str) -> bool:
    """Whether a folder called `name` holds one subject of `dataset` (stricter than `subject_id`: `sub`, `s`, 006)."""
    return _SUBJECT_FOLDER[dataset].fullmatch(name) is not None


def dataset_of(subject: str) -> str:
    """The data set told from a subject's name: `sub..` CASME II, `s..` SMIC, digits SAMM. Raises ValueError."""
    name = subject.strip().lower()
    if name.startswith("sub"):
        return "casme2"
    if name.startswith("s"):
        return "smic"
    if name.isascii() and name.isdigit():
        return "samm"
    raise ValueError(f"'{subject}' is no subject of CASME II (sub01), SMIC (s01) or SAMM (006)")


COLUMNS = {
    "subject": ("subject",),
    "clip": ("filename",),
    "onset": ("onsetframe", "onset", "onsetf"),
    "apex": ("apexframe", "apex", "apexf"),
    "offset": ("offsetframe", "offset", "offsetf"),
    "emotion": ("estimatedemotion", "emotion"),
    "first": ("firstf",),
    "second onset": ("onset2f", "onsetf2"),
}
"""Our name of a column -> what headers call it, in lower case with only letters and digits kept."""

REQUIRED = ("subject", "clip", "onset", "offset", "emotion")


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
    offset: int
    first: int | None = None
    """First frame of the long clip (SMIC-E-HS `FirstF`)."""
    second: bool = False
    """The row lists a further micro-expression of the same clip (SMIC-E-HS `Onset2F`)."""

    @property
    def source(self) -> str:
        """Where it stands, for messages."""
        return "the folder" if self.line is None else f"row {self.line} of the sheet"


def read_rows(path: Path, required: Sequence[str] = REQUIRED) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """((row number, {our column name: text}) for every row below the header that is not empty, what was not used).

    The header is the first row, over all visible worksheets, that names every column in `required`. Further worksheets
    with such a header are said, one line each. Raises DataError that lists the columns missing from the best
    candidate, and where only a hidden worksheet has the header: what nobody sees is not taken for the coding.
    """
    best: list[str] = list(required)
    found: list[tuple[Worksheet, int, Mapping[str, int]]] = []
    for sheet in read_worksheets(path):
        for number, row in enumerate(sheet.rows, start=1):
            where = _columns(row)
            missing = [name for name in required if name not in where]
            if not missing:
                found.append((sheet, number, where))
                break
            if len(missing) < len(best) and not sheet.hidden:
                best = missing
    if not found:
        wanted = ", ".join(f"{name} ({' / '.join(COLUMNS[name])})" for name in best)
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


def read_annotations(dataset: str, path: Path) -> tuple[list[Annotation], list[Remark]]:
    """The annotations of a coding sheet, and remarks on rows that cannot be used.

    A row counts as data when its onset is a number or both its ids are valid: notes below the table do not. A data row
    without valid ids or without onset and offset is a failure of kind `bad_row`. Needs no frames on disk.
    """
    annotations: list[Annotation] = []
    remarks: list[Remark] = []
    rows, others = read_rows(path)
    for line, cells in rows:
        onset, offset = whole_number(cells["onset"]), whole_number(cells["offset"])
        problems, subject, clip = [], cells["subject"], cells["clip"]
        try:
            subject = subject_id(dataset, subject)
        except ValueError as error:
            problems.append(str(error))
        try:
            clip = clip_id(dataset, clip)
        except ValueError as error:
            problems.append(str(error))
        if problems and onset is None:
            continue
        problems += [
            f"{name} '{cells[name]}' is not a frame number"
            for name, value in (("onset", onset), ("offset", offset))
            if value is None
        ]
        if problems or onset is None or offset is None:
            reason = f"{path.name} row {line}: {'; '.join(problems)}; row not used"
            remarks.append(Remark(dataset, subject, clip, "bad_row", reason, "failure"))
            continue
        annotations.append(
            Annotation(
                line,
                subject,
                clip,
                emotion_name(dataset, cells["emotion"]),
                onset,
                whole_number(cells.get("apex", "")),
                cells.get("apex", ""),
                offset,
                whole_number(cells.get("first", "")),
                whole_number(cells.get("second onset", "")) is not None,
            )
        )
    if not annotations and not remarks:
        raise DataError(f"{path}: no row of {dataset} below the header")
    remarks += [Remark(dataset, "", "", "other_worksheet", line, "ignored") for line in others]
    return annotations, remarks


def _columns(row: Sequence[str]) -> Mapping[str, int]:
    headings = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in row]
    return {
        name: next(headings.index(spelling) for spelling in spellings if spelling in headings)
        for name, spellings in COLUMNS.items()
        if any(spelling in headings for spelling in spellings)
    }
