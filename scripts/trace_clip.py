"""Which files does one clip pass through, from the raw folder to the report?

    python scripts/trace_clip.py [--functions] [--out DIR]

Runs slstt-preprocess, slstt-train (two folds) and slstt-eval on a small synthetic data set, in this process, and counts
the files of slstt/ in which a function ran. Every module is imported beforehand, so what an import alone runs does not
count.
"""

import argparse
import importlib
import inspect
import io
import pkgutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

import slstt
from slstt.cli import evaluate, preprocess, train
from slstt.datasets import synthetic

PACKAGE = Path(slstt.__file__).parent


@contextmanager
def traced(functions: dict[str, list[str]]) -> Iterator[None]:
    """Fill `functions` with file -> the functions that ran within the block, both in the order of their first call."""

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_flags & inspect.CO_OPTIMIZED:  # bodies of modules and classes are not
            return
        path = Path(code.co_filename)
        if path.is_relative_to(PACKAGE) and path.suffix == ".py":
            seen = functions.setdefault(path.relative_to(PACKAGE).as_posix(), [])
            name = code.co_qualname.split(".<locals>")[0]
            if name not in seen:
                seen.append(name)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", action="store_true", help="print the functions of each file too")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep all files here (default: a temporary folder)")
    arguments = parser.parse_args()
    for module in pkgutil.walk_packages([str(PACKAGE)], "slstt."):
        importlib.import_module(module.name)
    with tempfile.TemporaryDirectory() as temporary:
        out: Path = arguments.out or Path(temporary)
        synthetic.write(out / "raw", subjects=2, clips_per_subject=5)
        every: set[str] = set()
        for program, command, words in _commands(out):
            functions: dict[str, list[str]] = {}
            with redirect_stdout(io.StringIO()), traced(functions):
                code = command([*words, "--quiet"])
            if code != 0:
                print(f"{program} ended with exit code {code}", file=sys.stderr)
                return code
            every |= functions.keys()
            print(f"\n{program}: {len(functions)} files")
            for path, names in functions.items():
                print(f"  {path}{': ' + ', '.join(names) if arguments.functions else ''}")
    print(f"\nall three commands: {len(every)} files")
    return 0


def _commands(out: Path) -> list[tuple[str, Callable[[list[str]], int], list[str]]]:
    prepare = ["--dataset", "casme2", "--root", str(out / "raw"), "--out", str(out / "flow"), "--workers", "1"]
    learn = ["--out", str(out / "run"), f"data.root={out / 'flow'}", "run.executor=serial"]
    learn += ["training.epochs=2", "training.warmup_epochs=0"]
    return [
        ("slstt-preprocess", preprocess.main, [*prepare, "--config", "configs/demo_preprocess.yaml"]),
        ("slstt-train", train.main, [*learn, "--config", "configs/demo.yaml"]),
        ("slstt-eval", evaluate.main, [str(out / "run")]),
    ]


if __name__ == "__main__":
    sys.exit(main())
