"""Which clips, classes and subjects the rows of the leaderboard get wrong, and what the missed clips move like.

    python scripts/where_rows_fail.py --maps MAPS --out runs/leaderboard --names svm_linear svm_rbf committee slstt
    python scripts/where_rows_fail.py ... --picture where_rows_fail.png

Reads `OUT/NAME/seed*/predictions.csv` (`scripts/leaderboard.py` writes them); of several seeds the mean probability
decides. Beside the number of clips that all rows miss stands what it would be by chance, if each row missed as many
clips of that data set and class and chose them for itself.

What a clip moves like: its u and v, each minus its median and divided by its deviation, correlated with the mean of
each class over the other subjects. Groups of clips are also compared with drawn fields of single action units; the
picture shows those fields, drawn on the average face, and no licensed map.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from slstt.config.pretrain import Fields
from slstt.datasets.clips import name_of
from slstt.datasets.flow_maps import FlowMaps, read
from slstt.datasets.synthetic.faces import canonical_landmarks
from slstt.datasets.synthetic.flow_fields import FIELD_UNITS, PUBLISHED_CROP, draw
from slstt.evaluation.run import read_run
from slstt.flow.encoding import normalize_each

NAMES = ("svm_linear", "svm_rbf", "committee", "zero_shot", "slstt", "slstt_pretrained")
PLAIN = Fields(crop=PUBLISHED_CROP, stray=0, dropped=0, head=0, blink=0, noise=0, shrinkage=(1, 1), place=0, shape=0)
"""A unit and nothing else; both halves of the face move, one a little more than the other."""


def answers(out: Path, names: Sequence[str], maps: FlowMaps) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(true (N,), predicted (rows, N), classes): positions in `classes`, clips in the order of `maps`."""
    predicted, true, classes = [], np.array([]), ()
    for name in names:
        runs = [read_run(folder).predictions for folder in sorted((out / name).glob("seed*"))]
        if not runs:
            sys.exit(f"{out / name}: no run; scripts/leaderboard.py --names {name} makes it")
        order = [runs[0].keys.index(key) for key in maps.keys]
        classes = runs[0].classes
        true = np.array([classes.index(runs[0].true[i]) for i in order])
        predicted.append(np.mean([run.probabilities[order] for run in runs], axis=0).argmax(1))
    return true, np.stack(predicted), classes


def motion(maps: FlowMaps) -> np.ndarray:
    """(N, 2, H, W) float32: u and v, each minus its median and divided by its deviation."""
    return normalize_each(torch.from_numpy(maps.maps)[:, None])[:, 0, :2].numpy()


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two motions."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def to_class_means(moved: np.ndarray, true: np.ndarray, subjects: np.ndarray, classes: int) -> np.ndarray:
    """(N, classes): each clip's likeness to the mean of each class over the other subjects."""
    found = np.zeros((len(moved), classes))
    for subject in np.unique(subjects):
        means = [moved[(true == label) & (subjects != subject)].mean(0) for label in range(classes)]
        for clip in np.flatnonzero(subjects == subject):
            found[clip] = [likeness(moved[clip], mean) for mean in means]
    return found


def unit_fields() -> dict[int, np.ndarray]:
    """Action unit -> the mean (2, 28, 28) of drawn fields of that unit alone, normalised as clips are."""
    fields = {}
    for unit in FIELD_UNITS:
        mean = draw(PLAIN, 200, seed=0, emotions=(str(unit),)).maps.mean(axis=(0, 1))
        fields[unit] = normalize_each(torch.from_numpy(mean)[None, None])[0, 0, :2].numpy()
    return fields


def nearest_units(mean: np.ndarray, fields: dict[int, np.ndarray], count: int = 3) -> list[tuple[int, float]]:
    """The units whose fields are most like `mean`, best first, with their correlation."""
    found = [(unit, likeness(mean, field)) for unit, field in fields.items()]
    return sorted(found, key=lambda pair: -pair[1])[:count]


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (titles, ["---"] * len(titles), *rows))


