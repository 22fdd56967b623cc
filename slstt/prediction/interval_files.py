"""Intervals that other programs and people read and correct: ELAN files out, csv tables and ELAN files in.

ELAN (https://archive.mpi.nl/tla/elan) is the annotation program that many coders use. Its file names the recording and
holds two tiers: `interval`, from the onset to the end of the offset frame, with the class as its text; and `apex`, one
frame long. Times are whole milliseconds from the first frame.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slstt.errors import DataError
from slstt.files import read_csv, whole_file
from slstt.prediction.face_motion import FaceMotion, GivenInterval
from slstt.prediction.recording import Recording
from slstt.prediction.results import PredictionResult

if TYPE_CHECKING:
    from pympi import Eaf

INTERVAL_TIER, APEX_TIER = "interval", "apex"
MOST_INTERVALS = 10_000
"""In one file."""
MOST_BYTES = 16 * 2**20
"""Of an ELAN file."""


def write_elan(path: Path, recording: Recording, motion: FaceMotion, result: PredictionResult) -> None:
    """Write the intervals of `result` as an ELAN file linked with the recording (a video file)."""
    from pympi import Eaf

    eaf = Eaf(author="slstt")
    eaf.remove_tier("default")
    for tier in (INTERVAL_TIER, APEX_TIER):
        eaf.add_tier(tier)
    if not recording.files:
        eaf.add_linked_file(str(recording.path.resolve()), mimetype="video/*")
    ends = [round(1000 * second) for second in (*motion.times[1:], motion.times[-1] + 1 / motion.rate)]
    for one in result.found:
        onset, apex, _ = (round(1000 * second) for second in one.seconds)
        text = f"{one.label} {max(one.probabilities):.2f}" if one.label else "not classified"
        eaf.add_annotation(INTERVAL_TIER, onset, max(onset + 1, ends[one.interval.offset]), text)
        eaf.add_annotation(APEX_TIER, apex, max(apex + 1, ends[one.interval.apex]), "")
    with whole_file(path) as part:
        part.unlink()  # pympi would leave a copy of what it writes over
        eaf.to_file(str(part))


def read_intervals(path: Path, recordings: Sequence[Recording]) -> dict[str, tuple[GivenInterval, ...]]:
    """Recording's name -> its intervals, from a csv table or an ELAN file (`.eaf`, of one recording).

    The table has a column `onset` and, if wanted, `apex` and `offset` (frame numbers from 0, empty where unknown), and
    `recording` where there are several; further columns are not read, so intervals.csv is such a table. Raises
    DataError with every row that cannot be used, and where a row names a recording that is not among `recordings`.
    """
    if path.suffix.lower() == ".eaf":
        if len(recordings) != 1:
            raise DataError(f"{path}: an ELAN file is of one recording, here are {len(recordings)}; name that one")
        return {recordings[0].name: _read_elan(path, recordings[0])}
    found: dict[str, list[GivenInterval]] = {}
    problems, names = [], {recording.name for recording in recordings}
    rows = read_csv(path, ["onset"] if len(recordings) == 1 else ["recording", "onset"], one_line=True)
    for line, row in enumerate(rows, start=2):
        source = f"{path.name} line {line}"
        name = row.get("recording", recordings[0].name)
        if name not in names:
            problems.append(f"{path}: line {line}: '{name[:60]}' is none of the recordings ({_some(names)})")
            continue
        numbers: dict[str, int | None] = {}
        for column in ("onset", "apex", "offset"):
            text = row.get(column, "").strip()
            numbers[column] = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
            if numbers[column] is None and (text or column == "onset"):
                problems.append(f"{path}: line {line}: {column} '{text[:20]}' is no frame number, counted from 0")
        if numbers["onset"] is not None:
            found.setdefault(name, []).append(
                GivenInterval(numbers["onset"], numbers["apex"], numbers["offset"], source)
            )
    return _checked(path, found, problems)


def _read_elan(path: Path, recording: Recording) -> tuple[GivenInterval, ...]:
    eaf = _elan(path)
    if INTERVAL_TIER not in eaf.get_tier_names():
        raise DataError(f"{path}: has no tier '{INTERVAL_TIER}'; its tiers are {_some(set(eaf.get_tier_names()))}")
    apexes = []
    if APEX_TIER in eaf.get_tier_names():
        apexes = [_frame(recording, a[0]) for a in eaf.get_annotation_data_for_tier(APEX_TIER)]
    found = []
    for begin, end, *_ in sorted(eaf.get_annotation_data_for_tier(INTERVAL_TIER)):
        onset, offset = _frame(recording, begin), max(_frame(recording, end) - 1, 0)
        apex = next((frame for frame in apexes if onset < frame <= offset), None)
        found.append(GivenInterval(onset, apex, offset, f"{path.name} at {begin / 1000:.3f} s"))
    return _checked(path, {recording.name: found}, [])[recording.name]


def _elan(path: Path) -> "Eaf":
    from pympi import Eaf

    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: larger than {MOST_BYTES // 2**20} MB, the most that is read")
        return Eaf(str(path), suppress_version_warning=True)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found") from error
    except Exception as error:  # pympi raises plain Exception, and KeyError on files that it does not know
        raise DataError(f"{path}: unreadable as an ELAN file ({error}); save it again with ELAN") from error


def _frame(recording: Recording, milliseconds: float) -> int:
    """The frame that is shown nearest to a time; the number after the last one for a time after the end."""
    times = np.append(recording.times, recording.times[-1] + 1 / recording.rate)
    return int(np.argmin(np.abs(times - milliseconds / 1000)))


def _checked(
    path: Path, found: Mapping[str, Sequence[GivenInterval]], problems: list[str]
) -> dict[str, tuple[GivenInterval, ...]]:
    count = sum(len(given) for given in found.values())
    if count > MOST_INTERVALS:
        problems.append(f"{path}: holds {count:,} intervals, at most {MOST_INTERVALS:,} are taken")
    if not count and not problems:
        problems.append(f"{path}: holds no interval")
    if problems:
        raise DataError(*problems)
    return {name: tuple(given) for name, given in found.items()}


def _some(names: set[str]) -> str:
    shown = sorted(names)[:5]
    return ", ".join(shown) + (", ..." if len(names) > 5 else "")
