"""How well micro-expressions are spotted in long synthetic recordings, against two simple ways of doing it.

    python benchmarks/spotting_intervals.py                          # 3 x 3 recordings of 20 s, 640 x 480, 100 fps
    python benchmarks/spotting_intervals.py --suffix .mp4   # MPEG-4, compressed to a few kB a frame
    python benchmarks/spotting_intervals.py --cost --minutes 10      # speed and memory on a long video

Counted as in the spotting tasks of the Facial Micro-Expression Grand Challenges (MEGC 2019-2021): an interval is true
where its frames overlap those of a micro-expression not yet matched with IoU >= 0.5; precision, recall and F1 over all
recordings together. Between the micro-expressions lie longer expressions (0.9 to 2 s, twice as strong), which must not
be reported. `apex` is the mean distance of the apex from the true one, in frames, over the true intervals. The pictures
are grey.

`flow of neighbours`: mean length of Farneback's flow from frame to frame inside the face, cut out by the first frame's
landmarks; runs above mean + t deviations are intervals. `feature difference`: chi-squared distances of local binary
patterns in 6 x 6 blocks of the same cut to the mean of the frames 0.16 s before and after, the strongest third, less
the average around (after Moilanen et al. 2014); peaks above mean + t (max - mean) get intervals of 0.29 s, the mean
true length. Both are given the t, of eight, that is best on the very recordings counted; `slstt` keeps its default.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from slstt.config.preprocess import PredictConfig, Spotting
from slstt.datasets.synthetic.recordings import Expression, draw_recording, write_recording, write_video
from slstt.face.crop import MEASURED_SIDE, cut, face_mask, face_square
from slstt.face.landmarks import LandmarkDetector
from slstt.flow.optical_flow import FARNEBACK
from slstt.prediction.face_motion import measure_face_motion
from slstt.prediction.recording import Recording, open_recordings

Span = tuple[int, int, int]
"""Onset, apex, offset."""
SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
DEVIATIONS = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)


@dataclass
class Count:
    """What one way of spotting did on all recordings of a difficulty."""

    hits: int = 0
    spotted: int = 0
    wanted: int = 0
    seconds: float = 0.0
    apex: list[int] = field(default_factory=list)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / max(1, self.spotted + self.wanted)

    def row(self) -> str:
        """The cells of a table's row."""
        precision, recall = self.hits / max(1, self.spotted), self.hits / max(1, self.wanted)
        alarms = 60 * (self.spotted - self.hits) / self.seconds
        apex = f"{np.mean(self.apex):.1f}" if self.apex else "-"
        return (
            f"{self.wanted} | {self.spotted} | {precision:.2f} | {recall:.2f} | {self.f1:.2f} | {apex} | {alarms:.1f}"
        )


def iou(a: Span, b: Span) -> float:
    shared = min(a[2], b[2]) - max(a[0], b[0]) + 1
    return max(0, shared) / (max(a[2], b[2]) - min(a[0], b[0]) + 1)


def count(total: Count, found: Sequence[Span], truth: Sequence[Expression], seconds: float) -> None:
    left = [(e.onset, e.apex, e.offset) for e in truth]
    total.spotted, total.wanted, total.seconds = (
        total.spotted + len(found),
        total.wanted + len(left),
        total.seconds + seconds,
    )
    for span in found:
        best = max(left, key=lambda true: iou(span, true), default=None)
        if best is not None and iou(span, best) >= 0.5:
            left.remove(best)
            total.hits += 1
            total.apex.append(abs(span[1] - best[1]))


def patterns(cuts: np.ndarray, blocks: int = 6) -> np.ndarray:
    """(blocks^2, 256) histograms of the local binary patterns (8 neighbours) of a grey cut."""
    inner, code = cuts[1:-1, 1:-1], np.zeros((MEASURED_SIDE - 2, MEASURED_SIDE - 2), np.int32)
    for bit, (y, x) in enumerate(((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))):
        code |= (cuts[y : y + MEASURED_SIDE - 2, x : x + MEASURED_SIDE - 2] >= inner).astype(np.int32) << bit
    block = np.arange(MEASURED_SIDE - 2) * blocks // (MEASURED_SIDE - 2)
    code += 256 * (block[:, None] * blocks + block)
    return np.bincount(code.ravel(), minlength=256 * blocks * blocks).reshape(-1, 256).astype(np.uint16)


def curves(recording: Recording, detector: LandmarkDetector) -> tuple[np.ndarray, np.ndarray]:
    """(n,) flow of neighbours and (n,) feature difference."""
    square = inside = None
    before = None
    flow, features = [0.0], []
    for _, picture in recording.frames():
        if square is None:
            landmarks = detector.detect(picture)[0].landmarks
            square = face_square(landmarks)
            inside = face_mask((landmarks - square[:2]) * (MEASURED_SIDE / square[2]), (MEASURED_SIDE, MEASURED_SIDE))
        now = cv2.cvtColor(cut(picture, square, MEASURED_SIDE), cv2.COLOR_RGB2GRAY)
        if before is not None:
            moved = cv2.calcOpticalFlowFarneback(before, now, None, *FARNEBACK)  # pyright: ignore
            flow.append(float(np.hypot(*moved[inside].T).mean()))
        features.append(patterns(now))
        before = now
    k = round(0.16 * recording.rate)
    difference = np.zeros(len(features))
    for t in range(k, len(features) - k):
        mean = (features[t - k].astype(float) + features[t + k]) / 2
        distances = ((features[t] - mean) ** 2 / (features[t] + mean + 1e-9)).sum(axis=1)
        difference[t] = np.sort(distances)[-12:].mean()
    return np.array(flow), difference - uniform_filter1d(difference, 2 * k + 1)


