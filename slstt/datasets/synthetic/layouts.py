"""The native layouts in which synthetic data sets are written: names of folders and frames, and coding sheets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import ascii_lowercase

import cv2
import numpy as np
import xlsxwriter

from slstt.datasets.casme_square import FILMS as CASME_SQUARE_FILMS
from slstt.datasets.mmew import CODES
from slstt.datasets.synthetic.action_units import code
from slstt.datasets.synthetic.clips import SyntheticClip

MMEW_CODE = {emotion: number for number, emotion in CODES.items()}


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
    """(subject, clip number, emotion, how many of that emotion the subject has shown with this one) -> name, in which
    `{onset}` stands for the onset's number."""
    frame: Callable[[str, str, str, int], str]
    """(subject, clip name, emotion, frame number) -> file below the root."""
    encoding: tuple[int, ...] = ()
    """OpenCV's encoder flags."""
    sheet: Callable[[Path, Sequence[Row]], None] | None = None


SMIC_CODE = {"negative": "ne", "positive": "po", "surprise": "sur"}
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


def write_book(path: Path, *sheets: Sequence[Sequence[object]]) -> None:
    """An Excel file with these worksheets; its dates are fixed, so equal lines give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
        book.set_properties({"created": datetime(2014, 5, 8)})
        for lines in sheets:
            sheet = book.add_worksheet()
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
    write_book(root / "CASME2-coding-20140508.xlsx", [header, *lines])


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
    write_book(root / "SAMM_Micro_FACS_Codes_v2.xlsx", [*preamble, header, *lines])


def _casme3_sheet(root: Path, rows: Sequence[Row]) -> None:
    header = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
    lines = [
        (r.subject, r.name[0], r.clip.onset, r.clip.annotated_apex, r.clip.offset, code(r.clip.units), "",
         {"sadness": "sad", "happiness": "happy"}.get(r.clip.emotion, r.clip.emotion))
        for r in rows
    ]  # fmt: skip
    write_book(root / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", [header, *lines])


def _mmew_sheet(root: Path, rows: Sequence[Row]) -> None:
    header = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion",
              "remarks")  # fmt: skip
    lines = [
        (int(r.subject[1:]), r.name, r.clip.onset, r.clip.annotated_apex, r.clip.offset, code(r.clip.units),
         r.clip.emotion, "")
        for r in rows
    ]  # fmt: skip
    write_book(root / "MMEW_Micro_Exp.xlsx", [header, *lines])


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
        encoding=JPEG,
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
        encoding=JPEG,
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
    "casme3": SyntheticLayout(
        dataset="casme3",
        emotions=("disgust", "happiness", "surprise", "others"),
        rate=30,
        grey=False,
        only_onset_to_offset=False,
        first_number=(1, 400),
        subject=lambda subject: f"spNO.{subject}",
        clip=lambda subject, clip, emotion, shown: f"{ascii_lowercase[clip - 1]}_{{onset}}",
        frame=lambda subject, name, emotion, number: f"part_A_split/part_A/{subject}/{name[0]}/color/{number}.jpg",
        encoding=JPEG,
        sheet=_casme3_sheet,
    ),
    "mmew": SyntheticLayout(
        dataset="mmew",
        emotions=("happiness", "surprise", "disgust", "others"),
        rate=90,
        grey=False,
        only_onset_to_offset=False,
        first_number=(1, 2),
        subject=lambda subject: f"S{subject:02d}",
        clip=lambda subject, clip, emotion, shown: f"{subject}-{MMEW_CODE[emotion]}-{clip:03d}",
        frame=lambda subject, name, emotion, number: f"MMEW_Final/Micro_Expression/{emotion}/{name}/{number}.jpg",
        encoding=JPEG,
        sheet=_mmew_sheet,
    ),
}
"""Layout name -> layout. `casme2` holds the frames from onset to offset, `casme2_full` those around them too."""


def write_picture(path: Path, picture: np.ndarray, encoding: tuple[int, ...]) -> None:
    """Write (H, W, 3) RGB or (H, W) grey, uint8, with OpenCV's encoder flags."""
    encoded = cv2.imencode(path.suffix, picture[..., ::-1] if picture.ndim == 3 else picture, encoding)[1]
    path.write_bytes(encoded.tobytes())


