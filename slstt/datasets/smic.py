"""SMIC-HS (Li et al. 2013) without a sheet, and SMIC-E-HS with one; 100 frames a second.

Frames: `SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image559740.bmp`.

Raw and cropped (`SMIC_all_cropped`, `reg_image...`) releases have no annotation: the clip is the expression, so the
onset is the first frame, the offset the last and the apex the middle one. A tree without the `micro` level is read as
well. The extended set SMIC-E-HS (`HS_long/SMIC-HS-E/s01/s01_ne_01/image000123.jpg`) has longer clips and a sheet.
`NIR`, `VIS` and `non_micro` are other material: counted, not read. Where several releases lie below one root, raw is
taken before cropped before extended.
"""

import re
from dataclasses import replace
from pathlib import Path

from slstt.datasets.annotations import Annotation, DataSet, IdForm, Tree, named, read_annotations
from slstt.datasets.clips import Release, Remark
from slstt.datasets.folders import FolderKey, FrameFolders, by_id, frames_in, is_cropped, pick_sheet, subfolders, survey
from slstt.datasets.releases import match, no_frames, no_sheet, unnamed_remarks
from slstt.errors import DataError

_SUBJECT = named(r"(?P<subject>s\d{1,2})")
_CLIP = named(r"(?P<clip>.*)")
_EMOTION = named(r"negative|positive|surprise")

DATA_SET = DataSet(
    name="smic",
    title="SMIC-HS",
    rate=100,
    emotions=("negative", "positive", "surprise"),
    subject=IdForm(named(r"s?0*(\d{1,2})"), lambda found: f"s{int(found[1]):02d}", "s06"),
    clip=IdForm(
        named(r"s?0*(\d{1,2})_(ne|po|sur)_0*(\d{1,3})"),
        lambda found: f"s{int(found[1]):02d}_{found[2].lower()}_{int(found[3]):02d}",
        "s01_ne_01",
    ),
    trees=(
        Tree((_SUBJECT, named("micro"), _EMOTION, _CLIP)),
        Tree((_SUBJECT, _EMOTION, _CLIP)),
        Tree((_SUBJECT, _CLIP)),
    ),
    example="SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image559740.bmp",
    sheets=("SMIC-HS-E_annotation", "SMIC-HS-E_annotation_2019"),
    sheet_pattern=re.compile(r"smic[ _-]hs[ _-]e[ _-]annotation.*\.(xlsx|xls|csv)$"),
)

_EMOTION_OF = {"ne": "negative", "po": "positive", "sur": "surprise"}
_OTHER_CAMERA = re.compile(r"(^|[ _-])(nir|vis)($|[ _-])", re.IGNORECASE)


def read(root: Path, annotations: Path | None = None) -> Release:
    """The SMIC-HS release at `root`; `annotations` is needed for none but may replace what the folders say.

    Raises DataError where root or layout are missing, or the sheet of the extended set.
    """
    found = survey(DATA_SET, root)
    cameras = [folder for folder in found.parents if _other_camera(folder, root)]
    parents = [folder for folder in found.parents if folder not in cameras]
    if not parents:
        if cameras:
            raise DataError(f"{root}: holds another camera of SMIC only (NIR or VIS); point --root at the HS release")
        raise DataError(no_frames(DATA_SET, root))
    trees = {folder: _Tree(folder) for folder in parents}
    order = ("raw", "cropped", "extended")
    parents.sort(key=lambda folder: (order.index(_kind(trees[folder], root)), len(folder.parts), folder))
    tree, kind = trees[parents[0]], _kind(trees[parents[0]], root)
    sheet, further = annotations, []
    if kind == "extended" and sheet is None:
        sheet, further = pick_sheet(found.sheets, DATA_SET.sheet_pattern, DATA_SET.sheets)
        if sheet is None:
            raise DataError(no_sheet(DATA_SET, root, found))
    remarks = [
        Remark(
            "smic",
            "",
            "",
            "other_camera",
            f"{folder}: another camera, ignored ({len(_Tree(folder).found)} clips)",
            "ignored",
        )
        for folder in cameras
    ]
    unused = [("other_release", path) for path in parents[1:]] + [("other_sheet", path) for path in further]
    remarks += [Remark("smic", "", "", name, f"{path} found as well; not used", "ignored") for name, path in unused]
    remarks += unnamed_remarks("smic", found)
    folders, doubled = by_id((key, folder) for key, folder, _ in tree.found)
    emotions = {folder: emotion for _, folder, emotion in tree.found}
    unusable: list[Remark] = []
    if sheet is None:
        rows = [_row_from(key, folder, emotions[folder]) for key, folder in folders.items()]
    else:
        rows, unusable = read_annotations(DATA_SET, sheet)
        rows = [replace(row, apex=_middle(row)) if row.apex is None else row for row in rows]
    clips, noticed = match(DATA_SET, rows, FrameFolders(folders, doubled, ()))
    title = {
        "raw": "SMIC-HS, raw frames",
        "cropped": "SMIC-HS, cropped frames",
        "extended": "SMIC-E-HS, extended clips",
    }
    return Release(
        "smic",
        f"{title[kind]} ({parents[0]})",
        root,
        sheet,
        tuple(clips),
        (*unusable, *noticed, *remarks, *tree.remarks),
    )


