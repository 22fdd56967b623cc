"""Write slstt/datasets/protocol_digests.json from the published coding sheets and the MEGC2019 list.

    python scripts/write_protocol_digests.py FOLDER

FOLDER holds casme2_coding.csv, samm_coding.csv, smic_coding.csv and combined_3class_gt.csv (dataset, subject, clip,
class 0..2). None of them may be redistributed, so only truncated salted digests go into the package.
"""

import argparse
import csv
from collections import Counter, defaultdict
from pathlib import Path

from slstt.datasets import casme2, samm, smic
from slstt.datasets.annotations import read_annotations
from slstt.datasets.clips import Clip
from slstt.datasets.protocols import PROTOCOLS, Entry, class_of, digest
from slstt.files import write_json

DATASETS = {data_set.name: data_set for data_set in (casme2.DATA_SET, samm.DATA_SET, smic.DATA_SET)}
SALT = "slstt protocol lists, first edition"
TARGET = Path(__file__).parents[1] / "slstt" / "datasets" / "protocol_digests.json"


def sde(folder: Path, dataset: str) -> list[Entry]:
    rows, _ = read_annotations(DATASETS[dataset], folder / f"{dataset}_coding.csv")
    clips = [Clip(dataset, r.subject, r.clip, r.emotion, r.onset, r.apex, r.offset or 0, folder) for r in rows]
    classes = [(clip, class_of(PROTOCOLS[f"{dataset}_sde"], clip)) for clip in clips]
    return [(*clip.key, label) for clip, label in classes if label is not None]


def cde(folder: Path) -> list[Entry]:
    with (folder / "combined_3class_gt.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row]
    classes = PROTOCOLS["cde"].classes
    return [
        (d, DATASETS[d].subject_id(subject), DATASETS[d].clip_id(clip), classes[int(label)])
        for d, subject, clip, label in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    lists = {f"{dataset}_sde": sde(folder, dataset) for dataset in DATASETS} | {"cde": cde(folder)}
    table = {}
    for name, entries in lists.items():
        parts = defaultdict(list)
        for entry in entries:
            parts[entry[0]].append(digest(SALT, name, *entry))
        counts = Counter((dataset, label) for dataset, _, _, label in entries)
        expected = {(d, c): n for d, classes in PROTOCOLS[name].counts.items() for c, n in classes.items()}
        if counts != expected:
            raise SystemExit(f"{name}: the lists give {dict(counts)}, published are {expected}")
        table[name] = {dataset: " ".join(sorted(digests)) for dataset, digests in sorted(parts.items())}
    write_json(TARGET, {"salt": SALT, "lists": table})
    print(f"{TARGET}: {', '.join(f'{name} {len(entries)}' for name, entries in lists.items())}")


if __name__ == "__main__":
    main()