@dataclass(frozen=True)
class LongRow:
    """One expression in a recording, numbers from 1; `place` counts the recording's expressions from 1."""

    subject: int
    recording: int
    video: str
    place: int
    onset: int
    apex: int
    offset: int
    units: str
    emotion: str
    micro: bool


@dataclass(frozen=True)
class LongLayout:
    """One native layout of long recordings; the functions take a subject's number and a recording's, both from 1."""

    dataset: str
    emotions: tuple[str, ...]
    rate: int
    """Frames a second."""
    grey: bool
    most: int
    """How many recordings a subject can have."""
    subject: Callable[[int], str]
    video: Callable[[int, int], str]
    """(subject, recording) -> its id, as the reader gives it."""
    frame: Callable[[str, str, int], str]
    """(subject, video, frame number from 1) -> file below the root."""
    sheets: Callable[[Path, Sequence[LongRow]], None]


FILMS = tuple((code, name) for name, code in sorted(CASME_SQUARE_FILMS.items(), key=lambda film: film[1]))
"""(code, name) of the films that CAS(ME)^2's recordings are called after."""


def casme_square_name(row: LongRow) -> str:
    """The name of an expression in CAS(ME)^2's sheet."""
    return f"{FILMS[row.recording - 1][1]}_{row.place}"


def samm_long_name(row: LongRow) -> str:
    """The name of an expression in SAMM Long Videos' sheets."""
    return f"{row.video}_{row.place}"


def _casme_square_sheets(root: Path, rows: Sequence[LongRow]) -> None:
    coded = [
        (r.subject, casme_square_name(r), r.onset, r.apex, r.offset, r.units, r.emotion,
         "micro-expression" if r.micro else "macro-expression", "")
        for r in rows
    ]  # fmt: skip
    participants = [(number, f"s{number + 14}") for number in sorted({r.subject for r in rows})]
    write_book(root / "CAS(ME)^2code_final.xlsx", coded, participants, FILMS)


def _samm_long_sheets(root: Path, rows: Sequence[LongRow]) -> None:
    preamble = [(f"SAMM Long Videos (synthetic data in their layout), note {number}",) for number in range(1, 11)]
    header = ("Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type", "Action Units",
              "Notes")  # fmt: skip
    lines = [
        (r.video[:3], samm_long_name(r), r.recording, r.onset, r.apex, r.offset, r.offset - r.onset + 1,
         "Micro - 1/2" if r.micro else "Macro", r.units, "")
        for r in rows
    ]  # fmt: skip
    write_book(root / "SAMM_LongVideos_V3_Release.xlsx", [*preamble, header, *lines])
    header = ("Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration",
              "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes")  # fmt: skip
    lines = [
        (r.video[:3], samm_long_name(r), r.recording, r.onset, r.apex, r.offset, r.offset - r.onset + 1, "Micro - 1/2",
         r.units, r.emotion.capitalize(), "", "")
        for r in rows
        if r.micro
    ]  # fmt: skip
    write_book(root / "SAMM_Micro_FACS_Codes_v2.xlsx", [header, *lines])


LONG_LAYOUTS: dict[str, LongLayout] = {
    "casme_square": LongLayout(
        dataset="casme_square",
        emotions=("negative", "positive", "surprise", "others"),
        rate=30,
        grey=False,
        most=len(FILMS),
        subject=lambda subject: f"s{subject + 14}",
        video=lambda subject, recording: f"{subject + 14}_{FILMS[recording - 1][0]}",
        frame=lambda subject, video, number: f"rawpic/{subject}/{video}film/img{number:03d}.jpg",
        sheets=_casme_square_sheets,
    ),
    "samm_long": LongLayout(
        dataset="samm_long",
        emotions=("anger", "contempt", "happiness", "surprise", "other"),
        rate=200,
        grey=True,
        most=99,
        subject=lambda subject: f"{subject + 5:03d}",
        video=lambda subject, recording: f"{subject + 5:03d}_{recording}",
        frame=lambda subject, video, number: f"SAMM_longvideos/{video}/{video}_{number:04d}.jpg",
        sheets=_samm_long_sheets,
    ),
}
"""Layout name -> layout of long recordings."""