class _Tree:
    """The clips below one folder of subjects, in any of the three nestings."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self.found: list[tuple[FolderKey, Path, str]] = []
        """((subject, clip), folder, emotion by the folder's name or else the clip's)."""
        self.remarks: list[Remark] = []
        self.flat = False
        """Some clips lie directly in their subject's folder, as in the extended set."""
        for folder in subfolders(parent):
            if _SUBJECT.fullmatch(folder.name):
                self._subject(DATA_SET.subject_id(folder.name), folder)

    def _subject(self, subject: str, folder: Path) -> None:
        for inner in subfolders(folder):
            name = inner.name.lower()
            if name == "micro":
                self._subject(subject, inner)
            elif name in DATA_SET.emotions:
                for clip in subfolders(inner):
                    self._clip(subject, clip, name)
            elif name in ("non_micro", "non-micro", "nonmicro"):
                reason = f"{inner}: clips without a micro-expression, ignored"
                self.remarks.append(Remark("smic", subject, "", "non_micro", reason, "ignored"))
            elif self._clip(subject, inner, None):
                self.flat = True

    def _clip(self, subject: str, folder: Path, emotion: str | None) -> bool:
        try:
            name = DATA_SET.clip_id(folder.name)
        except ValueError:
            reason = f"{folder} is no clip; ignored"
            self.remarks.append(Remark("smic", subject, folder.name, "stray_folder", reason, "ignored"))
            return False
        by_name = _EMOTION_OF[name.split("_")[1]]
        if emotion is not None and emotion != by_name:
            reason = f"lies in '{emotion}', its name says {by_name}; taken as {emotion}"
            self.remarks.append(Remark("smic", subject, name, "emotion_mismatch", reason, "flag"))
        self.found.append(((subject, name), folder, emotion or by_name))
        return True


def _row_from(key: FolderKey, folder: Path, emotion: str) -> Annotation:
    """Onset, apex and offset are the first, middle and last frame; an empty folder gives 0, which no frame has."""
    numbers = list(frames_in(folder)[0]) or [0]
    onset, offset = numbers[0], numbers[-1]
    middle = (onset + offset) // 2
    apex = min(numbers, key=lambda number: (abs(number - middle), number))
    return Annotation(None, *key, emotion, onset, apex, str(apex), offset)


def _middle(row: Annotation) -> int | None:
    return None if row.offset is None else (row.onset + row.offset) // 2


def _kind(tree: _Tree, root: Path) -> str:
    if tree.flat:
        return "extended"
    return "cropped" if is_cropped(tree.parent, root) else "raw"


def _other_camera(folder: Path, root: Path) -> bool:
    names = (root.resolve().name, *folder.relative_to(root).parts)
    return any(_OTHER_CAMERA.search(name) for name in names)
