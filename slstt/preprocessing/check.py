"""`slstt-preprocess --check`: everything is read and judged, nothing is written."""

import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slstt import downloads
from slstt.config.preprocess import ApexPolicy, PreprocessConfig
from slstt.datasets import DATASETS
from slstt.datasets.clips import Clip, Release, Remark, within_intervals
from slstt.datasets.protocols import PROTOCOLS, Protocol, class_of, manifest_difference
from slstt.datasets.releases import ranges
from slstt.errors import WeightsError, shortened
from slstt.flow.flow_files import flow_path
from slstt.preprocessing.clip import needed_frames
from slstt.progress import Progress
from slstt.video import decodable

Needed = Callable[[Clip], Collection[int]]
"""The frames a run will decode for a clip."""

_POLICY_WORDS = {"spot": "will be spotted", "middle": "the middle frame will be taken", "fail": "the clip fails"}


@dataclass(frozen=True)
class Examination:
    """What the check found."""

    release: Release
    remarks: tuple[Remark, ...]
    """The release's remarks under the given policies, and those on its frames; by action, then clip."""
    text: str
    """All of it for people."""

    @property
    def usable(self) -> tuple[Clip, ...]:
        """The clips that no remark makes a failure."""
        return _usable(self.release, self.remarks)


def examine(
    release: Release,
    *,
    apex_missing: ApexPolicy = "spot",
    apex_outside: ApexPolicy = "spot",
    needed: Needed | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Examination:
    """Decode every frame of every clip, on `workers` threads (None: one per core), and put all findings together.

    Of a clip in a recording only the frames from onset to offset are decoded.
    `needed` says which frames a run will use, so that a damaged frame can be told to matter or not; without it only
    the onset frame is known to be needed.
    """
    release = within_intervals(release)
    remarks = apply_policies(release.remarks, apex_missing, apex_outside)
    sizes: Counter[tuple[int, int]] = Counter()
    with (
        Progress("checking frames", len(release.clips), quiet=quiet) as progress,
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as threads,
    ):
        running = [threads.submit(_examine_frames, clip, needed) for clip in release.clips]
        try:
            for done in as_completed(running):
                found, counted = done.result()
                remarks += found
                sizes += counted
                progress.advance(problems=sum(remark.action != "ignored" for remark in remarks))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    order = ("failure", "flag", "ignored")
    remarks.sort(key=lambda r: (order.index(r.action), r.dataset, r.subject, r.clip, r.kind, r.reason))
    text = "\n".join([*_overview(release, remarks, sizes), *_protocols(release, remarks), *_problems(remarks)])
    return Examination(release, tuple(remarks), text)


def apply_policies(remarks: Iterable[Remark], apex_missing: ApexPolicy, apex_outside: ApexPolicy) -> list[Remark]:
    """The remarks with what each policy does to clips of unusable apex; `fail` turns the flag into a failure."""
    policies: dict[str, ApexPolicy] = {"apex_missing": apex_missing, "apex_outside": apex_outside}
    return [_under(policies[r.kind], r) if r.kind in policies else r for r in remarks]


def _under(policy: ApexPolicy, remark: Remark) -> Remark:
    setting = f"{remark.kind.replace('_', '.')}={policy}"
    reason = f"{remark.reason}; {_POLICY_WORDS[policy]} ({setting})"
    return replace(remark, reason=reason, action="failure" if policy == "fail" else "flag")


def _examine_frames(clip: Clip, needed: Needed | None) -> tuple[list[Remark], Counter[tuple[int, int]]]:
    sizes: dict[int, tuple[int, int]] = {}
    contents: dict[int, int] = {}
    for number, picture in decodable(clip.frames):
        height, width = picture.shape[:2]
        sizes[number] = (width, height)
        contents[number] = zlib.crc32(picture.data)
    damaged = {number for number in clip.frames if number not in sizes}
    # A run decodes the frames between onset and offset only, the onset always.
    inside = {number for number in clip.frames if clip.onset <= number <= clip.offset}
    used = {clip.onset, *(needed(clip) if needed is not None else ())}
    remarks = []
    if damaged & inside:
        what = f"cannot be decoded: frame {ranges(damaged & inside)}"
        remarks.append(_frames_remark(clip, "undecodable_frame", what, damaged & used, needed is not None))
    if damaged - inside:
        reason = f"cannot be decoded: frame {ranges(damaged - inside)}; outside onset..offset, not needed"
        remarks.append(Remark(*clip.key, "undecodable_frame", reason, "ignored"))
    compared = (used if len(used) > 1 else inside) - damaged
    if len(compared) > 1 and len({contents.get(number) for number in compared}) == 1:
        reason = "all frames that are used show the same picture; there is no motion"
        remarks.append(Remark(*clip.key, "identical_frames", reason, "flag"))
    counted = Counter(sizes[number] for number in inside if number in sizes)
    if len(counted) > 1:
        usual = counted.most_common(1)[0][0]
        odd = {number for number in inside if number in sizes and sizes[number] != usual}
        widths = ", ".join(f"{w}x{h}" for w, h in sorted({sizes[number] for number in odd}))
        what = f"frame {ranges(odd)} is {widths}, the others are {usual[0]}x{usual[1]}"
        # A clip whose onset is the odd one out fails as well: every other needed frame differs from it.
        remarks.append(_frames_remark(clip, "unequal_sizes", what, odd & used, needed is not None))
    return remarks, Counter(sizes.values())


def _frames_remark(clip: Clip, kind: str, what: str, fatal: Collection[int], known: bool) -> Remark:
    if fatal:
        reason = f"{what}; frame {ranges(fatal)} is needed: the clip fails, restore the files"
        return Remark(*clip.key, kind, reason, "failure")
    consequence = "not needed, kept" if known else "the clip fails if one of them is needed"
    return Remark(*clip.key, kind, f"{what}; {consequence}", "flag")


def _usable(release: Release, remarks: Iterable[Remark]) -> tuple[Clip, ...]:
    failed = {(r.dataset, r.subject, r.clip) for r in remarks if r.action == "failure"}
    return tuple(clip for clip in release.clips if clip.key not in failed)


def _overview(release: Release, remarks: list[Remark], sizes: Counter[tuple[int, int]]) -> list[str]:
    usable = _usable(release, remarks)
    failed = {(r.subject, r.clip, r.reason if r.kind == "bad_row" else "") for r in remarks if r.action == "failure"}
    frames = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sizes.most_common())
    emotions = Counter(clip.emotion for clip in usable)
    known = DATASETS[release.dataset].emotions
    names = [*known, *sorted(set(emotions) - set(known))]
    no_sheet = "none needed; onset, apex and offset are the first, middle and last frame"
    return [
        release.layout,
        f"annotation: {release.annotations or no_sheet}",
        f"clips: {len(usable)} usable, {len(failed)} not; {len({clip.subject for clip in usable})} subjects",
        f"frames decoded: {frames or 'none'}",
        f"emotions: {', '.join(f'{name} {emotions[name]}' for name in names)}",
    ]


