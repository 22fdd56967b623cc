"""Facial landmarks: dlib's 68 points, retries and the reason "no face" where none is found, and odd sets.

Points are (x, y) in pixels of the frame, x to the right and y down, counted from 0 as dlib does.
"""

import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dlib
import numpy as np
from jaxtyping import Float32, Num, UInt8
from numpy import ndarray

from slstt.config.preprocess import Crop
from slstt.datasets import DATASETS
from slstt.downloads import landmark_model
from slstt.errors import DataError, WeightsError
from slstt.files import read_csv

LandmarkKey = tuple[str, str, str]
# A face narrower than this share of the picture's shorter side is a chance pattern: in the three data sets the face
# takes half of it, and the one known false detection of SMIC (s02_po_01) less than a fifth.
SMALLEST_FACE = Crop().smallest_face
# What a landmark set may differ from its subject's median and pass, from the real sets of CASME II, SAMM and SMIC.
LARGEST_SHIFT = 0.4  # of the face square's side; healthy sets reach 0.30 (head between two clips)
LARGEST_SCALE = 1.2  # times larger or smaller; healthy sets reach 1.12
LARGEST_RESIDUAL = 0.05  # rms, of the side, after aligning shift, turn and size; healthy sets reach 0.033

MOST_SETS = 100_000
"""Landmark sets in one file; the three data sets together have 578."""
MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class FaceBox:
    """One detected face: 68 points, the detector's box (x0, y0, x1, y1) and its score (above 0; 1 and more is sure)."""

    landmarks: Float32[ndarray, "68 2"]
    box: tuple[int, int, int, int]
    score: float


@dataclass(frozen=True)
class FoundFace:
    """A face, and where it was found: the frame, how often the picture was doubled for it, faces seen there."""

    face: FaceBox
    frame: int | float
    upsampled: int
    faces: int


class LandmarkDetector:
    """dlib's frontal face detector and 68-point model, loaded once."""

    def __init__(self, model: Path | None = None) -> None:
        """`model` as in `slstt.downloads.landmark_model`. Raises WeightsError where it is missing or unreadable."""
        path = landmark_model(model)
        self._faces = dlib.get_frontal_face_detector()  # pyright: ignore[reportAttributeAccessIssue]
        try:
            self._points = dlib.shape_predictor(str(path))  # pyright: ignore[reportAttributeAccessIssue]
        except RuntimeError as error:
            raise WeightsError(
                f"{path}: not a dlib landmark model; give shape_predictor_68_face_landmarks.dat"
            ) from error

    def detect(
        self,
        image: UInt8[ndarray, "h w"] | UInt8[ndarray, "h w 3"],
        upsample: int = 0,
        smallest: float = SMALLEST_FACE,
    ) -> list[FaceBox]:
        """All plausible faces in an RGB or grey picture, the largest first; the picture is doubled `upsample` times.

        `smallest` is the least width of a face as a share of the picture's shorter side.
        """
        image = np.ascontiguousarray(image)
        boxes, scores, _ = self._faces.run(image, upsample, 0.0)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            points = self._fitted(image, box)
            corners = (int(box.left()), int(box.top()), int(box.right()), int(box.bottom()))
            if box.width() >= smallest * min(image.shape[:2]) and upright(points):
                faces.append(FaceBox(points, corners, float(score)))
        return sorted(faces, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]), reverse=True)

    def fit(
        self, image: UInt8[ndarray, "h w"] | UInt8[ndarray, "h w 3"], box: tuple[int, int, int, int]
    ) -> Float32[ndarray, "68 2"]:
        """The 68 points of the face known to fill `box` (x0, y0, x1, y1): a twentieth of the cost of `detect`."""
        return self._fitted(np.ascontiguousarray(image), dlib.rectangle(*box))  # pyright: ignore[reportAttributeAccessIssue]

    def _fitted(self, image: ndarray, box: object) -> ndarray:
        return np.array([(p.x, p.y) for p in self._points(image, box).parts()], dtype=np.float32)


