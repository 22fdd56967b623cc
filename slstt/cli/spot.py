"""`slstt-spot`: micro- and macro-expressions in all long recordings of a data set, thresholds from other subjects."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slstt import cli
from slstt.config.load import load_config
from slstt.config.preprocess import MOST_WORKERS
from slstt.config.spot import SpotConfig
from slstt.datasets import READERS
from slstt.errors import ConfigError, DataError, Problems, listed, printable, shortened
from slstt.workers import cores

if TYPE_CHECKING:
    from slstt.spotting.run import SpottingPlan, SpottingResult

DESCRIPTION = """\
Spot micro- and macro-expressions in every recording of a data set, and write intervals.csv beside the annotated ones
(truth.csv). Face and motion are measured once for each recording and kept. Threshold and length for each subject are
chosen on the other subjects. slstt-eval then scores the folder as the spotting challenges do. Run the same command
again to continue."""
EXAMPLES = """\
  slstt-spot --dataset casme_square --root /data/CASME_square --out spotted/casme_square --check
  slstt-spot --dataset samm_long --root /data/SAMM_longvideos --out spotted/samm_long --workers 8
  slstt-spot --dataset samm_long --root DIR --out spotted/mdmd spot.method=mdmd run.measured=spotted/samm_long/measured
  slstt-spot --dataset casme_square --root DIR --out spotted/fixed --fixed micro.thresholds=[6]
  slstt-spot --dataset casme_square --root DIR --out spotted/named recognition.run=runs/casme_square
  slstt-eval spotted/casme_square
Every section.key is described in docs/spotting.md."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-spot", DESCRIPTION, EXAMPLES)
    parser.add_argument("--dataset", required=True, choices=tuple(READERS), help="name of the data set")
    parser.add_argument(
        "--root", required=True, type=cli.path, metavar="DIR", help="folder of the data set; any level above its videos"
    )
    parser.add_argument("--out", required=True, type=cli.path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--annotations", type=cli.path, metavar="FILE", help="the coding sheet, if it is not below --root"
    )
    parser.add_argument(
        "--fixed",
        action="store_true",
        help="take given thresholds and lengths (or the method's own) instead of choosing them on the other subjects; "
        "the result is labelled FIXED",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="number of processes (default: run.workers, or all cores)"
    )
    parser.add_argument("--check", action="store_true", help="read everything, say what would be done, write nothing")
    parser.add_argument("--config", type=cli.path, metavar="FILE", help="settings as YAML")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings that win over --config")
    return cli.run(parser, _spot, argv)


def _spot(arguments: argparse.Namespace) -> int:
    plan = _inputs(arguments)
    from slstt.spotting.run import refuse_other_spotting, spot_release

    refuse_other_spotting(plan)
    if arguments.check:
        return _check(plan)
    if not arguments.quiet:
        print(f"{plan.release.layout}\n  frames: {plan.release.root}\n  sheet:  {plan.release.annotations or '(none)'}")
        for line in plan.lines:
            print(f"  note:   {printable(line)}")
    result = spot_release(plan, arguments.quiet)
    _say(plan, result)
    return 1 if result.failures or result.unclassified else 0


def _inputs(arguments: argparse.Namespace) -> "SpottingPlan":
    """Everything the command line names, read; all that is wrong with it is raised at once."""
    problems = Problems()
    config, fixed, recognition, release, recordings, lines = None, None, None, None, [], []
    if arguments.workers is not None and not 1 <= arguments.workers <= MOST_WORKERS:
        problems.add(ConfigError(f"--workers {arguments.workers}: from 1 to {MOST_WORKERS}"))
    with problems.collecting():
        config = load_config(SpotConfig, arguments.config, arguments.overrides)
    if arguments.out.exists() and not arguments.out.is_dir():
        problems.add(DataError(f"{arguments.out}: is a file; --out must name a folder"))
    from slstt.spotting.choose import fixed_choices, grid_problems
    from slstt.spotting.recordings import emotion_of, recordings_of
    from slstt.spotting.run import SpottingPlan

    if config is not None and config.recognition.run is not None:
        with problems.collecting():
            from slstt.spotting.recognise import recognition_plan

            recognition = recognition_plan(Path(config.recognition.run), arguments.dataset)
    if config is not None and arguments.fixed:
        with problems.collecting():
            fixed = fixed_choices(config)
    with problems.collecting():
        from slstt.datasets import read_release

        release = read_release(arguments.dataset, arguments.root, arguments.annotations)
    if release is not None:
        with problems.collecting():
            rate = None if config is None else config.spot.fps
            label_of = emotion_of if recognition is None else recognition.label_of
            recordings, lines = recordings_of(release, rate, label_of)
        if recordings and not arguments.fixed:
            problems.add(*grid_problems(recordings))
    problems.raise_if_any()
    assert config is not None and release is not None
    workers = arguments.workers or config.run.workers or cores()
    return SpottingPlan(release, tuple(recordings), config, arguments.out, fixed, workers, recognition, tuple(lines))


def _check(plan: "SpottingPlan") -> int:
    from slstt.spotting.measured import kept_signals

    print(f"{plan.release.layout}\n  frames: {plan.release.root}\n  sheet:  {plan.release.annotations or '(none)'}")
    for line in plan.lines:
        print(f"  note:   {printable(line)}")
    tasks = plan.tasks()
    kept = sum(kept_signals(task) is not None for task in tasks)
    true = [one for recording in plan.recordings for one in recording.true]
    micro = sum(one.kind == "micro" for one in true)
    seconds = sum(len(one.numbers) / one.rate for one in plan.recordings)
    subjects = len({one.key[:2] for one in plan.recordings})
    print(f"{len(tasks)} recordings of {subjects} subjects, {seconds / 60:.1f} minutes; {kept} are measured already")
    print(f"{micro} micro- and {len(true) - micro} macro-expressions are annotated")
    how = "given (FIXED)" if plan.fixed else "chosen on the other subjects"
    print(f"method {plan.config.spot.method}, thresholds and lengths {how}; {plan.workers} worker(s)")
    print("nothing was written (--check)")
    return 0


def _say(plan: "SpottingPlan", result: "SpottingResult") -> None:
    found = [one for video in result.videos for one in video.found]
    micro = sum(one.kind == "micro" for one in found)
    print(
        f"{len(result.videos)} recordings ({result.measured} measured now, {result.kept} kept): {micro} micro- and "
        f"{len(found) - micro} macro-expressions found, in {plan.out / 'intervals.csv'}"
    )
    if result.failures:
        print(f"{len(result.failures)} recordings failed, each with its reason in {plan.out / 'failures.csv'}")
        for line in shortened([f"{'/'.join(key)}: {reason}" for key, reason in sorted(result.failures.items())], 5):
            print(f"  {printable(line)}", file=sys.stderr)
    about: dict[str, list[str]] = {}
    for key, lines in sorted(result.remarks.items()):
        for line in lines:
            about.setdefault(line, []).append("/".join(key))
    for line in shortened([f"{listed(names, 2)}: {line}" for line, names in about.items()], 10):
        print(f"  note: {printable(line)}")
    if result.unclassified:
        print(f"{result.unclassified} intervals could not be classified", file=sys.stderr)
    print(f"next: slstt-eval {plan.out}")


if __name__ == "__main__":
    sys.exit(main())
