"""Onset-to-apex flow maps: one picture a clip, channels u, v and strain (as STSTNet and HTNet use them).

Two layouts, read and written: a folder of pictures with `labels.csv` (columns dataset, subject, clip, label), and the
published tree `<left-out subject>/u_test/<0|1|2>/*.png`, whose `u_train` branches repeat the same pictures and are not
read. Pictures are called `<subject>_<clip> .png`, with a blank before the dot.

Each channel of each clip was min-max scaled to 0..255 before publication: scale and zero of the flow are lost. Centred
to -1..1, mirroring is exact all the same: u changes its sign (255 - u in bytes), and u, v and strain are flipped.
How the published maps were made is not known in full; what they tell is in docs/flow_maps.md.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from slstt.datasets import casme2, samm, smic
from slstt.datasets.annotations import DataSet
from slstt.errors import DataError
from slstt.files import read_csv, whole_file, write_csv
from slstt.flow.encoding import min_max
from slstt.flow.optical_flow import strain

CLASSES = ("negative", "positive", "surprise")
"""The published class numbers 0, 1 and 2."""

MapKey = tuple[str, str, str]
COLUMNS = ("dataset", "subject", "clip", "label")
"""Of labels.csv."""
FOLDER = "norm_u_v_os"
"""Where the pictures beside labels.csv lie, as published: normalised u, v and optical strain."""
SIDE = 28
"""Of the published maps, in pixels."""

DEPTH = 3

MOST_PIXELS = 1024
"""Of a map's side; the published ones have 28."""
MOST_BYTES = 8 * 2**20


@dataclass(frozen=True)
class FlowMaps:
    """N onset-to-apex flow maps, sorted by key."""

    raw: np.ndarray
    """(N, H, W, 3) uint8: u, v, strain as published."""
    keys: tuple[MapKey, ...]
    """(dataset, subject, clip), normal form, one per map."""
    labels: tuple[str, ...]
    """Class names (`CLASSES`)."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """Data sets that occur, sorted."""
        return tuple(sorted({key[0] for key in self.keys}))

    @property
    def maps(self) -> np.ndarray:
        """(N, 3, H, W) float32 in -1..1: raw / 127.5 - 1, channels u, v, strain."""
        return np.ascontiguousarray(self.raw.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(127.5) - np.float32(
            1
        )


def read(root: Path) -> FlowMaps:
    """Read the flow maps at `root`, whichever of the two layouts it is in.

    Raises DataError that lists every problem: root missing, neither layout, an unreadable picture, another size than
    the others, a label without picture, a picture without label, a clip twice, an id or class that is unknown.
    """
    try:
        root.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{root}: no such folder ({reason}); data.root must point at the flow maps") from error
    if not root.is_dir():
        raise DataError(f"{root}: is a file; data.root must point at the folder of the flow maps")
    table = path if (path := root / "labels.csv").is_file() else None
    problems: list[str] = []
    entries = list(_flat(root, table, problems) if table else _tree(root, problems))
    doubled = [key for key, count in Counter(key for key, _, _ in entries).items() if count > 1]
    problems += [f"{root}: clip {' '.join(key)} occurs more than once" for key in doubled]
    if not entries and not problems:
        what = (
            f"{table.name} lists no clip" if table else "no labels.csv and no <left-out subject>/u_test/<0|1|2>/*.png"
        )
        raise DataError(f"{root}: {what}; data.root must point at the flow maps")
    entries.sort(key=lambda entry: entry[0])
    pictures = [_picture(path, problems) for _, _, path in entries]
    sizes = Counter(picture.shape for picture in pictures if picture is not None)
    usual = sizes.most_common(1)[0][0] if sizes else (0, 0, 3)
    problems += [
        f"{path}: {picture.shape[1]}x{picture.shape[0]} pixels, the others have {usual[1]}x{usual[0]}"
        for (_, _, path), picture in zip(entries, pictures, strict=True)
        if picture is not None and picture.shape != usual
    ]
    if problems:
        raise DataError(*problems)
    raw = np.stack([picture for picture in pictures if picture is not None])
    return FlowMaps(raw, tuple(key for key, _, _ in entries), tuple(label for _, label, _ in entries))


def picture_key(name: str) -> MapKey:
    """(dataset, subject, clip) of a picture called `<subject>_<clip> .png`. Raises ValueError for other names."""
    subject, underscore, clip = Path(name).stem.strip().partition("_")
    if not underscore:
        raise ValueError(f"'{name}' is not <subject>_<clip>.png")
    dataset = dataset_of(subject)
    return dataset.name, dataset.subject_id(subject), dataset.clip_id(clip)


def dataset_of(subject: str) -> DataSet:
    """The data set told from a subject's name: `sub..` CASME II, `s..` SMIC, digits SAMM. Raises ValueError."""
    name = subject.strip().lower()
    if name.startswith("sub"):
        return casme2.DATA_SET
    if name.startswith("s"):
        return smic.DATA_SET
    if name.isascii() and name.isdigit():
        return samm.DATA_SET
    raise ValueError(f"'{subject}' is no subject of CASME II (sub01), SMIC (s01) or SAMM (006)")


