"""The data sets in their native layouts, their protocols, and the tables and caches between the stages."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from slstt.datasets import casme2, samm, smic
from slstt.datasets.clips import Release, Remark, key_problems

READERS: dict[str, Callable[[Path, Path | None], Release]] = {
    "casme2": casme2.read,
    "samm": samm.read,
    "smic": smic.read,
}
"""Data set -> reader of its native layout. A new data set is one module and one line here."""


def read_release(dataset: str, root: Path, annotations: Path | None = None) -> Release:
    """Read the release of `dataset` (a key of `READERS`) at `root`: its clips, and remarks on what does not fit.

    `annotations` is a coding sheet to use instead of the one found. Raises DataError listing every problem where the
    root is missing or empty, the layout unknown, or the coding sheet missing or unreadable. A clip whose ids cannot
    name files is a remark of kind `bad_id`, and the others are read.
    """
    release = READERS[dataset](root, annotations)
    clips, remarks = [], list(release.remarks)
    for clip in release.clips:
        if problems := key_problems(clip.key):
            remarks.append(Remark(*clip.key, "bad_id", f"{'; '.join(problems)}; rename it", "failure"))
        else:
            clips.append(clip)
    return replace(release, clips=tuple(clips), remarks=tuple(remarks))
