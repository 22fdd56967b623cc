"""`slstt-preprocess`: from a data set as its owners publish it to face crops, flow files and a report."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slstt import cli
from slstt.datasets import DATASETS
from slstt.datasets.clips import KINDS, of_kinds
from slstt.errors import shortened

if TYPE_CHECKING:
    import numpy as np

    from slstt.config.preprocess import PreprocessConfig
    from slstt.datasets.clips import Release
    from slstt.preprocessing.run import PreprocessingResult

DESCRIPTION = """\
Read a data set as its owners publish it, find the face on each clip's apex frame, crop the face in every frame that is
needed, bring each clip to a fixed number of frames, and store the optical flow from the onset.
Run the same command again to continue after an interruption or after a change of files or settings."""
EXAMPLES = """\
  slstt-preprocess --dataset casme2 --root /data/CASME2 --out cache --check
  slstt-preprocess --dataset casme2 --root /data/CASME2 --out cache --config configs/paper/preprocess.yaml
  slstt-preprocess --dataset samm --root /data/SAMM --out cache --workers 8 flow.method=dis
  slstt-preprocess --dataset smic --root /data/SMIC_all_raw --out cache --landmarks points.csv
  slstt-preprocess --dataset table --root /data/mine.csv --out cache
  slstt-preprocess --dataset casme2 --root /data/CASME2 --out cache apex.missing=fail interpolation.method=linear
Several data sets may share one --out. Every section.key is described in docs/preprocessing.md."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-preprocess", DESCRIPTION, EXAMPLES)
    add_inputs(parser, DATASETS)
    parser.add_argument(
        "--kinds",
        choices=(*KINDS, "all"),
        default="micro",
        help="which expressions, where a data set has macro-expressions too (default: micro)",
    )
    return cli.run(parser, _run, argv)


def add_inputs(parser: argparse.ArgumentParser, datasets: Collection[str]) -> None:
    """The arguments of every command that makes flow of a data set's clips."""
    parser.add_argument("--dataset", required=True, choices=datasets, help="name of the data set; docs/datasets.md")
    parser.add_argument(
        "--root",
        required=True,
        type=cli.path,
        metavar="DIR",
        help="folder of the data set, any level above the subjects; with --dataset table the table, or its folder",
    )
    parser.add_argument("--out", required=True, type=cli.path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--annotations", type=cli.path, metavar="FILE", help="the coding sheet, if it is not below --root"
    )
    parser.add_argument(
        "--landmarks", type=cli.path, metavar="FILE", help="68 points per clip (.npz or .csv) instead of dlib's"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="number of processes (default: run.workers, or all cores)"
    )
    parser.add_argument("--retry", action="store_true", help="also try failed clips again that have not changed")
    parser.add_argument("--check", action="store_true", help="read everything, say what would be done, write nothing")
    parser.add_argument(
        "--config", type=cli.path, metavar="FILE", help="settings as YAML; docs/preprocessing.md has the defaults"
    )
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings that win over --config")


def read_given(
    arguments: argparse.Namespace, *fixed: str
) -> "tuple[PreprocessConfig, Release, Mapping[tuple[str, str, str], np.ndarray], int]":
    """Settings (those `fixed` last), data set, given landmarks and number of processes: what `add_inputs` asks for."""
    from slstt.preprocessing.run import read_inputs

    return read_inputs(
        arguments.dataset,
        arguments.root,
        arguments.out,
        arguments.annotations,
        arguments.landmarks,
        arguments.config,
        [*arguments.overrides, *fixed],
        arguments.workers,
    )


def _run(arguments: argparse.Namespace) -> int:
    from slstt.preprocessing.run import preprocess, write_report

    config, whole, landmarks, workers = read_given(arguments)
    release = of_kinds(whole, KINDS if arguments.kinds == "all" else (arguments.kinds,))
    if (others := len(whole.clips) - len(release.clips)) and not arguments.quiet:
        print(f"{others} expressions of another kind left out; --kinds all takes them")
    if arguments.check:
        from slstt.preprocessing.check import check

        return check(release, config, arguments.out, landmarks, workers, arguments.quiet)
    if not arguments.quiet:
        print_source(release)
    result = preprocess(release, config, arguments.out, landmarks, workers, arguments.quiet, arguments.retry)
    page = write_report(result, arguments.out)
    print_summary(result, arguments.out, page)
    _print_next(result, arguments.out)
    return 1 if result.failures else 0


def print_source(release: "Release") -> None:
    """What was found where."""
    print(f"{release.layout}\n  frames: {release.root}\n  sheet:  {release.annotations or '(none)'}")
    for remark in release.remarks:
        if remark.action == "ignored" and not remark.subject:
            print(f"  note:   {remark.reason}")


def print_summary(result: "PreprocessingResult", out: Path, page: Path) -> None:
    """How many clips have flow, and which failed."""
    clips = {remark.clip for remark in result.failures}
    flagged = {(remark.subject, remark.clip) for remark in result.flags}
    print(f"{len(result.clips)} clips have flow ({result.computed} computed now, {result.kept} kept) in {out / 'flow'}")
    if result.failures:
        print(f"{len(clips)} failed, each with its reason in {out / 'failures.csv'}")
        for line in shortened([f"{remark.subject} {remark.clip}: {remark.reason}" for remark in result.failures], 5):
            print(f"  {line}")
        if result.not_retried:
            print(f"  {result.not_retried} of them failed before and were not tried again; --retry tries them")
    if flagged:
        print(f"{len(flagged)} kept with a remark in {out / 'flags.csv'}")
    print(f"look at it: {page}")


def _print_next(result: "PreprocessingResult", out: Path) -> None:
    if result.clips:
        dataset = result.release.dataset
        name, protocol = _protocol(dataset, {clip.emotion for clip in result.clips if clip.kind == "micro"})
        settings = f"--config configs/paper/slstt.yaml {protocol} data.root={out}"
        settings += " model.pretrained=imagenet encoder.dropout=0"
        print(f"next: slstt-train {settings} --out runs/{name}")


def _protocol(dataset: str, emotions: Collection[str]) -> tuple[str, str]:
    """(name of the run, settings) of a protocol for the data set: its first, else its own emotions as classes."""
    from slstt.datasets.protocols import PROTOCOLS

    for protocol in PROTOCOLS.values():
        if protocol.datasets == (dataset,):
            return protocol.name, f"data.protocol={protocol.name}"
    return dataset, f"data.protocol=own 'data.classes=[{', '.join(sorted(filter(None, emotions)))}]'"


if __name__ == "__main__":
    raise SystemExit(main())
