"""CAS(ME)^2 (Qu et al. 2018): recordings with micro- and macro-expressions, 30 frames a second.

Frames: `rawpic/s15/15_0101disgustingteeth/img001.jpg`, a folder a recording. The coding sheet has no header: its
worksheets are told by what they hold. The expressions (participant, `anger1_1`, onset, apex, offset, action units,
emotion, kind), the folders of the participants (1, `s15`) and the codes of the films (`0101`, `disgust1`).
"""

import re
from pathlib import Path

from slstt.datasets.annotations import Cells, DataSet, IdForm, Tree, as_annotations, named, told_apart, whole_number
from slstt.datasets.clips import Release, Remark
from slstt.datasets.folders import FrameFolders, is_cropped
from slstt.datasets.releases import LocatedRelease, Rows, read_native
from slstt.datasets.worksheets import read_worksheets
from slstt.errors import DataError

DATA_SET = DataSet(
    name="casme_square",
    title="CAS(ME)^2",
    rate=30,
    emotions=("negative", "positive", "surprise", "others"),
    spellings={"other": "others"},
    subject=IdForm(named(r"s?0*(\d{1,2})"), lambda found: f"s{int(found[1])}", "s15"),
    clip=IdForm(named(r"([a-z]+\d(?:_\d+)*)"), lambda found: found[1].lower(), "anger1_1"),
    video=IdForm(named(r"0*(\d{1,2})_(\d{4})"), lambda found: f"{int(found[1])}_{found[2]}", "15_0101"),
    trees=(Tree((named(r"(?P<subject>s\d{1,2})"), named(r"(?P<video>\d+_\d{4}).*"))),),
    example="rawpic/s15/15_0101disgustingteeth/img001.jpg",
    sheets=("CAS(ME)^2code_final(Updated)", "CAS(ME)^2code_final", "code_final"),
    sheet_pattern=re.compile(r"(cas\(me\)\^?2[ _-]?)?code_final.*\.(xlsx|xls)$"),
    not_given=frozenset({"0", ""}),
)

FILMS = {
    "disgust1": "0101", "disgust2": "0102", "anger1": "0401", "anger2": "0402", "happy1": "0502",
    "happy2": "0503", "happy3": "0505", "happy4": "0507", "happy5": "0508",
}  # fmt: skip
"""The film a clip's name begins with -> its code in a recording's name, where the sheet does not say."""

_COLUMNS = ("subject", "clip", "onset", "apex", "offset", "units", "emotion", "kind")
_KIND = re.compile(r"(micro|macro)[- ]?expressions?", re.IGNORECASE)


def read(root: Path, annotations: Path | None = None) -> Release:
    """The CAS(ME)^2 release at `root`. Raises DataError where root, frames or sheet are missing or unreadable."""
    return read_native(
        DATA_SET,
        root,
        annotations,
        rank=lambda folder: is_cropped(folder, root),
        title=lambda folder: "cropped frames" if is_cropped(folder, root) else "raw frames",
        rows=_rows,
        folders=_without_misplaced,
    )


def _rows(found: LocatedRelease, there: FrameFolders) -> Rows:
    assert found.sheet is not None
    coded: list[tuple[int, Cells]] = []
    participants: dict[str, str] = {}
    films = dict(FILMS)
    for sheet in read_worksheets(found.sheet):
        for line, row in enumerate(sheet.rows, start=1):
            cells = [cell.strip() for cell in row]
            if len(cells) >= len(_COLUMNS) and (kind := _KIND.fullmatch(cells[7])):
                told = dict(zip(_COLUMNS, cells, strict=False))
                coded.append((line, {**told, "kind": kind[1].lower()}))
            elif len(cells) > 1 and whole_number(cells[0]) is not None and re.fullmatch(r"s\d{1,2}", cells[1].lower()):
                participants[str(whole_number(cells[0]))] = cells[1].lower()
            elif len(cells) > 1 and re.fullmatch(r"0?\d{3}", cells[0]):  # a spreadsheet makes 101 of 0101
                films[cells[1].lower()] = cells[0].zfill(4)
    if not coded:
        raise DataError(
            f"{found.sheet}: no row ends with micro-expression or macro-expression; is it the coding sheet?"
        )
    coded = [(line, _with_video(cells, participants, films)) for line, cells in coded]
    return as_annotations(DATA_SET, found.sheet, told_apart(coded))


def _with_video(cells: Cells, participants: dict[str, str], films: dict[str, str]) -> Cells:
    """The row with its participant's folder as subject, and the recording; both as they stand where unknown."""
    number = whole_number(cells["subject"])
    # Without the worksheet of the participants a bare number names no folder, and the row says so.
    folder = cells["subject"] if number is None else participants.get(str(number), f"participant {number}")
    film = films.get(cells["clip"].lower().partition("_")[0], "")
    return {**cells, "subject": folder, "video": f"{folder[1:]}_{film}" if film else cells["clip"]}


def _without_misplaced(found: FrameFolders) -> FrameFolders:
    """Without recordings that lie in another subject's folder, as `s19` holds `23_0502funnyerrors`."""
    strays = {key: path for key, path in found.folders.items() if key[0] != f"s{key[1].partition('_')[0]}"}
    remarks = [
        Remark(DATA_SET.name, key[0], path.name, "stray_folder", f"{path} is another subject's; ignored", "ignored")
        for key, path in strays.items()
    ]
    kept = {key: path for key, path in found.folders.items() if key not in strays}
    return FrameFolders(kept, found.doubled, (*found.remarks, *remarks))
