"""Annotations and folders put together: clips, and remarks on everything that does not fit."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from slstt.datasets.clip import Clip, Remark
from slstt.datasets.folders import frames_in
from slstt.datasets.ids import EMOTIONS
from slstt.datasets.sheets import Annotation

Key = tuple[str, str]
"""(subject, clip), in normal form."""


def match(
    dataset: str, annotations: Iterable[Annotation], folders: Mapping[Key, Path], doubled: Mapping[Path, Path]
) -> tuple[list[Clip], list[Remark]]:
    """One clip per annotated folder with an onset frame; a remark for everything else.

    Nothing is dropped in silence: each row ends as a clip or as a remark with action `failure`, each folder without a
    row as one with action `ignored`. An apex that is unknown or outside onset..offset is left as the sheet has it.
    """
    remarks = [
        Remark(dataset, *_key_of(folders, used), "duplicate_folder", f"{folder} not used, {used} is", "flag")
        for folder, used in doubled.items()
    ]
    rows: dict[Key, list[Annotation]] = {}
    for annotation in annotations:
        rows.setdefault((annotation.subject, annotation.clip), []).append(annotation)
    clips = []
    for key, same in rows.items():
        lines = " and ".join(str(row.line) for row in same)
        if any(_content(row) != _content(same[0]) for row in same):
            reason = f"rows {lines} of the sheet differ; keep the one that holds"
            remarks.append(Remark(dataset, *key, "duplicate_row", reason, "failure"))
            continue
        if len(same) > 1:
            remarks.append(
                Remark(dataset, *key, "duplicate_row", f"rows {lines} of the sheet are equal; used once", "flag")
            )
        clip, noticed = _clip(dataset, same[0], folders.get(key))
        remarks += noticed
        if clip is not None:
            clips.append(clip)
    remarks += [
        Remark(dataset, *key, "folder_without_row", f"{folder} has no row in the sheet; ignored", "ignored")
        for key, folder in folders.items()
        if key not in rows
    ]
    return sorted(clips, key=lambda clip: clip.key), remarks


def apex_remark(dataset: str, subject: str, name: str, onset: int, apex: int, offset: int) -> Remark | None:
    """The remark on a known apex that is outside onset..offset or at one of its ends."""
    if not onset <= apex <= offset:
        reason = f"apex {apex} lies outside onset {onset} .. offset {offset}"
        return Remark(dataset, subject, name, "apex_outside", reason, "flag")
    if apex in (onset, offset):
        end = "onset" if apex == onset else "offset"
        return Remark(
            dataset, subject, name, f"apex_at_{end}", f"apex {apex} is the {end} frame; kept as it is", "flag"
        )
    return None


def ranges(numbers: Iterable[int]) -> str:
    """`5, 6, 7, 9` as `5-7, 9`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _clip(dataset: str, row: Annotation, folder: Path | None) -> tuple[Clip | None, list[Remark]]:
    def remark(kind: str, reason: str) -> Remark:
        return Remark(dataset, row.subject, row.clip, kind, reason, "flag")

    def failure(kind: str, reason: str) -> tuple[None, list[Remark]]:
        return None, [Remark(dataset, row.subject, row.clip, kind, reason, "failure")]

    if folder is None:
        return failure("no_folder", f"{row.source} has no folder of frames")
    frames, doubled = frames_in(folder)
    if not frames:
        return failure("no_frames", f"{folder} holds no frame (a picture whose name ends in a number)")
    if row.onset >= row.offset:
        relation = "after" if row.onset > row.offset else "at"
        reason = f"by {row.source}, onset {row.onset} is not before offset {row.offset}"
        return failure(f"onset_{relation}_offset", reason)
    onset, apex, offset, remarks = row.onset, row.apex, row.offset, []
    if onset not in frames and row.first is not None:
        # Some copies of SMIC-E-HS number a long clip's frames from its start; the sheet keeps the camera's count.
        shift = row.first - min(frames)
        if onset - shift in frames and offset - shift in frames:
            onset, offset, apex = onset - shift, offset - shift, None if apex is None else apex - shift
            remarks.append(
                remark("frames_renumbered", f"frames are numbered {shift} below the sheet; counted from FirstF")
            )
    if onset not in frames:
        reason = f"onset frame {onset} is missing; {folder} holds frames {min(frames)}..{max(frames)}"
        return failure("no_onset_frame", reason)
    if absent := [number for number in range(onset, offset + 1) if number not in frames]:
        reason = (
            f"{len(absent)} of {offset - onset + 1} frames missing between onset and offset: {ranges(absent)}; kept"
        )
        remarks.append(remark("frames_missing", reason))
    if apex is None:
        remarks.append(remark("apex_missing", f"the sheet gives no apex ('{row.apex_text}')"))
    elif noticed := apex_remark(dataset, row.subject, row.clip, onset, apex, offset):
        remarks.append(noticed)
    if row.emotion not in EMOTIONS[dataset]:
        reason = f"emotion '{row.emotion}' is none of {', '.join(EMOTIONS[dataset])}; kept, but in no protocol"
        remarks.append(remark("unknown_emotion", reason))
    if doubled:
        names = ", ".join(path.name for path in doubled)
        remarks.append(remark("duplicate_frame", f"number already taken by another file; not used: {names}"))
    if row.second:
        reason = f"{row.source} lists a further expression in the same clip; the first one is used"
        remarks.append(remark("second_expression", reason))
    return Clip(dataset, row.subject, row.clip, row.emotion, onset, apex, offset, folder, frames), remarks


def _content(row: Annotation) -> tuple[object, ...]:
    return (row.emotion, row.onset, row.apex, row.offset)


def _key_of(folders: Mapping[Key, Path], used: Path) -> Key:
    return next(key for key, folder in folders.items() if folder == used)
