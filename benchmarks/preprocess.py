"""How fast slstt-preprocess is, against a re-enactment of the common practice, on the same clips in the same run.

    python benchmarks/preprocess.py                        # 24 synthetic clips of 640 x 480, three rounds
    python benchmarks/preprocess.py --length 0             # the clips as rendered, 26 frames on average
    python benchmarks/preprocess.py --clips 12 --rounds 1  # a quick look

Prints clips per second with 1 and 2 worker processes, seconds per stage, the share of time inside the kernels of dlib,
OpenCV and torch, and the time of the re-enactment divided by ours. Every round runs 1 worker, 2 workers and the
re-enactment one after the other; the median round is printed, and the range.

The re-enactment does what published scripts do: per clip it loads the 68-point predictor, decodes every frame of the
clip, cuts the face out of every one and computes its flow, and loads the RIFE model anew for each frame it inserts; in
one process, at one thread like each of our workers. It calls the same kernels with the same settings as we do. Scripts
differ in one point, so there are two of it: the face is looked for on the apex frame, or on every frame.
"""

import argparse
import contextlib
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np

from slstt import workers
from slstt.config.preprocess import PreprocessConfig
from slstt.datasets import read_release, synthetic
from slstt.datasets.clips import Clip, Release
from slstt.downloads import landmark_model, rife_weights
from slstt.face.crop import cut, face_square
from slstt.face.landmarks import LandmarkDetector
from slstt.files import write_csv
from slstt.flow.interpolation import IFNet, Rife, fill
from slstt.flow.optical_flow import onset_flow
from slstt.images import read_image
from slstt.preprocessing.clip import nearest_place, plan_frames, present
from slstt.preprocessing.run import PreprocessingResult, preprocess

SHORT_EVERY, SHORT_STEP = 12, 4
"""Every 12th clip keeps only every 4th frame, as a camera of 50 frames a second sees it: it needs inserted frames."""

KERNELS: list[tuple[Any, str]] = [
    *((cv2, name) for name in ("imdecode", "imencode", "cvtColor", "resize", "calcOpticalFlowFarneback", "circle")),
    (IFNet, "forward"),
    (dlib, "shape_predictor"),
    (dlib, "get_frontal_face_detector"),
]


def of_real_length(release: Release, length: int) -> Release:
    """Clips of `length` frames, by running to and fro through the frames that are there; some short.

    A frame that is read again costs what another frame would; no kernel's time depends on the motion.
    """
    clips = []
    for number, clip in enumerate(release.clips):
        files = list(clip.frames.values())
        if number % SHORT_EVERY == 0:
            files = files[::SHORT_STEP]
        elif length:
            to_and_fro = [*files, *files[-2:0:-1]]
            files = [to_and_fro[at % len(to_and_fro)] for at in range(length)]
        frames = dict(enumerate(files))
        middle, last = len(files) // 2, len(files) - 1
        clips.append(Clip(clip.dataset, clip.subject, clip.name, clip.emotion, 0, middle, last, clip.folder, frames))
    return Release(release.dataset, release.layout, release.root, release.annotations, tuple(clips))


def processor_time() -> float:
    """Seconds of processor time of this process and its ended children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def ours(
    release: Release, config: PreprocessConfig, worker_count: int
) -> tuple[float, float, PreprocessingResult, float]:
    """(seconds in all, clips per second while every worker is at work, result, processor seconds in all)."""
    out = Path(tempfile.mkdtemp(prefix="slstt-benchmark-"))
    started, processor = time.perf_counter(), processor_time()
    result = preprocess(release, config, out, worker_count=worker_count, quiet=True)
    took = time.perf_counter() - started
    ends = sorted(path.stat().st_mtime_ns / 1e9 for path in out.rglob("*.safetensors"))
    assert len(ends) == len(release.clips), result.failures
    # From when every worker has finished its first clip until the first one has none left.
    steady = (len(ends) - 2 * worker_count + 1) / (ends[-worker_count] - ends[worker_count - 1])
    shutil.rmtree(out)
    return took, steady, result, processor_time() - processor


def common_practice(clips: Sequence[Clip], config: PreprocessConfig, every_face: bool) -> float:
    """Seconds per clip of the re-enactment; `every_face`: the face is looked for on every frame."""
    started = time.perf_counter()
    model, network = landmark_model(), rife_weights()
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            detector = LandmarkDetector(model)  # the predictor, per clip
            numbers = present(clip)
            pictures = {number: read_image(clip.frames[number]) for number in numbers}  # every frame
            apex = nearest_place(numbers, clip.apex or 0)
            wanted = numbers if every_face else [numbers[apex]]
            faces = {number: detector.detect(pictures[number])[0] for number in wanted}
            square = face_square(faces[numbers[apex]].landmarks)
            size = config.crop.at_most
            cuts: dict[int | float, np.ndarray] = {at: cut(pictures[n], square, size) for at, n in enumerate(numbers)}
            plan = plan_frames(numbers, apex, config)
            for position in plan.inserted:
                cuts |= fill(cuts, [position], "rife", Rife.load(network))  # the model, per frame
            flow = onset_flow(np.stack([cuts[at] for at in sorted(cuts)]), config.flow.method)  # of every frame
            np.save(Path(folder) / "flow.npy", flow.astype(np.float16))
    return (time.perf_counter() - started) / len(clips)


@contextlib.contextmanager
def clocked(kernels: list[tuple[Any, str]]) -> Iterator[dict[str, float]]:
    """Within the block the time inside each kernel is added up, by name."""
    spent: dict[str, float] = {}
    running = False

    def clock(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            nonlocal running
            if running:  # a kernel inside a kernel is counted once
                return function(*arguments, **named)
            started, running = time.perf_counter(), True
            try:
                return function(*arguments, **named)
            finally:
                running = False
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

        return timed

    class Timed:
        """dlib's objects cannot be patched: they are wrapped as they are made."""

        def __init__(self, name: str, inner: Any) -> None:
            self.name, self.inner = name, inner

        def __call__(self, *arguments: Any) -> Any:
            return clock(self.name, self.inner)(*arguments)

        def run(self, *arguments: Any) -> Any:
            return clock(self.name, self.inner.run)(*arguments)

    before = [(owner, name, getattr(owner, name)) for owner, name in kernels]
    for owner, name, function in before:
        label = f"{getattr(owner, '__name__', owner)}.{name}"
        if owner is dlib:
            setattr(owner, name, lambda *a, label=label, make=function: Timed(label, clock("load", make)(*a)))
        else:
            setattr(owner, name, clock(label, function))
    try:
        yield spent
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def kernel_share(release: Release, config: PreprocessConfig) -> tuple[dict[str, float], dict[str, float], float]:
    """(seconds per kernel, seconds per stage, seconds at work on clips), in one process."""
    with clocked(KERNELS) as spent:
        _, _, result, _ = ours(release, config, 1)
    stages = dict(result.seconds)
    stages.pop("load", None)
    spent.pop("load", None)
    return spent, stages, sum(stages.values())


