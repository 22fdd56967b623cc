"""CASME (Yan et al. 2013): `CASME_raw_selected/sub01/EP01_5/img12.jpg`, 60 frames a second.

Its sheet has two apex columns, the second for an expression that peaks twice: the first is taken, the second where the
first is empty.
"""

import re
from pathlib import Path

from slstt.datasets import casme2
from slstt.datasets.annotations import COLUMNS, DataSet, Tree, as_annotations, named, read_rows
from slstt.datasets.clips import Release
from slstt.datasets.folders import FrameFolders, is_cropped
from slstt.datasets.releases import LocatedRelease, Rows, read_native

DATA_SET = DataSet(
    name="casme",
    title="CASME",
    rate=60,
    emotions=("tense", "disgust", "repression", "surprise", "happiness", "sadness", "contempt", "fear", "others"),
    spellings={"other": "others", "tension": "tense"},
    subject=casme2.DATA_SET.subject,
    clip=casme2.DATA_SET.clip,
    trees=(Tree((named(r"(?P<subject>sub[ _-]?0?\d{1,2})"), named(r"(?P<clip>.*)"))),),
    example="CASME_raw_selected/sub01/EP01_5/img12.jpg",
    sheets=("casme",),
    sheet_pattern=re.compile(r"casme1?([ _-](?!2|ii|square).*)?\.(xlsx|xls|csv)$"),
    columns={**COLUMNS, "apex": ("apexf1", *COLUMNS["apex"]), "second apex": ("apexf2",)},
)


def read(root: Path, annotations: Path | None = None) -> Release:
    """The CASME release at `root`. Raises DataError where root, frames or sheet are missing or unreadable."""
    return read_native(
        DATA_SET,
        root,
        annotations,
        rank=lambda folder: is_cropped(folder, root),
        title=lambda folder: "cropped frames" if is_cropped(folder, root) else "raw frames",
        rows=_rows,
    )


def _rows(found: LocatedRelease, there: FrameFolders) -> Rows:
    assert found.sheet is not None
    rows, others = read_rows(found.sheet, DATA_SET.columns, DATA_SET.required)
    none = ("", "0", "/")
    told = [
        (line, {**cells, "apex": cells["second apex"]} if _first_is_empty(cells, none) else cells)
        for line, cells in rows
    ]
    return as_annotations(DATA_SET, found.sheet, told, others)


def _first_is_empty(cells: dict[str, str], none: tuple[str, ...]) -> bool:
    return cells.get("apex", "") in none and cells.get("second apex", "") not in none
