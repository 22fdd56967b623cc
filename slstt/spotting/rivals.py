"""Simple published ways of spotting, as curves over the frames of a recording whose head motion is taken off.

Each curve is (n,) float64, NaN where the face is not known or the window runs past the recording. The face square of
the first frame with a face is cut out of every frame after `FaceMotion.stabilization` has brought it there, so all ways
see the same pictures. `k` is half a window, in frames.
"""

from collections import deque
from collections.abc import Iterator

import cv2
import numpy as np

from slstt.datasets.clips import Kind
from slstt.errors import DataError
from slstt.face.crop import MEASURED_SIDE, face_mask, face_square
from slstt.flow.optical_flow import flow_between
from slstt.images import Picture
from slstt.prediction.face_motion import FaceMotion
from slstt.prediction.recording import Recording

BLOCKS = 6
"""The face square has BLOCKS x BLOCKS blocks, in both papers."""
FLOW_SIDE = 128
"""Side of the square on which flow is measured; at twice the side it takes four times as long."""
KEPT_BLOCKS = 12
"""Blocks whose values are averaged, the strongest third (both papers)."""
FEATURE_WINDOW: dict[Kind, float] = {"micro": 0.16, "macro": 0.52}
"""Seconds before and after. Micro: half of Moilanen's 0.32 s; macro: longer by as much as MDMD's."""
MDMD_WINDOW: dict[Kind, float] = {"micro": 0.4, "macro": 1.3}
"""The same, as the MEGC 2020 baseline has it: 12 and 39 frames of CAS(ME)^2, 80 and 260 of SAMM."""


def feature_difference(recording: Recording, motion: FaceMotion) -> dict[Kind, np.ndarray]:
    """Chi-square distances of local binary patterns to the mean of the frames k before and after, less those around.

    Moilanen, Zhao and Pietikainen 2014 (ICPR): per block the distance of the histogram to that of the average frame;
    the 12 largest of 36 are averaged to F; C(i) = F(i) - (F(i - k) + F(i + k)) / 2, negative values 0.
    """
    found: dict[Kind, np.ndarray] = {}
    steps: dict[Kind, int] = {kind: max(1, round(w * motion.rate)) for kind, w in FEATURE_WINDOW.items()}
    curves: dict[Kind, np.ndarray] = {kind: np.full(len(motion.times), np.nan) for kind in steps}
    longest = max(steps.values())
    kept: deque[np.ndarray | None] = deque(maxlen=2 * longest + 1)
    for number, face in _padded(_faces(recording, motion, MEASURED_SIDE), len(motion.times)):
        kept.append(None if face is None else patterns(face))
        for kind, k in steps.items():
            if len(kept) > 2 * k and all(kept[place] is not None for place in (-1, -1 - k, -1 - 2 * k)):
                after, now, before = (np.asarray(kept[place], float) for place in (-1, -1 - k, -1 - 2 * k))
                mean = (before + after) / 2
                distances = ((now - mean) ** 2 / np.maximum(now + mean, 1e-9)).sum(axis=1)
                curves[kind][number - k] = np.sort(distances)[-KEPT_BLOCKS:].mean()
    for kind, k in steps.items():
        found[kind] = np.maximum(_contrast(curves[kind], k), 0)
    return found


def mdmd(recording: Recording, motion: FaceMotion) -> dict[Kind, np.ndarray]:
    """Main directional maximal difference (Wang, Wu and Fu 2016; baseline of MEGC 2020, He et al., arXiv 1912.11985).

    Flow from frame i - k to i and to i + k. In each of 36 blocks the vectors of the most frequent of four directions
    (by the former flow) count: the third of them with the largest difference in length, former less latter, is
    averaged, and so are the 12 largest blocks, to F. C(i) = F(i) - (F(i - k + 1) + F(i + k - 1)) / 2. Here the flow is
    DIS, and the directions are the quadrants.
    """
    steps: dict[Kind, int] = {kind: max(2, round(w * motion.rate)) for kind, w in MDMD_WINDOW.items()}
    for kind, k in steps.items():  # as in the baseline: halved where the video is too short for it
        while len(motion.times) < 6 * k and k > 2:
            k = max(2, round(k / 2))
        steps[kind] = k
    curves: dict[Kind, np.ndarray] = {kind: np.full(len(motion.times), np.nan) for kind in steps}
    kept: deque[Picture | None] = deque(maxlen=2 * max(steps.values()) + 1)
    flow = flow_between("dis")
    for number, face in _padded(_faces(recording, motion, FLOW_SIDE), len(motion.times)):
        kept.append(face)
        for kind, k in steps.items():
            if len(kept) <= 2 * k:
                continue
            after, now, before = kept[-1], kept[-1 - k], kept[-1 - 2 * k]
            if after is not None and now is not None and before is not None:
                curves[kind][number - k] = main_directional_difference(flow(before, now), flow(before, after))
    return {kind: _contrast(curves[kind], max(1, k - 1)) for kind, k in steps.items()}


