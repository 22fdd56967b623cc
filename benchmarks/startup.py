"""How long each command takes to begin, as a multiple of `import torch` in the same run.

    python benchmarks/startup.py --rounds 5

Each command runs in a process of its own, once a round, so that a busy machine slows all of them alike; the fastest
round counts. `--check` is given a cache of 12 tiny clips.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from slstt.datasets.clips import Clip, write_index
from slstt.flow.flow_files import flow_path, write_flow

COMMANDS = ("preprocess", "train", "evaluate", "predict", "export", "pretrain", "demo")
SIZES = ["model.image_size=16", "model.patch_size=8", "model.width=16", "model.depth=2", "model.heads=2"]


def write_cache(root: Path) -> Path:
    generator, listed = np.random.default_rng(0), []
    for number in range(12):
        emotion = ("negative", "positive", "surprise")[number % 3]
        clip = Clip("smic", f"s{number % 4 + 1:02}", f"clip{number:02}", emotion, 1, 5, 9, Path())
        write_flow(flow_path(root, clip.key), generator.normal(0, 0.1, (3, 2, 16, 16)), str(number))
        listed.append(clip)
    write_index(root / "index.csv", listed)
    return root


def programs(folder: Path) -> dict[str, list[str]]:
    found = {f"{name} --help": ["-m", f"slstt.cli.{name}", "--help"] for name in COMMANDS}
    train = ["--config", "configs/demo.yaml", "--out", str(folder / "run"), "data.protocol=smic_sde", *SIZES, "--check"]
    found["train --check"] = ["-m", "slstt.cli.train", *train, f"data.root={write_cache(folder / 'cache')}"]
    pretrain = ["--config", "configs/pretrain/flow_map.yaml", "--out", str(folder / "weights"), "--check"]
    found["pretrain --check"] = ["-m", "slstt.cli.pretrain", *pretrain]
    found["export --check"] = ["-m", "slstt.cli.export", "default", "--out", str(folder / "exported"), "--check"]
    return found


def seconds(program: list[str]) -> float:
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, *program], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(program)}: exit code {done.returncode}\n{done.stderr}")
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        measured = {"import torch": ["-c", "import torch"], **programs(Path(name))}
        times: dict[str, list[float]] = {what: [] for what in measured}
        for _ in range(rounds):
            for what, program in measured.items():
                times[what].append(seconds(program))
    base = min(times["import torch"])
    print(f"{'':<18} {'seconds':>8} {'x import torch':>15}")
    for what, found in times.items():
        print(f"{what:<18} {min(found):>8.2f} {min(found) / base:>15.2f}")


if __name__ == "__main__":
    main()