def draw_groups(groups: dict[tuple[str, str], np.ndarray], fields: dict[int, np.ndarray], path: Path) -> None:
    """Each group of clips as the drawn fields of the units it is most like, on the average face.

    `groups`: (class, which clips) -> their mean motion; classes side by side, the clips' kinds below each other.
    """
    columns, lines = (list(dict.fromkeys(key[i] for key in groups)) for i in (0, 1))
    left, right, top, bottom = PUBLISHED_CROP
    share, points = (np.arange(0, 28, 2) + 0.5) / 28, canonical_landmarks()
    across, down = left + share * (right - left), top + share * (bottom - top)
    outlines = [(0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60)]
    figure, axes = plt.subplots(len(lines), len(columns), figsize=(3.4 * len(columns), 4.2 * len(lines)), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for (name, which), mean in groups.items():
        axis, near = axes[lines.index(which)][columns.index(name)], nearest_units(mean, fields)
        u, v = np.sum([fields[unit] * max(found, 0) for unit, found in near], axis=0)[:, ::2, ::2]
        strongest = float(np.hypot(u, v).max())
        axis.quiver(across, down, u, v, angles="xy", color="tab:red", width=0.007, scale=7 * strongest)
        for begin, end in outlines:
            axis.plot(*points[begin:end].T, color="0.6", linewidth=1, zorder=0)
        axis.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        units = ", ".join(f"AU {unit} {found:+.2f}" for unit, found in near)
        axis.set_title(f"{name}, {which}\n{units}", fontsize=8.5)
    figure.savefig(path, dpi=75, bbox_inches="tight")
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="the folder of the published flow maps")
    parser.add_argument("--out", type=Path, default=Path("runs/leaderboard"), help="where the rows' runs lie")
    parser.add_argument("--names", nargs="+", default=list(NAMES), help="rows")
    parser.add_argument("--list", action="store_true", help="also name the clips that all rows miss")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the groups' nearest action units")
    options = parser.parse_args(argv)
    maps = read(options.maps)
    true, predicted, classes = answers(options.out, options.names, maps)
    datasets, subjects = (np.array([key[i] for key in maps.keys]) for i in (0, 1))
    subjects = np.char.add(np.char.add(datasets, "/"), subjects)
    wrong = predicted != true
    missed, always_right = wrong.all(0), ~wrong.any(0)

    print("Share of clips classified rightly\n")
    rows, parts = [], [(d, c) for d in maps.datasets for c in range(len(classes))]
    for dataset, label in parts:
        chosen = (datasets == dataset) & (true == label)
        if chosen.any():
            shares = [f"{1 - wrong[row, chosen].mean():.2f}" for row in range(len(wrong))]
            by_chance = chosen.sum() * np.prod(wrong[:, chosen].mean(1))
            rows.append((dataset, classes[label], int(chosen.sum()), *shares, int(always_right[chosen].sum()),
                         int(missed[chosen].sum()), f"{by_chance:.1f}"))  # fmt: skip
    print(table(("data set", "class", "clips", *options.names, "all right", "all wrong", "by chance"), rows))
    print(f"\nall rows right: {always_right.sum()} of {len(true)} clips; all wrong: {missed.sum()}")

    print("\nWhat the clips that all rows miss are taken for (by most rows)\n")
    taken = np.array([np.bincount(column, minlength=len(classes)).argmax() for column in predicted.T])
    kinds = [(a, b) for a in range(len(classes)) for b in range(len(classes)) if a != b]
    counts = [(classes[a], classes[b], *(int((missed & (true == a) & (taken == b) & (datasets == d)).sum())
               for d in maps.datasets)) for a, b in kinds]  # fmt: skip
    print(table(("class", "taken for", *maps.datasets), counts))

    if options.list:
        for clip in np.flatnonzero(missed):
            print("  ", name_of(maps.keys[clip]), classes[true[clip]], "taken for", classes[taken[clip]])

    print("\nSubjects by share of wrong answers, mean over rows (of three clips or more)\n")
    by_subject = []
    for subject in np.unique(subjects):
        chosen = subjects == subject
        if chosen.sum() >= 3:
            by_subject.append((wrong[:, chosen].mean(), subject, int(chosen.sum()), int(missed[chosen].sum())))
    by_subject.sort(reverse=True)
    print(table(("subject", "clips", "wrong", "missed by all"),
                [(name, n, f"{share:.2f}", lost) for share, name, n, lost in by_subject[:8]]))  # fmt: skip
    errors = np.sort([wrong[:, subjects == subject].mean(0).sum() for subject in np.unique(subjects)])[::-1]
    print(f"\n{len(errors)} subjects: ten with the most errors have {errors[:10].sum() / errors.sum():.0%} of them, ")
    print(f"{(errors < 1).sum()} less than one error each (mean over rows)")
    rates = np.array([[wrong[row, subjects == s].mean() for s in np.unique(subjects)] for row in range(len(wrong))])
    alike = np.corrcoef(rates)[np.triu_indices(len(rates), 1)]
    print(f"error rates of subjects, one row against another: correlation {alike.min():.2f} to {alike.max():.2f}")

    moved, fields = motion(maps), unit_fields()
    near = to_class_means(moved, true, subjects, len(classes))
    own = near[np.arange(len(true)), true]
    others = np.where(np.arange(len(classes)) == true[:, None], -np.inf, near).max(1)
    print("\nWhat they move like: likeness to the mean of a class over other subjects (median), and units\n")
    rows, groups = [], {}
    for label, name in enumerate(classes):
        for what, among in (("right in all rows", always_right), ("missed by all rows", missed)):
            chosen = among & (true == label)
            if chosen.sum() < 3:
                continue
            mean = moved[chosen].mean(0)
            units = ", ".join(f"{unit} ({found:+.2f})" for unit, found in nearest_units(mean, fields))
            rows.append((name, what, int(chosen.sum()), f"{np.median(own[chosen]):+.2f}",
                         f"{np.median(others[chosen]):+.2f}", units))  # fmt: skip
            groups[name, what] = mean
    print(table(("class", "clips that are", "clips", "to its own", "to the nearest other", "units"), rows))
    if options.picture is not None:
        draw_groups(groups, fields, options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
