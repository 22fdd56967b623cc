"""4DME (Li et al. 2022), its grey micro-expression clips: `gray_micro/<subject>/<clip>/`, 60 frames a second.

The ids of subjects and clips are those of sheet and folders in small letters. Action units stay as the sheet has them,
with the mark `(k)` behind some of them.
"""

import re
from pathlib import Path

from slstt.datasets.annotations import COLUMNS, DataSet, IdForm, Tree, named
from slstt.datasets.clips import Release
from slstt.datasets.releases import read_native

_NAME = r"[a-z0-9](?:[\w.-]|(?<=\w) (?=\w))*"
_FRAMES = named(r"gr[ae]y_?micro")

DATA_SET = DataSet(
    name="fourdme",
    title="4DME",
    rate=60,
    emotions=("positive", "negative", "surprise", "repression", "others"),
    spellings={"other": "others"},
    subject=IdForm(named(_NAME), lambda found: found[0].lower(), "sub01"),
    clip=IdForm(named(_NAME), lambda found: found[0].lower(), "sub01_1"),
    trees=(Tree((_FRAMES, named(f"(?P<subject>{_NAME})"), named(f"(?P<clip>{_NAME})"))),),
    example="gray_micro/sub01/sub01_1/1.jpg",
    sheets=("4DME_Labelling_Micro_release v1",),
    sheet_pattern=re.compile(r"4dme.*micro.*\.(xlsx|xls|csv)$"),
    columns={**COLUMNS, "subject": ("subid",), "clip": ("foldname",), "units": ("aus", "actionunits", "au")},
)


def read(root: Path, annotations: Path | None = None) -> Release:
    """The 4DME release at `root`. Raises DataError where root, frames or sheet are missing or unreadable."""
    inner = _FRAMES.fullmatch(root.resolve().name) is not None
    return read_native(DATA_SET, root.parent if inner else root, annotations)
