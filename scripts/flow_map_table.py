"""Run the configs of configs/flow_maps/ over several seeds and print the table of docs/real_data.md.

    python scripts/flow_map_table.py --maps flow_maps --out runs/maps [--names slstt ststnet] [--seeds 3]

One `slstt-train` after another, one thread; finished runs are kept, interrupted ones continued. What has nothing random
is run once. Means are of the runs' probabilities, seed by seed. Each row's folder is read by `slstt-eval` too.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

from slstt.evaluation.run import evaluate, read_run

FIXED = ("svm_linear", "svm_rbf", "zero_shot", "frozen_linear", "frozen_rbf")
RANDOM = ("slstt", "slstt_patches", "slstt_pretrained", "off_apexnet", "ststnet")
MEANS = (
    ("svm_linear", "frozen_rbf"),
    ("svm_linear", "slstt"),
    ("svm_linear", "slstt_pretrained"),
    ("svm_linear", "frozen_rbf", "slstt"),
)


def run(name: str, maps: Path, out: Path, seed: int) -> None:
    """Train `name` where its predictions are missing; its processor time is added up in seconds.json."""
    folder = out / name / f"seed{seed}"
    if (folder / "predictions.csv").exists():
        return
    words = [
        "--config",
        f"configs/flow_maps/{name}.yaml",
        "--out",
        str(folder),
        "--quiet",
        f"data.root={maps}",
        "data.protocol=cde_casme2_smic",
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        ["slstt-train", *words, f"run.seed={seed}", "run.executor=serial"], stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != 0:
        sys.exit(f"slstt-train {' '.join(words)} ended with exit code {ended.returncode}")
    path = folder / "seconds.json"
    known = json.loads(path.read_text()) if path.exists() else 0.0
    path.write_text(json.dumps(known + after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))


def fuse(parts: tuple[str, ...], out: Path, seeds: int) -> str | None:
    """The mean of runs, seed by seed; its name, or None where a run is missing."""
    name = "mean_" + "_".join(parts)
    count = 1 if all(part in FIXED for part in parts) else seeds
    for seed in range(count):
        runs = [out / part / f"seed{0 if part in FIXED else seed}" for part in parts]
        if not all((folder / "predictions.csv").exists() for folder in runs):
            return None if seed == 0 else name
        target = out / name / f"seed{seed}"
        target.mkdir(parents=True, exist_ok=True)
        words = ["scripts/fuse_runs.py", *map(str, runs), str(target)]
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return name


def row(folder: Path) -> tuple[str, ...]:
    """A line of the table."""
    found = read_run(folder)
    metrics = evaluate(found)
    full, parts, seeds = metrics["full"], metrics["parts"], metrics.get("seeds")
    low, high = full["ci"]["uf1"]
    spread = f" ± {seeds['sd']['uf1']:.3f}" if seeds else ""
    mean = seeds["mean"]["uf1"] if seeds else full["uf1"]
    times = [json.loads(path.read_text()) for path in folder.glob("*/seconds.json")]
    seconds = f"{sum(times) / len(times):.0f}" if times else "-"
    names = [f"{parts[part]['uf1']:.3f}" for part in ("casme2", "smic")]
    return (f"`{folder.name}`", str(len(found.seeds)), f"{mean:.3f}{spread}", f"[{low:.3f}, {high:.3f}]",
            f"{full['uar']:.3f}", *names, seconds)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="the folder of the published flow maps")
    parser.add_argument("--out", type=Path, default=Path("runs/maps"))
    parser.add_argument("--names", nargs="+", default=[*FIXED, *RANDOM], choices=[*FIXED, *RANDOM])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for name in options.names:
        for seed in range(1 if name in FIXED else options.seeds):
            run(name, options.maps, options.out, seed)
    names = [name for name in (*FIXED, *RANDOM) if list((options.out / name).glob("*/predictions.csv"))]
    names += [name for parts in MEANS if (name := fuse(parts, options.out, options.seeds)) is not None]
    header = ("run", "seeds", "UF1", "95 %", "UAR", "CASME II UF1", "SMIC UF1", "CPU s")
    for line in (header, ("---",) * len(header), *(row(options.out / name) for name in names)):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
