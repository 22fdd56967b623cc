"""How slstt-predict does on whole rendered recordings: expressions spotted, invented, and named rightly.

    python scripts/predict_recordings.py --difficulty 0.3 --out /tmp/recordings

An interval counts as spotted where it shares half of its union with a true one (intersection over union >= 0.5).
"""

import argparse
import csv
from pathlib import Path

from slstt.cli.predict import main as predict
from slstt.datasets.synthetic.recordings import draw_recording, write_recording

CLASS_OF = {
    "happiness": "positive",
    "surprise": "surprise",
    "disgust": "negative",
    "repression": "negative",
    "others": "negative",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the recordings and what is found in them")
    parser.add_argument("--difficulty", type=float, default=0.3)
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--seed", type=int, default=1, help="of the first person; the others' follow")
    parser.add_argument("rest", nargs="*", help="settings for slstt-predict (section.key=value)")
    arguments = parser.parse_intermixed_args()
    clips, truth = arguments.out / "clips", {}
    for person in range(arguments.seed, arguments.seed + arguments.people):
        drawn = draw_recording(arguments.seconds, seed=person, difficulty=arguments.difficulty)
        truth[f"person{person}.mp4"] = drawn.micro
        if not (clips / f"person{person}.mp4").exists():
            write_recording(arguments.out / f"person{person}.mp4", drawn)  # with its truth beside it
            clips.mkdir(exist_ok=True)
            (arguments.out / f"person{person}.mp4").rename(clips / f"person{person}.mp4")
    code = predict([str(clips), "--out", str(arguments.out / "found"), *arguments.rest])
    if code != 0:
        raise SystemExit(code)
    with (arguments.out / "found" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    expressions = spotted = right = 0
    for name, micro in truth.items():
        for true in micro:
            expressions += 1
            own = [row for row in rows if row["recording"] == name and _overlap(row, true.onset, true.offset) >= 0.5]
            if own:
                spotted += 1
                right += own[0]["predicted_label"] == CLASS_OF[true.emotion]
    print(f"{expressions} expressions, {spotted} spotted, {len(rows) - spotted} others found, {right} named rightly")


def _overlap(row: dict[str, str], onset: int, offset: int) -> float:
    first, last = int(row["onset"]), int(row["offset"])
    shared = min(last, offset) - max(first, onset)
    return shared / (max(last, offset) - min(first, onset))


if __name__ == "__main__":
    main()
