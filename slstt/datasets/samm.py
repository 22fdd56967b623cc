"""SAMM (Davison et al. 2018): `SAMM/006/006_1_2/006_05562.jpg`, 200 frames a second, grey.

Frame numbers are absolute, on the sheet's scale. Frames renamed to `img5562.jpg` and the cropped release (`SAMM_CROP`)
are read as well; where raw and cropped frames lie below one root, raw is taken.
"""

import re
from pathlib import Path

from slstt.datasets.annotations import read_annotations
from slstt.datasets.clips import Release
from slstt.datasets.releases import ReleaseLayout, clip_folders, is_cropped, locate, match

LAYOUT = ReleaseLayout(
    dataset="samm",
    title="SAMM",
    example="SAMM/006/006_1_2/006_05562.jpg",
    sheets=("SAMM_Micro_FACS_Codes_v2", "SAMM_20181215_Micro_FACS_Codes_v2"),
    sheet_pattern=re.compile(r"samm[ _-].*(micro|facs|coding).*\.(xlsx|xls|csv)$"),
)


def read(root: Path, annotations: Path | None = None) -> Release:
    """The SAMM release at `root`. Raises DataError where root, layout or coding sheet are missing or unreadable."""
    found = locate(LAYOUT, root, annotations, rank=lambda folder: is_cropped(folder, root))
    rows, unusable = read_annotations("samm", found.sheet)
    folders, doubled, strays = clip_folders("samm", found.folder)
    clips, remarks = match("samm", rows, folders, doubled)
    kind = "cropped frames" if is_cropped(found.folder, root) else "raw frames"
    return Release(
        "samm",
        f"SAMM, {kind} ({found.folder})",
        root,
        found.sheet,
        tuple(clips),
        (*unusable, *remarks, *found.remarks, *strays),
    )
