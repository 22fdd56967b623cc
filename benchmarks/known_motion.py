"""Pictures whose motion is known: rendered clips, and real portraits moved by action units.

A portrait's skin is real and its motion is drawn: the table of action units that the rendered clips move by, laid onto
the portrait by its own dlib landmarks. Frames are made at twice their size and then reduced, so a moved frame is as
sharp as a still one; each gets sensor noise of its own and is stored as JPEG, like the frames of a data set.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from slstt.datasets.synthetic import Plan, render
from slstt.datasets.synthetic.action_units import EMOTIONS
from slstt.datasets.synthetic.clips import Pose, SyntheticClip, action_field, inverse, landmarks, look_up
from slstt.errors import DataError
from slstt.face.crop import BROW, CHIN, LOWER_LIP, cut, face_square, runs_past
from slstt.face.landmarks import LandmarkDetector
from slstt.images import read_image

Square = tuple[int, int, int]

FACES: Mapping[str, int] = {"SMIC": 235, "CASME II": 321, "SAMM": 421}
"""Median side of the face square in each data set, pixels (SAMM: in its 960x650 copies)."""
SHOT, READ = 1.1, 0.8
"""Standard deviations of shot noise at mid-grey and of read noise, grey levels, as in clips of difficulty 0.5."""
JPEG = 90
MARGIN = 0.2
"""How much of the surroundings stands in a frame on each side of a portrait's square, in shares of its side."""
COMBINATIONS = tuple(sorted({units for found in EMOTIONS.values() for units in found}))
"""All combinations of action units that the emotions show."""


@dataclass(frozen=True)
class Scene:
    """One face at rest, half way and at the peak of an expression."""

    name: str
    frames: np.ndarray
    """(3, H, W, 3) uint8 RGB."""
    motion: np.ndarray
    """(H, W, 2) float32: true flow from the first frame to the third, pixels; half of it leads to the second."""
    landmarks: np.ndarray
    """(68, 2) in the first frame."""
    square: Square

    def cuts(self, size: int) -> np.ndarray:
        """(3, size, size, 3) uint8: the frames cut as the pipeline cuts them."""
        return np.stack([cut(frame, self.square, size) for frame in self.frames])

    def flow(self, size: int) -> np.ndarray:
        """(2, size, size): the true flow to the peak, in pixels of that cut."""
        return _in_cut(self.motion, self.square, size)

    def face(self, size: int) -> np.ndarray:
        """(size, size) bool: the hull of the landmarks, brows to chin."""
        x0, y0, side = self.square
        points = (self.landmarks - (x0, y0) + 0.5) * (size / side) - 0.5
        mask = np.zeros((size, size), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), 1)
        return mask.astype(bool)


@dataclass(frozen=True)
class Portrait:
    """A real face and its landmarks."""

    name: str
    picture: np.ndarray
    """(H, W, 3) uint8 RGB."""
    landmarks: np.ndarray
    """(68, 2) in pixels."""

    @property
    def side(self) -> float:
        """Side of the face square before it is rounded, pixels."""
        chin, brow, lip = self.landmarks[[CHIN, BROW, LOWER_LIP], 1]
        return float(2 * chin - brow - lip)


def true_flow(clip: SyntheticClip, number: int, square: Square, size: int) -> np.ndarray:
    """(2, size, size): the clip's true flow from the onset, in pixels of the cut."""
    field = clip.motion.field(number - clip.first).astype(np.float32)
    return _in_cut(cv2.resize(field, clip.motion.size, interpolation=cv2.INTER_CUBIC), square, size)


def moving(clip: SyntheticClip, square: Square, size: int) -> np.ndarray:
    """(size, size) bool: where the expression, apart from the head's drift, moves by more than a fifth of its peak."""
    still = replace(clip, motion=replace(clip.motion, drift=np.zeros_like(clip.motion.drift)))
    strength = np.hypot(*true_flow(still, clip.apex, square, size))
    return strength > strength.max() / 5


def rendered_scenes(
    subjects: int, side: int, peaks: Sequence[float], seed: int, noise: float = 1.0
) -> Iterator[tuple[float, Scene]]:
    """(peak in pixels, scene) of rendered faces whose square is about `side` wide, one expression a subject.

    The head drifts along, by a quarter of the peak at most. `noise` multiplies the sensor noise.
    """
    factor = side / 265  # the usual square in a rendered frame of 640x480
    plan = Plan(
        subjects=subjects, clips_per_subject=1, seed=seed, size=(round(640 * factor), round(480 * factor))
    )  # fmt: skip
    for portrait, row in plan.clips():
        drawn = row.clip
        at = np.array([drawn.onset, drawn.onset, drawn.apex]) - drawn.first
        for peak in peaks:
            share = peak / drawn.peak
            motion = replace(
                drawn.motion,
                numbers=np.arange(3),
                intensity=np.array([0, 0.5, 1]),
                action=drawn.motion.action * share,
                drift=np.array([[0], [0.5], [1]]) * drawn.motion.drift[at[2]] * share,
                wander=np.zeros(3),
            )
            clip = replace(
                drawn, motion=motion, first=0, onset=0, apex=2, offset=3, last=2, peak=peak,
                lids=np.zeros(3), gain=drawn.gain[at], shot=noise * SHOT, read=noise * READ,
            )  # fmt: skip
            points = landmarks(portrait, clip, 0)
            square = face_square(points)
            if runs_past(square, *motion.size):
                continue
            frames = np.stack([_stored(picture) for _, picture in render(portrait, clip, range(3))])
            field = cv2.resize(motion.field(2).astype(np.float32), motion.size, interpolation=cv2.INTER_CUBIC)
            yield peak, Scene(f"{row.clip.emotion} of {row.subject}", frames, field, points, square)


