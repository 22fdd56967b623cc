"""Visits to the page: each has a folder for its recordings and what was made of them, deleted when it ends.

Nothing here knows the page or the server; an interval's table is rows of text, as a person edits them.
"""

import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

from slstt.errors import ConfigError, DataError
from slstt.evaluation.run import UnitRun, evaluate, read_any_run
from slstt.evaluation.spotting import INTERVALS, TRUTH, evaluate_spotting, read_spotted, spotting_tables
from slstt.evaluation.unit_tables import evaluate_units
from slstt.files import is_file, write_csv
from slstt.prediction.annotated_video import NAME as VIDEO
from slstt.prediction.interval_files import read_intervals
from slstt.prediction.recording import Recording, open_recordings
from slstt.prediction.results import PredictionResult
from slstt.prediction.run import Predictor, only_run

REPORT = "report.html"
Advance = Callable[[int, int], object]
"""Called with the frames measured so far and how many there are to measure."""


@dataclass(frozen=True)
class Bounds:
    """The largest recording that is taken."""

    largest_mb: float = 500.0
    longest_s: float = 120.0

    def check(self, recording: Recording) -> None:
        """Raise DataError where the recording is too long."""
        seconds = float(recording.times[-1]) + 1 / recording.rate
        if seconds > self.longest_s:
            raise DataError(
                f"{recording.path}: {seconds:.0f} seconds long, at most {self.longest_s:g} are taken here; cut it, "
                "start slstt-app with a larger --longest-s, or use slstt-predict"
            )

    def check_size(self, upload: Path) -> None:
        """Raise DataError where the file is too large."""
        if upload.stat().st_size > self.largest_mb * 1e6:
            raise DataError(
                f"{upload}: larger than {self.largest_mb:g} MB, the most that is taken here; start slstt-app with a "
                "larger --largest-mb, or use slstt-predict"
            )


@dataclass(frozen=True)
class Shown:
    """One finished analysis, and where its files are served."""

    result: PredictionResult
    folder: Path
    token: str
    """Names the folder in addresses; nobody can guess it."""

    def rows(self) -> list[list[str]]:
        """For each interval onset, apex and offset (frames from 0), and the class with its probability."""
        return [
            [
                *(str(number) for number in (one.interval.onset, one.interval.apex, one.interval.offset)),
                f"{one.label} {max(one.probabilities):.2f}" if one.label else "not classified",
            ]
            for one in self.result.found
        ]

    def files(self) -> list[str]:
        """What can be downloaded: the tables, the ELAN file, the report and the video."""
        return [name for name in self.result.files if (self.folder / name).is_file()]


@dataclass
class Visit:
    """One open page: its folder, the recording of which it speaks, and whether it has ended."""

    folder: Path
    recording: Recording | None = None
    uploads: set[Path] = field(default_factory=set)
    """Files that the server keeps until the visit ends."""
    tokens: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


