"""A release as spotting sees it: every recording with its frames' own numbers and its annotated intervals."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from slstt.datasets import DATASETS
from slstt.datasets.clips import Clip, Release, name_of
from slstt.datasets.folders import frames_in
from slstt.errors import DataError, Problems, listed
from slstt.evaluation.intervals import SpottedVideo, VideoInterval
from slstt.prediction.recording import Recording, open_recordings, recording_of_files

FEWEST_SECONDS = 1.0
"""A release whose recordings are no longer than their expression by so much holds clips, not recordings."""


@dataclass(frozen=True)
class AnnotatedRecording:
    """One recording of a release. Frames have the data set's own numbers, which may begin anywhere and have gaps."""

    dataset: str
    subject: str
    video: str
    rate: float
    recording: Recording = field(repr=False)
    numbers: tuple[int, ...] = field(repr=False)
    """The data set's number of each frame of `recording`."""
    true: tuple[VideoInterval, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """(dataset, subject, video)."""
        return (self.dataset, self.subject, self.video)

    def scored(self, found: Iterable[VideoInterval]) -> SpottedVideo:
        """It with what was found, for the tables and the score."""
        return SpottedVideo(*self.key, self.true, tuple(found), len(self.numbers), self.rate, self.numbers[0])


def emotion_of(clip: Clip) -> str:
    """The clip's label where no protocol says which class it has."""
    return clip.emotion


def recordings_of(
    release: Release, rate: float | None = None, label_of: Callable[[Clip], str] = emotion_of
) -> tuple[list[AnnotatedRecording], list[str]]:
    """(the recordings of a release, sorted; lines about them). `rate` goes before the data set's own; `label_of` gives
    the class of a clip, empty where it has none.

    Raises DataError, naming each, where there is no recording, no annotated interval, no frame rate, or a recording
    cannot be opened at all.
    """
    rate = rate or DATASETS[release.dataset].rate
    if not release.videos and not release.clips:
        raise DataError(f"{release.root}: holds no recording of {release.dataset}")
    folders = {(video.subject, video.name): video.folder for video in release.videos}
    clips: dict[tuple[str, str], list[Clip]] = {key: [] for key in folders}
    for clip in release.clips:
        key = (clip.subject, clip.video or clip.name)
        folders.setdefault(key, clip.folder)
        clips.setdefault(key, []).append(clip)
    if not any(clips.values()):
        raise DataError(
            f"{release.root}: none of its {len(folders)} recordings has an annotated expression; is the coding sheet "
            f"complete ({release.annotations or 'none found'})?"
        )
    problems, found, lines = Problems(), [], []
    for (subject, video), folder in sorted(folders.items()):
        own = sorted(clips[subject, video], key=lambda clip: (clip.onset, clip.offset))
        known = next((clip.fps for clip in own if clip.fps), None)
        with problems.collecting():
            found.append(_opened(release.dataset, subject, video, folder, own, rate or known, label_of))
    problems.raise_if_any()
    if not release.videos and not any(_goes_beyond(one) for one in found):
        raise DataError(
            f"{release.root}: {release.dataset} here is cut into clips from onset to offset; there is nothing to spot. "
            "Give a release of whole recordings"
        )
    none = [name_of(one.key) for one in found if not one.true]
    if none:
        lines.append(f"{len(none)} of {len(found)} recordings have no annotated expression; they count all the same")
    if lost := [
        f"{remark.subject}/{remark.clip} ({remark.kind})" for remark in release.remarks if remark.action == "failure"
    ]:
        lines.append(f"{len(lost)} rows of the sheet cannot be used, so nothing is annotated there: {listed(lost, 5)}")
    return found, lines


def _opened(
    dataset: str,
    subject: str,
    video: str,
    folder: Path,
    clips: list[Clip],
    rate: float | None,
    label_of: Callable[[Clip], str],
) -> AnnotatedRecording:
    if not folder.is_dir():
        (recording,) = open_recordings(folder, rate)
        numbers = tuple(range(recording.count))
    else:
        if rate is None:
            where = name_of((dataset, subject, video))
            raise DataError(f"{where}: its frame rate is not known; give spot.fps=N")
        files, _ = frames_in(folder)
        numbers = tuple(sorted(files))
        recording = recording_of_files(folder, tuple(files[number] for number in numbers), rate)
    # A clip listed twice is one interval; its class is that of the first.
    true: dict[tuple[object, ...], VideoInterval] = {}
    for clip in clips:
        apex = clip.apex if clip.apex is not None and clip.onset <= clip.apex <= clip.offset else None
        one = VideoInterval(clip.onset, clip.offset, clip.kind, apex, label_of(clip))
        true.setdefault((one.onset, one.offset, one.kind), one)
    return AnnotatedRecording(dataset, subject, video, recording.rate, recording, numbers, tuple(true.values()))


def _goes_beyond(one: AnnotatedRecording) -> bool:
    length = sum(interval.offset - interval.onset + 1 for interval in one.true)
    return len(one.numbers) - length >= FEWEST_SECONDS * one.rate
