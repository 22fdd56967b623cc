"""The native layouts a synthetic data set can be written in: names, numbers, picture files and coding sheets.

They are the ones the readers of `slstt.datasets` read; what is said here about CASME II, SAMM and SMIC-HS is how their
owners have them on disk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import xlsxwriter

from slstt.datasets.synthetic.action_units import code
from slstt.datasets.synthetic.clips import SyntheticClip


@dataclass(frozen=True)
class Row:
    """One clip in a coding sheet."""

    subject: str
    name: str
    clip: SyntheticClip


@dataclass(frozen=True)
class SyntheticLayout:
    """One native layout; the functions take a subject's number from 1 and a clip's from 1."""

    dataset: str
    """`casme2`, `samm` or `smic`."""
    emotions: tuple[str, ...]
    """Shown where the caller names none: the classes of the data set's own protocol."""
    rate: int
    """Frames a second."""
    grey: bool
    only_onset_to_offset: bool
    """Whether frames before the onset and after the offset are left out."""
    first_number: tuple[int, int]
    """Range of a clip's first frame number."""
    subject: Callable[[int], str]
    clip: Callable[[str, int, str, int], str]
    """(subject, clip number, emotion, how many of that emotion the subject has shown with this one) -> name."""
    frame: Callable[[str, str, str, int], str]
    """(subject, clip name, emotion, frame number) -> file below the root."""
    encoding: tuple[int, ...] = ()
    """OpenCV's encoder flags."""
    sheet: Callable[[Path, Sequence[Row]], None] | None = None


SMIC_CODE = {"negative": "ne", "positive": "po", "surprise": "sur"}
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


def _workbook(path: Path, lines: Sequence[Sequence[object]]) -> None:
    """An Excel file with one sheet; its dates are fixed, so equal lines give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
        book.set_properties({"created": datetime(2014, 5, 8)})
        sheet = book.add_worksheet("Sheet1")
        for number, line in enumerate(lines):
            sheet.write_row(number, 0, line)


def _casme2_sheet(root: Path, rows: Sequence[Row]) -> None:
    header = (
        "Subject",
        "Filename",
        "",
        "OnsetFrame",
        "ApexFrame",
        "OffsetFrame",
        "",
        "Action Units",
        "Estimated Emotion",
    )
    lines = [
        (r.subject.removeprefix("sub"), r.name, "", r.clip.onset, r.clip.annotated_apex, r.clip.offset, "",
         code(r.clip.units), r.clip.emotion)
        for r in rows
    ]  # fmt: skip
    _workbook(root / "CASME2-coding-20140508.xlsx", [header, *lines])


def _samm_sheet(root: Path, rows: Sequence[Row]) -> None:
    preamble = [("Micro-movement codes (synthetic data in SAMM's layout)",)]
    preamble += [(f"Note {number}",) for number in range(1, 13)]
    header = ("Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration",
              "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes")  # fmt: skip
    lines = [
        (r.subject, r.name, int(r.name.split("_")[1]), r.clip.onset, r.clip.annotated_apex, r.clip.offset,
         r.clip.offset - r.clip.onset + 1, "Micro - 1/2", code(r.clip.units), r.clip.emotion.capitalize(), "", "")
        for r in rows
    ]  # fmt: skip
    _workbook(root / "SAMM_Micro_FACS_Codes_v2.xlsx", [*preamble, header, *lines])


def _casme2(folder: str, only_onset_to_offset: bool) -> SyntheticLayout:
    return SyntheticLayout(
        dataset="casme2",
        emotions=("disgust", "happiness", "repression", "surprise", "others"),
        rate=200,
        grey=False,
        only_onset_to_offset=only_onset_to_offset,
        first_number=(1, 180),
        subject=lambda subject: f"sub{subject:02d}",
        clip=lambda subject, clip, emotion, shown: f"EP{(clip + 1) // 2:02d}_{clip:02d}f",
        frame=lambda subject, name, emotion, number: f"{folder}/{subject}/{name}/img{number}.jpg",
        encoding=_JPEG,
        sheet=_casme2_sheet,
    )


LAYOUTS: dict[str, SyntheticLayout] = {
    "casme2": _casme2("CASME2_RAW_selected", True),
    "casme2_full": _casme2("CASME2-RAW", False),
    "samm": SyntheticLayout(
        dataset="samm",
        emotions=("anger", "contempt", "happiness", "surprise", "other"),
        rate=200,
        grey=True,
        only_onset_to_offset=False,
        first_number=(600, 14000),
        subject=lambda subject: f"{subject + 5:03d}",
        clip=lambda subject, clip, emotion, shown: f"{subject}_{(clip + 2) // 3}_{(clip - 1) % 3 + 1}",
        frame=lambda subject, name, emotion, number: f"SAMM/{subject}/{name}/{subject}_{number:05d}.jpg",
        encoding=_JPEG,
        sheet=_samm_sheet,
    ),
    "smic": SyntheticLayout(
        dataset="smic",
        emotions=("negative", "positive", "surprise"),
        rate=100,
        grey=False,
        only_onset_to_offset=True,
        first_number=(100000, 900000),
        subject=lambda subject: f"s{subject:02d}",
        clip=lambda subject, clip, emotion, shown: f"{subject}_{SMIC_CODE[emotion]}_{shown:02d}",
        frame=lambda subject, name, emotion, number: (
            f"SMIC_all_raw/HS/{subject}/micro/{emotion}/{name}/image{number}.bmp"
        ),
    ),
}
"""Layout name -> layout. `casme2` holds the frames from onset to offset, `casme2_full` those around them too."""
