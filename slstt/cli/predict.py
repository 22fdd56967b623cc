"""`slstt-predict`: candidate micro-expressions in a person's own recordings, and the class that each resembles."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slstt import cli
from slstt.errors import ConfigError, DataError, Problems, SlsttError
from slstt.prediction import DEFAULT_WEIGHTS, LIMITS

if TYPE_CHECKING:
    from slstt.prediction.face_motion import GivenInterval
    from slstt.prediction.recording import Recording
    from slstt.prediction.results import PredictionResult
    from slstt.prediction.run import Predictor

DESCRIPTION = """\
Spot the small movements of a face that come and go within half a second, and name the class that each resembles most.
PATH is a video, a folder of frames (with --fps), or a folder of such clips. The results are tables and a page with
pictures. After an interruption, run the same command again to continue.

limits:
""" + "\n".join(
    textwrap.fill(line, 118, initial_indent="  - ", subsequent_indent="    ") for line in (*LIMITS, DEFAULT_WEIGHTS)
)
EXAMPLES = """\
  slstt-predict talk.mp4                                   tables and report in ./predicted/talk
  slstt-predict frames/ --fps 200 --out found --video      a folder of frames; an annotated video too
  slstt-predict clips/ --fps 100 --weights runs/cde        several recordings, the mean of a run's folds
  slstt-predict talk.mp4 --onset 120 --apex 137 --offset 160       the class of this interval; nothing is spotted
  slstt-predict talk.mp4 --out again --intervals corrected.eaf     intervals corrected in ELAN, or in a csv table
  slstt-predict talk.mp4 --longest-ms 400 spotting.threshold=8     fewer candidates
every section.key is described in docs/predict.md"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-predict", DESCRIPTION, EXAMPLES)
    parser.add_argument("path", type=Path, metavar="PATH", help="a video, a folder of frames, or a folder of clips")
    parser.add_argument(
        "--weights", default="default", metavar="WEIGHTS", help="default, a model file, or a run of slstt-train"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: predicted/<name of PATH>)")
    parser.add_argument("--fps", type=float, metavar="N", help="frames per second; folders of frames need it")
    parser.add_argument("--onset", type=int, metavar="N", help="classify one interval: its first frame, counted from 0")
    parser.add_argument("--apex", type=int, metavar="N", help="its frame of strongest motion (default: spotted)")
    parser.add_argument("--offset", type=int, metavar="N", help="its last frame (default: the recording's)")
    parser.add_argument(
        "--intervals",
        type=cli.path,
        metavar="FILE",
        help="classify these: csv with onset, apex, offset, or ELAN's .eaf",
    )
    parser.add_argument("--shortest-ms", type=float, metavar="MS", help="shortest interval (spotting.shortest_ms)")
    parser.add_argument("--longest-ms", type=float, metavar="MS", help="longest interval (spotting.longest_ms)")
    parser.add_argument("--video", action="store_true", help="also write an annotated video")
    parser.add_argument("--check", action="store_true", help="open everything, say what would be done, write nothing")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings")
    return cli.run(parser, _predict, argv)


def _predict(arguments: argparse.Namespace) -> int:
    recordings, predictor = _inputs(arguments)
    out = arguments.out or Path("predicted") / arguments.path.resolve().stem
    folders = [out] if len(recordings) == 1 else [out / recording.name for recording in recordings]
    from slstt.prediction import run as folder

    folder.refuse_other(out, arguments.path)
    if arguments.check:
        return _check(recordings, folders, predictor)
    predictor.prepare()
    with folder.only_run(out, arguments.path):
        results, failures = _all(recordings, folders, predictor, arguments.quiet)
        if len(recordings) > 1:
            done = [result for result in results if result]
            folder.write_summary(out, done, failures, predictor.classifier.wanted.classes)
            if done:
                print(f"all of them: {out / 'index.html'}", flush=True)
    if not any(results):
        kind = ConfigError if all(isinstance(error, ConfigError) for _, error in failures) else DataError
        raise kind(*(line for _, error in failures for line in error.problems))
    for recording, error in failures:
        for line in error.problems:
            print(f"slstt-predict: error: {_named(recording, line)}", file=sys.stderr)
    unclassified = sum(result.unclassified for result in results if result)
    if unclassified:
        print(f"slstt-predict: {unclassified} interval(s) could not be classified; see the reports", file=sys.stderr)
    return 1 if failures or unclassified else 0


def _inputs(arguments: argparse.Namespace) -> tuple[list["Recording"], "Predictor"]:
    """Everything the command line names, opened; all that is wrong with it is raised at once."""
    from slstt.prediction.recording import open_recordings

    problems = Problems()
    recordings, predictor, given = [], None, None
    overrides = list(arguments.overrides)
    for name in ("shortest_ms", "longest_ms"):
        if (value := getattr(arguments, name)) is not None:
            overrides.append(f"spotting.{name}={value!r}")
    with problems.collecting():
        recordings = open_recordings(arguments.path, arguments.fps)
    with problems.collecting():
        given = _given(arguments, recordings)
    if recordings:  # a wrong interval is said before torch is loaded, which takes seconds
        problems.raise_if_any()
    if given is not None:
        recordings = [recording for recording in recordings if recording.name in given]

    from slstt.prediction.classify import find_classifier, read_settings  # these load torch
    from slstt.prediction.run import Predictor

    with problems.collecting():
        classifier = find_classifier(arguments.weights)
        settings, remarks = read_settings(classifier, overrides)
        predictor = Predictor(classifier, settings, given, arguments.video)
        for remark in (*classifier.remarks, *remarks):
            print(f"slstt-predict: note: {remark}", file=sys.stderr)
    problems.raise_if_any()
    assert predictor is not None
    return recordings, predictor