def picture_name(key: MapKey) -> str:
    """What the picture of a clip is called, the blank before the dot included."""
    _, subject, clip = key
    return f"{subject}_{clip} .png"


def draw(flow: np.ndarray, box: tuple[int, int, int, int] | None = None, side: int = SIDE) -> np.ndarray:
    """The map (side, side, 3) uint8 of an onset-to-apex flow (2, H, W) in pixels: u, v and optical strain.

    Strain is taken at the flow's own size; then `box` (left, top, right, bottom, in pixels; beyond the field its border
    is repeated; None: the whole) is brought to side x side by area averaging, stretched where it is no square, and each
    channel is scaled so that its least value is 0 and its greatest 255. A channel without any difference is 0.
    """
    flow = np.asarray(flow, np.float32)
    fields = np.concatenate([flow, strain(flow)[None]])
    left, top, right, bottom = box or (0, 0, fields.shape[2], fields.shape[1])
    rows = np.clip(np.arange(top, bottom), 0, fields.shape[1] - 1)
    columns = np.clip(np.arange(left, right), 0, fields.shape[2] - 1)
    piece = np.ascontiguousarray(fields[:, rows[:, None], columns].transpose(1, 2, 0))
    small = cv2.resize(piece, (side, side), interpolation=cv2.INTER_AREA)
    scaled = min_max(small.transpose(2, 0, 1)[None, None])[0, 0].transpose(1, 2, 0)
    return np.round(255 * scaled).astype(np.uint8)


def write(root: Path, dataset: str, maps: Sequence[tuple[MapKey, str, np.ndarray]]) -> None:
    """Replace the maps of `dataset` in `root`: labels.csv, and pictures in `FOLDER`; those of other data sets stay.

    Each map is (key, class, picture (H, W, 3) uint8: u, v, strain). While pictures are written labels.csv has no line
    of the data set, so a half-written folder is refused by `read`. Raises DataError where something there cannot be
    read or written.
    """
    table = root / "labels.csv"
    known = read_csv(table, COLUMNS) if table.exists() else []
    others = [tuple(row[name] for name in COLUMNS) for row in known if row["dataset"] != dataset]
    write_csv(table, COLUMNS, others)
    wanted = {picture_name(key): picture for key, _, picture in maps}
    for path in _pictures((root / FOLDER).glob("*")):
        if path.name not in wanted and picture_key(path.name)[0] == dataset:
            path.unlink()
    for name, picture in wanted.items():
        done, encoded = cv2.imencode(".png", picture[..., ::-1])  # OpenCV takes blue, green, red
        assert done
        with whole_file(root / FOLDER / name) as part:
            part.write_bytes(encoded.tobytes())
    write_csv(table, COLUMNS, sorted([*others, *((*key, label) for key, label, _ in maps)]))


def foreign_files(root: Path, tree: Path) -> list[Path]:
    """The files below `tree` that are not pictures of `root` byte by byte, so that `write_tree` would destroy them."""
    return sorted(
        path
        for path in tree.rglob("*")
        if path.is_file()
        and not ((ours := root / FOLDER / path.name).is_file() and ours.read_bytes() == path.read_bytes())
    )


