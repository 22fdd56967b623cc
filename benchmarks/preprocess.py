"""How fast slstt-preprocess is, against the published program and common practice, on the same clips in the same run.

    python benchmarks/preprocess.py                           # CASME II, SMIC and SAMM, three rounds each
    python benchmarks/preprocess.py --data-set smic --rounds 1
    python benchmarks/preprocess.py --short                   # clips that need inserted frames (RIFE)
    python benchmarks/preprocess.py --memory                  # peak memory of a worker, in fresh processes
    python benchmarks/preprocess.py flow.method=farneback     # settings of slstt-preprocess

The clips are rendered and then cut or bordered to the frames of the data sets: their frame and file format, their
median face square and their median length (of the real sheets; frames are run through to and fro). All have an apex.
Every round runs 1 worker, 2 workers and the three others one after the other, each at one thread a process; the median
round is printed, and the range. "At work" is from when every worker has its first clip done until the first has none
left. Processor time, which a busy machine changes less, is that of a whole run less loading its models once.

- Published program, as docs/paper.md lists its steps: detector and predictor loaded per clip, the frames from five
  before the apex on, cut at the face's own size, the RIFE model loaded for each inserted frame, Farneback, and a colour
  wheel written as JPEG (SMIC: BMP).
- Common practice: detector and predictor per clip, every frame decoded, cut, and given its flow by the method that
  slstt uses, stored as float16. Scripts look for the face on the apex frame or on every frame; both are measured.
"""

import argparse
import contextlib
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
import simplejpeg
from known_motion import FACES

from slstt import workers
from slstt.config.load import load_config
from slstt.config.preprocess import PreprocessConfig
from slstt.datasets import read_release, synthetic
from slstt.datasets.clips import Clip, Release
from slstt.datasets.synthetic.layouts import LAYOUTS
from slstt.downloads import landmark_model, rife_weights
from slstt.face.crop import cut, face_square
from slstt.face.landmarks import LandmarkDetector
from slstt.files import write_csv
from slstt.flow.interpolation import IFNet, Rife, fill, published_frames
from slstt.flow.optical_flow import FARNEBACK, onset_flow
from slstt.images import read_image
from slstt.preprocessing.clip import nearest_place, plan_frames, present
from slstt.preprocessing.run import PreprocessingResult, preprocess

SQUARE = 260
"""About the side of a rendered face's square in a frame of 640 x 480, pixels."""
SHORT_STEP = 4
"""`--short`: every 4th of 26 frames on average, as a camera of 50 frames a second sees them."""


@dataclass(frozen=True)
class Like:
    """What the clips of a data set are like."""

    name: str
    layout: str
    frame: tuple[int, int]
    """Width and height of its frames."""
    length: int
    """Median number of frames from onset to offset, from the real sheets."""

    @property
    def rendered(self) -> tuple[int, int]:
        """The frame, four to three, in which a rendered face has the data set's median square."""
        side = FACES[self.name]
        return 2 * round(320 * side / SQUARE), 2 * round(240 * side / SQUARE)


LIKE = {
    "casme2": Like("CASME II", "casme2", (640, 480), 61),
    "smic": Like("SMIC", "smic", (640, 480), 33),
    "samm": Like("SAMM", "samm", (960, 650), 78),
}

KERNELS: list[tuple[Any, str]] = [
    *((cv2, name) for name in ("imdecode", "imencode", "cvtColor", "resize", "magnitude", "circle")),
    (cv2, "calcOpticalFlowFarneback"),
    (simplejpeg, "decode_jpeg"),
    (IFNet, "forward"),
    (dlib, "shape_predictor"),
    (dlib, "get_frontal_face_detector"),
]