def upright(landmarks: Num[ndarray, "68 2"]) -> bool:
    """Whether brows, eyes, nose, mouth and chin lie below one another and the eyes side by side."""
    points = np.asarray(landmarks, dtype=np.float64)
    heights = [points[part, 1].mean() for part in (slice(17, 27), slice(36, 48), slice(30, 36), slice(48, 68), 8)]
    return bool(np.all(np.diff(heights) > 0) and points[36:42, 0].mean() < points[42:48, 0].mean())


def find_landmarks(
    detector: LandmarkDetector,
    frames_by_nearness: Iterable[tuple[int | float, ndarray]],
    upsampling: int = 1,
    smallest: float = SMALLEST_FACE,
) -> FoundFace:
    """The largest plausible face of the first frame that shows one; each frame is tried plain, then doubled.

    `frames_by_nearness` yields (frame number, picture), the wanted frame first, then its neighbours; it is read only
    as far as needed, so a generator decodes no frame in vain. `smallest` is the least width of a face as a share of
    the picture's shorter side. Raises DataError where no frame shows a face, which says of the first frame whether it
    shows a smaller one.
    """
    tried, smaller = [], ""
    for number, image in frames_by_nearness:
        for upsampled in range(upsampling + 1):
            if faces := detector.detect(image, upsampled, smallest):
                return FoundFace(faces[0], number, upsampled, len(faces))
        if not tried and (faces := detector.detect(image, upsampling, 0.0)):
            left, _, right, _ = faces[0].box
            share = (right - left) / min(image.shape[:2])
            smaller = f"; something like a face {share:.0%} as wide as the frame's shorter side was left out "
            smaller += f"(crop.smallest_face={smallest:g})"
        tried.append(f"{number:g}")
    raise DataError(
        f"no face found in frame {', '.join(tried) or '(none given)'}{smaller}; give landmarks with --landmarks FILE"
    )


def outliers(sets: Mapping[LandmarkKey, Num[ndarray, "68 2"]]) -> dict[LandmarkKey, str]:
    """The landmark sets that stand far from their subject's median, each with what is odd about it.

    `sets` maps (dataset, subject, clip) to points. A set is aligned to the pointwise median of its subject's sets; its
    shift, size and remaining difference of shape are judged relative to the median's face square. Subjects with fewer
    than three sets have no majority and are not judged.
    """
    odd = {}
    for dataset, subject in sorted({key[:2] for key in sets}):
        of_subject = {
            key: np.asarray(sets[key], dtype=np.float64) for key in sorted(sets) if key[:2] == (dataset, subject)
        }
        if len(of_subject) < 3:
            continue
        median = np.median(list(of_subject.values()), axis=0)
        side = 2 * median[8, 1] - median[19, 1] - median[57, 1]
        for key, points in of_subject.items():
            shift, scale, residual = _difference(points, median)
            found = []
            if shift / side > LARGEST_SHIFT:
                found.append(f"{shift / side:.0%} of a face away")
            if not 1 / LARGEST_SCALE <= scale <= LARGEST_SCALE:
                found.append(f"{abs(scale - 1):.0%} {'larger' if scale > 1 else 'smaller'}")
            if residual / side > LARGEST_RESIDUAL:
                found.append("of another shape")
            if found:
                odd[key] = f"landmarks are {' and '.join(found)} than the median of {subject}'s {len(of_subject)} clips"
    return odd


def read_landmarks(path: Path) -> dict[LandmarkKey, Float32[ndarray, "68 2"]]:
    """Given landmarks by (dataset, subject, clip), ids in normal form, points (x, y) in pixels of the apex frame.

    `.npz`: arrays `landmarks` (N, 68, 2) and `dataset`, `subject`, `clip` (N) of text. `.csv`: columns dataset,
    subject, clip, x0, y0, ..., x67, y67. Raises DataError with every row that cannot be used.
    """
    names, points = _npz_rows(path) if path.suffix.lower() == ".npz" else _csv_rows(path)
    found: dict[LandmarkKey, ndarray] = {}
    problems = []
    for row, ((dataset, subject, clip), landmarks) in enumerate(zip(names, points, strict=True), start=1):
        where = f"{path}: landmark set {row} ({dataset} {subject} {clip})"
        try:
            if dataset not in DATASETS:
                raise ValueError(f"'{dataset}' is no data set; expected {', '.join(DATASETS)}")
            key = (dataset, DATASETS[dataset].subject_id(subject), DATASETS[dataset].clip_id(clip))
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        if key in found:
            problems.append(f"{where}: the clip has landmarks already; keep one row")
        elif not np.isfinite(landmarks).all():
            problems.append(f"{where}: a coordinate is not a number")
        found[key] = landmarks
    if problems:
        raise DataError(*problems)
    return found