def median_range(values: list[float], unit: str = "") -> str:
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f}..{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--length", type=int, default=60, help="frames a clip, CASME II's median; 0: as rendered")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder for the synthetic data set, kept (default: a temporary one)")
    parser.add_argument("--csv", type=Path, help="also write the numbers there")
    arguments = parser.parse_args()
    config = PreprocessConfig()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.data or Path(folder) / "raw"
        per_subject = max(1, arguments.clips // 4)
        synthetic.write(root, "casme2", subjects=4, clips_per_subject=per_subject, seed=0, quiet=True)
        release = of_real_length(read_release("casme2", root), arguments.length)
        report(release, config, arguments.rounds, arguments.csv)


def report(release: Release, config: PreprocessConfig, rounds: int, csv: Path | None) -> None:
    clips = release.clips
    frames = statistics.mean(len(present(clip)) for clip in clips)
    print(
        f"{len(clips)} clips of 640 x 480, {frames:.0f} frames on average; every {SHORT_EVERY}th is short, needs RIFE"
    )
    one, two, apex_face, every_face = [], [], [], []
    for _ in range(rounds):
        one.append(ours(release, config, 1))
        two.append(ours(release, config, 2))
        with workers.one_thread():
            apex_face.append(common_practice(clips, config, every_face=False))
            every_face.append(common_practice(clips, config, every_face=True))
    rows: list[tuple[str, list[float]]] = [
        ("clips/s, 1 worker, whole run", [len(clips) / a[0] for a in one]),
        ("clips/s, 2 workers, whole run", [len(clips) / b[0] for b in two]),
        ("clips/s, 1 worker, at work", [a[1] for a in one]),
        ("clips/s, 2 workers, at work", [b[1] for b in two]),
        ("1 -> 2 workers, at work", [b[1] / a[1] for a, b in zip(one, two, strict=True)]),
        ("1 -> 2 workers, whole run", [a[0] / b[0] for a, b in zip(one, two, strict=True)]),
        ("processor s/clip, 1 worker", [a[3] / len(clips) for a in one]),
        ("processor s/clip, 2 workers", [b[3] / len(clips) for b in two]),
        ("practice, face on apex, s/clip", apex_face),
        ("  times ours, 1 worker", [p * a[1] for a, p in zip(one, apex_face, strict=True)]),
        ("  times ours, 2 workers", [p * b[1] for b, p in zip(two, apex_face, strict=True)]),
        ("practice, face on every, s/clip", every_face),
        ("  times ours, 1 worker", [p * a[1] for a, p in zip(one, every_face, strict=True)]),
        ("  times ours, 2 workers", [p * b[1] for b, p in zip(two, every_face, strict=True)]),
    ]
    print()
    for name, values in rows:
        print(f"{name:<32} {median_range(values)}")
    spent, stages, total = kernel_share(release, config)
    print("\nseconds per clip and stage, one process (models loaded before):")
    for name, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"  {name:<16} {seconds / len(clips):.4f}  {seconds / total:6.1%}")
    print("inside kernels:")
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {name:<36} {seconds / len(clips):.4f}  {seconds / total:6.1%}")
    share = sum(spent.values()) / total
    print(f"  together {share:.1%} of the time at work on clips")
    if csv:
        lines = [(name, statistics.median(values), min(values), max(values)) for name, values in rows]
        write_csv(csv, ("quantity", "median", "min", "max"), [*lines, ("kernel share", share, share, share)])


if __name__ == "__main__":
    main()
