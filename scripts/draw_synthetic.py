"""Draws docs/synthetic_subjects.png: synthetic subjects at the onset and the apex, the difference, and the flow.

python scripts/draw_synthetic.py [--out docs/synthetic_subjects.png] [--seed 0]
"""

import argparse
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np

from slstt.datasets.synthetic import Plan, render
from slstt.datasets.synthetic.action_units import code
from slstt.images import flow_wheel

TITLES = ("onset", "apex", "difference x 6", "measured flow (Farneback)", "true flow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/synthetic_subjects.png"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--difficulty", type=float, default=0.0)
    parser.add_argument("--emotions", nargs=3, default=("happiness", "disgust", "surprise"))
    options = parser.parse_args()

    figure, axes = plt.subplots(3, 5, figsize=(15, 9.3), constrained_layout=True)
    for line, (subject, emotion) in enumerate(zip((2, 3, 1), options.emotions, strict=True)):
        plan = Plan(subjects=3, clips_per_subject=1, seed=options.seed, emotions=(emotion,),
                    difficulty=options.difficulty)  # fmt: skip
        portrait = plan.portrait(subject)
        clip = plan.clip(portrait, subject, 1).clip
        onset, apex = (picture for _, picture in render(portrait, clip, (clip.onset, clip.apex)))
        grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (onset, apex)]
        start = np.zeros((*grey[0].shape, 2), np.float32)
        measured = cv2.calcOpticalFlowFarneback(grey[0], grey[1], start, 0.5, 3, 15, 3, 5, 1.2, 0)
        true = cv2.resize(clip.motion.field(clip.apex - clip.first), clip.motion.size, interpolation=cv2.INTER_CUBIC)
        difference = np.clip(128 + 6 * (apex.astype(float) - onset), 0, 255).astype(np.uint8)
        x, y, side = clip.motion.pose.x, clip.motion.pose.y, 4.1 * clip.motion.pose.interocular
        top, left = int(y - 0.47 * side), int(x - side / 2)
        window = slice(max(0, top), top + int(side)), slice(left, left + int(side))
        wheels = [
            flow_wheel(np.ascontiguousarray(flow.transpose(2, 0, 1), np.float32), maximum=clip.peak)
            for flow in (measured, true)
        ]
        for axis, title, picture in zip(axes[line], TITLES, (onset, apex, difference, *wheels), strict=True):
            axis.imshow(picture[window])
            axis.set_xticks([])
            axis.set_yticks([])
            if line == 0:
                axis.set_title(title)
        axes[line, 0].set_ylabel(f"{emotion} ({code(clip.units)}), peak {clip.peak:.1f} px")
    figure.savefig(options.out, dpi=70)


if __name__ == "__main__":
    main()
