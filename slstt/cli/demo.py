"""`slstt-demo`: all steps on synthetic clips, from raw pictures to a report; prints the commands it runs."""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from slstt import cli
from slstt.errors import ConfigError

EXAMPLES = """\
  slstt-demo                      writes to ./demo; takes a few minutes on two cores
  slstt-demo --out /tmp/try       writes to another folder
  slstt-demo --difficulty 0.9     fainter motion, closer to real micro-expressions
  slstt-demo --check              say what would be done, write nothing"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = cli.parser("slstt-demo", __doc__ or "", EXAMPLES)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default: %(default)s)")
    parser.add_argument("--subjects", type=int, default=5, help="synthetic subjects, at least 2 (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=10, help="clips per subject (default: %(default)s)")
    parser.add_argument("--difficulty", type=float, default=0.0, help="0 (strong) .. 1 (faint) (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same data and result (default: %(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="say what would be done, write nothing")
    return cli.run(parser, _demo, argv)


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.subjects < 2 or arguments.clips < 1 or not 0 <= arguments.difficulty <= 1:
        raise ConfigError("needs --subjects >= 2, --clips >= 1 and --difficulty between 0 and 1")
    from slstt.cli import evaluate, preprocess, train

    out: Path = arguments.out
    common = [flag for flag in ("--quiet", "--debug") if getattr(arguments, flag.strip("-"))]
    raw, cache, run = out / "raw", out / "preprocessed", out / "run"
    prepare = ["--dataset", "casme2", "--root", str(raw), "--out", str(cache)]
    prepare += ["--config", "configs/demo_preprocess.yaml"]
    learn = ["--config", "configs/demo.yaml", "--out", str(run), f"data.root={cache}", f"run.seed={arguments.seed}"]
    steps: list[tuple[str, Callable[[list[str]], int], list[str]]] = [
        ("slstt-preprocess", preprocess.main, prepare),
        ("slstt-train", train.main, learn),
        ("slstt-eval", evaluate.main, [str(run)]),
    ]

    size = f"{arguments.subjects} subjects, {arguments.clips} clips each, difficulty {arguments.difficulty:g}"
    print(f"Synthetic clips in CASME II's layout ({size}) -> {raw}")
    if arguments.check:
        for program, _, words in steps:
            print(f"$ {shlex.join([program, *words])}")
        return 0
    print("These are not the clips of CASME II, so slstt-eval will not name the result after that protocol.")
    started = time.monotonic()
    _write_synthetic(raw, arguments)
    for program, step, words in steps:
        print(f"\n$ {shlex.join([program, *words])}", flush=True)
        code = step([*words, *common])
        if code != 0:
            print(f"slstt-demo: {program} ended with exit code {code}", file=sys.stderr)
            return code
    print(f"\nDone in {time.monotonic() - started:.0f} s. Look at:")
    for page in (cache / "report" / "index.html", run / "report.html", run / "figures"):
        print(f"  {page}")
    return 0


def _write_synthetic(raw: Path, arguments: argparse.Namespace) -> None:
    from slstt.datasets import synthetic

    synthetic.write(
        raw,
        layout="casme2",
        subjects=arguments.subjects,
        clips_per_subject=arguments.clips,
        difficulty=arguments.difficulty,
        seed=arguments.seed,
    )
