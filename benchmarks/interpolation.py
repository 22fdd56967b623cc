"""Frames left out and rebuilt: RIFE against linear blending and repetition, on clips whose motion is known.

    python benchmarks/interpolation.py [--clips 4] [--motion 1 4] [--gaps 2 4 8] [--size 384] [--precision fp32]
    OMP_NUM_THREADS=1 python benchmarks/interpolation.py --halfway [--faces SMIC] [--peaks 1 2] [--portraits FOLDER]

Of every synthetic clip each gap-th frame is kept, and the frames between are rebuilt by `interpolation.fill` from the
cut the pipeline would make. Reported per left-out frame: PSNR against the true frame inside the face, and the error of
Farneback's onset flow on the rebuilt frame against the true flow, in pixels of the cut, where the expression moves
(more than a fifth of its peak). `true frame` is the same flow measured on the frame that was left out: no
interpolation can be expected to do better. Frames are drawn without sensor noise unless --noise is given, because a
blend of two noisy frames has less noise than any true frame.

--halfway does the same with the two ends of an expression alone, on the rendered faces and the real portraits of
flow_accuracy.py (sensor noise, JPEG 90, cut at native size): the frame between rest and peak is made, and the flow from
rest to it is measured. Reported is the share of half the motion that it shows, over the face: the median over scenes
with the quartiles, and that of the difference in each scene between RIFE and blending.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch
from flow_accuracy import error_and_share, quartiles
from known_motion import FACES, Scene, moving, portrait_scenes, read_portraits, rendered_scenes, true_flow

from slstt.config.preprocess import InterpolationMethod
from slstt.datasets.synthetic import Plan, render
from slstt.datasets.synthetic.clips import SyntheticClip, landmarks
from slstt.datasets.synthetic.portrait import Portrait
from slstt.errors import SlsttError
from slstt.face.crop import cut, face_square, runs_past
from slstt.flow.interpolation import Rife, fill
from slstt.flow.optical_flow import onset_flow

METHODS = get_args(InterpolationMethod)
TRUE = "true frame"
HALFWAY_UNITS = ((1, 2, 5), (4,), (6, 12), (14,))
"""Combinations of action units for --halfway: brows up, brows down, a smile, a dimple."""
Row = tuple[int, float, dict[str, tuple[float, float]]]


def rebuilt(
    portrait: Portrait, clip: SyntheticClip, gap: int, size: int, rife: Rife, seconds: dict[str, float]
) -> list[Row]:
    """(gap, true mean motion in the mask, {method: (PSNR, flow error)}) of every frame left out of one clip."""
    square = face_square(landmarks(portrait, clip, clip.apex))
    if runs_past(square, *clip.motion.size):
        return []
    last = clip.onset + (clip.offset - clip.onset) // gap * gap
    cuts = {n: cut(p, square, size) for n, p in render(portrait, clip, range(clip.onset, last + 1))}
    kept: dict[int | float, np.ndarray] = {(n - clip.onset) // gap: cuts[n] for n in range(clip.onset, last + 1, gap)}
    left_out = [n for n in cuts if (n - clip.onset) % gap]
    positions = [(n - clip.onset) / gap for n in left_out]
    made = {TRUE: {p: cuts[n] for p, n in zip(positions, left_out, strict=True)}}
    for method in METHODS:
        started = time.perf_counter()
        made[method] = dict(fill(kept, positions, method, rife))
        seconds[method] = seconds.get(method, 0.0) + time.perf_counter() - started
    mask = moving(clip, square, size)
    rows = []
    for position, number in zip(positions, left_out, strict=True):
        truth = true_flow(clip, number, square, size)
        measured = {}
        for method, pictures in made.items():
            field = onset_flow(np.stack([cuts[clip.onset], pictures[position]]))[0]
            error = np.hypot(*(field - truth))[mask].mean()
            squared = np.mean((pictures[position].astype(float) - cuts[number])[mask] ** 2)
            measured[method] = (10 * np.log10(255**2 / squared) if squared > 0 else np.inf, float(error))
        rows.append((gap, float(np.hypot(*truth)[mask].mean()), measured))
    return rows


def halfway(scenes: Iterator[tuple[float, Scene]], rife: Rife) -> Iterator[list[str]]:
    """Cells of the table of --halfway: the peak, the flow method, the scenes, and the shares."""
    shares: dict[tuple[float, str], dict[str, list[float]]] = {}
    for peak, scene in scenes:
        size = scene.square[2]
        onset, middle, apex = scene.cuts(size)
        half, mask = scene.flow(size) / 2, scene.face(size)
        made = {m: fill({0: onset, 1: apex}, [0.5], m, rife)[0.5] for m in ("rife", "linear")} | {TRUE: middle}
        for method in ("farneback", "dis"):
            fields = onset_flow(np.stack([onset, *made.values()]), method)
            for name, flow in zip(made, fields, strict=True):
                share = error_and_share(flow, half, mask)[1]
                shares.setdefault((peak, method), {}).setdefault(name, []).append(share)
    for (peak, method), found in sorted(shares.items()):
        more = np.subtract(found["rife"], found["linear"])
        cells = [f"{peak:g} px", method, str(len(more)), *(quartiles(found[m]) for m in ("rife", "linear", TRUE))]
        yield [*cells, quartiles(more), f"{(more > 0).mean():.0%}"]


def show_halfway(chosen: argparse.Namespace, rife: Rife) -> None:
    """Print the table of --halfway. Raises DataError where no portrait is at hand."""
    portraits = read_portraits(chosen.portraits)
    names = ["rife", "linear", TRUE, "rife less linear", "rife shows more in"]
    print("| on | face | peak | flow | scenes | " + " | ".join(names) + " |\n" + "|---" * 10 + "|")
    for face in chosen.faces:
        for on, scenes in (
            ("rendered", rendered_scenes(chosen.clips, FACES[face], chosen.peaks, seed=5)),
            ("portraits", portrait_scenes(portraits, FACES[face], chosen.peaks, 5, HALFWAY_UNITS)),
        ):
            for cells in halfway(scenes, rife):
                print(f"| {on} | {face}, {FACES[face]} px | " + " | ".join(cells) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--motion", type=float, nargs="+", default=[1.0, 4.0])
    parser.add_argument("--gaps", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--noise", action="store_true", help="keep the frames' sensor noise")
    parser.add_argument("--halfway", action="store_true", help="make the frame between rest and peak")
    parser.add_argument("--faces", nargs="+", choices=FACES, default=list(FACES), help="--halfway: face sizes")
    parser.add_argument("--peaks", type=float, nargs="+", default=[1.0, 2.0], help="--halfway: largest motion, pixels")
    parser.add_argument("--portraits", type=Path, metavar="FOLDER", help="--halfway: real faces")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rife = Rife.load(precision=chosen.precision)
    if chosen.halfway:
        try:
            show_halfway(chosen, rife)
        except SlsttError as error:
            print(f"interpolation: error: {error}", file=sys.stderr)
            return error.exit_code
        return 0
    seconds: dict[str, float] = {}
    count = 0
    print("| motion | gap | frames | true motion, px | " + " | ".join(f"PSNR {m}, dB" for m in METHODS), end=" | ")
    print(" | ".join(f"flow error {m}, px" for m in (*METHODS, TRUE)) + " |")
    print("|" + "---|" * (4 + len(METHODS) * 2 + 1))
    for motion in chosen.motion:
        plan = Plan(subjects=chosen.clips, clips_per_subject=1, motion=motion, seed=3)
        rows: dict[int, list[Row]] = {gap: [] for gap in chosen.gaps}
        for portrait, row in plan.clips():
            clip = row.clip if chosen.noise else replace(row.clip, shot=0.0, read=0.0)
            for gap in chosen.gaps:
                rows[gap] += rebuilt(portrait, clip, gap, chosen.size, rife, seconds)
        for gap, found in rows.items():
            if not found:
                continue  # every clip is shorter than the gap
            count += len(found)
            mean = {m: np.mean([measured[m] for *_, measured in found], axis=0) for m in (*METHODS, TRUE)}
            cells = [f"{motion:g}", str(gap), str(len(found)), f"{np.mean([true for _, true, _ in found]):.2f}"]
            cells += [f"{mean[m][0]:.1f}" for m in METHODS] + [f"{mean[m][1]:.3f}" for m in (*METHODS, TRUE)]
            print("| " + " | ".join(cells) + " |", flush=True)
    print(
        f"\nrife {seconds['rife'] / count:.2f} s a frame ({chosen.precision}, {chosen.size} px, one thread), ", end=""
    )
    print(f"{seconds['rife'] / seconds['linear']:.0f} times what linear takes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
