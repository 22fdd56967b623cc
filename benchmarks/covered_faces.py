"""How much of the time in which a hand covers a face slstt-predict leaves out, and how much of the rest.

    python benchmarks/covered_faces.py                       # rendered faces, a hand over each for a while
    python benchmarks/covered_faces.py --videos DIR          # real ones: only the share of the time left out

The hand has the colour of the face's own skin. It comes from below, stays over mouth, cheek or eye for some two
seconds while it moves a little, and goes. The pictures are 640 x 480, 30 a second.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from slstt.config.preprocess import PredictConfig, Spotting
from slstt.datasets.synthetic.recordings import SyntheticRecording, draw_recording, write_video
from slstt.errors import SlsttError
from slstt.face.landmarks import LandmarkDetector
from slstt.prediction.face_motion import FaceMotion, measure_face_motion
from slstt.prediction.recording import open_recordings

RATE = 30.0
FROM, STAYS, COMES = 3.0, 2.0, 0.4
"""Seconds: when the hand is first in place, how long it stays, how long it comes and goes."""
PLACES = {"mouth": (0.0, 1.15), "cheek": (-0.55, 0.75), "eye": (-0.5, 0.1), "whole": (0.0, 0.6)}
"""Where the middle of the hand stays, in interocular distances from the eyes' middle."""


def with_hand(drawn: SyntheticRecording, place: str, seed: int) -> Iterator[np.ndarray]:
    """The recording's pictures with a hand over the face."""
    pose, generator = drawn.parts[0].motion.pose, np.random.default_rng(seed)
    eyes, skin = pose.interocular, None
    wave = generator.uniform(1.0, 3.0, 2)
    for number, picture in drawn.frames():
        if skin is None:
            x, y = (int(v) for v in pose.pixels(np.array([0.45, 0.7])))
            skin = picture[y - 6 : y + 6, x - 6 : x + 6].reshape(-1, 3).mean(axis=0)
        seconds = number / RATE
        there = np.clip(min(seconds - FROM + COMES, FROM + STAYS + COMES - seconds) / COMES, 0, 1)
        if there > 0:
            sway = 0.04 * np.sin(2 * np.pi * wave * seconds)
            at = pose.pixels(np.array(PLACES[place]) + sway) + np.array([0, (1 - there) * 4 * eyes])
            picture = _hand(picture, at, eyes, skin)
        yield picture


def _hand(picture: np.ndarray, at: np.ndarray, eyes: float, skin: np.ndarray) -> np.ndarray:
    """A palm with four fingers and a thumb, darker at its edges."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    x, y = at
    cv2.ellipse(mask, (round(x), round(y + 0.5 * eyes)), (round(0.45 * eyes), round(0.55 * eyes)), 0, 0, 360, 255, -1)
    for finger in range(4):
        base = (round(x + (finger - 1.5) * 0.22 * eyes), round(y + 0.3 * eyes))
        tip = (round(x + (finger - 1.5) * 0.27 * eyes), round(y - (0.55 + 0.12 * (finger in (1, 2))) * eyes))
        cv2.line(mask, base, tip, 255, round(0.2 * eyes), cv2.LINE_AA)
    cv2.line(
        mask, (round(x + 0.3 * eyes), round(y + 0.7 * eyes)), (round(x + 0.7 * eyes), round(y)), 255, round(0.2 * eyes)
    )
    cv2.line(mask, (round(x), round(y + eyes)), (round(x), round(y + 6 * eyes)), 255, round(0.6 * eyes))
    depth = (
        cv2.GaussianBlur(cv2.erode(mask, np.ones((3, 3), np.uint8)), (0, 0), 0.05 * eyes).astype(float)[..., None] / 255
    )
    shade = skin * (0.55 + 0.5 * depth)
    alpha = cv2.GaussianBlur(mask, (0, 0), 1.0).astype(float)[..., None] / 255
    noise = np.random.default_rng(0).normal(0, 2, (*picture.shape[:2], 1))
    return np.clip(picture * (1 - alpha) + (shade + noise) * alpha, 0, 255).astype(np.uint8)


def measured(path: Path, detector: LandmarkDetector) -> FaceMotion:
    """Without a limit for large movements, so that what is found while the hand moves is seen."""
    (recording,) = open_recordings(path, None)
    return measure_face_motion(recording, PredictConfig(spotting=Spotting(strongest=1e6)), detector=detector)


def rendered(seeds: range, detector: LandmarkDetector) -> None:
    print("| hand over | covered time left out | other time left out | intervals while covered | others |")
    print("|---|---|---|---|---|")
    for place in (None, *PLACES):
        left_out, found = [[], []], [0, 0]
        for seed in seeds:
            drawn = draw_recording(8, seed, rate=RATE, difficulty=0.5, person=1)
            with tempfile.TemporaryDirectory() as folder:
                pictures = (p for _, p in drawn.frames()) if place is None else with_hand(drawn, place, seed)
                motion = measured(write_video(Path(folder) / "video.avi", pictures, RATE), detector)
            covered = np.abs(motion.times - FROM - STAYS / 2) <= STAYS / 2 + COMES / 2
            covered &= place is not None
            # What lies beside the ends of the recording cannot be judged in any case.
            inside = np.abs(motion.times - motion.times[-1] / 2) < motion.times[-1] / 2 - 0.2
            left_out[0] += (~motion.judged[covered & inside]).tolist()
            left_out[1] += (~motion.judged[~covered & inside]).tolist()
            for one in motion.intervals:
                found[0 if covered[one.apex] else 1] += 1
        shares = " | ".join(f"{np.mean(some):.2f}" if some else "-" for some in left_out)
        print(f"| {place or 'nothing'} | {shares} | {found[0]} | {found[1]} |", flush=True)


def real(folder: Path, detector: LandmarkDetector) -> None:
    print("| video | seconds | face known | could be judged | intervals |\n|---|---|---|---|---|")
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".mp4", ".mov", ".mkv", ".gif")):
        try:
            motion = measured(path, detector)
        except SlsttError as error:
            print(f"| {path.name} | - | {str(error)[:60]} | - | - |", flush=True)
            continue
        known = np.isfinite(motion.landmarks).all(axis=(1, 2)).mean()
        at = ", ".join(f"{motion.times[i.apex]:.1f}" for i in motion.intervals)
        seconds = f"{motion.times[-1]:.1f}"
        print(f"| {path.name} | {seconds} | {known:.2f} | {motion.judged.mean():.2f} | {at or 0} |", flush=True)
        for line in motion.remarks:
            print("   ", line.rsplit("/", 1)[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, metavar="DIR", help="real videos instead")
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--seed", type=int, default=700, help="of the first person")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.videos:
        real(arguments.videos, LandmarkDetector())
    else:
        rendered(range(arguments.seed, arguments.seed + arguments.people), LandmarkDetector())


if __name__ == "__main__":
    main()
