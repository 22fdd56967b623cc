"""How hard the synthetic clips are: LOSO accuracy of logistic regression on 28x28 Farneback flow, onset to apex.

    python scripts/measure_synthetic.py [--subjects 12] [--clips 10] [--seeds 1] [--difficulties 0 0.5 0.9 1]

Frames are drawn in memory; only each clip's onset and annotated apex frame. The crop is the square around the onset's
true landmarks, so that the figure speaks of the motion and not of a landmark detector.
"""

import argparse

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut

from slstt.datasets.synthetic import Plan, render
from slstt.datasets.synthetic.clips import landmarks

FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)


def flow_features(plan: Plan) -> tuple[np.ndarray, list[str], list[str]]:
    """(N, 2 * 28 * 28) onset-to-apex flow of every clip, its emotion and its subject."""
    features, emotions, subjects = [], [], []
    for portrait, row in plan.clips():
        clip = row.clip
        pictures = dict(render(portrait, clip, (clip.onset, clip.annotated_apex)))
        points = landmarks(portrait, clip, clip.onset)
        side = int(np.ptp(points[:, 0]) * 1.1)
        x, y = (points[27] + points[33]) / 2 - side / 2
        window = slice(max(0, int(y)), int(y) + side), slice(max(0, int(x)), int(x) + side)
        grey = [p if p.ndim == 2 else cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in pictures.values()]
        onset, apex = (np.ascontiguousarray(picture[window]) for picture in grey)
        flow = cv2.calcOpticalFlowFarneback(onset, apex, np.zeros((*onset.shape, 2), np.float32), *FARNEBACK)
        features.append(cv2.resize(flow, (28, 28), interpolation=cv2.INTER_AREA).ravel())
        emotions.append(clip.emotion)
        subjects.append(row.subject)
    return np.array(features), emotions, subjects


def loso_accuracy(plan: Plan) -> tuple[float, int]:
    """Share of the clips whose emotion is recognised when their subject is left out, and the number of clips."""
    features, emotions, subjects = flow_features(plan)
    true = np.array(emotions)
    hits = 0
    for train, test in LeaveOneGroupOut().split(features, true, subjects):
        # One scale for all values: scaling each by itself would blow up where nothing moves.
        scale = features[train].std()
        classifier = LogisticRegression(C=0.1, max_iter=1000).fit(features[train] / scale, true[train])
        hits += int((classifier.predict(features[test] / scale) == true[test]).sum())
    return hits / len(true), len(true)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", default="casme2")
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--difficulties", type=float, nargs="+", default=[0.0, 0.5, 0.9, 1.0])
    parser.add_argument("--motion", type=float, default=1.0)
    options = parser.parse_args()
    for difficulty in options.difficulties:
        figures = []
        for seed in range(options.seeds):
            plan = Plan(options.layout, options.subjects, options.clips, difficulty, seed, options.motion)
            figures.append(loso_accuracy(plan))
        text = " ".join(f"{accuracy:.3f}" for accuracy, _ in figures)
        print(f"difficulty {difficulty}: LOSO accuracy {text} ({figures[0][1]} clips a seed)", flush=True)


if __name__ == "__main__":
    main()
