"""CASME II (Yan et al. 2014): `CASME2-RAW/sub01/EP02_01f/img46.jpg`, 200 frames a second.

Three releases are read: raw (whole clips), selected (onset to offset) and cropped (`reg_img46.jpg`). Where several lie
below one root, raw is taken before selected before cropped: the crop of the paper needs the raw frames.
"""

import re
from pathlib import Path

from slstt.datasets.annotations import DataSet, IdForm, Tree, named
from slstt.datasets.clips import Release
from slstt.datasets.folders import folder_names, is_cropped
from slstt.datasets.releases import read_native

DATA_SET = DataSet(
    name="casme2",
    title="CASME II",
    rate=200,
    emotions=("happiness", "disgust", "repression", "surprise", "sadness", "fear", "others"),
    spellings={"other": "others"},
    subject=IdForm(named(r"(?:sub[ _-]?)?0*(\d{1,2})"), lambda found: f"sub{int(found[1]):02d}", "sub06"),
    clip=IdForm(named(r"ep([0-9a-z_-]+)"), lambda found: f"EP{found[1].lower()}", "EP02_01f"),
    trees=(Tree((named(r"(?P<subject>sub[ _-]?0?\d{1,2})"), named(r"(?P<clip>.*)"))),),
    example="CASME2-RAW/sub01/EP02_01f/img46.jpg",
    sheets=("CASME2-coding-20190701", "CASME2-coding-20140508", "CASME2-coding-updated", "CASME2_label_Ver_2"),
    sheet_pattern=re.compile(r"casme_?(2|ii)[ _-].*(coding|label).*\.(xlsx|xls|csv)$"),
)

_TITLES = {"raw": "raw frames", "selected": "selected raw frames", "cropped": "cropped frames"}


def read(root: Path, annotations: Path | None = None) -> Release:
    """The CASME II release at `root`. Raises DataError where root, layout or coding sheet are missing or unreadable."""
    order = tuple(_TITLES)
    return read_native(
        DATA_SET,
        root,
        annotations,
        rank=lambda folder: (order.index(kind_of(folder, root)), _older(folder, root)),
        title=lambda folder: _TITLES[kind_of(folder, root)],
    )


def kind_of(folder: Path, root: Path) -> str:
    """`raw`, `selected` or `cropped` (the newer `Cropped-updated` before the older one)."""
    if is_cropped(folder, root):
        return "cropped"
    return "selected" if any("selected" in name for name in folder_names(folder, root)) else "raw"


def _older(folder: Path, root: Path) -> bool:
    return not any("updated" in name for name in folder_names(folder, root))