def neighbour_flow(recording: Recording, motion: FaceMotion) -> dict[Kind, np.ndarray]:
    """Mean length of the flow from the frame before, inside the face without the eyes, in pixels of the square."""
    curve = np.full(len(motion.times), np.nan)
    inside, before, flow = _inside(motion), None, flow_between("dis")
    for number, face in _padded(_faces(recording, motion, FLOW_SIDE), len(motion.times)):
        if before is not None and face is not None:
            curve[number] = np.hypot(*flow(before, face)[inside].T).mean()
        before = face
    return {"micro": curve, "macro": curve}


def patterns(face: np.ndarray) -> np.ndarray:
    """(36, 256) uint16: histograms of the local binary patterns (8 neighbours) of the blocks of a grey square."""
    side = face.shape[0] - 2
    inner, code = face[1:-1, 1:-1], np.zeros((side, side), np.int32)
    for bit, (y, x) in enumerate(((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))):
        code |= (face[y : y + side, x : x + side] >= inner).astype(np.int32) << bit
    block = np.arange(side) * BLOCKS // side
    code += 256 * (block[:, None] * BLOCKS + block)
    return np.bincount(code.ravel(), minlength=256 * BLOCKS**2).reshape(-1, 256).astype(np.uint16)


def main_directional_difference(former: np.ndarray, latter: np.ndarray) -> float:
    """F of one frame from its two flow fields (S, S, 2): see `mdmd`."""
    side = former.shape[0] // BLOCKS
    cut = [field[: side * BLOCKS, : side * BLOCKS].reshape(BLOCKS, side, BLOCKS, side, 2) for field in (former, latter)]
    first, second = (field.transpose(0, 2, 1, 3, 4).reshape(BLOCKS**2, side * side, 2) for field in cut)
    quadrant = 2 * (first[..., 0] < 0) + (first[..., 1] < 0)
    difference = np.hypot(first[..., 0], first[..., 1]) - np.hypot(second[..., 0], second[..., 1])
    values = []
    for directions, differences in zip(quadrant, difference, strict=True):
        main = np.bincount(directions, minlength=4).argmax()
        of_main = differences[directions == main]
        largest = max(1, round(len(of_main) / 3))
        values.append(np.partition(of_main, -largest)[-largest:].mean())
    return float(np.sort(values)[-KEPT_BLOCKS:].mean())


def _contrast(curve: np.ndarray, k: int) -> np.ndarray:
    """C(i) = F(i) - (F(i - k) + F(i + k)) / 2, NaN where one of them is."""
    found = np.full(len(curve), np.nan)
    if len(curve) > 2 * k:
        found[k:-k] = curve[k:-k] - (curve[: -2 * k] + curve[2 * k :]) / 2
    return found


def _square(motion: FaceMotion) -> tuple[int, int, int]:
    for landmarks in motion.landmarks:
        if np.isfinite(landmarks).all():
            return face_square(landmarks)
    raise DataError("no frame shows the face")  # `track_face_motion` has refused it before


def _inside(motion: FaceMotion) -> np.ndarray:
    x0, y0, side = _square(motion)
    landmarks = next(points for points in motion.landmarks if np.isfinite(points).all())
    return face_mask((landmarks - (x0, y0)) * (FLOW_SIDE / side), (FLOW_SIDE, FLOW_SIDE))


def _faces(recording: Recording, motion: FaceMotion, size: int) -> Iterator[tuple[int, Picture | None]]:
    """(frame, its face on the square of the first frame, grey (size, size); None where it is not known)."""
    x0, y0, side = _square(motion)
    scale = size / side
    to_square = np.array([[scale, 0, (0.5 - x0) * scale - 0.5], [0, scale, (0.5 - y0) * scale - 0.5]])
    for number, picture in recording.frames():
        matrix = motion.stabilization[number]
        if not np.isfinite(matrix).all():
            yield number, None
            continue
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        whole = to_square @ np.vstack([matrix, [0.0, 0.0, 1.0]])
        # A face larger than the square: warping alone would skip pixels.
        if scale < 0.75:
            grey = cv2.GaussianBlur(grey, (0, 0), 0.5 / scale)
        face = cv2.warpAffine(grey, whole, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        yield number, np.asarray(face, np.uint8)


def _padded(faces: Iterator[tuple[int, Picture | None]], count: int) -> Iterator[tuple[int, Picture | None]]:
    """Every number 0..count - 1 once: frames that the file skipped have no face."""
    due = 0
    for number, face in faces:
        for skipped in range(due, number):
            yield skipped, None
        yield number, face
        due = number + 1
    for skipped in range(due, count):
        yield skipped, None
