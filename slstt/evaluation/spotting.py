"""A folder of spotted intervals: reading and checking its files, its metrics.json, and its tables.

`intervals.csv` (found) and `truth.csv` (annotated) are enough. Frame numbers are those of the data set, both ends
included. A video without an expression is one row of truth.csv with empty numbers. Where `videos.csv` tells each
video's frames and rate, false alarms a minute and the apex error in seconds are known too; `spotting.json` tells how
the intervals were found.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from slstt.datasets.clips import KINDS, Kind, id_problem, name_of
from slstt.errors import DataError, Problems, printable, shortened
from slstt.evaluation.intervals import OTHER_IOUS, SpottedVideo, VideoInterval, kind_of, score
from slstt.evaluation.tables import Table, dataset_title, number, score_text
from slstt.files import read_csv, write_csv

INTERVALS, TRUTH, VIDEOS, ABOUT = "intervals.csv", "truth.csv", "videos.csv", "spotting.json"
FOUND_COLUMNS = ("dataset", "subject", "video", "onset", "apex", "offset", "strength", "kind", "predicted_label")
TRUE_COLUMNS = ("dataset", "subject", "video", "onset", "apex", "offset", "kind", "label")
VIDEO_COLUMNS = ("dataset", "subject", "video", "first", "frames", "fps")
"""`first` is the number of the first frame."""
_KEY = ("dataset", "subject", "video")
INVALID = "INVALID: the videos without an expression are left out, and their false alarms with them"

VideoKey = tuple[str, str, str]
VideoLength = tuple[int, float, int]
"""Frames, frames a second, number of the first frame."""


@dataclass(frozen=True)
class SpottedFolder:
    """What lies in the folder."""

    folder: Path
    videos: tuple[SpottedVideo, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    """Of spotting.json: method, selection (`loso` or `fixed`), settings."""


def read_spotted(folder: Path) -> SpottedFolder:
    """Read and check the folder.

    Raises DataError listing every problem of its files: a column or a number missing, an apex outside onset..offset, an
    unknown kind, an interval that stands twice, a video that truth.csv does not know.
    """
    problems = Problems()
    true: dict[VideoKey, list[VideoInterval]] = {}
    found: dict[VideoKey, list[VideoInterval]] = {}
    lengths: dict[VideoKey, VideoLength] = {}
    with problems.collecting():
        lengths = _read_lengths(folder / VIDEOS) if (folder / VIDEOS).is_file() else {}
    with problems.collecting():
        true = _read_rows(folder / TRUTH, TRUE_COLUMNS[:-1], "label", lengths, may_be_empty=True)
    with problems.collecting():
        found = _read_rows(folder / INTERVALS, FOUND_COLUMNS[:6], "predicted_label", lengths, may_be_empty=False)
    about = {}
    with problems.collecting():
        about = _read_about(folder / ABOUT)
    if true and (unknown := [name_of(key) for key in found if key not in true]):
        lines = [f"{folder / INTERVALS}: {name} is not in {TRUTH}; add its row" for name in shortened(unknown)]
        problems.add(DataError(*lines))
    if not problems.errors and not true:
        problems.add(DataError(f"{folder / TRUTH}: holds no video, only the header"))
    problems.raise_if_any()
    videos = [
        SpottedVideo(*key, tuple(true[key]), tuple(found.get(key, ())), *lengths.get(key, (None, None, 0)))
        for key in sorted(true)
    ]
    return SpottedFolder(folder, tuple(videos), about)


def _read_rows(
    path: Path,
    columns: Sequence[str],
    label: str,
    lengths: Mapping[VideoKey, VideoLength],
    may_be_empty: bool,
) -> dict[VideoKey, list[VideoInterval]]:
    """The intervals of each video; a video whose row has no numbers has none."""
    videos: dict[VideoKey, list[VideoInterval]] = {}
    empty: set[VideoKey] = set()
    problems: list[str] = []
    for line, row in enumerate(read_csv(path, columns, one_line=True), start=2):
        where = f"{path}: line {line}"
        key = cast(VideoKey, tuple(row[name] for name in _KEY))
        if wrong := [f"{n}: {p}" for n, text in zip(_KEY, key, strict=True) if (p := id_problem(text))]:
            problems += [f"{where}: {one}" for one in wrong]
            continue
        here = videos.setdefault(key, [])
        if may_be_empty and not any(row[name].strip() for name in ("onset", "apex", "offset")):
            empty.add(key)
            continue
        one = _interval(row, row.get(label, ""), lengths.get(key))
        if isinstance(one, str):
            problems.append(f"{where} ({name_of(key)}): {one}")
            continue
        if any((i.onset, i.offset, i.kind) == (one.onset, one.offset, one.kind) for i in here):
            problems.append(f"{where} ({name_of(key)}): the {one.kind} interval {one.onset}..{one.offset} stands twice")
        here.append(one)
    problems += [
        f"{path}: {name_of(key)} has intervals and a row without numbers, which means that it has none; delete the one"
        for key in sorted(empty)
        if videos[key]
    ]
    if problems:
        raise DataError(*shortened(problems))
    return videos


def _interval(row: Mapping[str, str], label: str, length: VideoLength | None) -> VideoInterval | str:
    """The interval of a row, or what is wrong with it."""
    numbers = {name: _whole(row[name]) for name in ("onset", "apex", "offset")}
    onset, apex, offset = numbers["onset"], numbers["apex"], numbers["offset"]
    if onset is None or offset is None or (apex is None and row["apex"].strip()):
        return "onset, apex and offset are whole numbers (an unknown apex is empty)"
    if onset > offset or (apex is not None and not onset <= apex <= offset):
        return f"onset {onset}, apex {row['apex'] or '-'}, offset {offset} are out of order"
    kind = row.get("kind", "").strip()
    if not kind and length is not None:
        kind = kind_of(onset, offset, length[1])
    if kind not in KINDS:
        hint = f"; leave it empty only where {VIDEOS} tells the frame rate" if not kind else ""
        return f"kind '{printable(kind)}' is not one of {', '.join(KINDS)}{hint}"
    strength = _real(row.get("strength", ""))
    if strength is not None and math.isnan(strength):
        return f"strength '{printable(row['strength'])}' is not a number"
    return VideoInterval(onset, offset, cast(Kind, kind), apex, label.strip(), strength)


def _read_lengths(path: Path) -> dict[VideoKey, VideoLength]:
    lengths, problems = {}, []
    for line, row in enumerate(read_csv(path, VIDEO_COLUMNS, one_line=True), start=2):
        key = tuple(row[name] for name in _KEY)
        first, frames, rate = _whole(row["first"]), _whole(row["frames"]), _real(row["fps"])
        if first is None or frames is None or frames < 1 or rate is None or not rate > 0:
            what = "first and frames are whole numbers, fps is a number; frames and fps are above 0"
            problems.append(f"{path}: line {line}: {what}")
        elif key in lengths:
            problems.append(f"{path}: line {line}: {name_of(key)} stands twice")
        else:
            lengths[key] = (frames, rate, first)
    if problems:
        raise DataError(*shortened(problems))
    return lengths


def _read_about(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: unreadable as JSON ({error}); run slstt-spot again") from error
    if not isinstance(about, dict):
        raise DataError(f"{path}: must hold names and values; run slstt-spot again")
    return about


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*[+-]?\d{1,12}(\.0{1,6})?\s*", text, re.ASCII) and "." not in text else None


def _real(text: str) -> float | None:
    """The number in a cell, None where it is empty, nan where it is none."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def write_spotted(folder: Path, videos: Sequence[SpottedVideo]) -> None:
    """Write intervals.csv, truth.csv and videos.csv, sorted by video and onset."""
    order = sorted(videos, key=lambda video: video.key)
    found, true, lengths = [], [], []
    for video in order:
        for one in sorted(video.found, key=lambda i: (i.onset, i.offset, i.kind)):
            strength = "" if one.strength is None else f"{one.strength:.4g}"
            found.append((*video.key, one.onset, _cell(one.apex), one.offset, strength, one.kind, one.label))
        for one in sorted(video.true, key=lambda i: (i.onset, i.offset, i.kind)):
            true.append((*video.key, one.onset, _cell(one.apex), one.offset, one.kind, one.label))
        if not video.true:
            true.append((*video.key, "", "", "", "", ""))
        if video.frames is not None and video.rate is not None:
            lengths.append((*video.key, video.first, video.frames, f"{video.rate:g}"))
    write_csv(folder / VIDEOS, VIDEO_COLUMNS, lengths)
    write_csv(folder / TRUTH, TRUE_COLUMNS, true)
    write_csv(folder / INTERVALS, FOUND_COLUMNS, found)


