"""The model's speed and memory against named alternatives, measured in one run, with the same weights and threads.

    python benchmarks/model.py                       # everything: ViT-B/16, 384 pixels, clips of 11 frames
    python benchmarks/model.py --only forward memory
    python benchmarks/model.py --frames 3 --pairs 3 --threads 1 --clock cpu   # on a machine with other work

Every ratio is the alternative's time divided by ours (above 1: ours is faster): the median over pairs of runs that
follow each other directly, in alternating order, after one run of each that is not counted; then the smallest and the
largest ratio. `--clock cpu` counts this process's processor time instead of wall time, which other processes disturb
far less; it is meant for one thread, since waiting threads count too.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from slstt.models.slstt import SLSTT
from slstt.models.weight_files import translate

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZE, WIDTH, DEPTH, PATCH = 384, 768, 12, 16
SIDE = 3072  # of the plain matrix product
TOKENS = (SIZE // PATCH) ** 2 + 1


class PlainLoop(nn.Module):
    """What one would write with timm and torch alone: the ViT frame by frame, nn.LSTM, two linear layers."""

    def __init__(self, drop_path: float) -> None:
        super().__init__()
        self.vit: Any = timm.create_model("vit_base_patch16_384", num_classes=0, drop_path_rate=drop_path)
        self.lstm = nn.LSTM(WIDTH, 512, 3, batch_first=True)
        self.head: Any = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 3))

    def forward(self, clips: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> logits (B, 3)."""
        features = torch.stack([self.vit(clips[:, t]) for t in range(clips.shape[1])], dim=1)
        return self.head(self.lstm(features)[0][:, -1])


def build(drop_path: float = 0.1, checkpointing: bool = False) -> tuple[SLSTT, PlainLoop]:
    """Both models with the same random weights."""
    torch.manual_seed(0)
    theirs = PlainLoop(drop_path)
    with torch.device("meta"):
        ours = SLSTT(drop_path=drop_path, checkpointing=checkpointing)
    ours = ours.to_empty(device="cpu")
    encoder, _ = translate(theirs.vit.state_dict(), "timm")
    ours.encoder.load_state_dict({key.removeprefix("encoder."): value for key, value in encoder.items()})
    aggregator: Any = ours.aggregator
    aggregator.lstm.load_state_dict(theirs.lstm.state_dict())
    aggregator.hidden.load_state_dict(theirs.head[0].state_dict())
    aggregator.classifier.load_state_dict(theirs.head[2].state_dict())
    return ours, theirs


def autocast(dtype: str) -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16")


def pairs(
    ours: Callable[[], object], other: Callable[[], object], count: int, clock: Callable[[], float]
) -> tuple[list[float], float]:
    """(ratios other / ours, our median seconds) of `count` neighbouring runs, order alternating, after one of each."""

    def seconds(function: Callable[[], object]) -> float:
        start = clock()
        function()
        return clock() - start

    for function in (ours, other):
        function()
    ratios, own = [], []
    for index in range(count):
        if index % 2:
            there, here = seconds(other), seconds(ours)
        else:
            here, there = seconds(ours), seconds(other)
        ratios.append(there / here)
        own.append(here)
    return ratios, statistics.median(own)


def row(name: str, ratios: list[float], own: float, note: str = "") -> None:
    low, high = min(ratios), max(ratios)
    middle = statistics.median(ratios)
    print(f"| {name} | {own:.2f} s | {middle:.3f} | {low:.3f} - {high:.3f} | {note} |", flush=True)


def executed_flops() -> float:
    """Floating-point operations (2 per multiply-add) of our forward pass of one frame, the last block cut short."""
    one_token = 2 * (3 + 1 + 8) * WIDTH**2 + 4 * TOKENS * WIDTH  # qkv, projection, MLP; scores and weighted sum
    keys_and_values = 2 * 2 * WIDTH**2
    embedding = 2 * (TOKENS - 1) * 3 * PATCH**2 * WIDTH
    return embedding + (DEPTH - 1) * TOKENS * one_token + TOKENS * keys_and_values + one_token


