"""MMEW (Ben et al. 2021): `MMEW_Final/Micro_Expression/<emotion>/S01-01-001/1.jpg`, 90 frames a second.

The pictures of macro-expressions (`Macro_Expression`) are single frames and not read. The folder of `others` may be
called `repression`; the sheet's emotion is taken. The number in a clip's name says its emotion too.
"""

import re
from pathlib import Path

from slstt.datasets.annotations import DataSet, IdForm, Tree, named, read_annotations
from slstt.datasets.clips import Release, Remark
from slstt.datasets.folders import FrameFolders
from slstt.datasets.releases import LocatedRelease, Rows, read_native

CODES = {
    "01": "happiness", "02": "surprise", "03": "disgust", "04": "others", "05": "fear", "06": "sadness", "07": "anger",
}  # fmt: skip
"""The number in the middle of a clip's name -> emotion."""

DATA_SET = DataSet(
    name="mmew",
    title="MMEW",
    rate=90,
    emotions=tuple(CODES.values()),
    spellings={"other": "others", "repression": "others"},
    subject=IdForm(named(r"s?0*(\d{1,2})"), lambda found: f"S{int(found[1]):02d}", "S01"),
    clip=IdForm(
        named(r"s0*(\d{1,2})-(\d{1,2})-(\d{1,3})"),
        lambda found: f"S{int(found[1]):02d}-{int(found[2]):02d}-{int(found[3]):03d}",
        "S01-01-001",
    ),
    trees=(
        Tree(
            (
                named(r"happiness|surprise|disgust|fear|sadness|anger|others?|repression"),
                named(r"(?P<clip>(?P<subject>s\d{1,2})-\d+-\d+)"),
            )
        ),
    ),
    example="MMEW_Final/Micro_Expression/anger/S01-07-001/1.jpg",
    sheets=("MMEW_Micro_Exp_v2", "MMEW_Micro_Exp"),
    sheet_pattern=re.compile(r"mmew_micro_exp.*\.(xlsx|xls|csv)$"),
    not_given=frozenset({"", "/", "-"}),
)


def read(root: Path, annotations: Path | None = None) -> Release:
    """The MMEW release at `root`. Raises DataError where root, frames or sheet are missing or unreadable."""
    return read_native(DATA_SET, root, annotations, rows=_rows)


def _rows(found: LocatedRelease, there: FrameFolders) -> Rows:
    assert found.sheet is not None
    coded, unusable = read_annotations(DATA_SET, found.sheet)
    for row in coded:
        by_name = CODES.get(row.clip.split("-")[1])
        if by_name is not None and row.emotion != by_name and row.emotion in DATA_SET.emotions:
            reason = f"the sheet says '{row.emotion}', its name says {by_name}; taken as {row.emotion}"
            unusable.append(Remark(DATA_SET.name, row.subject, row.clip, "emotion_mismatch", reason, "flag"))
    return coded, unusable
