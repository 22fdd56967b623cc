"""How often the default weights take a piece of real video for no expression: every piece of a third of a second.

    python benchmarks/no_expression.py --videos DIR

No piece of the videos is chosen: the recording is cut end to end wherever its face is followed, and the apex of a piece
is its frame of strongest motion against the first. So this holds only for videos that show no micro-expression. The
pieces that move less than `spotting.weakest` are left out.
"""

import argparse
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from slstt.errors import SlsttError
from slstt.face.landmarks import LandmarkDetector
from slstt.flow.interpolation import Rife
from slstt.prediction.classify import IntervalFlow, find_classifier, interval_flows, read_settings
from slstt.prediction.face_motion import track_face_motion
from slstt.prediction.recording import open_recordings
from slstt.prediction.spotting import Interval, strength


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--seconds", type=float, default=1 / 3, help="length of a piece")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    classifier, detector, rife = find_classifier(arguments.weights), LandmarkDetector(), cache(Rife.load)
    settings, _ = read_settings(classifier, [])
    print("| video | pieces | taken for no expression | median probability |\n|---|---|---|---|")
    every: list[float] = []
    for path in sorted(p for p in arguments.videos.iterdir() if p.suffix in (".mp4", ".mov", ".mkv", ".gif", ".avi")):
        (recording,) = open_recordings(path, None)
        try:
            motion, pieces = track_face_motion(recording, settings, detector=detector)
        except SlsttError as error:
            print(f"| {path.name} | {error.problems[0].rsplit(': ', 1)[-1][:40]} | | |", flush=True)
            continue
        length, intervals = max(2, round(arguments.seconds * recording.rate)), []
        for begin, moved in pieces:
            for first in range(0, len(moved) - length, length):
                strengths = strength((moved[first : first + length + 1] - moved[first]).astype(np.float32))
                apex = int(strengths.argmax())
                if strengths[apex] >= settings.spotting.weakest:
                    onset = begin + first
                    intervals.append(Interval(onset, onset + apex, onset + length, float(strengths[apex])))
        made = interval_flows(recording.at, motion, intervals, classifier.crop, settings.preprocessing, rife)
        flows = [torch.from_numpy(one.flow) for _, one in made if isinstance(one, IntervalFlow)]
        told = [reading.none for reading in classifier.readings(flows) if reading.none is not None]
        every += told
        if told:
            none = sum(p >= 0.5 for p in told)
            print(f"| {path.name} | {len(told)} | {none} | {np.median(told):.2f} |", flush=True)
    if every:
        print(f"| all | {len(every)} | {sum(p >= 0.5 for p in every)} | {np.median(every):.2f} |")


if __name__ == "__main__":
    main()
