"""Ways of spotting on rendered long recordings, as slstt-spot and slstt-eval do it: thresholds from other subjects.

    python benchmarks/spotting_methods.py                                  # every rate and difficulty, two processes
    python benchmarks/spotting_methods.py --rate 30 --difficulty 0.5 --subjects 12 --seconds 60

Each subject has one recording (640 x 480, grey, Motion JPEG): micro-expressions, longer ones, rests, blinks, a swaying
and turning head, and speech in a share of the rests; and one of a second of rest alone. Threshold and length of
each way are chosen on the other subjects for the highest F1. F1 counts intervals with an IoU of at least 0.5; brackets
are 95% intervals over subjects.
"""

import argparse
import multiprocessing
import tempfile
from itertools import product
from pathlib import Path

import cv2

from slstt.config.spot import Spot, SpotConfig
from slstt.datasets.clips import KINDS, Kind
from slstt.datasets.synthetic.recordings import draw_recording, write_video
from slstt.evaluation.intervals import VideoInterval, kind_of, score
from slstt.evaluation.tables import score_text
from slstt.face.landmarks import LandmarkDetector
from slstt.prediction.face_motion import track_face_motion
from slstt.prediction.recording import open_recordings
from slstt.spotting import rivals
from slstt.spotting.choose import choose, spot
from slstt.spotting.methods import METHODS, Choice, Signals
from slstt.spotting.recordings import AnnotatedRecording

SECONDS = {30: 20.0, 100: 9.0, 200: 6.0}
"""Of each subject's recording, by frames a second: many enough for a table in half an hour of two cores."""
LEAST: dict[Kind, Choice] = {
    kind: Choice(min(METHODS["slstt"].thresholds), min(METHODS["slstt"].lengths_ms[kind])) for kind in KINDS
}
Task = tuple[int, float, int, float, bool, float, int, tuple[str, ...]]
"""Rate, difficulty, seed, seconds, has it expressions, share of rests with speech, side of the flow, methods."""


def measured(task: Task) -> tuple[AnnotatedRecording, dict[str, Signals]]:
    """One recording, and what each method keeps of it."""
    cv2.setNumThreads(1)
    rate, difficulty, seed, seconds, expressive, speech, rivals.FLOW_SIDE, names = task
    drawn = draw_recording(seconds, seed, rate=rate, difficulty=difficulty, grey=True, speech=speech)
    if not expressive:
        drawn = draw_recording(1.25, seed, rate=rate, difficulty=difficulty, grey=True)
    true = tuple(
        VideoInterval(e.onset, e.offset, kind_of(e.onset, e.offset, rate), e.apex, e.emotion) for e in drawn.expressions
    )
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / "video.avi", (picture for _, picture in drawn.frames()), rate)
        (recording,) = open_recordings(path, rate)
        motion, pieces = track_face_motion(recording, detector=LandmarkDetector())
        signals = {name: METHODS[name].measure(recording, motion, pieces, LEAST) for name in names}
    name = "with" if expressive else "without"
    numbers = tuple(range(recording.count))
    return AnnotatedRecording("rendered", f"s{seed}", name, float(rate), recording, numbers, true), signals


def rows(found: list[tuple[AnnotatedRecording, dict[str, Signals]]], name: str) -> str:
    """The cells of one method's row."""
    recordings = [recording for recording, _ in found]
    signals = {recording.key: kept[name] for recording, kept in found}
    config = SpotConfig(spot=Spot(method=name))  # pyright: ignore[reportArgumentType]
    chosen = choose(recordings, signals, config)
    videos = [
        one.scored(
            i for kind in KINDS for i in spot(one, signals[one.key], name, kind, chosen[one.key[:2], kind].choice)
        )
        for one in recordings
    ]
    metrics = score(videos)["spotting"]
    micro = metrics["micro"]
    apex = "-" if micro["apex_error_seconds"] is None else f"{1000 * micro['apex_error_seconds']:.0f}"
    counts = f"{micro['tp']} of {micro['tp'] + micro['fn']} | {micro['fp']}"
    scores = " | ".join(score_text(metrics[kind]["f1"], metrics[kind]["ci"]) for kind in ("micro", "macro", "all"))
    return f"{counts} | {scores} | {apex} | {micro['false_alarms_per_minute']:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, nargs="+", default=[30, 100, 200])
    parser.add_argument("--difficulty", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--seconds", type=float, help="default: 20, 9 and 6 at 30, 100 and 200 frames a second")
    parser.add_argument("--flow-side", type=int, default=rivals.FLOW_SIDE, help="of the square for MDMD and flow")
    parser.add_argument("--speech", type=float, default=0.3, help="share of rests in which the person speaks")
    parser.add_argument("--seed", type=int, default=900, help="of the first subject")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    print(
        "| fps | difficulty | method | micro found | false | F1 micro | F1 macro | F1 all | apex, ms | false a minute |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for rate, difficulty in product(arguments.rate, arguments.difficulty):
            seconds = arguments.seconds or SECONDS.get(rate, 10.0)
            seeds = range(arguments.seed, arguments.seed + arguments.subjects)
            common = (arguments.speech, arguments.flow_side, tuple(arguments.methods))
            tasks = [(rate, difficulty, s, seconds, e, *common) for s in seeds for e in (True, False)]
            found = pool.map(measured, tasks, chunksize=1)
            for name in arguments.methods:
                print(f"| {rate} | {difficulty:g} | {name} | {rows(found, name)} |", flush=True)


if __name__ == "__main__":
    main()
