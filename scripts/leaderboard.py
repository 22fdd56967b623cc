"""Train all rows of docs/leaderboard.md and print the table; what is finished is kept, the rest resumed.

    OMP_NUM_THREADS=1 python scripts/leaderboard.py --maps MAPS --out runs/leaderboard [--names committee slstt]
    python scripts/leaderboard.py --maps MAPS --out runs/leaderboard --table-only

Every row is `configs/flow_maps/NAME.yaml` in leave-one-subject-out over `--protocol` (cde: 442 clips, 68 subjects),
the last epoch of a fixed number; one row after another, the cheapest first. `--protocol hde` leaves one data set out;
give it an --out of its own. What has nothing random is run once. A row with epochs is run with `run.peek`, so that the
table can show what looking at the test subject would have given. Means are of the rows' probabilities, seed by seed,
equal weights. `slstt-eval OUT/NAME` reads a row. HTNet is run only where it is named (`--names htnet`): it takes about
a week of one core a seed.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slstt.errors import DataError
from slstt.evaluation.compare import compare
from slstt.evaluation.metrics import selection_gap
from slstt.evaluation.run import EvaluatedRun, evaluate, read_run
from slstt.files import write_text

CONFIGS = Path(__file__).parents[1] / "configs" / "flow_maps"
REFERENCE = "svm_linear"
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**31), "MALLOC_TRIM_THRESHOLD_": str(2**31)}
"""glibc then keeps what a step frees for the next step; small networks spend up to a quarter of their time on that."""


@dataclass(frozen=True)
class Entry:
    """A row: a config of configs/flow_maps, or the mean of such rows."""

    name: str
    random: bool = False
    """Whether seeds differ."""
    published: str = ""
    """UF1 on the whole composite as its authors report it."""
    honest: str = ""
    """How they chose the epoch, as far as their program says."""
    mean_of: tuple[str, ...] = ()


ENTRIES = (
    Entry("svm_linear"),
    Entry("svm_rbf"),
    Entry("zero_shot"),
    Entry("zero_shot_displaced"),
    Entry("frozen_linear"),
    Entry("frozen_rbf"),
    Entry("committee"),
    Entry("committee_inner"),
    Entry("slstt_pretrained", random=True),
    Entry("slstt_displaced", random=True),
    Entry("slstt", random=True),
    Entry("slstt_patches", random=True),
    Entry("off_apexnet", True, ".720", "unknown"),
    Entry("ststnet", True, ".735", "honest"),
    Entry("sssnet", True, ".739", "honest"),
    Entry("htnet", True, ".860", "peeks"),
    Entry("mean_svm_linear_frozen_rbf_slstt", True, mean_of=("svm_linear", "frozen_rbf", "slstt")),
    Entry("mean_committee_slstt_slstt_pretrained", True, mean_of=("committee", "slstt", "slstt_pretrained")),
)
TITLES = ("row", "seeds", "UF1", "95 %", "UAR", "CASME II", "SAMM", "SMIC", "against svm_linear", "by peeking, INVALID",
          "published UF1", "its epoch", "CPU s a run")  # fmt: skip
PROTOCOLS = ("cde", "hde", "cde_casme2_smic")
DATASETS = ("casme2", "samm", "smic")


def named(name: str) -> Entry:
    """The entry called `name`."""
    return next(entry for entry in ENTRIES if entry.name == name)


def train(entry: Entry, seed: int, options: argparse.Namespace) -> None:
    """Run or continue one seed's run; its processor time is added up in seconds.json."""
    folder, config = options.out / entry.name / f"seed{seed}", CONFIGS / f"{entry.name}.yaml"
    if complete(folder):
        return
    settings = [f"data.root={options.maps}", f"data.protocol={options.protocol}", f"run.seed={seed}"]
    if entry.random:
        settings.append("run.peek=true")
    words = ["--config", str(config), "--out", str(folder), "--quiet", *settings, "run.device=cpu"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "slstt.cli.train", *words]
    try:
        environment = KEEP_MEMORY | os.environ
        code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False, env=environment).returncode
    finally:
        after, path = resource.getrusage(resource.RUSAGE_CHILDREN), folder / "seconds.json"
        known = json.loads(path.read_text()) if path.exists() else 0.0
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if folder.is_dir():
            write_text(path, json.dumps(known + spent) + "\n")
    if code != 0:
        sys.exit(f"slstt-train {' '.join(words)} ended with exit code {code}")


