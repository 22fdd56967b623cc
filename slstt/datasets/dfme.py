"""DFME (Zhao et al. 2023): `anger/sub0003-03a-01-anger-01-anger/`, 200 to 500 frames a second.

There is no coding sheet: a clip is its expression, from the first frame to the last, without an apex. Its emotion is
that of the owners' lists (`train_`, `testA_`, `testB_dfme_ccac_7class_emolabel_list.txt`), which also say to which set
a clip belongs, and else that of its folder. How frames are called is not known: the last number in a name counts.
"""

import re
from pathlib import Path

from slstt.datasets.annotations import Annotation, DataSet, IdForm, Tree, named
from slstt.datasets.clips import Release, Remark
from slstt.datasets.folders import FrameFolders, files_called, frames_in, subfolders
from slstt.datasets.releases import LocatedRelease, Rows, read_native
from slstt.errors import DataError

LABELS = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
"""In the order of the numbers in the owners' lists."""

DATA_SET = DataSet(
    name="dfme",
    title="DFME",
    rate=None,
    emotions=LABELS,
    subject=IdForm(named(r"sub0*(\d{1,4})"), lambda found: f"sub{int(found[1]):04d}", "sub0003"),
    clip=IdForm(named(r"sub\d{1,4}-.+"), lambda found: found[0].lower(), "sub0003-03a-01-anger-01-anger"),
    trees=(Tree((named("|".join(LABELS)), named(r"(?P<clip>(?P<subject>sub\d{1,4})-.+)"))),),
    example="anger/sub0003-03a-01-anger-01-anger/1.jpg",
)

_LIST = named(r"(train|test_?a|test_?b)_.*emolabel_list.*\.txt")
_SETS = {"train": "train", "testa": "testA", "testb": "testB"}


def read(root: Path, annotations: Path | None = None) -> Release:
    """The DFME release at `root`. Raises DataError where root or frames are missing or a list is unreadable."""
    return read_native(DATA_SET, root, annotations, rows=_rows, folders=_by_class)


def _by_class(found: FrameFolders) -> FrameFolders:
    """A clip that lies under two classes is taken from that of its name."""
    folders, doubled = dict(found.folders), {}
    keys = {folder: key for key, folder in found.folders.items()}
    for folder, used in found.doubled.items():
        key = keys[used]
        if folder.parent.name.lower() == _class_in_name(key[1]) != folders[key].parent.name.lower():
            folder, folders[key] = folders[key], folder
        doubled[folder] = used
    return FrameFolders(folders, {folder: folders[keys[used]] for folder, used in doubled.items()}, found.remarks)


def _class_in_name(clip: str) -> str:
    return clip.rpartition("-")[2]


def _rows(found: LocatedRelease, there: FrameFolders) -> Rows:
    listed, remarks = _lists(found)
    rows = []
    for (subject, clip), folder in there.folders.items():
        split, labels = listed.get(clip, ("", []))
        by_folder = folder.parent.name.lower()
        emotion = labels[0] if labels else by_folder
        if len(labels) > 1 or emotion != by_folder:
            emotion = _class_in_name(clip) if _class_in_name(clip) in labels else emotion
            reason = f"lies in '{by_folder}', listed as {' and '.join(labels)}; taken as {emotion}"
            remarks.append(Remark(DATA_SET.name, subject, clip, "emotion_mismatch", reason, "flag"))
        numbers = list(frames_in(folder)[0]) or [0]  # of an empty folder: 0, which no frame has
        rows.append(Annotation(None, subject, clip, emotion, numbers[0], None, "", numbers[-1], split=split))
    clips = {clip for _, clip in there.folders}
    for clip, (split, _) in listed.items():
        if clip not in clips:
            reason = f"on the list of {split}, but has no folder of frames"
            remarks.append(Remark(DATA_SET.name, clip.partition("-")[0], clip, "no_folder", reason, "failure"))
    return rows, remarks


def _lists(found: LocatedRelease) -> tuple[dict[str, tuple[str, list[str]]], list[Remark]]:
    """Clip -> (set, the emotions it is listed with), and remarks on lines that name no clip."""
    places = (found.root, *subfolders(found.root), found.folder.parent, found.folder)
    listed: dict[str, tuple[str, list[str]]] = {}
    remarks = []
    paths = files_called(_LIST, places)
    if not paths:
        reason = (
            f"no list of the owners (train_dfme_ccac_7class_emolabel_list.txt) at {found.root}; clips are in no set"
        )
        remarks.append(Remark(DATA_SET.name, "", "", "no_list", reason, "ignored"))
    for path in paths:
        fits = _LIST.fullmatch(path.name)
        split = _SETS[fits[1].lower().replace("_", "")] if fits else ""
        for line, (clip, label) in _lines(path):
            if clip is None or (label is not None and label >= len(LABELS)):
                reason = f"{path.name} line {line}: names no clip and no class 0 to {len(LABELS) - 1}; line not used"
                remarks.append(Remark(DATA_SET.name, "", clip or "", "bad_row", reason, "failure"))
                continue
            labels = listed.setdefault(clip, (split, []))[1]
            if label is not None and LABELS[label] not in labels:
                labels.append(LABELS[label])
    return listed, remarks


def _lines(path: Path) -> list[tuple[int, tuple[str | None, int | None]]]:
    """(line, (clip, label)) of every line that is not empty: `anger/sub0003-03a-01-anger-01-anger 0`."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: unreadable as a list of clips ({error}); restore the file") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            clip = re.search(r"(sub\d{1,4}-[^\s,/\\]+)", line, re.IGNORECASE | re.ASCII)
            label = re.search(r"[\s,](\d{1,6})\s*$", line, re.ASCII)
            found.append((number, (clip[1].lower() if clip else None, int(label[1]) if label else None)))
    return found
