"""Frames left out and rebuilt: RIFE against linear blending and repetition, on clips whose motion is known.

    python benchmarks/interpolation.py [--clips 4] [--motion 1 4] [--gaps 2 4 8] [--size 384] [--precision fp32]

Of every synthetic clip each gap-th frame is kept, and the frames between are rebuilt by `interpolation.fill` from the
cut the pipeline would make. Reported per left-out frame: PSNR against the true frame inside the face, and the error of
Farneback's onset flow on the rebuilt frame against the true flow, in pixels of the cut, where the expression moves
(more than a fifth of its peak). `true frame` is the same flow measured on the frame that was left out: no
interpolation can be expected to do better. Frames are drawn without sensor noise unless --noise is given, because a
blend of two noisy frames has less noise than any true frame.
"""

import argparse
import time
from dataclasses import replace

import cv2
import numpy as np
import torch
from known_motion import moving, true_flow

from slstt.datasets.synthetic import Plan, render
from slstt.datasets.synthetic.clips import SyntheticClip, landmarks
from slstt.datasets.synthetic.portrait import Portrait
from slstt.face.crop import cut, face_square, runs_past
from slstt.flow.interpolation import METHODS, Rife, fill
from slstt.flow.optical_flow import onset_flow

TRUE = "true frame"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--motion", type=float, nargs="+", default=[1.0, 4.0])
    parser.add_argument("--gaps", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--noise", action="store_true", help="keep the frames' sensor noise")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rife = Rife.load(precision=chosen.precision)
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


if __name__ == "__main__":
    main()