def complete(folder: Path) -> bool:
    """Whether the folder is a run whose folds are all done."""
    try:
        return not read_run(folder).missing
    except DataError:
        return False


def fuse(entry: Entry, seed: int, out: Path) -> None:
    """The mean of the rows' runs of one seed, where all are there."""
    runs = [out / name / f"seed{seed if named(name).random else 0}" for name in entry.mean_of]
    if all(complete(run) for run in runs):
        target = out / entry.name / f"seed{seed}"
        target.mkdir(parents=True, exist_ok=True)
        words = [str(Path(__file__).with_name("fuse_runs.py")), *map(str, runs), str(target)]
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def finished(entry: Entry, out: Path) -> EvaluatedRun | None:
    """The row's complete seeds as one run; None where there is none."""
    seeds = sorted(folder for folder in (out / entry.name).glob("seed*") if complete(folder))
    if not seeds:
        return None
    runs = [read_run(folder) for folder in seeds]
    predictions = {folder.name: run.predictions for folder, run in zip(seeds, runs, strict=True)}
    return EvaluatedRun(out / entry.name, tuple(seeds), runs[0].settings, runs[0].environment, seeds=predictions)


def peeking(run: EvaluatedRun) -> str:
    """UF1 if each fold's epoch were chosen on its test subject, mean over seeds; empty for rows without epochs."""
    scores = []
    for folder in run.folders:
        rules = selection_gap(sorted(folder.glob("folds/*/peek.csv")), [], run.predictions.classes)
        if rules and not rules[-1].valid:
            scores.append(rules[-1].scores["uf1"])
    return f"{np.mean(scores):.3f}" if scores else ""


def row(entry: Entry, out: Path, reference: EvaluatedRun | None) -> tuple[str, ...] | None:
    """A line of the table, or None where no seed is complete."""
    run = finished(entry, out)
    if run is None:
        return None
    metrics = evaluate(run)
    full, seeds = metrics["full"], metrics.get("seeds")
    mean = f"{seeds['mean']['uf1']:.3f} ± {seeds['sd']['uf1']:.3f}" if seeds else f"{full['uf1']:.3f}"
    low, high = full["ci"]["uf1"]
    against = ""
    if reference is not None and entry.name != REFERENCE:
        found = compare(run.seeds, reference.seeds, (entry.name, REFERENCE))
        bounds = found.ci["uf1"] or (0.0, 0.0)
        against = f"{found.difference['uf1']:+.3f} [{bounds[0]:+.3f}, {bounds[1]:+.3f}]"
    times = [json.loads(path.read_text()) for folder in run.folders if (path := folder / "seconds.json").exists()]
    seconds = f"{np.mean(times):.0f}" if times else ""
    parts = metrics["parts"]
    scores = [f"{parts[name]['uf1']:.3f}" if name in parts else "" for name in DATASETS]
    count = str(len(run.seeds)) if entry.random else "-"
    return (f"`{entry.name}`", count, mean, f"[{low:.3f}, {high:.3f}]", f"{full['uar']:.3f}", *scores, against,
            peeking(run), entry.published, entry.honest, seconds)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Train, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="the folder of the published flow maps")
    parser.add_argument("--out", type=Path, default=Path("runs/leaderboard"))
    names = [entry.name for entry in ENTRIES]
    parser.add_argument("--names", nargs="+", default=[name for name in names if name != "htnet"], choices=names)
    parser.add_argument("--seeds", type=int, default=3, help="of rows with something random")
    parser.add_argument("--protocol", default="cde", choices=PROTOCOLS)
    parser.add_argument("--table-only", action="store_true", help="train nothing, print what is finished")
    options = parser.parse_args(argv)
    chosen = [named(name) for name in options.names]
    if not options.table_only:
        for seed in range(options.seeds):  # all rows once before any row a second time
            for entry in chosen:
                if not entry.mean_of and (entry.random or seed == 0):
                    train(entry, seed, options)
    for entry in chosen:
        for seed in range(options.seeds if entry.mean_of else 0):
            fuse(entry, seed, options.out)
    reference = finished(named(REFERENCE), options.out)
    lines = [row(entry, options.out, reference) for entry in chosen]
    for line in (TITLES, ("---",) * len(TITLES), *filter(None, lines)):
        print(f"| {' | '.join(line)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
