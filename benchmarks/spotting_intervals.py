"""How well slstt-predict spots micro-expressions in long synthetic recordings with its default settings.

    python benchmarks/spotting_intervals.py                          # 3 x 3 recordings of 20 s, 640 x 480, 100 fps
    python benchmarks/spotting_intervals.py --suffix .mp4   # MPEG-4, compressed to a few kB a frame
    python benchmarks/spotting_intervals.py --cost --minutes 10      # speed and memory on a long video

Counted as in the spotting tasks of the Facial Micro-Expression Grand Challenges (MEGC 2019-2021): an interval is true
where its frames overlap those of a micro-expression not yet matched with IoU >= 0.5; precision, recall and F1 over all
recordings together. Between the micro-expressions lie longer expressions (0.9 to 2 s, twice as strong), which must not
be reported. `apex` is the mean distance of the apex from the true one, in frames, over the true intervals. The pictures
are grey. Other ways of spotting are measured by spotting_methods.py.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from slstt.config.preprocess import PredictConfig, Spotting
from slstt.datasets.synthetic.recordings import draw_recording, write_recording, write_video
from slstt.evaluation.intervals import VideoInterval, pair
from slstt.face.landmarks import LandmarkDetector
from slstt.prediction.face_motion import measure_face_motion
from slstt.prediction.recording import open_recordings


def measure(difficulty: float, arguments: argparse.Namespace) -> str:
    """The cells of one difficulty's row."""
    detector, settings = LandmarkDetector(), PredictConfig(spotting=Spotting(threshold=arguments.threshold))
    hits = spotted = wanted = 0
    seconds, apexes = 0.0, []
    for seed in range(arguments.seed, arguments.seed + arguments.recordings):
        drawn = draw_recording(
            arguments.seconds, seed, rate=arguments.rate, difficulty=difficulty, head=arguments.head, grey=True
        )
        with tempfile.TemporaryDirectory() as folder:
            path = write_recording(Path(folder) / f"recording{arguments.suffix}", drawn)
            (recording,) = open_recordings(path, drawn.rate)
            motion = measure_face_motion(recording, settings, detector=detector)
        found = [VideoInterval(i.onset, i.offset, "micro", i.apex) for i in motion.intervals]
        pairs = pair(found, [VideoInterval(e.onset, e.offset, "micro") for e in drawn.micro])
        apexes += [abs(motion.intervals[f].apex - drawn.micro[t].apex) for f, t in pairs]
        hits, spotted, wanted = hits + len(pairs), spotted + len(found), wanted + len(drawn.micro)
        seconds += drawn.count / drawn.rate
    scores = f"{hits / max(1, spotted):.2f} | {hits / max(1, wanted):.2f} | {2 * hits / max(1, spotted + wanted):.2f}"
    apex = f"{np.mean(apexes):.1f}" if apexes else "-"
    return f"{wanted} | {spotted} | {scores} | {apex} | {60 * (spotted - hits) / seconds:.1f}"


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
    parser.add_argument("--cost", action="store_true", help="measure speed and memory instead")
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.cost:
        cost(arguments)
        return
    print("| difficulty | true | spotted | precision | recall | F1 | apex | false alarms a minute |")
    print("|---|---|---|---|---|---|---|---|")
    for difficulty in arguments.difficulty:
        print(f"| {difficulty:g} | {measure(difficulty, arguments)} |", flush=True)


if __name__ == "__main__":
    main()
