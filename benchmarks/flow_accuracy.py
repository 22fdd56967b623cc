"""How much of a known small motion each flow method measures, by the size the face is cut to.

    python benchmarks/flow_accuracy.py [--clips 6] [--sizes 192 224 256 384] [--methods farneback dis] [--difficulty 0]

Onset to apex of synthetic clips in 640x480 frames, with sensor noise. `error` is the mean length of the difference from
the true flow and `share` the least-squares share of it that is measured (1: all), where the expression moves; both
relative to the true motion, so sizes can be compared. `native` is the cut as it is, 250 to 280 pixels here.
"""

import argparse

import cv2
import numpy as np
from known_motion import moving, true_flow

from slstt.datasets.synthetic import Plan, render
from slstt.datasets.synthetic.clips import landmarks
from slstt.face.crop import cut, face_square, runs_past
from slstt.flow.optical_flow import onset_flow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--sizes", type=int, nargs="+", default=[192, 224, 256, 384])
    parser.add_argument("--methods", nargs="+", default=["farneback", "dis"])
    parser.add_argument("--difficulty", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=5)
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    plan = Plan(subjects=chosen.clips, clips_per_subject=1, difficulty=chosen.difficulty, seed=chosen.seed)
    measured: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for portrait, row in plan.clips():
        clip = row.clip
        square = face_square(landmarks(portrait, clip, clip.apex))
        if runs_past(square, *clip.motion.size):
            continue
        pictures = dict(render(portrait, clip, [clip.onset, clip.apex]))
        for size in (0, *chosen.sizes):
            side = size or square[2]
            frames = np.stack([cut(pictures[n], square, side) for n in (clip.onset, clip.apex)])
            truth, mask = true_flow(clip, clip.apex, square, side), moving(clip, square, side)
            for method in chosen.methods:
                field = onset_flow(frames, method)[0]
                error = np.hypot(*(field - truth))[mask].mean() / np.hypot(*truth)[mask].mean()
                share = (field * truth).sum(axis=0)[mask].sum() / (truth**2).sum(axis=0)[mask].sum()
                measured.setdefault((method, size), []).append((float(error), float(share)))
    print("| method | cut to, px | clips | error | share |\n|---|---|---|---|---|")
    for (method, size), found in sorted(measured.items()):
        error, share = np.mean(found, axis=0)
        print(f"| {method} | {size or 'native'} | {len(found)} | {error:.3f} | {share:.3f} |")


if __name__ == "__main__":
    main()