def _protocols(release: Release, remarks: list[Remark]) -> list[str]:
    lines = []
    failed = {(r.dataset, r.subject, r.clip) for r in remarks if r.action == "failure"}
    for protocol in PROTOCOLS.values():
        if protocol.published not in (protocol.name, None) or release.dataset not in protocol.datasets:
            continue
        labelled = [(*clip.key, class_of(protocol, clip)) for clip in _usable(release, remarks)]
        entries = [(d, s, c, label) for d, s, c, label in labelled if label is not None]
        lines += ["", *_counts(protocol, release.dataset, entries)]
        different = manifest_difference(protocol, entries, datasets=(release.dataset,), candidates=failed)
        surplus = sum(line.endswith("not in the protocol") for line in different)
        known = "published counts" if protocol.by_rule else "published list"
        if entries and surplus == len(entries):
            lines.append("  no clip is on the published list: another data set, or synthetic")
        elif different:
            lines += [f"  differs from the {known}:", *(f"    {line}" for line in shortened(different))]
        elif protocol.counts:
            lines.append(f"  exactly the {known}")
    return lines


def _counts(protocol: Protocol, dataset: str, entries: list[tuple[str, str, str, str]]) -> list[str]:
    found, expected = Counter(label for *_, label in entries), protocol.counts.get(dataset, {})
    part = "" if len(protocol.datasets) == 1 else f", part {dataset}"
    subjects = len({subject for _, subject, _, _ in entries})
    clips = f"{len(entries)} of {sum(expected.values())}" if expected else f"{len(entries)}"
    people = f"{subjects} of {protocol.subjects[dataset]}" if dataset in protocol.subjects else f"{subjects}"
    each = (f"{name} {found[name]}" + (f" of {expected[name]}" if expected else "") for name in protocol.classes)
    return [
        f"protocol {protocol.name} ({protocol.heading}{part}): {clips} clips, {people} subjects",
        "  " + ", ".join(each),
    ]


