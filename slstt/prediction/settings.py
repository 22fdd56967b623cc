"""The settings of one prediction: the defaults, what the weights were trained with, and the user's overrides."""

import json
from collections.abc import Sequence
from typing import Any

from slstt.config.load import load_config
from slstt.config.predict import PredictConfig
from slstt.errors import ConfigError, Problems
from slstt.prediction.classify import IntervalClassifier

SECTIONS = ("frames", "crop", "interpolation", "flow")
"""Of slstt-preprocess; its defaults, or what the weights' own clips were made with."""


def read_settings(classifier: IntervalClassifier, overrides: Sequence[str]) -> tuple[PredictConfig, list[str]]:
    """(the settings, lines about where they are from): the weights' own first, then `section.key=value` overrides.

    Raises ConfigError listing everything wrong.
    """
    own, remarks = _of_weights(classifier)
    frames = classifier.wanted.frames
    before = [f"{section}.{key}={json.dumps(value)}" for section in SECTIONS for key, value in own[section].items()]
    problems, settings = Problems(), PredictConfig()
    given = {
        value.strip() for name, _, value in (o.partition("=") for o in overrides) if name.strip() == "frames.count"
    }
    if given - {str(frames)}:
        problems.add(ConfigError(f"'frames.count': the weights take {frames}; leave it out"))
    with problems.collecting():
        settings = load_config(PredictConfig, None, [*before, *overrides, f"frames.count={frames}"])
    problems.raise_if_any()
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