def _given(
    arguments: argparse.Namespace, recordings: list["Recording"]
) -> dict[str, tuple["GivenInterval", ...]] | None:
    """The intervals that the user names, by recording; None where they are to be spotted."""
    named = [f"--{name}" for name in ("onset", "apex", "offset") if getattr(arguments, name) is not None]
    if not named and arguments.intervals is None:
        return None
    if named and arguments.intervals is not None:
        raise ConfigError(f"--intervals and {named[0]} both name intervals; give one of them")
    if named and arguments.onset is None:
        raise ConfigError("--apex and --offset describe a given interval; give --onset too")
    if named and len(recordings) > 1:
        raise ConfigError(f"{arguments.path}: holds {len(recordings)} recordings; --onset is for one of them, name it")
    if not recordings:  # they could not be opened, which is said already
        return None

    from slstt.prediction.face_motion import GivenInterval, check_given_intervals
    from slstt.prediction.interval_files import read_intervals

    if named:
        one = GivenInterval(arguments.onset, arguments.apex, arguments.offset, "--onset")
        given = {recordings[0].name: (one,)}
    else:
        assert arguments.intervals is not None
        given = read_intervals(arguments.intervals, recordings)
    problems = Problems()
    for recording in recordings:
        if recording.name in given and recording.problem is None:
            with problems.collecting():
                check_given_intervals(recording, given[recording.name])
    problems.raise_if_any()
    return given


def _check(recordings: list["Recording"], folders: list[Path], predictor: "Predictor") -> int:
    wanted = predictor.classifier.wanted
    print(f"weights: {', '.join(map(str, predictor.classifier.paths))} ({', '.join(wanted.classes)})")
    usable, problems = 0, []
    for recording, place in zip(recordings, folders, strict=True):
        if recording.problem is not None:
            print(f"{recording.problem}", file=sys.stderr)
            continue
        try:
            predictor.check(recording)
        except ConfigError as error:
            problems += error.problems
            continue
        usable += 1
        state = "finished, would be kept" if predictor.finished(recording, place) else "would be analysed"
        width, height = recording.size
        frames = f"{recording.count} frames, {recording.rate:.4g} per second"
        print(f"{recording.path}: {frames}, {width} x {height}: {state}")
        for remark in recording.remarks:
            print(f"  {remark.removeprefix(f'{recording.path}: ')}")
        print(f"  -> {place}")
    if problems:
        raise ConfigError(*problems)
    print("nothing was written (--check)")
    return 0 if usable == len(recordings) else 1 if usable else DataError.exit_code


def _all(
    recordings: list["Recording"], folders: list[Path], predictor: "Predictor", quiet: bool
) -> tuple[list["PredictionResult | None"], list[tuple["Recording", SlsttError]]]:
    """Each recording's result (None where it failed), and the failures; one bad recording does not stop the others."""
    from slstt.progress import Progress

    results: list[PredictionResult | None] = []
    failures: list[tuple[Recording, SlsttError]] = []
    for recording, place in zip(recordings, folders, strict=True):
        try:
            if recording.problem is not None:
                raise DataError(recording.problem)
            result = predictor.finished(recording, place)
            kept = result is not None
            if result is None:
                with Progress(
                    recording.name, predictor.frames_to_measure(recording), unit="frame", quiet=quiet
                ) as progress:
                    result = predictor.predict(recording, place, progress.advance)
            _say(result, place, kept)
            results.append(result)
        except SlsttError as error:
            failures.append((recording, error))
            results.append(None)
        except Exception as error:
            if len(recordings) == 1:
                raise
            what = f"{recording.path}: {type(error).__name__}: {error} (a fault in slstt, please report it)"
            failures.append((recording, SlsttError(what)))
            results.append(None)
    return results, failures


def _say(result: "PredictionResult", place: Path, kept: bool) -> None:
    print(f"{result.name}: {len(result.found)} interval(s){' (finished before, kept)' if kept else ''}")
    for number, one in enumerate(result.found[:20], start=1):
        begin, _, end = one.seconds
        named = f"{one.label} {max(one.probabilities):.2f}" if one.label else "not classified"
        doubt = f"  (no expression {one.none:.2f})" if one.unlikely else ""
        print(f"  {number}: {begin:.3f} to {end:.3f} s  {named}{doubt}")
    if len(result.found) > 20:
        print(f"  ... and {len(result.found) - 20} more in {place / 'predictions.csv'}")
    for remark in result.remarks:
        print(f"  note: {remark}")
    if result.note:
        print(f"  {result.note}")
    print(f"  look at it: {place / 'report.html'}", flush=True)


def _named(recording: "Recording", line: str) -> str:
    return line if str(recording.path) in line else f"{recording.path}: {line}"


if __name__ == "__main__":
    sys.exit(main())