def framed(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture's middle in a frame of `size` (width, height); what lies outside repeats the border."""
    (height, width), (wide, high) = picture.shape[:2], size
    rows = np.clip(np.arange(high) + (height - high) // 2, 0, height - 1)
    columns = np.clip(np.arange(wide) + (width - wide) // 2, 0, width - 1)
    return np.ascontiguousarray(picture[rows[:, None], columns])


def draw(like: Like, root: Path, clips: int) -> Release:
    """Rendered clips in files like the data set's, one subject for every two."""
    synthetic.write(root, like.layout, subjects=clips // 2, clips_per_subject=2, size=like.rendered, quiet=True)
    release = read_release(like.layout, root)
    for clip in release.clips:
        for path in clip.frames.values():
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert picture is not None
            cv2.imwrite(str(path), framed(picture, like.frame), LAYOUTS[like.layout].encoding)
    return release


def of_real_length(release: Release, length: int, count: int, short: bool) -> Release:
    """`count` clips of `length` frames with the apex in the middle, by running to and fro through those there are.

    A frame that is read again costs what another frame would; no kernel's time depends on the motion.
    """
    clips = []
    for number in range(count):
        clip = release.clips[number % len(release.clips)]
        files = list(clip.frames.values())
        if short:
            files = files[::SHORT_STEP]
        else:
            to_and_fro = [*files, *files[-2:0:-1]]
            files = [to_and_fro[at % len(to_and_fro)] for at in range(length)]
        frames, middle, last = dict(enumerate(files)), len(files) // 2, len(files) - 1
        name = f"{clip.name}_{number}"
        clips.append(replace(clip, name=name, onset=0, apex=middle, offset=last, frames=frames))
    return replace(release, clips=tuple(clips))


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


def _read(clip: Clip, number: int) -> np.ndarray:
    picture = cv2.imread(str(clip.frames[number]))
    assert picture is not None
    return picture


Took = tuple[float, float]
"""Seconds per clip on the clock, and of processor time, which a busy machine changes less."""


def per_clip(work: Callable[[], None], clips: Sequence[Clip]) -> Took:
    """How long the work on the clips takes."""
    started, processor = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - started) / len(clips), (time.process_time() - processor) / len(clips)


def _load() -> None:
    LandmarkDetector(landmark_model())


def published_program(clips: Sequence[Clip], suffix: str) -> None:
    """The published program's steps."""
    model, network = landmark_model(), rife_weights()
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            detector = LandmarkDetector(model)  # detector and predictor, per clip
            numbers = present(clip)
            apex = nearest_place(numbers, clip.apex or 0)
            pictures: dict[int | float, np.ndarray] = {}
            pictures[apex] = _read(clip, numbers[apex])
            square = face_square(detector.detect(pictures[apex])[0].landmarks, "published")
            plan = published_frames(0, apex, len(numbers) - 1, 11)
            for at in {0, *plan.needed} - {apex}:
                pictures[at] = _read(clip, numbers[at])
            cuts: dict[int | float, np.ndarray] = {at: cut(picture, square) for at, picture in pictures.items()}
            for position in plan.inserted:
                cuts |= fill(cuts, [position], "rife", Rife.load(network))  # the model, per frame
            onset = cv2.cvtColor(cuts[0], cv2.COLOR_RGB2GRAY)
            for at, position in enumerate(plan.positions):
                grey = cv2.cvtColor(cuts[position], cv2.COLOR_RGB2GRAY)
                flow = cv2.calcOpticalFlowFarneback(onset, grey, None, *FARNEBACK)  # pyright: ignore
                length, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
                wheel = np.full((*onset.shape, 3), 255, np.uint8)
                wheel[..., 0] = angle * 180 / np.pi / 2
                wheel[..., 2] = cv2.normalize(length, np.zeros(0), 0, 255, cv2.NORM_MINMAX)
                cv2.imwrite(f"{folder}/{at}{suffix}", cv2.cvtColor(wheel, cv2.COLOR_HSV2BGR))


def common_practice(clips: Sequence[Clip], config: PreprocessConfig, every_face: bool) -> None:
    """Common practice; `every_face`: the face is looked for on every frame."""
    model, network = landmark_model(), rife_weights()
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            detector = LandmarkDetector(model)  # detector and predictor, per clip
            numbers = present(clip)
            pictures = {number: read_image(clip.frames[number]) for number in numbers}  # every frame
            apex = nearest_place(numbers, clip.apex or 0)
            wanted = numbers if every_face else [numbers[apex]]
            faces = {number: detector.detect(pictures[number]) for number in wanted}
            square = face_square(faces[numbers[apex]][0].landmarks)
            side = min(square[2], config.crop.at_most)
            cuts: dict[int | float, np.ndarray] = {at: cut(pictures[n], square, side) for at, n in enumerate(numbers)}
            plan = plan_frames(numbers, apex, config)
            for position in plan.inserted:
                cuts |= fill(cuts, [position], "rife", Rife.load(network))  # the model, per frame
            flow = onset_flow(np.stack([cuts[at] for at in sorted(cuts)]), config.flow.method)  # of every frame
            np.save(Path(folder) / "flow.npy", flow.astype(np.float16))


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
        """The objects of dlib and OpenCV cannot be patched: they are wrapped as they are made."""

        def __init__(self, name: str, inner: Any) -> None:
            self.name, self.inner = name, inner

        def __call__(self, *arguments: Any) -> Any:
            return clock(self.name, self.inner)(*arguments)

        def run(self, *arguments: Any) -> Any:
            return clock(self.name, self.inner.run)(*arguments)

        def calc(self, *arguments: Any) -> Any:
            return clock("cv2.DISOpticalFlow.calc", self.inner.calc)(*arguments)

    class TimedDis:
        """OpenCV's class cannot be patched either."""

        @staticmethod
        def create(preset: int) -> Timed:
            return Timed("", dis.create(preset))

    dis = cv2.DISOpticalFlow
    before = [(owner, name, getattr(owner, name)) for owner, name in kernels]
    for owner, name, function in before:
        label = f"{getattr(owner, '__name__', owner)}.{name}"
        if owner is dlib:
            setattr(owner, name, lambda *a, label=label, make=function: Timed(label, clock("load", make)(*a)))
        else:
            setattr(owner, name, clock(label, function))
    cv2.DISOpticalFlow = TimedDis  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield spent
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
        cv2.DISOpticalFlow = dis  # pyright: ignore[reportAttributeAccessIssue]


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


def report(like: Like, release: Release, config: PreprocessConfig, rounds: int) -> list[tuple[str, ...]]:
    """Measure, print, and return the rows (quantity, median, least, most)."""
    clips, side = release.clips, FACES[like.name]
    frames = statistics.mean(len(present(clip)) for clip in clips)
    inserted = statistics.mean(len(plan_frames(present(c), c.apex or 0, config).inserted) for c in clips)
    print(
        f"\n{like.name}: {len(clips)} clips of {like.frame[0]} x {like.frame[1]}, face about {side} px, "
        f"{frames:.0f} frames on average, {inserted:.1f} inserted"
    )
    suffix = ".bmp" if like.layout == "smic" else ".jpg"
    one, two = [], []
    others: dict[str, list[Took]] = {"published program": [], "practice": [], "practice, every face": []}
    with workers.one_thread():
        _, loading = per_clip(_load, clips[:1])
    few = clips[: max(2, len(clips) // 4)]  # the others take long, and every clip costs them the same
    for _ in range(rounds):
        one.append(ours(release, config, 1))
        two.append(ours(release, config, 2))
        with workers.one_thread():
            others["published program"].append(per_clip(lambda: published_program(few, suffix), few))
            others["practice"].append(per_clip(lambda: common_practice(few, config, False), few))
            others["practice, every face"].append(per_clip(lambda: common_practice(few, config, True), few))
    processor = [(a[3] - loading) / len(clips) for a in one]
    rows: list[tuple[str, list[float]]] = [
        ("s/clip, 1 worker, at work", [1 / a[1] for a in one]),
        ("s/clip, 2 workers, at work", [1 / b[1] for b in two]),
        ("1 -> 2 workers, at work", [b[1] / a[1] for a, b in zip(one, two, strict=True)]),
        ("processor s/clip, at work", processor),
    ]
    for name, took in others.items():
        rows += [
            (f"{name}, s/clip", [t[0] for t in took]),
            ("  times ours, 1 worker", [t[0] * a[1] for a, t in zip(one, took, strict=True)]),
            ("  times ours, 2 workers", [t[0] * b[1] for b, t in zip(two, took, strict=True)]),
            ("  processor s/clip", [t[1] for t in took]),
            ("  times ours, processor", [t[1] / own for own, t in zip(processor, took, strict=True)]),
        ]
    for name, values in rows:
        print(f"{name:<32} {median_range(values)}")
    spent, stages, total = kernel_share(release, config)
    print("seconds per clip and stage, one process (models loaded before):")
    for name, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"  {name:<16} {seconds / len(clips):.4f}  {seconds / total:6.1%}")
    print("inside kernels:")
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {name:<36} {seconds / len(clips):.4f}  {seconds / total:6.1%}")
    share = sum(spent.values()) / total
    print(f"  together {share:.1%} of the time at work on clips", flush=True)
    found = [(name, statistics.median(values), min(values), max(values)) for name, values in rows]
    return [(like.name, *map(str, row)) for row in [*found, ("kernel share", share, share, share)]]


LONG, LARGE = Like("CASME II", "casme2", (796, 596), 3000), Like("SAMM", "samm", (2040, 1088), 40)


def peak_memory(release: Release, config: PreprocessConfig) -> float:
    """Megabytes at most in use by a fresh process that works on the clips."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_work_alone, (release, config))


def _work_alone(release: Release, config: PreprocessConfig) -> float:
    with tempfile.TemporaryDirectory() as folder:
        result = preprocess(release, config, Path(folder), worker_count=1, quiet=True)
    assert not result.failures, result.failures
    # The kernel's own high-water mark: getrusage counts what the parent had when it started this process.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def report_memory(config: PreprocessConfig) -> None:
    """Print the peak for a very long clip without an apex, and for one of very large frames."""
    with tempfile.TemporaryDirectory() as folder:
        for like in (LONG, LARGE):
            root = Path(folder) / like.layout
            drawn = replace(like, name="SAMM") if like is LARGE else like
            size = like.frame
            synthetic.write(root, drawn.layout, subjects=1, clips_per_subject=1, size=size, quiet=True)
            release = of_real_length(read_release(drawn.layout, root), like.length, 1, short=False)
            if like is LONG:
                release = replace(release, clips=(replace(release.clips[0], apex=None),))
            print(
                f"{like.length} frames of {size[0]} x {size[1]}, apex {release.clips[0].apex or 'spotted'}: "
                f"{peak_memory(release, config):.0f} MB",
                flush=True,
            )
        print(f"the imports alone: {peak_memory(replace(release, clips=()), config):.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-set", choices=list(LIKE), help="one alone (default: all three)")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rendered", type=int, default=6, help="clips that differ; they are repeated")
    parser.add_argument("--short", action="store_true", help="clips with too few frames: all need inserted ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--csv", type=Path, help="also write the numbers there")
    parser.add_argument("rest", nargs="*", help="settings for slstt-preprocess (section.key=value)")
    arguments = parser.parse_intermixed_args()
    config = load_config(PreprocessConfig, None, arguments.rest)
    if arguments.memory:
        report_memory(config)
        return
    rows: list[tuple[str, ...]] = []
    for key in [arguments.data_set] if arguments.data_set else LIKE:
        with tempfile.TemporaryDirectory() as folder:
            like = LIKE[key]
            drawn = draw(like, Path(folder) / "raw", arguments.rendered)
            release = of_real_length(drawn, like.length, arguments.clips, arguments.short)
            rows += report(like, release, config, arguments.rounds)
    if arguments.csv:
        write_csv(arguments.csv, ("data set", "quantity", "median", "min", "max"), rows)


if __name__ == "__main__":
    main()