def read_portraits(folder: Path | None = None) -> list[Portrait]:
    """The pictures (.jpg, .png) of `folder` that show a face, and the astronaut of scikit-image where it is installed.

    Without `folder`, `faces` in $SLSTT_SHARED or in ../shared/data is looked at. A picture without a face is named on
    stderr and left out. Raises DataError where a given folder is missing or no portrait is at hand.
    """
    shared = Path(os.environ.get("SLSTT_SHARED", Path(__file__).parents[2] / "shared" / "data")) / "faces"
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give --portraits a folder of .jpg or .png pictures")
    paths = sorted(p for p in (folder or shared).glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    installed = find_spec("skimage")
    if installed is not None and installed.origin is not None:
        paths.append(Path(installed.origin).parent / "data" / "astronaut.png")
    detector = LandmarkDetector()
    found: list[Portrait] = []
    for path in paths:
        picture = read_image(path)
        if any(np.array_equal(picture, other.picture) for other in found):
            continue
        points = _landmarks(detector, picture)
        if points is None:
            print(f"{path}: no face found; the picture is left out", file=sys.stderr)
            continue
        found.append(Portrait(path.stem, picture, points))
    if not found:
        raise DataError(
            "no portrait is at hand: `pip install scikit-image` brings one (its astronaut), "
            "or give --portraits a folder of .jpg or .png pictures that show a face"
        )
    return found


def portrait_scenes(
    portraits: Sequence[Portrait],
    side: int,
    peaks: Sequence[float],
    seed: int,
    combinations: Sequence[tuple[int, ...]] = COMBINATIONS,
    noise: float = 1.0,
) -> Iterator[tuple[float, Scene]]:
    """(peak in pixels, scene) of each portrait with each combination of units, its square scaled to `side`.

    Units have unequal intensities over units and sides, the same ones at every peak and side. `noise` multiplies the
    sensor noise.
    """
    for index, portrait in enumerate(portraits):
        canvas, points = _scaled(portrait, side)
        size = (canvas.shape[1] // 2, canvas.shape[0] // 2)
        pose = _pose(points)
        for number, units in enumerate(combinations):
            acting = np.random.default_rng([1, seed, index, number])
            strength = {unit: (float(left), float(right)) for unit, (left, right) in zip(
                units, acting.uniform(0.6, 1.0, (len(units), 2)), strict=True
            )}  # fmt: skip
            for peak in peaks:
                field = action_field(size, pose, pose.face(points), strength, peak)
                sensor = np.random.default_rng([2, seed, index, number, round(1000 * peak), side])
                frames = np.stack([_photograph(_moved(canvas, field * part), noise, sensor) for part in (0, 0.5, 1)])
                motion = cv2.resize(field.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
                name = f"{portrait.name} {'+'.join(map(str, units))}"
                yield peak, Scene(name, frames, motion, points, face_square(points))


def _in_cut(motion: np.ndarray, square: Square, size: int) -> np.ndarray:
    """(2, size, size): a field (H, W, 2) of the whole frame in the resized square and in its pixels."""
    x0, y0, side = square
    inside = motion[y0 : y0 + side, x0 : x0 + side]
    method = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
    return cv2.resize(inside, (size, size), interpolation=method).transpose(2, 0, 1) * (size / side)


def _landmarks(detector: LandmarkDetector, picture: np.ndarray) -> np.ndarray | None:
    """The largest face's points, or None. In a picture of the upper body the head's part is looked at on its own."""
    height, width = picture.shape[:2]
    for left, bottom in ((0, height), (width // 6, 2 * height // 3)):
        for upsample in (0, 1):
            if faces := detector.detect(picture[:bottom, left : width - left], upsample):
                return faces[0].landmarks + np.array([left, 0.0])
    return None


def _scaled(portrait: Portrait, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The face and its margin at twice the size of a frame (float32), and the landmarks in the frame."""
    x0, y0, own = face_square(portrait.landmarks)
    margin = round(MARGIN * own)
    corner, wide = (x0 - margin, y0 - margin), own + 2 * margin
    frame = round(side * wide / portrait.side)
    canvas = cut(portrait.picture, (*corner, wide), 2 * frame).astype(np.float32)
    return canvas, (portrait.landmarks - corner + 0.5) * (frame / wide) - 0.5


def _pose(points: np.ndarray) -> Pose:
    left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    across, centre = right - left, (left + right) / 2
    return Pose(float(np.hypot(*across)), *map(float, centre), roll=float(np.arctan2(across[1], across[0])))


def _moved(canvas: np.ndarray, field: np.ndarray) -> np.ndarray:
    """The canvas (2H, 2W, 3) moved by `field` (h, w, 2), in pixels of the frame on a coarse grid, reduced to (H, W)."""
    height, width = canvas.shape[:2]
    came = inverse(field, (width // 2, height // 2))
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    at = here - 2 * cv2.resize(came, (width, height), interpolation=cv2.INTER_CUBIC)
    moved = look_up(canvas, at, cv2.INTER_CUBIC)
    return cv2.resize(moved, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def _photograph(clean: np.ndarray, noise: float, generator: np.random.Generator) -> np.ndarray:
    """A picture (H, W, 3) with `noise` times the sensor noise, stored and read again."""
    deviation = noise * np.sqrt(np.clip(clean, 0, 255) * (SHOT**2 / 128) + READ**2)
    noisy = clean + generator.standard_normal(clean.shape, dtype=np.float32) * deviation
    return _stored(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _stored(picture: np.ndarray) -> np.ndarray:
    """The picture as it comes back from a JPEG file, RGB."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
