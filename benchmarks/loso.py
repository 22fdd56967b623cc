"""What leave-one-subject-out costs beside training: executors against serial, start, overhead per fold, resuming.

  OMP_NUM_THREADS=1 python benchmarks/loso.py [--folds 8] [--epochs 6]

Every figure comes from the real command on made-up flow of the demo's size, in one run on one machine. The folds' own
training time is the same work for every executor; ratios are against serial in the same run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from slstt.config.load import load_config
from slstt.config.train import TrainConfig
from slstt.datasets.clips import Clip, write_index
from slstt.flow.flow_files import flow_path, write_flow
from slstt.models.slstt import SLSTT
from slstt.training.checkpoint import FoldState, load_checkpoint, make_optimizer, save_checkpoint
from slstt.training.trainer import ClassLoss, make_model, one_step

EMOTIONS = ("disgust", "happiness", "repression", "surprise", "others")


def write_cache(root: Path, subjects: int, clips: int = 10, frames: int = 11, size: int = 64) -> None:
    generator, listed = np.random.default_rng(0), []
    for subject in range(subjects):
        for number in range(clips):
            clip = Clip("casme2", f"sub{subject + 1:02}", f"EP{number:02}", EMOTIONS[number % 5], 1, 2, 3, Path())
            flow = generator.normal(0, 1, (frames, 2, size, size))
            write_flow(flow_path(root, clip.key), flow, f"{subject} {number}")
            listed.append(clip)
    write_index(root / "index.csv", listed)


def seconds(root: Path, run: Path, *more: str) -> float:
    argv = [sys.executable, "-m", "slstt.cli.train", "--config", "configs/demo.yaml", "--out", str(run), "--quiet"]
    begun = time.perf_counter()
    subprocess.run(
        [*argv, f"data.root={root}", *more],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return time.perf_counter() - begun


def executors(root: Path, folder: Path, folds: int, epochs: int) -> None:
    ways = {
        "serial": ["run.executor=serial"],
        "processes x 2": ["run.executor=processes", "run.workers=2"],
        "ray, local, 2 CPUs": ["run.executor=ray", "run.workers=2"],
    }
    few = ",".join(f"sub{number + 1:02}" for number in range(2))
    print(
        f"| executor | {folds} folds of {epochs} epochs | folds per hour | against serial | start | overhead per fold |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    seconds(root, folder / "warm", "--folds", "sub01", "training.epochs=1", "training.warmup_epochs=0")  # file caches
    reference = per_epoch = 0.0
    for name, words in ways.items():
        short = ["training.epochs=1", "training.warmup_epochs=0"]
        place = folder / name.replace(" ", "_").replace(",", "")
        two = seconds(root, place / "two", *words, *short, "--folds", few)
        every = seconds(root, place / "every", *words, *short)
        long = seconds(root, place / "long", *words, f"training.epochs={epochs}", "training.warmup_epochs=0")
        if not reference:
            reference, per_epoch = long, (long - every) / (folds * (epochs - 1))
        parallel = 1 if name == "serial" else 2
        # T = start + folds * (overhead + epochs * per_epoch) / parallel, from two and from all folds of one epoch.
        overhead = (every - two) / (folds - 2) - per_epoch / parallel
        start = two - 2 * (overhead + per_epoch / parallel)
        print(
            f"| {name} | {long:.1f} s | {folds / long * 3600:.0f} | {reference / long:.2f} x | {start:.1f} s "
            f"| {max(0.0, overhead) * 1000:.0f} ms |",
            flush=True,
        )
    print(f"\nOne epoch of one fold: {per_epoch * 1000:.0f} ms on one core.")
    again = seconds(root, folder / "serial" / "long", f"training.epochs={epochs}", "training.warmup_epochs=0")
    print(f"Starting a finished run again ({folds} folds skipped, pooled, scored): {again:.1f} s.")


def resuming(folder: Path) -> None:
    for name, overrides in {
        "demo": ["--config", "configs/demo.yaml"],
        "paper, LSTM, blocks frozen": [
            "--config",
            "configs/paper/slstt.yaml",
            "data.protocol=cde",
            "encoder.dropout=0",
        ],
        "ViT-B/16 and LSTM, everything learns": [
            "--config",
            "configs/paper/slstt.yaml",
            "data.protocol=cde",
            "encoder.trainable=all",
            "encoder.dropout=0",
        ],
    }.items():
        settings = load_config(TrainConfig, Path(overrides[1]), [*overrides[2:], "model.pretrained=null"])
        model = make_model(settings, 3)
        state = FoldState(model, make_optimizer(model, settings.training), settings.training.ema)
        for _, p in state.learning():
            p.grad = torch.zeros_like(p)
        state.optimizer.step()
        place = folder / name.split(",")[0]
        begun = time.perf_counter()
        save_checkpoint(place, state.to_checkpoint(torch.Generator()))
        saved = time.perf_counter()
        found, _ = load_checkpoint(place)
        assert found is not None
        state.restore(found)
        size = (place / "last.pt").stat().st_size / 1e6
        print(
            f"State of a fold, {name}: {size:.1f} MB, written in {saved - begun:.2f} s, "
            f"read, verified and restored in {time.perf_counter() - saved:.2f} s."
        )
        (place / "last.pt").unlink()


def paper_fold() -> None:
    """One step of the published recipe, without Dropout and so on stored features; the fold follows by counting."""
    settings = load_config(
        TrainConfig,
        Path("configs/paper/slstt.yaml"),
        ["data.protocol=cde", "model.pretrained=null", "encoder.dropout=0"],
    )
    model = make_model(settings, 3).train()
    state = FoldState(model, make_optimizer(model, settings.training), settings.training.ema)
    batch = settings.training.batch_size
    features, targets = torch.randn(batch, 11, settings.model.width), torch.arange(batch) % 3
    times = []
    for _ in range(12):
        begun = time.perf_counter()
        one_step(state, features, SLSTT.forward_from, targets, ClassLoss(torch.ones(3), 0.0), settings)
        times.append(time.perf_counter() - begun)
    step = float(np.median(times[2:]))
    steps = -(-435 // batch) * settings.training.epochs
    print(
        f"Paper's recipe on stored features: {step * 1000:.1f} ms a step on one core, so a CDE fold "
        f"({steps} steps) {step * steps:.0f} s and all 68 folds {step * steps * 68 / 3600:.2f} h."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cache(folder / "flow", given.folds)
        executors(folder / "flow", folder, given.folds, given.epochs)
        resuming(folder)
    paper_fold()


if __name__ == "__main__":
    main()
