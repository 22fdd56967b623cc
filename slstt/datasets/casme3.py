"""CAS(ME)^3, part A (Li et al. 2022): colour and depth recordings, 30 frames a second; the colour frames are read.

Two releases: recordings (`part_A/spNO.1/a/color/8.jpg`, numbers not padded) and micro-expressions cut out of them
(`Part_A_ME_clip/frame/spNo.1_a_355/355.jpg`). A recording may hold several expressions, so a clip is named after its
recording and onset: `a_355`. Macro-expressions have a sheet of their own, which is read where recordings are. Of part C
only the sheet is known (no apex, no frames' names): it is counted, not read.
"""

import re
from pathlib import Path

from slstt.datasets.annotations import (
    COLUMNS,
    Cells,
    DataSet,
    IdForm,
    Tree,
    as_annotations,
    named,
    read_rows,
    whole_number,
)
from slstt.datasets.clips import Release, Remark
from slstt.datasets.folders import FrameFolders, pick_sheet
from slstt.datasets.releases import LocatedRelease, Rows, read_native
from slstt.errors import DataError

_RECORDINGS = Tree((named(r"(?P<subject>spno\.\d+)"), named(r"(?P<video>[a-z])"), named("color")), "recordings")
_CLIPS = Tree((named(r"(?P<subject>spno\.\d+)_(?P<clip>[a-z]_\d+)"),), "clips")

DATA_SET = DataSet(
    name="casme3",
    title="CAS(ME)^3 part A",
    rate=30,
    emotions=("disgust", "surprise", "others", "fear", "anger", "sadness", "happiness"),
    spellings={"sad": "sadness", "happy": "happiness", "other": "others"},
    subject=IdForm(named(r"(?:spno\.)?0*(\d{1,3})"), lambda found: f"spNO.{int(found[1])}", "spNO.1"),
    clip=IdForm(
        named(r"([a-z])_(\d+)(_macro)?"),
        lambda found: f"{found[1].lower()}_{int(found[2])}{(found[3] or '').lower()}",
        "a_355",
    ),
    video=IdForm(named(r"[a-z]"), lambda found: found[0].lower(), "a"),
    trees=(_RECORDINGS, _CLIPS),
    example="part_A/spNO.1/a/color/8.jpg",
    sheets=tuple(f"cas(me)3_part_A_ME_label_JpgIndex_{version}" for version in ("v2_20250903", "v2", "v1")),
    sheet_pattern=re.compile(r"cas\(?me\)?\^?3.*part_?a_me_.*\.(xlsx|xls|csv)$"),
    columns={**COLUMNS, "subject": ("subject", "sub"), "clip": ("filename", "seq")},
    not_given=frozenset({"0", ""}),
)

_MACRO = re.compile(r"cas\(?me\)?\^?3.*part_?a_mae_.*\.(xlsx|xls|csv)$")
_PART_C = re.compile(r"cas\(?me\)?\^?3.*part_?c_me.*\.(xlsx|xls|csv)$")
_PART_C_COLUMNS = {"subject": ("sub",), "clip": ("count",), "onset": ("onset",), "offset": ("offset",)}


def read(root: Path, annotations: Path | None = None) -> Release:
    """The CAS(ME)^3 release at `root`. Raises DataError where root, frames or sheet are missing or unreadable."""
    return read_native(DATA_SET, root, annotations, rows=_rows)


def micro_rows(sheet: Path, tree: Tree = _RECORDINGS) -> Rows:
    """The micro-expressions in the sheet at `sheet`; needs no frames on disk."""
    return _read(sheet, "micro", tree)


def _rows(found: LocatedRelease, there: FrameFolders) -> Rows:
    assert found.sheet is not None
    coded, unusable = micro_rows(found.sheet, found.tree)
    macro, _ = pick_sheet(found.sheets, _MACRO, ())
    if macro is not None and found.tree is _RECORDINGS:
        further, more = _read(macro, "macro", found.tree)
        coded, unusable = coded + further, unusable + more
    return coded, unusable + _part_c(found)


def _read(sheet: Path, kind: str, tree: Tree) -> Rows:
    rows, others = read_rows(sheet, DATA_SET.columns, DATA_SET.required)
    return as_annotations(DATA_SET, sheet, ((line, _named(cells, kind, tree)) for line, cells in rows), others)


def _named(cells: Cells, kind: str, tree: Tree) -> Cells:
    video = cells["clip"].strip()
    onset = whole_number(cells["onset"]) or 0  # a row without an onset is a bad one, not a note below the table
    clip = f"{video}_{onset}{'_macro' if kind == 'macro' else ''}"
    # Cut out, an expression has a folder of its own.
    return {**cells, "clip": clip, "kind": kind, **({"video": video} if tree is _RECORDINGS else {})}


def _part_c(found: LocatedRelease) -> list[Remark]:
    sheet, _ = pick_sheet(found.sheets, _PART_C, ())
    if sheet is None:
        return []
    try:
        count = f"{len(read_rows(sheet, _PART_C_COLUMNS, tuple(_PART_C_COLUMNS))[0])} expressions"
    except DataError as error:
        count = str(error)
    reason = f"{sheet}: part C ({count}); how its frames lie is not known, not read"
    return [Remark(DATA_SET.name, "", "", "part_c", reason, "ignored")]
