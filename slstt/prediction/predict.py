"""One recording from end to end: watch it, classify its intervals, write what was found. Finished work is kept."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slstt import __version__, weights
from slstt.errors import DataError
from slstt.files import fingerprint, sha256
from slstt.prediction import annotate, report
from slstt.prediction.classifier import Classifier, pictures
from slstt.prediction.interval_flow import IntervalFlow, Unclassifiable, interval_flows
from slstt.prediction.looked_at import LookedAt, look
from slstt.prediction.recording import Recording
from slstt.prediction.result import (
    Found,
    Result,
    read_result,
    read_watched,
    write_intensity,
    write_result,
    write_tables,
    write_watched,
)
from slstt.prediction.settings import PredictConfig
from slstt.prediction.spotting import given, watch
from slstt.prediction.watched import Interval, Watched
from slstt.preprocessing.landmarks import LandmarkDetector
from slstt.preprocessing.rife import Rife
from slstt.training.flow_dataset import resized

VERSION = 2
"""Raised whenever the same input and settings begin to give another result."""
GROUP = 32
"""Intervals classified at a time: the flow of one at 384 pixels takes 6 MB."""


@dataclass(frozen=True)
class Given:
    """The one interval the user names: see `spotting.given`."""

    onset: int
    apex: int | None = None
    offset: int | None = None


class Predictor:
    """Networks and settings, for any number of recordings."""

    def __init__(
        self, classifier: Classifier, settings: PredictConfig, given: Given | None = None, video: bool = False
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
            weights.rife_weights()

    def watching(self, recording: Recording) -> dict[str, Any]:
        """Everything that determines what is seen in a recording."""
        return {
            "version": VERSION,
            "recording": _identity(recording),
            "rate": recording.rate,
            "given": None if self.given is None else asdict(self.given),
            "spotting": None if self.given else asdict(self.settings.spotting),
            "landmark_model": sha256(weights.landmark_model()),
        }

    def determinants(self, recording: Recording) -> dict[str, Any]:
        """Everything that determines what is written about a recording."""
        return {
            **self.watching(recording),
            "slstt": __version__,
            "preprocessing": self.settings.preprocessing.model_dump(mode="json", exclude={"run", "apex"}),
            "weights": list(self.classifier.fingerprints),
            "video": self.video,
        }

    def to_watch(self, recording: Recording) -> int:
        """How many frames there are to be watched, as far as the file says."""
        last = (recording.count or 0) - 1
        if self.given is None:
            return last + 1
        return (last if self.given.offset is None else self.given.offset) - self.given.onset + 1

    def finished(self, recording: Recording, folder: Path) -> Result | None:
        """The result that `folder` holds, where nothing that determines it changed since."""
        return read_result(folder, self.determinants(recording))

    def predict(self, recording: Recording, folder: Path, advance: Callable[[int], object]) -> Result:
        """Watch, classify and write one recording; `advance` is called with the number of frames watched since.

        Raises DataError where it cannot be read, shows no face, or nothing can be written; ConfigError where the given
        interval lies outside it.
        """
        seen = self.watching(recording)
        watched = read_watched(folder, seen)
        if watched is None:
            watched = self._watch(recording, advance)
            write_watched(folder, watched, seen)
        else:
            advance(len(watched.intensity))
        found, tiles = self._classify(recording, watched)
        result = Result(
            recording.name,
            watched.rate,
            len(watched.intensity),
            self.classifier.wanted.classes,
            tuple(found),
            (*(line.removeprefix(f"{recording.path}: ") for line in watched.remarks), *self.classifier.remarks),
        )
        write_tables(folder, [result], result.classes)
        write_intensity(folder, watched, result.begin)
        files, note = ["intervals.csv", "predictions.csv", "intensity.csv", "report.html"], ""
        if self.video:
            name, note = annotate.write_video(recording, watched, result, folder)
            files.append(name)
        result = Result(**{**result.__dict__, "files": tuple(files), "note": note})
        report.write_report(folder, result, watched, tiles, self._about())
        write_result(folder, result, self.determinants(recording))
        return result

    def _watch(self, recording: Recording, advance: Callable[[int], object]) -> Watched:
        if self.given is None:
            return watch(recording, self.settings.spotting, advance, self.detector)
        return given(recording, self.given.onset, self.given.apex, self.given.offset, advance, self.detector)

    def _classify(self, recording: Recording, watched: Watched) -> tuple[list[Found], dict[int, report.Tiles]]:
        """Each interval with its class, in order, and the pictures of those that have one."""
        found: dict[int, Found] = {}
        tiles: dict[int, report.Tiles] = {}
        group: dict[int, IntervalFlow] = {}
        config, intervals = self.settings.preprocessing, watched.intervals
        crop = self.classifier.crop
        for index, made in interval_flows(recording.at, watched, intervals, crop, config, lambda: self.rife):
            if isinstance(made, Unclassifiable):
                found[index] = Found(intervals[index], remarks=(f"not classified: {made}",))
                continue
            group[index] = made
            if len(group) == GROUP:
                self._name(group, intervals, found, tiles)
                group = {}
        self._name(group, intervals, found, tiles)
        return [found[index] for index in sorted(found)], tiles

    def _name(
        self,
        group: Mapping[int, IntervalFlow],
        intervals: tuple[Interval, ...],
        found: dict[int, Found],
        tiles: dict[int, report.Tiles],
    ) -> None:
        if not group:
            return
        wanted, classes = self.classifier.wanted, self.classifier.wanted.classes
        flows = {index: torch.from_numpy(made.flow) for index, made in group.items()}
        if wanted.kind == "cache":  # float16, as training reads it from flow files, and at the network's size
            flows = {index: resized(flow.half(), wanted.image_size) for index, flow in flows.items()}
        answers = self.classifier.probabilities(list(flows.values()))
        model, own = next(iter(self.classifier.models()))
        for (index, made), p in zip(group.items(), answers.tolist(), strict=True):
            label = int(np.argmax(p))
            seen: LookedAt = look(model, pictures(own, flows[index]), label)
            found[index] = Found(intervals[index], classes[label], tuple(p), made.remarks)
            tiles[index] = report.make_tiles(made, seen)

    def _about(self) -> report.About:
        own = self.classifier
        several = "the clips of that run, each network without one subject" if len(own.paths) > 1 else ""
        learned = own.wanted.trained_on or several
        settings = self.settings.model_dump(mode="json")
        return report.About(own.source, len(own.paths), learned, settings, self.given is not None, own.shipped)


def _identity(recording: Recording) -> str:
    """A short name of the recording's files: names, sizes, times of last change."""
    state = {}
    for path in recording.files or (recording.path,):
        try:
            found = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        state[path.name] = (found.st_size, found.st_mtime_ns)
    return fingerprint(state)
