"""SAMM Long Videos (Yap et al. 2020): recordings with micro- and macro-expressions, 200 frames a second, grey.

Frames: `SAMM_longvideos/006_1/006_1_0001.jpg`, a folder a recording, numbered from 1. The sheet gives no emotions: the
micro-expressions' are taken from SAMM's own sheet (`SAMM_Micro_FACS_Codes_v2.xlsx`), by the clip's name.
"""

import re
from dataclasses import replace
from pathlib import Path

from slstt.datasets import samm
from slstt.datasets.annotations import (
    COLUMNS,
    Cells,
    DataSet,
    IdForm,
    Tree,
    as_annotations,
    named,
    read_annotations,
    read_rows,
    told_apart,
)
from slstt.datasets.clips import Release, Remark
from slstt.datasets.folders import FrameFolders, pick_sheet
from slstt.datasets.releases import LocatedRelease, Rows, read_native

DATA_SET = DataSet(
    name="samm_long",
    title="SAMM Long Videos",
    rate=200,
    emotions=samm.DATA_SET.emotions,
    spellings=samm.DATA_SET.spellings,
    subject=samm.DATA_SET.subject,
    clip=IdForm(
        named(r"0*(\d{1,3})_(\d{1,3})_(\d{1,3}(?:_\d+)?)"),
        lambda found: f"{int(found[1]):03d}_{int(found[2])}_{found[3]}",
        "006_1_2",
    ),
    video=IdForm(named(r"0*(\d{1,3})_(\d{1,3})"), lambda found: f"{int(found[1]):03d}_{int(found[2])}", "006_1"),
    trees=(Tree((named(r"(?P<video>(?P<subject>\d{3})_\d{1,3})"),)),),
    example="SAMM_longvideos/006_1/006_1_0001.jpg",
    sheets=("SAMM_LongVideos_V3_Release", "SAMM_LongVideos_V2_Release", "SAMM_LongVideos_V1_Release"),
    sheet_pattern=re.compile(r"samm[ _-]?long[ _-]?videos.*\.(xlsx|xls|csv)$"),
    columns={**COLUMNS, "kind": ("type",)},
    required=("subject", "clip", "onset", "offset", "kind"),
    not_given=frozenset({"-1", "0", ""}),
)


def read(root: Path, annotations: Path | None = None) -> Release:
    """The SAMM Long Videos at `root`. Raises DataError where root, frames or sheet are missing or unreadable."""
    return read_native(DATA_SET, root, annotations, rows=_rows)


def _rows(found: LocatedRelease, there: FrameFolders) -> Rows:
    assert found.sheet is not None
    rows, others = read_rows(found.sheet, DATA_SET.columns, DATA_SET.required)
    emotions, remarks = _emotions(found)
    coded, unusable = as_annotations(
        DATA_SET, found.sheet, told_apart((line, _with_video(cells)) for line, cells in rows), others
    )
    coded = [
        row if row.kind == "macro" else replace(row, emotion=emotions.get(_samm_name(row.clip), "")) for row in coded
    ]
    return coded, [*unusable, *remarks]


def _with_video(cells: Cells) -> Cells:
    kind = "macro" if cells["kind"].lower().startswith("macro") else cells["kind"].lower()
    kind = "micro" if kind.startswith("micro") else kind
    return {**cells, "kind": kind, "video": "_".join(cells["clip"].strip().split("_")[:2]), "emotion": ""}


def _samm_name(clip: str) -> str:
    return "_".join(clip.split("_")[:3])


def _emotions(found: LocatedRelease) -> tuple[dict[str, str], list[Remark]]:
    """Clip -> emotion, from SAMM's own sheet; a remark where it is not there."""
    sheet, _ = pick_sheet(found.sheets, samm.DATA_SET.sheet_pattern, samm.DATA_SET.sheets)
    if sheet is None:
        reason = f"{samm.DATA_SET.sheets[0]}.xlsx is not at, below or above the root; the clips have no emotion"
        return {}, [Remark(DATA_SET.name, "", "", "no_emotions", reason, "ignored")]
    return {row.clip: row.emotion for row in read_annotations(samm.DATA_SET, sheet)[0]}, []