def _cell(number_or_none: int | None) -> str:
    return "" if number_or_none is None else str(number_or_none)


def evaluate_spotting(spotted: SpottedFolder, only_with_expressions: bool = False) -> dict[str, Any]:
    """Everything metrics.json holds for the folder. Leaving videos out is marked under "invalid" and in every table.

    Raises DataError where no video would be left.
    """
    videos = [video for video in spotted.videos if video.true or not only_with_expressions]
    if not videos:
        raise DataError(f"{spotted.folder}: no video has an annotated expression; none is left to score")
    metrics = score(videos)
    selection = spotted.about.get("selection")
    warnings = []
    if selection == "fixed":
        warnings.append("FIXED: thresholds and lengths were given, not chosen on the other subjects")
    failed = spotted.about.get("failed")
    if isinstance(failed, list) and failed:
        warnings.append(
            f"{len(failed)} videos could not be measured (failures.csv); all their expressions count as missed"
        )
    if metrics["minutes"] is None:
        warnings.append(f"{VIDEOS} does not tell every video's length: false alarms a minute are not known")
    return {
        "method": spotted.about.get("method"),
        "selection": selection,
        "invalid": INVALID if only_with_expressions else None,
        **metrics,
        "per_dataset": _per_dataset(videos),
        "warnings": warnings,
    }


