"""How near the spotted apex comes to the true one on synthetic clips, against taking the middle frame.

    python benchmarks/spotting.py                       # 3 x 40 clips of 640 x 480, 200 frames a second
    python benchmarks/spotting.py --smoothing 0 --difficulty 0.5

The face is dlib's on the onset frame, as in the pipeline; the truth is the renderer's. Errors are in frames.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from slstt.datasets import read_release, synthetic
from slstt.face.crop import MEASURED_SIDE, cut, face_square
from slstt.face.landmarks import LandmarkDetector
from slstt.images import read_image
from slstt.preprocessing.apex_spotting import apex_place
from slstt.preprocessing.clip import present


def errors(root: Path, detector: LandmarkDetector, smoothing: float) -> np.ndarray:
    """(clips, 3): error of the spotted frame, error of the middle frame, whether there is a blink."""
    rows = []
    for clip in read_release("casme2", root).clips:
        truth = synthetic.read_truth(root, clip.subject, clip.name)
        numbers = present(clip)
        landmarks = detector.detect(read_image(clip.frames[clip.onset]))[0].landmarks
        square = face_square(landmarks)
        cuts = [
            cv2.cvtColor(cut(read_image(clip.frames[n]), square, MEASURED_SIDE), cv2.COLOR_RGB2GRAY) for n in numbers
        ]
        place, _ = apex_place(np.stack(cuts), (landmarks - square[:2]) * (MEASURED_SIDE / square[2]), smoothing)
        middle = numbers[len(numbers) // 2]
        rows.append((abs(numbers[place] - truth.apex), abs(middle - truth.apex), truth.lids.max() > 0.1))
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--difficulty", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--clips", type=int, default=5, help="per subject")
    parser.add_argument("--smoothing", type=float, default=0.04, help="apex.smoothing")
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    detector = LandmarkDetector()
    print("difficulty  clips (blinks)  spotted: mean  median  max    middle: mean  max")
    for difficulty in arguments.difficulty:
        with tempfile.TemporaryDirectory() as folder:
            root = synthetic.write(
                Path(folder) / "raw",
                "casme2",
                arguments.subjects,
                arguments.clips,
                difficulty,
                arguments.seed,
                quiet=True,
            )
            found = errors(root, detector, arguments.smoothing)
        spotted, middle, blinks = found.T
        print(
            f"{difficulty:<11} {len(found):5d} ({int(blinks.sum())}){spotted.mean():17.2f}{np.median(spotted):8.1f}"
            f"{spotted.max():5.0f}{middle.mean():16.2f}{middle.max():5.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