def _problems(remarks: list[Remark]) -> list[str]:
    lines = []
    for action, title in (
        ("failure", "clips that will fail (failures.csv)"),
        ("flag", "clips that are kept with a remark (flags.csv)"),
        ("ignored", "ignored"),
    ):
        chosen = [remark for remark in remarks if remark.action == action]
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(r.kind for r in chosen).items()))
        lines += ["", f"{title}: {len(chosen)}{f' ({kinds})' if kinds else ''}"]
        shown = [f"{_named(remark)}{remark.kind}: {remark.reason}" for remark in chosen]
        lines += [f"  {line}" for line in (shortened(shown) if action == "ignored" else shown)]
    return lines


def _named(remark: Remark) -> str:
    name = "/".join(part for part in (remark.subject, remark.clip) if part)
    return f"{name} " if name else ""


Landmarks = Mapping[tuple[str, str, str], np.ndarray]


def check(
    release: Release, config: PreprocessConfig, out: Path, landmarks: Landmarks, workers: int, quiet: bool
) -> int:
    """Print what is there and what would be done; returns the exit code a run would end with.

    0: every clip can be worked on; 1: some clips will fail; 3: a model is missing or the disk too full.
    """
    examined = examine(
        release,
        apex_missing=config.apex.missing,
        apex_outside=config.apex.outside,
        needed=lambda clip: needed_frames(clip, config),
        workers=workers,
        quiet=quiet,
    )
    print(examined.text)
    print()
    usable = examined.usable
    there = sum(flow_path(out, clip.key).is_file() for clip in usable)
    given = sum(clip.key in landmarks for clip in usable)
    print(f"would be written to {out}: flow of {len(usable)} clips, {config.frames.count} frames each, at the size of")
    print(f"  the face, at most {config.crop.at_most} pixels a side ({there} files are there; current ones are kept)")
    print(f"landmarks: {given} clips given, {len(usable) - given} found by dlib; workers: {workers}")
    problems = [*_missing_models(config, given < len(usable)), *_disk(out, config, len(usable) - there)]
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        return 3
    return 1 if any(remark.action == "failure" for remark in examined.remarks) else 0


def _missing_models(config: PreprocessConfig, detect: bool) -> list[str]:
    problems = []
    if detect:
        try:
            downloads.landmark_model()
        except WeightsError as error:
            problems += error.problems
    if config.interpolation.method == "rife":
        given = os.environ.get("SLSTT_RIFE_WEIGHTS")
        stored = Path(given or downloads.kept_rife())
        if given and not stored.is_file():
            problems.append(f"{stored}: RIFE weights not found; correct SLSTT_RIFE_WEIGHTS")
        else:
            usable = given or downloads.is_official_rife(stored)
            state = "altered" if stored.is_file() else "not here yet"
            print(f"RIFE weights: {stored if usable else f'{state}; the run fetches them (12 MB)'}")
    return problems


def _disk(out: Path, config: PreprocessConfig, clips: int) -> list[str]:
    """What is wrong with the place for the results; nothing is made there."""
    folder = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    needed = clips * config.frames.count * 2 * config.crop.at_most**2 * 2  # float16; faces are known only later
    free = shutil.disk_usage(folder).free
    print(f"disk: at most {needed / 1e9:.2f} GB needed, {free / 1e9:.1f} GB free at {folder}")
    if needed > free:
        return [f"{folder}: {needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB free; choose another --out"]
    return []