def _per_dataset(videos: Sequence[SpottedVideo]) -> dict[str, Any]:
    """The same for each data set, where there are several."""
    names = sorted({video.dataset for video in videos})
    if len(names) < 2:
        return {}
    return {name: score([video for video in videos if video.dataset == name]) for name in names}


def spotting_title(metrics: Mapping[str, Any]) -> str:
    """How the result is called: what was left out or given stands in it."""
    how = {"loso": "thresholds chosen on the other subjects", "fixed": "FIXED thresholds"}
    parts = [metrics["invalid"], metrics["method"], how.get(str(metrics["selection"]), "choice of thresholds unknown")]
    return ", ".join(part for part in parts if part)


def spotting_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """The tables that terminal, page, Markdown and LaTeX show."""
    title = spotting_title(metrics)
    blocks = [("", metrics), *((f"{dataset_title(name)}: ", part) for name, part in metrics["per_dataset"].items())]
    counts = [
        (
            f"{before}{kind}",
            *(str(block[name]) for name in ("tp", "fp", "fn")),
            number(block["precision"]),
            number(block["recall"]),
            score_text(block["f1"], block["ci"]),
        )
        for before, part in blocks
        for kind, block in part["spotting"].items()
    ]
    others = [
        (
            f"{before}{kind}",
            *(number(block["f1_at"][f"{least:g}"]) for least in OTHER_IOUS),
            _optional(block["apex_error_frames"], "{:.1f}"),
            _optional(block["apex_error_seconds"], "{:.3f}"),
            _optional(block["false_alarms_per_minute"], "{:.2f}"),
        )
        for before, part in blocks
        for kind, block in part["spotting"].items()
    ]
    tables = [
        Table(
            f"Spotting, IoU at least 0.5: {title}", ("", "TP", "FP", "FN", "Precision", "Recall", "F1"), tuple(counts)
        ),
        Table(
            "Looser overlap, apex, false alarms",
            (
                "",
                *(f"F1, IoU {least:g}" for least in OTHER_IOUS),
                "Apex error, frames",
                "seconds",
                "False alarms a minute",
            ),
            tuple(others),
            ("The apex error is the mean over the true positives whose apex is annotated.",),
        ),
    ]
    if recognition := metrics.get("recognition"):
        rows = [
            (kind, str(about["n"]), number(about["uf1"]), score_text(about["strs"], about["strs_ci"]))
            for kind, about in recognition.items()
        ]
        note = f"Classes: {', '.join(recognition[metrics['strs_of']]['classes'])}."
        tables.append(Table("Spot-then-recognise", ("", "True positives", "UF1", "STRS"), tuple(rows), (note,)))
    return tables


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