class Visits:
    """All visits below `root`, by the name that the page gives each.

    `served`: token -> the folder whose files may be asked for under it.
    """

    def __init__(self, root: Path, predictor: Predictor, bounds: Bounds | None = None) -> None:
        self.root, self.predictor, self.bounds = root, predictor, bounds or Bounds()
        self.served: dict[str, Path] = {}
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Visit:
        """The visit of this name, begun where there is none."""
        with self._lock:
            if name not in self._visits:
                self.root.mkdir(parents=True, exist_ok=True)
                self._visits[name] = Visit(Path(tempfile.mkdtemp(prefix="visit-", dir=self.root)))
            return self._visits[name]

    def keep(self, name: str, upload: Path) -> None:
        """Remember a file of the visit, which is deleted at its end."""
        self.of(name).uploads.add(upload)

    def end(self, name: str) -> None:
        """Delete all that the visit left; work that is going on ends with its next frame."""
        with self._lock:
            visit = self._visits.pop(name, None)
        if visit is None:
            return
        visit.ended.set()
        for token in visit.tokens:
            self.served.pop(token, None)
        shutil.rmtree(visit.folder, ignore_errors=True)
        # Two pages with the same file share its upload.
        others = {upload for other in self._visits.values() for upload in other.uploads}
        for upload in visit.uploads - others:
            upload.unlink(missing_ok=True)
            with suppress(OSError):  # the folder holds something else
                upload.parent.rmdir()

    def end_all(self) -> None:
        """End every visit."""
        for name in list(self._visits):
            self.end(name)

    def analyse(self, name: str, upload: Path, fps: float | None, advance: Advance) -> Shown:
        """Spot and classify in an uploaded file, `fps` frames a second where it is given.

        Raises DataError where it is too large or too long, no video, or shows no face; ConfigError for a wrong `fps`.
        """
        visit = self.of(name)
        self.keep(name, upload)
        self.bounds.check_size(upload)
        place = self._new_folder(visit)
        copied = place / upload.name
        try:
            copied.hardlink_to(upload)  # the upload may be asked for again, with another rate
        except OSError:
            shutil.copyfile(upload, copied)
        (recording,) = open_recordings(copied, fps)
        self.bounds.check(recording)
        visit.recording = recording
        return self._predict(visit, self.predictor, place, advance)

    def classify(self, name: str, rows: Sequence[Sequence[object]], advance: Advance) -> Shown:
        """Classify the intervals that a person names in the visit's recording; empty rows are left out.

        A row begins with onset, apex and offset; apex and offset may be empty. Raises ConfigError where there is no
        recording yet or an interval does not lie in it, DataError naming every row that holds no numbers.
        """
        visit = self.of(name)
        if visit.recording is None:
            raise ConfigError("there is no recording yet; give one first")
        cells = [[_cell(value) for value in [*row[:3], "", "", ""][:3]] for row in rows]
        place = self._new_folder(visit)
        table = place / "the table"
        write_csv(table, ("onset", "apex", "offset"), [row for row in cells if any(row)])
        try:
            given = read_intervals(table, [visit.recording])
        except DataError as error:  # the file has a header, the table on the page has none
            rows_of = (re.sub(r"\bline (\d+)", lambda m: f"row {int(m[1]) - 1}", one) for one in error.problems)
            raise DataError(*rows_of) from error
        again = copy(self.predictor)  # with its models, if they are loaded
        again.given = given
        again.check(visit.recording)
        return self._predict(visit, again, place, advance)

    def open_run(self, name: str, folder: Path) -> str:
        """The token under which the report of a run's folder is served; nothing is written into that folder.

        Raises DataError where it holds no predictions and no spotted intervals, or they cannot be read.
        """
        visit = self.of(name)
        place = self._new_folder(visit) / (folder.resolve().name or "run")
        _write_run_report(folder, place)
        return self._serve(visit, place)

    def _predict(self, visit: Visit, predictor: Predictor, place: Path, advance: Advance) -> Shown:
        recording, out, done = visit.recording, place / "predicted", 0
        assert recording is not None
        total = predictor.frames_to_measure(recording)

        def count(frames: int) -> None:
            nonlocal done
            done += frames
            if visit.ended.is_set():
                raise DataError("the page was closed")
            advance(done, total)

        try:
            with only_run(out, recording.path):
                result = predictor.predict(recording, out, count)
        finally:
            if visit.ended.is_set():  # what was written after the folder had gone
                shutil.rmtree(visit.folder, ignore_errors=True)
        return Shown(result, out, self._serve(visit, out))

    def _serve(self, visit: Visit, folder: Path) -> str:
        token = secrets.token_urlsafe(24)
        visit.tokens.append(token)
        self.served[token] = folder
        return token

    @staticmethod
    def _new_folder(visit: Visit) -> Path:
        if visit.ended.is_set():
            raise DataError("the page was closed")
        return Path(tempfile.mkdtemp(dir=visit.folder))


def offered(folder: Path, name: str) -> Path | None:
    """The file of a served folder that may be sent; None where there is none or it is none of those."""
    known = name in (REPORT, VIDEO) or name.endswith((".csv", ".eaf"))
    path = folder / name
    return path if known and Path(name).name == name and is_file(path) else None


def _cell(value: object) -> str:
    """A cell as text: what a table calls nothing is empty, and a whole number has no point."""
    text = "" if value is None or value != value else str(value).strip()
    return text.removesuffix(".0") if text.removesuffix(".0").isdigit() else text


def _write_run_report(folder: Path, place: Path) -> None:
    """What slstt-eval writes as report.html about `folder`, written to the folder `place` instead."""
    from slstt.evaluation.report import write_report, write_unit_report
    from slstt.evaluation.spotting_report import write_spotting_report

    if is_file(folder / INTERVALS) and is_file(folder / TRUTH):
        spotted = read_spotted(folder)
        metrics = evaluate_spotting(spotted)
        write_spotting_report(replace(spotted, folder=place), metrics, spotting_tables(metrics), formats=())
        return
    run = read_any_run(folder)
    if isinstance(run, UnitRun):
        write_unit_report(replace(run, folder=place), evaluate_units(run), formats=())
    else:
        write_report(replace(run, folder=place), evaluate(run), formats=())
