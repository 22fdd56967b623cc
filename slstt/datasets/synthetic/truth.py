"""What is true of a synthetic clip: frame numbers, units, landmarks and flow, in `truth/` below the data set's root."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from slstt.datasets.synthetic.action_units import code
from slstt.datasets.synthetic.clips import SyntheticClip, landmarks
from slstt.datasets.synthetic.layouts import Row
from slstt.datasets.synthetic.motion import Motion, Pose
from slstt.datasets.synthetic.portrait import Portrait
from slstt.errors import DataError
from slstt.files import write_csv

SETTINGS = "truth/settings.json"
TABLE = "truth/clips.csv"


@dataclass(frozen=True)
class Truth:
    """One clip's truth."""

    onset: int
    apex: int
    offset: int
    landmarks_onset: np.ndarray
    """(68, 2) float32, pixels."""
    landmarks_apex: np.ndarray
    """(68, 2) float32, pixels."""
    lids: np.ndarray
    """(F,) float32, 0..1: how far a blink has closed the eyes. Lids close over the eye: they are not in the flow."""
    motion: Motion

    @property
    def numbers(self) -> np.ndarray:
        """(F,) the numbers of the clip's frames."""
        return self.motion.numbers

    def flow(self, number: int) -> np.ndarray:
        """(2, h, w) float32: true flow from the onset to frame `number`, (u right, v down) in pixels of the frame.

        On the points of `motion.grid`, every fourth pixel each way at 640x480: (2, 120, 160).
        """
        return self.motion.field(number - int(self.numbers[0])).transpose(2, 0, 1).astype(np.float32)


def truth_path(root: Path, subject: str, clip: str) -> Path:
    """Where a clip's truth lies below a data set's root; names as in its folders."""
    return Path(root) / "truth" / subject / f"{clip}.safetensors"


def write_truth(
    root: Path, subject: str, name: str, portrait: Portrait, clip: SyntheticClip, numbers: range
) -> None:  # fmt: skip
    """Write one clip's truth for the frames `numbers`."""
    path = truth_path(root, subject, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    motion, kept = clip.motion, slice(numbers.start - clip.first, numbers.stop - clip.first)
    pose = motion.pose
    save_file(
        {
            "frames": np.array([clip.onset, clip.apex, clip.offset]),
            "numbers": motion.numbers[kept].copy(),
            "landmarks_onset": landmarks(portrait, clip, clip.onset).astype(np.float32),
            "landmarks_apex": landmarks(portrait, clip, clip.apex).astype(np.float32),
            "lids": clip.lids[kept].astype(np.float32),
            "size": np.array(motion.size),
            "pose": np.array([pose.interocular, pose.x, pose.y, pose.roll]),
            "intensity": motion.intensity[kept].astype(np.float32),
            "action": motion.action.astype(np.float16),
            "drift": motion.drift[kept].astype(np.float32),
            "weight": motion.weight.astype(np.float16),
            "incidental": motion.incidental.astype(np.float16),
            "wander": motion.wander[kept].astype(np.float32),
        },
        path,
    )


def read_truth(root: Path, subject: str, clip: str) -> Truth:
    """Read a clip's truth back. Raises DataError where it is missing or damaged."""
    path = truth_path(root, subject, clip)
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: no readable truth file ({error}); write the data set again") from error
    onset, apex, offset = (int(number) for number in stored["frames"])
    width, height = (int(side) for side in stored["size"])
    interocular, x, y, roll = (float(value) for value in stored["pose"])
    motion = Motion(
        (width, height), Pose(interocular, x, y, roll), stored["numbers"], stored["intensity"],
        stored["action"].astype(float), stored["drift"].astype(float), stored["weight"].astype(float),
        stored["incidental"].astype(float), stored["wander"].astype(float),
    )  # fmt: skip
    return Truth(
        onset, apex, offset, stored["landmarks_onset"], stored["landmarks_apex"], stored["lids"], motion
    )  # fmt: skip


def write_table(root: Path, dataset: str, rows: Sequence[Row]) -> None:
    """Write `truth/clips.csv`: one line a clip with its true frame numbers, units and peak displacement."""
    header = ("dataset", "subject", "clip", "emotion", "units", "onset", "apex", "offset", "peak_pixels", "blink")
    write_csv(
        root / TABLE,
        header,
        [
            (dataset, r.subject, r.name, r.clip.emotion, code(r.clip.units), r.clip.onset, r.clip.apex, r.clip.offset,
             f"{r.clip.peak:.3f}", f"{r.clip.lids.max():.2f}")
            for r in rows
        ],
    )  # fmt: skip
