"""`slstt-preprocess --check`: everything is read and judged, nothing is written."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from slstt import weights
from slstt.config.preprocess import PreprocessConfig
from slstt.datasets.cache import flow_path
from slstt.datasets.clip import Release
from slstt.datasets.doctor import examine
from slstt.errors import WeightsError
from slstt.preprocessing.clip_frames import needed_frames

Landmarks = Mapping[tuple[str, str, str], np.ndarray]


def check(
    release: Release, config: PreprocessConfig, out: Path, landmarks: Landmarks, workers: int, quiet: bool
) -> int:
    """Print what is there and what would be done; returns the exit code a run would end with.

    0: every clip can be worked on; 1: some clips will fail; 3: a model is missing or the disk too full.
    """
    examined = examine(
        release,
        apex_missing=config.apex.missing,
        apex_outside=config.apex.outside,
        needed=lambda clip: needed_frames(clip, config),
        workers=workers,
        quiet=quiet,
    )
    print(examined.text)
    print()
    usable = examined.usable
    there = sum(flow_path(out, clip.key).is_file() for clip in usable)
    given = sum(clip.key in landmarks for clip in usable)
    print(f"would be written to {out}: flow of {len(usable)} clips, {config.frames.count} frames each at")
    print(
        f"  {config.crop.size} x {config.crop.size} pixels ({there} files are there; those that are current are kept)"
    )
    print(f"landmarks: {given} clips given, {len(usable) - given} found by dlib; workers: {workers}")
    problems = [*_missing_models(config, given < len(usable)), *_disk(out, config, len(usable) - there)]
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        return 3
    return 1 if any(remark.action == "failure" for remark in examined.remarks) else 0


def _missing_models(config: PreprocessConfig, detect: bool) -> list[str]:
    problems = []
    if detect:
        try:
            weights.landmark_model()
        except WeightsError as error:
            problems += error.problems
    if config.interpolation.method == "rife":
        given = os.environ.get("SLSTT_RIFE_WEIGHTS")
        stored = Path(given or weights.cache_folder() / f"rife-hdv3-{weights.RIFE_SHA256[:12]}.safetensors")
        if given and not stored.is_file():
            problems.append(f"{stored}: RIFE weights not found; correct SLSTT_RIFE_WEIGHTS")
        else:
            print(f"RIFE weights: {stored if stored.is_file() else 'not here yet; the run fetches them (12 MB)'}")
    return problems


def _disk(out: Path, config: PreprocessConfig, clips: int) -> list[str]:
    """What is wrong with the place for the results; nothing is made there."""
    folder = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    needed = clips * config.frames.count * 2 * config.crop.size**2 * 2
    free = shutil.disk_usage(folder).free
    print(f"disk: about {needed / 1e9:.2f} GB needed, {free / 1e9:.1f} GB free at {folder}")
    if needed > free:
        return [f"{folder}: {needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB free; choose another --out"]
    return []
