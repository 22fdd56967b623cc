"""The settings of `slstt-predict`: how intervals are spotted, and how each is preprocessed for the network."""

import json
from collections.abc import Sequence
from typing import Any

from slstt.config.load import Section, load_config
from slstt.config.preprocess import Crop, Flow, Frames, Interpolation, PreprocessConfig
from slstt.errors import ConfigError
from slstt.prediction.classify import IntervalClassifier
from slstt.prediction.spotting import SpottingSettings

SECTIONS = ("frames", "crop", "interpolation", "flow")
"""Of slstt-preprocess; its defaults, or what the weights' own clips were made with."""


class PredictConfig(Section):
    """All settings of `slstt-predict`."""

    spotting: SpottingSettings = SpottingSettings()
    frames: Frames = Frames()
    crop: Crop = Crop()
    interpolation: Interpolation = Interpolation()
    flow: Flow = Flow()

    @property
    def preprocessing(self) -> PreprocessConfig:
        """The same as slstt-preprocess takes it."""
        return PreprocessConfig(frames=self.frames, crop=self.crop, interpolation=self.interpolation, flow=self.flow)


def read_settings(classifier: IntervalClassifier, overrides: Sequence[str]) -> tuple[PredictConfig, list[str]]:
    """(the settings, lines about where they are from): the weights' own first, then `section.key=value` overrides.

    Raises ConfigError listing everything wrong.
    """
    own, remarks = _of_weights(classifier)
    frames = classifier.wanted.frames
    before = [f"{section}.{key}={json.dumps(value)}" for section in SECTIONS for key, value in own[section].items()]
    settings = load_config(PredictConfig, None, [*before, f"frames.count={frames}", *overrides])
    spotting, problems = settings.spotting, []
    if settings.frames.count != frames:
        problems.append(f"'frames.count': the weights take {frames}; leave it out")
    if not 0 < spotting.shortest_ms < spotting.longest_ms:
        problems.append(
            f"'spotting.shortest_ms' {spotting.shortest_ms:g} must be above 0 and below 'spotting.longest_ms' "
            f"{spotting.longest_ms:g}"
        )
    for name in ("threshold", "weakest", "smoothing_ms"):
        if getattr(spotting, name) < 0:
            problems.append(f"'spotting.{name}' must not be below 0")
    for name in ("back", "foot"):
        if not 0 <= getattr(spotting, name) < 1:
            problems.append(f"'spotting.{name}' is a share: 0 or more, below 1")
    if problems:
        raise ConfigError(*problems)
    return settings, remarks


def _of_weights(classifier: IntervalClassifier) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The preprocessing of the clips that the networks learned from, as far as their files tell it."""
    found, wanted = classifier.wanted.preprocessing, classifier.wanted
    if isinstance(found, dict):
        return {s: dict(found[s]) if isinstance(found.get(s), dict) else {} for s in SECTIONS}, []
    remarks = []
    if wanted.kind == "cache" and not wanted.trained_on:  # what was drawn was never preprocessed
        what = "does not say how its clips were preprocessed; the default settings of slstt-preprocess are taken"
        remarks = [f"{classifier.source}: {what}"]
    return {section: {} for section in SECTIONS}, remarks
