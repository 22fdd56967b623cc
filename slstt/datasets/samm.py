"""SAMM (Davison et al. 2018): `SAMM/006/006_1_2/006_05562.jpg`, 200 frames a second, grey.

Frame numbers are absolute, on the sheet's scale. Frames renamed to `img5562.jpg` and the cropped release (`SAMM_CROP`)
are read as well; where raw and cropped frames lie below one root, raw is taken.
"""

import re
from pathlib import Path

from slstt.datasets.annotations import DataSet, IdForm, Tree, named
from slstt.datasets.clips import Release
from slstt.datasets.folders import is_cropped
from slstt.datasets.releases import read_native

DATA_SET = DataSet(
    name="samm",
    title="SAMM",
    rate=200,
    emotions=("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise", "other"),
    spellings={"others": "other"},
    subject=IdForm(named(r"0*(\d{1,3})"), lambda found: f"{int(found[1]):03d}", "006"),
    clip=IdForm(
        named(r"0*(\d{1,3})_(\d{1,3})_(\d{1,3})"),
        lambda found: f"{int(found[1]):03d}_{int(found[2])}_{int(found[3])}",
        "006_1_2",
    ),
    trees=(Tree((named(r"(?P<subject>\d{3})"), named(r"(?P<clip>.*)"))),),
    example="SAMM/006/006_1_2/006_05562.jpg",
    sheets=("SAMM_Micro_FACS_Codes_v2", "SAMM_20181215_Micro_FACS_Codes_v2"),
    sheet_pattern=re.compile(r"samm[ _-].*(micro|facs|coding).*\.(xlsx|xls|csv)$"),
)


def read(root: Path, annotations: Path | None = None) -> Release:
    """The SAMM release at `root`. Raises DataError where root, layout or coding sheet are missing or unreadable."""
    return read_native(
        DATA_SET,
        root,
        annotations,
        rank=lambda folder: is_cropped(folder, root),
        title=lambda folder: "cropped frames" if is_cropped(folder, root) else "raw frames",
    )