def write_tree(root: Path, tree: Path) -> int:
    """Lay the maps in `root` (labels.csv and pictures) out as the published programs read them; returns the subjects.

    `tree/<left-out subject>/u_test/<0|1|2>/` holds that subject's pictures, `u_train` all others'. Pictures are hard
    links where the file system allows. Other pictures in such folders of `tree` are removed: ask `foreign_files` first.
    Raises DataError where something cannot be read or written.
    """
    maps = read(root)
    subjects = sorted({key[1] for key in maps.keys})
    wanted = {
        tree
        / left_out
        / ("u_test" if key[1] == left_out else "u_train")
        / str(CLASSES.index(label))
        / picture_name(key)
        for left_out in subjects
        for key, label in zip(maps.keys, maps.labels, strict=True)
    }
    try:
        for path in tree.glob("*/u_t*/[012]/*.png"):
            path.unlink()
        for path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            source = root / FOLDER / path.name
            try:
                os.link(source, path)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, path)
    except OSError as error:
        raise DataError(f"{tree}: cannot be written ({error.strerror}); free space or choose another folder") from error
    return len(subjects)


def _flat(root: Path, table: Path, problems: list[str]) -> Iterator[tuple[MapKey, str, Path]]:
    pictures: dict[MapKey, Path] = {}
    for path in _pictures(root.rglob("*")):
        if (key := _key_of(path, problems)) is not None:
            if key in pictures:
                problems.append(f"{path}: same clip as {pictures[key]}; keep one")
            pictures[key] = path
    labelled = set()
    for number, row in enumerate(read_csv(table, COLUMNS, one_line=True), start=2):
        dataset, label = row["dataset"].strip().lower(), row["label"].strip().lower()
        try:
            told = dataset_of(row["subject"])
            if told.name != dataset:
                raise ValueError(f"subject '{row['subject']}' is not of data set '{dataset}'")
            key = (dataset, told.subject_id(row["subject"]), told.clip_id(row["clip"]))
        except ValueError as error:
            problems.append(f"{table} line {number}: {error}")
            continue
        labelled.add(key)
        label = CLASSES[int(label)] if label in ("0", "1", "2") else label
        if label not in CLASSES:
            problems.append(f"{table} line {number}: label '{row['label']}' is none of {', '.join(CLASSES)}, 0, 1, 2")
        elif key not in pictures:
            problems.append(f"{table} line {number}: no picture of {' '.join(key)}; add it or remove the line")
        else:
            yield key, label, pictures[key]
    problems += [f"{path}: no line in {table.name}" for key, path in pictures.items() if key not in labelled]


def _tree(root: Path, problems: list[str]) -> Iterator[tuple[MapKey, str, Path]]:
    tests = [
        path for depth in range(DEPTH) for path in sorted(root.glob("*/" * (depth + 1) + "u_test")) if path.is_dir()
    ]
    for test in tests:
        for folder in sorted(path for path in test.iterdir() if path.is_dir() and not path.name.startswith(".")):
            if folder.name not in ("0", "1", "2"):
                problems.append(f"{folder}: class folders are 0 (negative), 1 (positive) and 2 (surprise)")
                continue
            for path in _pictures(folder.iterdir()):
                if (key := _key_of(path, problems)) is not None:
                    yield key, CLASSES[int(folder.name)], path


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() == ".png" and not path.name.startswith("."))


def _key_of(path: Path, problems: list[str]) -> MapKey | None:
    try:
        return picture_key(path.name)
    except ValueError as error:
        problems.append(f"{path}: {error}")
        return None


def _picture(path: Path, problems: list[str]) -> np.ndarray | None:
    """(H, W, 3) uint8 as u, v, strain: red, green and blue, which OpenCV returns in the order blue, green, red."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
        # A PNG says its width and height in bytes 16 to 24: a few bytes can unpack to gigabytes.
        large = len(raw) > MOST_BYTES or any(int.from_bytes(raw[at : at + 4]) > MOST_PIXELS for at in (16, 20))
        picture = None if large else cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):  # an empty file is an error to OpenCV, a damaged one gives None
        large, picture = False, None
    if large:
        problems.append(f"{path}: larger than {MOST_PIXELS} pixels a side or {MOST_BYTES // 2**20} MB; not a flow map")
    elif picture is None:
        problems.append(f"{path}: unreadable picture; copy it again from the source")
    elif picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        problems.append(f"{path}: must have three channels of 8 bits (u, v, strain)")
    else:
        return picture[..., ::-1]
    return None
