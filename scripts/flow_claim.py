"""Draw docs/flow_claim.png: long-term flow rises and falls in one direction, short-term flow turns round at the apex.

    python scripts/flow_claim.py [--out docs/flow_claim.png] [--method farneback]

One synthetic clip whose true motion is known. Its eleven frames (uniform choice) are compared with the onset and each
with the frame before it. Every flow field is projected onto the clip's true motion at the apex: 1 is the apex.
"""

import argparse
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np

from slstt.datasets.synthetic import Plan, render
from slstt.datasets.synthetic.clips import SyntheticClip, landmarks
from slstt.face.crop import cut, face_square
from slstt.files import whole_file
from slstt.flow.interpolation import choose_frames
from slstt.flow.optical_flow import consecutive_flow, onset_flow
from slstt.images import flow_wheel

FRAMES = 11
SHOWN = (0, 2, 4, 6, 8, 10)


def intensity(clip: SyntheticClip, flow: np.ndarray) -> np.ndarray:
    """(T,) least-squares share of the units' true motion at the apex in each field (T, 2, H, W)."""
    action = clip.motion.action.transpose(2, 0, 1)  # (2, h, w), every fourth pixel
    size = action.shape[2], action.shape[1]
    small = np.stack([[cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in field] for field in flow])
    return np.einsum("tchw,chw->t", small, action) / (action**2).sum()


def draw(path: Path, method: str) -> None:
    plan = Plan(subjects=1, clips_per_subject=1, emotions=("happiness",), seed=2)
    portrait, row = next(plan.clips())
    clip = row.clip
    chosen = [int(n) for n in choose_frames(clip.onset, clip.apex, clip.offset, FRAMES, "uniform").positions]
    pictures = dict(render(portrait, clip, [clip.onset, *chosen]))
    frames = np.stack([cv2.cvtColor(pictures[n], cv2.COLOR_RGB2GRAY) for n in (clip.onset, *chosen)])
    square = face_square(landmarks(portrait, clip, clip.apex))
    truth = clip.motion.intensity[np.array(chosen) - clip.first]
    long_term, short_term = onset_flow(frames, method), consecutive_flow(frames, method)

    figure = plt.figure(figsize=(11, 7), layout="constrained")
    grid = figure.add_gridspec(3, len(SHOWN), height_ratios=(1, 1, 1.5))
    for line, (name, flow) in enumerate((("from the onset", long_term), ("from the frame before", short_term))):
        maximum = float(np.percentile(np.hypot(flow[:, 0], flow[:, 1]).max(axis=0), 99.5))
        for column, place in enumerate(SHOWN):
            axes = figure.add_subplot(grid[line, column])
            axes.imshow(cut(flow_wheel(flow[place], maximum), square))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"frame {chosen[place] - clip.onset}", fontsize=9)
            if column == 0:
                axes.set_ylabel(f"{name}\n(full colour {maximum:.2f} px)", fontsize=9)
    axes = figure.add_subplot(grid[2, :])
    at = np.array(chosen) - clip.onset
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.axvline(clip.apex - clip.onset, color="0.7", linewidth=0.8, linestyle=":")
    axes.plot(at, truth, color="0.5", linewidth=4, alpha=0.5, label="true intensity")
    axes.plot(at, intensity(clip, long_term), marker="o", color="tab:red", label="flow from the onset")
    axes.plot(at, intensity(clip, short_term), marker="s", color="tab:blue", label="flow from the frame before")
    axes.annotate("apex", (clip.apex - clip.onset, 1.02), ha="center", fontsize=9)
    axes.set_ylim(top=1.15)
    axes.set_xlabel("frames after the onset")
    axes.set_ylabel("share of the apex's true motion")
    axes.legend(loc="upper right", frameon=False)
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=90)
    plt.close(figure)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path("docs/flow_claim.png"))
    arguments.add_argument("--method", default="farneback")
    chosen = arguments.parse_args()
    draw(chosen.out, chosen.method)
    print(chosen.out)


if __name__ == "__main__":
    main()
