"""How weights do on rendered clips whose onset, apex and offset are known: the road of slstt-predict without spotting.

python scripts/classify_rendered.py default --difficulty 0.9 --out /tmp/clips flow.method=dis
"""

import argparse
import csv
from functools import cache
from pathlib import Path

import numpy as np
import torch

from slstt.datasets import read_release, synthetic
from slstt.datasets.clips import Clip
from slstt.evaluation.metrics import uf1
from slstt.face.landmarks import LandmarkDetector
from slstt.flow.interpolation import Rife
from slstt.images import read_image
from slstt.prediction.classify import IntervalFlow, IntervalFrames, find_classifier, interval_flows, read_settings
from slstt.prediction.face_motion import FaceMotion, Interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="as --weights of slstt-predict; classes negative, positive, surprise")
    parser.add_argument("--out", type=Path, required=True, help="folder for the clips")
    parser.add_argument("--difficulty", type=float, default=0.0)
    parser.add_argument("--subjects", type=int, default=5)
    parser.add_argument("--clips", type=int, default=12, help="per subject")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    a = parser.parse_intermixed_args()
    root = synthetic.write(a.out, "smic", a.subjects, a.clips, a.difficulty, a.seed)
    with (root / "truth" / "clips.csv").open(newline="") as stream:
        apexes = {row["clip"]: int(row["apex"]) for row in csv.DictReader(stream)}
    classifier, detector, rife = find_classifier(a.weights), LandmarkDetector(), cache(Rife.load)
    config = read_settings(classifier, a.overrides)[0].preprocessing
    true, predicted, doubted = [], [], 0
    for clip in read_release("smic", root, None).clips:
        numbers = list(clip.frames)

        onset, apex, offset = (numbers.index(n) for n in (clip.onset, apexes[clip.name], clip.offset))
        (face, *_) = detector.detect(read_image(clip.frames[numbers[apex]]), upsample=1)
        count = len(numbers)
        stabilization, none = np.repeat(np.eye(3)[None, :2], count, 0), np.zeros(count)
        times, landmarks = np.arange(count) / 100, np.repeat(face.landmarks[None], count, 0)
        motion = FaceMotion(100.0, times, landmarks, stabilization, none, none, none, (), ())
        interval = Interval(onset, apex, offset, 0.0, "given")
        ((_, made),) = interval_flows(_frames(clip), motion, [interval], classifier.crop, config, rife)
        if not isinstance(made, IntervalFlow):
            raise SystemExit(f"{clip.name}: {made}")
        flow = torch.from_numpy(made.flow)
        answer = int(classifier.probabilities([flow])[0].argmax())
        doubted += (classifier.readings([flow])[0].none or 0.0) >= 0.5
        true.append(clip.emotion)
        predicted.append(classifier.wanted.classes[answer])
    accuracy = np.mean([t == p for t, p in zip(true, predicted, strict=True)])
    print(f"{len(true)} clips: accuracy {accuracy:.3f}, UF1 {uf1(true, predicted, classifier.wanted.classes):.3f}")
    if classifier.tells_none:
        print(f"taken for no expression: {doubted}")


def _frames(clip: Clip) -> IntervalFrames:
    """The clip's frames as a recording gives them, counted from 0."""
    files = list(clip.frames.values())
    return lambda wanted: ((n, read_image(files[n])) for n in wanted)


if __name__ == "__main__":
    main()