def runs(curve: np.ndarray, deviations: float, rate: float) -> list[Span]:
    """Runs above mean + deviations, gaps under 65 ms closed, that last 65 to 500 ms."""
    above = np.flatnonzero(curve > curve.mean() + deviations * curve.std())
    if not len(above):
        return []
    groups = np.split(above, np.flatnonzero(np.diff(above) > 0.065 * rate) + 1)
    spans = [(int(g[0]), int(g[np.argmax(curve[g])]), int(g[-1])) for g in groups]
    return [span for span in spans if 0.065 * rate <= span[2] - span[0] <= 0.5 * rate]


def peaks(curve: np.ndarray, share: float, rate: float) -> list[Span]:
    """Peaks above mean + share (max - mean), each with an interval of 0.29 s around it."""
    limit, half = curve.mean() + share * (curve.max() - curve.mean()), round(0.145 * rate)
    return [(int(p) - half, int(p), int(p) + half) for p in find_peaks(curve, height=limit, distance=2 * half)[0]]


def compare(difficulty: float, arguments: argparse.Namespace) -> None:
    detector, settings = LandmarkDetector(), PredictConfig(spotting=Spotting(threshold=arguments.threshold))
    ways: dict[tuple[str, float], Count] = {}

    def add(name: str, value: float, found: Sequence[Span], truth: Sequence[Expression], seconds: float) -> None:
        count(ways.setdefault((name, value), Count()), found, truth, seconds)

    for seed in range(arguments.seed, arguments.seed + arguments.recordings):
        drawn = draw_recording(
            arguments.seconds, seed, rate=arguments.rate, difficulty=difficulty, head=arguments.head, grey=True
        )
        length = drawn.count / drawn.rate
        with tempfile.TemporaryDirectory() as folder:
            path = write_recording(Path(folder) / f"recording{arguments.suffix}", drawn)
            (recording,) = open_recordings(path, drawn.rate)
            found = [
                (i.onset, i.apex, i.offset)
                for i in measure_face_motion(recording, settings, detector=detector).intervals
            ]
            add("slstt", 0.0, found, drawn.micro, length)
            if not arguments.alone:
                flow, difference = curves(recording, detector)
                simple: tuple[tuple[str, np.ndarray, Callable, Sequence[float]], ...] = (
                    ("flow of neighbours", flow, runs, DEVIATIONS),
                    ("feature difference", difference, peaks, SHARES),
                )
                for name, curve, spot, values in simple:
                    for value in values:
                        add(name, value, spot(curve, value, drawn.rate), drawn.micro, length)
    for name in dict.fromkeys(name for name, _ in ways):
        best = max((total for (way, _), total in ways.items() if way == name), key=lambda total: total.f1)
        print(f"| {difficulty:g} | {name} | {best.row()} |", flush=True)


def cost(arguments: argparse.Namespace) -> None:
    """Speed and memory of watching a video of `--minutes`, twenty rendered seconds over and over."""
    drawn = draw_recording(20, arguments.seed, difficulty=0.5, head=arguments.head, grey=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        packed = [cv2.imencode(".jpg", picture[..., ::-1])[1] for _, picture in drawn.frames()]
        numbers = (n % len(packed) for n in range(round(arguments.minutes * 60 * drawn.rate)))
        pictures = (np.asarray(cv2.imdecode(packed[n], cv2.IMREAD_COLOR))[..., ::-1] for n in numbers)
        write_video(path, pictures, drawn.rate)
        del packed
        (recording,) = open_recordings(path)
        detector, frames = LandmarkDetector(), recording.count
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        started = time.perf_counter()
        motion = measure_face_motion(recording, detector=detector)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{frames} frames of 640 x 480: {frames / seconds:.0f} frames/s, {seconds * recording.rate / frames:.2f} s a "
        f"second of video; peak memory {peak:.0f} MiB (before: {before:.0f}); {len(motion.intervals)} intervals"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--difficulty", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--recordings", type=int, default=3, help="for each difficulty")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=900, help="of the first; 100 to 199 were used to choose settings")
    parser.add_argument("--rate", type=float, default=100.0, help="frames per second")
    parser.add_argument("--head", type=float, default=6.0, help="sway to either side, pixels")
    parser.add_argument("--suffix", default=".avi", help=".avi: Motion JPEG of quality 95; .mp4: MPEG-4; '': PNG")
    parser.add_argument("--threshold", type=float, default=Spotting().threshold)
    parser.add_argument("--alone", action="store_true", help="leave the simple ways out")
    parser.add_argument("--cost", action="store_true", help="measure speed and memory instead")
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.cost:
        cost(arguments)
        return
    print("| difficulty | spotted by | true | spotted | precision | recall | F1 | apex | false alarms a minute |")
    print("|---|---|---|---|---|---|---|---|---|")
    for difficulty in arguments.difficulty:
        compare(difficulty, arguments)


if __name__ == "__main__":
    main()