def forward(frames: int, count: int, clock: Callable[[], float]) -> None:
    ours, theirs = build()
    encoder, vit = ours.eval().encoder, theirs.eval().vit
    x = torch.randn(frames, 3, SIZE, SIZE)

    def all_tokens() -> Tensor:
        return encoder.norm(encoder.run_blocks(encoder.embed(x), 0, DEPTH))[:, 0]

    for dtype in DTYPES:
        with torch.inference_mode(), autocast(dtype):
            row(f"forward, {dtype}, against timm", *pairs(lambda: encoder(x), lambda: vit(x), count, clock))
            row(f"forward, {dtype}, last block in full", *pairs(all_tokens, lambda: vit(x), count, clock))
            matrix = torch.randn(SIDE, SIDE).to(DTYPES[dtype])
            ratios, own = pairs(lambda: encoder(x), partial(torch.mm, matrix, matrix), count, clock)
            # (our FLOP / our seconds) / (the product's FLOP / the product's seconds)
            shares = [ratio * frames * executed_flops() / (2 * SIDE**3) for ratio in ratios]
            rate = frames * executed_flops() / own / 1e9
            row(f"forward, {dtype}: share of the FLOP/s of a {SIDE}^3 product", shares, own, f"{rate:.0f} GFLOP/s")


def training_step(frames: int, count: int, clock: Callable[[], float]) -> None:
    clips, target = torch.randn(1, frames, 3, SIZE, SIZE), torch.tensor([1])

    def stepper(model: nn.Module, dtype: str) -> Callable[[], object]:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
        model.train()

        def step() -> None:
            optimizer.zero_grad()
            with autocast(dtype):
                loss = nn.functional.cross_entropy(model(clips), target)
            loss.backward()
            optimizer.step()

        return step

    for dtype in DTYPES:
        ours, theirs = build()
        ratios, own = pairs(stepper(ours, dtype), stepper(theirs, dtype), count, clock)
        row(f"training step, {frames} frames, {dtype}, against timm + nn.LSTM", ratios, own)


def checkpointing_step(frames: int, count: int, clock: Callable[[], float]) -> None:
    """What checkpointing costs in time: a forward and backward pass with it against one without."""
    clips = torch.randn(1, frames, 3, SIZE, SIZE)
    with_it, without = build(checkpointing=True)[0].train(), build()[0].train()
    ratios, own = pairs(lambda: with_it(clips).sum().backward(), lambda: without(clips).sum().backward(), count, clock)
    row(f"forward and backward, {frames} frames, fp32, checkpointing against none", ratios, own)


def one_step_peak(frames: int, checkpointing: bool) -> float:
    """Peak resident memory (GB) of this process after two full fine-tuning steps with AdamW."""
    model = SLSTT(checkpointing=checkpointing).train()
    optimizer = torch.optim.AdamW(model.parameters())
    clips, target = torch.randn(1, frames, 3, SIZE, SIZE), torch.tensor([1])
    for _ in range(2):  # the optimizer's state exists from the second step on
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(clips), target).backward()
        optimizer.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def memory(frames: int) -> None:
    """Each case in a process of its own: a peak never falls, and a child's begins at its parent's, so this is first."""
    for checkpointing in ("yes", "no"):
        command = [sys.executable, __file__, "--peak", checkpointing, "--frames", str(frames)]
        peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        print(
            f"| peak memory, {frames} frames, fp32, AdamW, checkpointing: {checkpointing} | {peak} GB | | | |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("memory", "forward", "step", "checkpointing")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--frames", type=int, default=11, help="frames of a clip in a step and in memory (default 11)")
    parser.add_argument("--batch", type=int, default=1, help="frames at once in forward (default 1)")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of steps (default 5); three times as many forwards")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--peak", choices=("yes", "no"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print(f"{one_step_peak(arguments.frames, arguments.peak == 'yes'):.2f}")
        return
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    versions = f"torch {torch.__version__}, timm {timm.__version__}"
    print(f"{versions}, {arguments.threads} thread(s), {arguments.clock} time, {platform.machine()}\n")
    print("| what | ours (median) | ratio (median) | spread | note |\n|---|---|---|---|---|", flush=True)
    if "memory" in arguments.only:
        memory(arguments.frames)
    if "forward" in arguments.only:
        forward(arguments.batch, 3 * arguments.pairs, clock)
    if "step" in arguments.only:
        training_step(arguments.frames, arguments.pairs, clock)
    if "checkpointing" in arguments.only:
        checkpointing_step(arguments.frames, arguments.pairs, clock)


if __name__ == "__main__":
    main()