def _npz_rows(path: Path) -> tuple[list[LandmarkKey], Float32[ndarray, "n 68 2"]]:
    columns = ("dataset", "subject", "clip")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            missing = [name for name in ("landmarks", *columns) if name not in arrays]
            if missing:
                raise DataError(f"{path}: array '{missing[0]}' is missing; expected landmarks, dataset, subject, clip")
            _check_size(path, arrays)
            points, texts = arrays["landmarks"], [[str(cell) for cell in arrays[name].ravel()] for name in columns]
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found") from error
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: unreadable as .npz ({error})") from error
    if points.shape[1:] != (68, 2) or points.dtype.kind not in "iuf" or {len(t) for t in texts} != {len(points)}:
        raise DataError(f"{path}: landmarks must be numbers (N, 68, 2) with N ids each, not {points.shape}")
    return [(d, s, c) for d, s, c in zip(*texts, strict=True)], points.astype(np.float32)


def _check_size(path: Path, arrays: "np.lib.npyio.NpzFile") -> None:
    """Raise DataError where an array says it has more sets or bytes than are read, before any memory is asked for."""
    assert arrays.zip is not None
    for part in arrays.zip.infolist():
        with arrays.zip.open(part) as stream:
            version = np.lib.format.read_magic(stream)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read_header:
                raise ValueError(f"{part.filename} is of format {version}")
            shape, _, dtype = read_header[version](stream)
        size = math.prod(shape) * dtype.itemsize
        if (shape and shape[0] > MOST_SETS) or size > MOST_BYTES:
            raise DataError(
                f"{path}: {part.filename} is {dtype} of shape {shape}; at most {MOST_SETS:,} landmark sets and "
                f"{MOST_BYTES // 2**20} MB an array are read"
            )


def _csv_rows(path: Path) -> tuple[list[LandmarkKey], Float32[ndarray, "n 68 2"]]:
    rows = read_csv(path, ("dataset", "subject", "clip"), one_line=True)
    if len(rows) > MOST_SETS:
        raise DataError(f"{path}: holds {len(rows):,} landmark sets, at most {MOST_SETS:,} are read")
    coordinates = [f"{axis}{point}" for point in range(68) for axis in "xy"]
    if rows and (missing := [name for name in coordinates if name not in rows[0]]):
        raise DataError(f"{path}: {len(missing)} of the columns x0, y0, ..., x67, y67 are missing ({missing[0]} first)")
    points = np.full((len(rows), 68, 2), np.nan, np.float32)
    for landmarks, row in zip(points, rows, strict=True):
        with suppress(ValueError):  # stays not-a-number, which read_landmarks reports by row
            landmarks[...] = np.array([float(row[name]) for name in coordinates]).reshape(68, 2)
    return [(row["dataset"].strip(), row["subject"], row["clip"]) for row in rows], points


def _difference(points: ndarray, median: ndarray) -> tuple[float, float, float]:
    """(shift in pixels, size ratio, rms residual in pixels) after the best shift, turn and size onto `median`."""
    centre, target = points.mean(axis=0), median.mean(axis=0)
    # As complex numbers a turn with scaling is one factor, and its least-squares value a ratio of two sums.
    z = (points - centre) @ (1, 1j)
    w = (median - target) @ (1, 1j)
    factor = np.vdot(z, w) / np.vdot(z, z).real
    residual = np.sqrt(np.mean(np.abs(w - factor * z) ** 2))
    return float(np.hypot(*(centre - target))), float(1 / np.abs(factor)), float(residual)
