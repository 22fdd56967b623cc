"""One start of slstt-predict: each recording from its frames to its folder of results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slstt import __version__, downloads
from slstt.config.preprocess import PredictConfig
from slstt.errors import ConfigError, DataError, SlsttError
from slstt.evaluation.saliency import SaliencyMap, saliency_maps
from slstt.face.landmarks import LandmarkDetector
from slstt.files import locked, sha256, write_csv, write_text
from slstt.flow.interpolation import Rife
from slstt.prediction import annotated_video, report
from slstt.prediction.classify import IntervalClassifier, IntervalFlow, Unclassifiable, interval_flows, pictures
from slstt.prediction.face_motion import (
    FaceMotion,
    GivenInterval,
    check_given_intervals,
    measure_face_motion,
    motion_in_given_intervals,
)
from slstt.prediction.interval_files import write_elan
from slstt.prediction.recording import Recording, identity
from slstt.prediction.report import write_index
from slstt.prediction.results import (
    ELAN,
    FoundInterval,
    PredictionResult,
    read_face_motion,
    read_result,
    write_face_motion,
    write_intensity,
    write_result,
    write_tables,
)

SOURCE = "source.txt"
"""Holds the path of the recording, so that another recording, or another kind of folder, is not written over."""


def refuse_other(out: Path, path: Path) -> None:
    """Raise ConfigError where `out` holds something else than predictions of `path`, DataError where it is a file."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out}: is a file; --out must name a folder")
    try:
        source = (out / SOURCE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if others := sorted(entry.name for entry in out.iterdir() if not entry.name.startswith(".")):
            raise ConfigError(
                f"{out}: holds other things than predictions ({', '.join(others[:3])}); choose another --out"
            ) from None
        return
    except OSError as error:
        raise DataError(f"{out / SOURCE}: cannot be read ({error.strerror}); choose another --out") from error
    if source != str(path.resolve()):
        raise ConfigError(f"{out}: holds the predictions of {source}; choose another --out, or delete it")


@contextmanager
def only_run(out: Path, path: Path) -> Iterator[None]:
    """Hold the folder for one run over `path`. Raises ConfigError where another is at work in it, DataError where it
    cannot be written.
    """
    with locked(out / ".predict.lock", wait=0.0, busy=f"{out}: another slstt-predict is at work in it; wait for it"):
        for part in out.rglob(".*.part*"):
            part.unlink(missing_ok=True)
        write_text(out / SOURCE, f"{path.resolve()}\n")
        yield


def write_summary(
    out: Path,
    results: Sequence[PredictionResult],
    failures: Sequence[tuple[Recording, SlsttError]],
    classes: Sequence[str],
) -> None:
    """What several recordings share: both tables, failures.csv, and a page that leads to the reports."""
    write_tables(out, results, classes)
    rows = [(recording.name, line) for recording, error in failures for line in error.problems]
    write_index(out, results, rows, classes)
    write_csv(out / "failures.csv", ("recording", "reason"), rows)


VERSION = 6
"""Raised whenever the same input and settings begin to give another result."""
GROUP = 16
"""Intervals classified at a time: the flow of one at 512 pixels takes 23 MB."""


class Predictor:
    """Networks and settings, for any number of recordings.

    `given`: recording's name -> the intervals that the user names; None: intervals are spotted.
    """

    def __init__(
        self,
        classifier: IntervalClassifier,
        settings: PredictConfig,
        given: Mapping[str, Sequence[GivenInterval]] | None = None,
        video: bool = False,
    ) -> None:
        self.classifier, self.settings, self.given, self.video = classifier, settings, given, video

    @cached_property
    def detector(self) -> LandmarkDetector:
        """dlib's models."""
        return LandmarkDetector()

    @cached_property
    def rife(self) -> Rife:
        """The interpolation network."""
        return Rife.load(precision=self.settings.interpolation.precision)

    def prepare(self) -> None:
        """Load what will be needed, so that what is missing is found before any work. Raises WeightsError."""
        self.classifier.load()
        _ = self.detector
        if self.classifier.wanted.frames > 1 and self.settings.interpolation.method == "rife":
            downloads.rife_weights()

    def motion_determinants(self, recording: Recording) -> dict[str, Any]:
        """Everything that determines the face motion measured in a recording."""
        return {
            "version": VERSION,
            "recording": identity(recording),
            "rate": recording.rate,
            "given": None if self.given is None else [asdict(one) for one in self.given[recording.name]],
            "spotting": self.settings.spotting.model_dump(),
            "tracking": self.settings.tracking.model_dump(),
            "landmark_model": sha256(downloads.landmark_model()),
        }

    def determinants(self, recording: Recording) -> dict[str, Any]:
        """Everything that determines what is written about a recording."""
        return {
            **self.motion_determinants(recording),
            "slstt": __version__,
            "preprocessing": self.settings.preprocessing.model_dump(mode="json", exclude={"run", "apex"}),
            "weights": list(self.classifier.fingerprints),
            "video": self.video,
        }

    def frames_to_measure(self, recording: Recording) -> int:
        """How many frames are to be measured; 0 where a given interval lies outside the recording."""
        if self.given is None:
            return recording.count
        given = self.given[recording.name]
        end = max(recording.count if one.offset is None else min(one.offset + 1, recording.count) for one in given)
        return max(0, end - min(one.onset for one in given))

    def check(self, recording: Recording) -> None:
        """Raise ConfigError where given intervals do not lie in the recording."""
        if self.given is not None:
            check_given_intervals(recording, self.given[recording.name])

    def finished(self, recording: Recording, folder: Path) -> PredictionResult | None:
        """The result that `folder` holds, where nothing that determines it changed since."""
        return read_result(folder, self.determinants(recording))

    def predict(self, recording: Recording, folder: Path, advance: Callable[[int], object]) -> PredictionResult:
        """Measure, classify and write one recording; `advance` is called with the number of frames measured since.

        Raises DataError where it cannot be read, shows no face, or nothing can be written; ConfigError where the given
        intervals lie outside it.
        """
        determinants = self.motion_determinants(recording)
        motion = read_face_motion(folder, determinants)
        if motion is None:
            motion = self._measure(recording, advance)
            write_face_motion(folder, motion, determinants)
        else:
            advance(len(motion.intensity))
        found, tiles = self._classify(recording, motion)
        result = PredictionResult(
            recording.name,
            motion.rate,
            len(motion.intensity),
            self.classifier.wanted.classes,
            tuple(found),
            (*(line.removeprefix(f"{recording.path}: ") for line in motion.remarks), *self.classifier.remarks),
            float(motion.judged[motion.begin :].mean()),
            units=self.classifier.units,
            tells_none=self.classifier.tells_none,
        )
        write_tables(folder, [result], result.classes)
        write_intensity(folder, motion)
        write_elan(folder / ELAN, recording, motion, result)
        files = ["intervals.csv", "predictions.csv", "units.csv", "intensity.csv", ELAN, "report.html"]
        note = ""
        if self.video:
            name, note = annotated_video.write_video(recording, motion, result, folder)
            files.append(name)
        result = replace(result, files=tuple(files), note=note)
        report.write_report(folder, result, motion, tiles, self._about())
        write_result(folder, result, self.determinants(recording))
        return result

    def _measure(self, recording: Recording, advance: Callable[[int], object]) -> FaceMotion:
        if self.given is None:
            return measure_face_motion(recording, self.settings, advance, self.detector)
        given = self.given[recording.name]
        return motion_in_given_intervals(recording, given, self.settings, advance, self.detector)

    def _classify(
        self, recording: Recording, motion: FaceMotion
    ) -> tuple[list[FoundInterval], dict[int, report.Tiles]]:
        """Each interval with its class, in order, and the pictures of those that have one."""
        found: dict[int, FoundInterval] = {}
        tiles: dict[int, report.Tiles] = {}
        group: dict[int, IntervalFlow] = {}
        config, intervals = self.settings.preprocessing, motion.intervals
        crop = self.classifier.crop
        for index, made in interval_flows(recording.at, motion, intervals, crop, config, lambda: self.rife):
            if isinstance(made, Unclassifiable):
                why = f"not classified: {made}"
                found[index] = FoundInterval(intervals[index], motion.seconds(intervals[index]), remarks=(why,))
                continue
            group[index] = made
            if len(group) == GROUP:
                self._classify_group(group, motion, found, tiles)
                group = {}
        self._classify_group(group, motion, found, tiles)
        return [found[index] for index in sorted(found)], tiles

    def _classify_group(
        self,
        group: Mapping[int, IntervalFlow],
        motion: FaceMotion,
        found: dict[int, FoundInterval],
        tiles: dict[int, report.Tiles],
    ) -> None:
        if not group:
            return
        wanted, classes = self.classifier.wanted, self.classifier.wanted.classes
        flows = {index: torch.from_numpy(made.flow) for index, made in group.items()}
        if wanted.kind == "cache":  # float16, as training reads it from flow files
            flows = {index: flow.half() for index, flow in flows.items()}
        answers = self.classifier.probabilities(list(flows.values()))
        readings = self.classifier.readings(list(flows.values()))
        model, wanted_by_first = next(iter(self.classifier.models()))
        for (index, made), p, read in zip(group.items(), answers.tolist(), readings, strict=True):
            label = int(np.argmax(p))
            saliency: SaliencyMap = saliency_maps(model, pictures(wanted_by_first, flows[index]), label)
            interval = motion.intervals[index]
            found[index] = FoundInterval(
                interval, motion.seconds(interval), classes[label], tuple(p), read.units, read.none, made.remarks
            )
            tiles[index] = report.make_tiles(made, saliency)

    def _about(self) -> report.About:
        weights = self.classifier
        several = "the clips of that run, each network without one subject" if len(weights.paths) > 1 else ""
        learned = weights.wanted.trained_on or several
        settings = self.settings.model_dump(mode="json")
        return report.About(
            weights.source, len(weights.paths), learned, settings, self.given is not None, weights.shipped
        )
