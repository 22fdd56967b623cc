"""CASME II (Yan et al. 2014): `CASME2-RAW/sub01/EP02_01f/img46.jpg`, 200 frames a second.

Three releases are read: raw (whole clips), selected (onset to offset) and cropped (`reg_img46.jpg`). Where several lie
below one root, raw is taken before selected before cropped: the crop of the paper needs the raw frames.
"""

import re
from pathlib import Path

from slstt.datasets.annotations import read_annotations
from slstt.datasets.clips import Release
from slstt.datasets.releases import ReleaseLayout, clip_folders, folder_names, is_cropped, locate, match

LAYOUT = ReleaseLayout(
    dataset="casme2",
    title="CASME II",
    example="CASME2-RAW/sub01/EP02_01f/img46.jpg",
    sheets=("CASME2-coding-20190701", "CASME2-coding-20140508", "CASME2-coding-updated", "CASME2_label_Ver_2"),
    sheet_pattern=re.compile(r"casme_?(2|ii)[ _-].*(coding|label).*\.(xlsx|xls|csv)$"),
)


def kind_of(folder: Path, root: Path) -> str:
    """`raw`, `selected` or `cropped` (the newer `Cropped-updated` before the older one)."""
    if is_cropped(folder, root):
        return "cropped"
    return "selected" if any("selected" in name for name in folder_names(folder, root)) else "raw"


def read(root: Path, annotations: Path | None = None) -> Release:
    """The CASME II release at `root`. Raises DataError where root, layout or coding sheet are missing or unreadable."""
    order = ("raw", "selected", "cropped")
    found = locate(
        LAYOUT, root, annotations, rank=lambda folder: (order.index(kind_of(folder, root)), _older(folder, root))
    )
    rows, unusable = read_annotations("casme2", found.sheet)
    folders, doubled, strays = clip_folders("casme2", found.folder)
    clips, remarks = match("casme2", rows, folders, doubled)
    kind = {"raw": "raw frames", "selected": "selected raw frames", "cropped": "cropped frames"}
    return Release(
        "casme2",
        f"CASME II, {kind[kind_of(found.folder, root)]} ({found.folder})",
        root,
        found.sheet,
        tuple(clips),
        (*unusable, *remarks, *found.remarks, *strays),
    )


def _older(folder: Path, root: Path) -> bool:
    return not any("updated" in name for name in folder_names(folder, root))
