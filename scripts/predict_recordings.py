"""How slstt-predict does on whole rendered recordings: expressions spotted, invented, and named rightly.

    python scripts/predict_recordings.py --difficulty 0.3 --out /tmp/recordings

An interval counts as spotted where it shares more than half of its union with a true one (intersection over union).
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
    parser.add_argument("--rate", type=float, default=100, help="frames a second")
    parser.add_argument("--speech", type=float, default=0, help="share of rests in which the person speaks")
    parser.add_argument("--head", type=float, default=6, help="how far the head sways, in pixels")
    parser.add_argument("--weights", default="default", help="as --weights of slstt-predict")
    parser.add_argument("rest", nargs="*", help="settings for slstt-predict (section.key=value)")
    arguments = parser.parse_intermixed_args()
    clips, truth = arguments.out / "clips", {}
    for person in range(arguments.seed, arguments.seed + arguments.people):
        drawn = draw_recording(
            arguments.seconds,
            seed=person,
            rate=arguments.rate,
            difficulty=arguments.difficulty,
            head=arguments.head,
            speech=arguments.speech,
        )
        truth[f"person{person}.mp4"] = drawn.expressions
        if not (clips / f"person{person}.mp4").exists():
            write_recording(arguments.out / f"person{person}.mp4", drawn)  # with its truth beside it
            clips.mkdir(exist_ok=True)
            (arguments.out / f"person{person}.mp4").rename(clips / f"person{person}.mp4")
    code = predict([str(clips), "--out", str(arguments.out / "found"), "--weights", arguments.weights, *arguments.rest])
    if code != 0:
        raise SystemExit(code)
    tables = []
    for name in ("predictions.csv", "intervals.csv"):
        with (arguments.out / "found" / name).open(newline="") as stream:
            tables.append(list(csv.DictReader(stream)))
    rows = [{**row, "p_no_expression": interval["p_no_expression"]} for row, interval in zip(*tables, strict=True)]
    expressions = right = 0
    spotted, longer = [], []
    for name, shown in truth.items():
        for true in shown:
            expressions += true.micro
            least = 0.5 if true.micro else 0.0  # what lies in a longer expression is neither found nor invented
            own = [row for row in rows if row["recording"] == name and _overlap(row, true.onset, true.offset) > least]
            if own and true.micro:
                spotted.append(own[0])
                right += own[0]["predicted_label"] == CLASS_OF[true.emotion]
            elif not true.micro:
                longer += own
    others = [row for row in rows if row not in spotted and row not in longer]
    print(f"{expressions} micro-expressions, {len(spotted)} spotted, {len(others)} others found, {right} named rightly")
    print(f"taken for no expression: {_none(spotted)} of those spotted, {_none(others)} of the others")


def _none(rows: list[dict[str, str]]) -> int:
    return sum(float(row["p_no_expression"] or 0) >= 0.5 for row in rows)


def _overlap(row: dict[str, str], onset: int, offset: int) -> float:
    first, last = int(row["onset"]), int(row["offset"])
    shared = min(last, offset) - max(first, onset)
    return shared / (max(last, offset) - min(first, onset))


if __name__ == "__main__":
    main()
