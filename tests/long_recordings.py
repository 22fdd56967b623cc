"""Small rendered recordings in the native trees of CAS(ME)^2 and SAMM Long Videos, with their coding sheets."""

from pathlib import Path

import cv2
from native_trees import write_workbook, write_xlsx

from slstt.datasets.synthetic.recordings import Expression, SyntheticRecording, draw_recording

SAMM_LONG_HEADER = (
    "Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type", "Action Units", "Notes",
)  # fmt: skip
SILENT = 1.25
"""Seconds that leave no room for an expression between two rests."""


def render(folder: Path, recording: SyntheticRecording, name: str) -> None:
    """The frames, numbered from 1."""
    folder.mkdir(parents=True)
    for number, picture in recording.frames():
        path = folder / name.format(number + 1)
        path.write_bytes(cv2.imencode(path.suffix, picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())


def write_casme_square(
    root: Path, subjects: int = 3, seconds: float = 8.0, size: tuple[int, int] = (320, 240), seed: int = 0
) -> dict[str, tuple[Expression, ...]]:
    """One recording with expressions and one without for each subject, 30 frames a second; the truth by recording."""
    rows, rule, truth = [], [], {}
    classes = ("negative", "positive", "surprise")
    for subject in range(1, subjects + 1):
        folder, films = f"s{14 + subject}", (("0401", "anger1", seconds), ("0502", "happy1", SILENT))
        rule.append((subject, folder, ""))
        for film, name, length in films:
            drawn = draw_recording(length, seed + subject, rate=30, size=size, grey=True)
            video = f"{14 + subject}_{film}"
            render(root / "rawpic" / folder / f"{video}film", drawn, "img{:03d}.jpg")
            truth[video] = drawn.expressions
            for number, e in enumerate(drawn.expressions, start=1):
                kind = "micro-expression" if e.micro else "macro-expression"
                label = classes[(subject + number) % 3]
                numbers = (e.onset + 1, e.apex + 1, e.offset + 1)
                rows.append((subject, f"{name}_{number}", *numbers, "4", label, kind, "anger"))
    book = {"CASFEcode_final": rows, "naming rule1": rule, "naming rule2": [("0401", "anger1"), ("0502", "happy1")]}
    write_workbook(root / "CAS(ME)^2code_final.xlsx", book)
    return truth


def write_samm_long(
    root: Path, subjects: int = 2, seconds: float = 4.0, size: tuple[int, int] = (320, 240), seed: int = 0
) -> None:
    """One recording with expressions and one without for each subject, at SAMM's 200 frames a second."""
    rows = [(f"line {n}",) for n in range(10)] + [SAMM_LONG_HEADER]
    for subject in range(6, 6 + subjects):
        for number, length in ((1, seconds), (2, SILENT)):
            video = f"{subject:03d}_{number}"
            drawn = draw_recording(length, seed + subject, rate=200, size=size, grey=True)
            render(root / "SAMM_longvideos" / video, drawn, video + "_{:04d}.jpg")
            for place, e in enumerate(drawn.expressions, start=1):
                kind, length_frames = "Micro - 1/2" if e.micro else "Macro", e.offset - e.onset + 1
                numbers = (e.onset + 1, e.apex + 1, e.offset + 1)
                rows.append((f"{subject:03d}", f"{video}_{place}", 1, *numbers, length_frames, kind, "4", ""))
    write_xlsx(root / "SAMM_LongVideos_V2_Release.xlsx", rows)
