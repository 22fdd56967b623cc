"""Every data set in its native layout, with rows as a test wants them: what all readers must do is tested alike."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from native_trees import CASME2_HEADER, SAMM_HEADER, casme2_row, frames, samm_row, write_workbook


@dataclass(frozen=True)
class Coded:
    """A row of a coding sheet: the number of the clip (from 1), its frames and its emotion."""

    clip: int
    onset: object = 5
    apex: object = 8
    offset: object = 12
    emotion: str = ""
    """Empty: one that the data set knows."""
    capitals: bool = False
    """The clip's name in capitals."""


@dataclass(frozen=True)
class NativeSet:
    """How one data set lies on disk; clips are numbered from 1, their frames are 1 to 20."""

    dataset: str
    emotion: str
    folder: Callable[[int], str]
    row: Callable[[Coded], tuple[object, ...]]
    sheet: str
    header: Sequence[object] | None = None
    frame: str = "img{}.jpg"
    worksheets: tuple[tuple[str, tuple[tuple[object, ...], ...]], ...] = ()
    size: tuple[int, int] | None = None

    def write(self, root: Path, rows: Iterable[Coded], size: tuple[int, int] | None = None) -> Path:
        """Frames and sheet below `root`; returns the sheet."""
        rows = list(rows)
        for number in {row.clip for row in rows}:
            frames(root / self.folder(number), range(1, 21), self.frame, size=size)
        return self.write_sheet(root / self.sheet, rows)

    def write_sheet(self, path: Path, rows: Iterable[Coded]) -> Path:
        """The sheet alone."""
        lines = [] if self.header is None else [self.header]
        for row in rows:
            cells = self.row(Coded(row.clip, row.onset, row.apex, row.offset, row.emotion or self.emotion))
            lines.append(tuple(str(c).upper() if row.capitals and c == self.name(row.clip) else c for c in cells))
        return write_workbook(path, {"label": lines, **dict(self.worksheets)})

    def name(self, clip: int) -> object:
        """What the sheet calls the clip."""
        return self.row(Coded(clip))[self.named]

    @property
    def named(self) -> int:
        """The place of the clip's name among the cells."""
        return 2 if self.dataset == "casme" else 1


def _mmew(row: Coded) -> tuple[object, ...]:
    return (1, f"S01-01-{row.clip:03d}", row.onset, row.apex, row.offset, "12", row.emotion, "")


NATIVE = {
    native.dataset: native
    for native in (
        NativeSet(
            "casme2", "disgust", lambda n: f"CASME2-RAW/sub01/EP01_{n:02d}f",
            lambda r: casme2_row(1, f"EP01_{r.clip:02d}f", r.onset, r.apex, r.offset, r.emotion),
            "CASME2-coding-20140508.xlsx", CASME2_HEADER,
        ),
        NativeSet(
            "samm", "anger", lambda n: f"SAMM/006/006_1_{n}",
            lambda r: samm_row(6, f"006_1_{r.clip}", r.onset, r.apex, r.offset, r.emotion),
            "SAMM_Micro_FACS_Codes_v2.xlsx", SAMM_HEADER, "006_{:05d}.jpg",
        ),
        NativeSet(
            "casme", "tense", lambda n: f"CASME_raw_selected/sub01/EP01_{n}f",
            lambda r: (r.emotion, 1, f"EP01_{r.clip}f", r.onset, r.apex, 0, r.offset, "4"),
            "casme.xlsx", ("Emotion", "Subject", "Filename", "OnsetF", "ApexF1", "ApexF2", "OffsetF", "AU"),
        ),
        NativeSet(
            "casme3", "fear", lambda n: f"part_A/spNO.1/{'abcdefg'[n - 1]}/color",
            lambda r: ("spNO.1", "abcdefg"[r.clip - 1], r.onset, r.apex, r.offset, "4", "I", r.emotion),
            "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
            ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"), "{}.jpg",
        ),
        NativeSet(
            "casme_square", "negative", lambda n: f"rawpic/s15/15_010{n}film",
            lambda r: (1, f"film{r.clip}_1", r.onset, r.apex, r.offset, "4", r.emotion, "micro-expression", ""),
            "CAS(ME)^2code_final.xlsx", None, "img{:03d}.jpg",
            (
                ("naming rule1", ((1, "s15"),)),
                ("naming rule2", tuple((f"010{n}", f"film{n}") for n in range(1, 8))),
            ),
        ),
        NativeSet(
            "mmew", "happiness", lambda n: f"MMEW_Final/Micro_Expression/happiness/S01-01-{n:03d}", _mmew,
            "MMEW_Micro_Exp.xlsx",
            ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion", ""),
            "{}.jpg",
        ),
        NativeSet(
            "samm_long", "anger", lambda n: f"SAMM_longvideos/006_{n}",
            lambda r: (6, f"006_{r.clip}_1", 1, r.onset, r.apex, r.offset, 8, "Micro - 1/2", "4", ""),
            "SAMM_LongVideos_V3_Release.xlsx",
            ("Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type",
             "Action Units", "Notes"),
            "006_1_{:04d}.jpg",
        ),
        NativeSet(
            "fourdme", "negative", lambda n: f"gray_micro/sub1/sub1_ne_{n}",
            lambda r: ("sub1", f"sub1_ne_{r.clip}", r.emotion, r.onset, r.apex, r.offset, "4(k)"),
            "4DME_Labelling_Micro_release v1.xlsx",
            ("sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs"), "{}.jpg",
        ),
        NativeSet(
            "table", "joy", lambda n: f"clips/p1_{n}",
            lambda r: ("p1", f"p1_smile_{r.clip}", f"clips/p1_{r.clip}", r.onset, r.apex, r.offset, r.emotion),
            "mine.xlsx", ("subject", "clip", "folder", "onset", "apex", "offset", "emotion"), "{}.jpg",
        ),
    )
}  # fmt: skip
"""Data set -> its layout; those whose folders say all (SMIC, DFME) are tested on their own."""
