"""The data sets in their native layouts, their protocols, and the tables and caches between the stages."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from slstt.datasets import casme, casme2, casme3, casme_square, dfme, fourdme, mmew, samm, samm_long, smic, table
from slstt.datasets.annotations import DataSet
from slstt.datasets.clips import Release, Remark, key_problems, name_of, same_but_for_case

_MODULES = (
    casme2,
    samm,
    smic,
    casme,
    casme3,
    casme_square,
    mmew,
    samm_long,
    fourdme,
    dfme,
    table,
)
"""A new data set is one module, with its facts and its reader, and one line here."""

DATASETS: dict[str, DataSet] = {module.DATA_SET.name: module.DATA_SET for module in _MODULES}
"""Data set -> its facts."""

READERS: dict[str, Callable[[Path, Path | None], Release]] = {module.DATA_SET.name: module.read for module in _MODULES}
"""Data set -> reader of its native layout."""


def read_release(dataset: str, root: Path, annotations: Path | None = None) -> Release:
    """Read the release of `dataset` (a key of `READERS`) at `root`: its clips, and remarks on what does not fit.

    `annotations` is a coding sheet to use instead of the one found. Raises DataError listing every problem where the
    root is missing or empty, the layout unknown, or the coding sheet missing or unreadable. A clip whose ids cannot
    name files is a remark of kind `bad_id`, and the others are read.
    """
    release = READERS[dataset](root, annotations)
    clips, remarks = [], list(release.remarks)
    doubled = {other: one for one, other in same_but_for_case(clip.key for clip in release.clips)}
    for clip in release.clips:
        if clip.key in doubled:
            reason = f"differs from {name_of(doubled[clip.key])} in capitals only; rename one of them"
            remarks.append(Remark(*clip.key, "duplicate_id", reason, "failure", clip.kind))
        elif problems := key_problems(clip.key):
            remarks.append(Remark(*clip.key, "bad_id", f"{'; '.join(problems)}; rename it", "failure"))
        else:
            clips.append(clip)
    return replace(release, clips=tuple(clips), remarks=tuple(remarks))
