"""Which flow is best: how much of a known small motion each method measures, and what it costs.

    OMP_NUM_THREADS=1 python benchmarks/flow_accuracy.py --markdown             # 7 minutes
    python benchmarks/flow_accuracy.py --on portraits --faces SMIC --peaks 1    # a part of it
    python benchmarks/flow_accuracy.py --portraits FOLDER --enlarge-at-most 1.3

Two kinds of pictures (known_motion.py): rendered faces with drifting heads, and real portraits moved by action units.
Portraits are the pictures of --portraits FOLDER (without it `faces` in $SLSTT_SHARED or ../shared/data) and the
astronaut of scikit-image where that is installed. All are scaled to the median face square of SMIC, CASME II and SAMM
and moved by at most 0.5, 1 and 2 pixels, with sensor noise and JPEG 90. Each method runs on the cut as it is and on the
cut resized to 384 pixels (SAMM's is shrunk by that). The frames reach it as in slstt-preprocess: uint8 RGB, cut, grey.

Printed: the end-point error over the face in pixels of the frame, and the share of the true flow that is measured (its
least-squares factor, 1: all of it), both the median over the scenes with the quartiles; the share of the scenes in
which the error is below that of Farneback at native size; and milliseconds of processor time a frame, for 11 fields
from one onset at one thread, cutting, resizing and grey conversion included (median and range of the rounds).

A smooth warp flatters large windows: real skin also folds and slides, which a wide window smears and this benchmark
does not show. So no window is tuned here. Farneback has the published parameters, and DIS the presets of OpenCV;
`finest scale 0` is its medium preset with the last level of the pyramid, which the presets leave out, not left out.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from known_motion import FACES, Scene, portrait_scenes, read_portraits, rendered_scenes

from slstt.errors import SlsttError
from slstt.face.crop import cut
from slstt.flow.optical_flow import onset_flow

NETWORK = 384
FIELDS = 11


def dis(preset: int, **changed: int) -> Callable[[np.ndarray], np.ndarray]:
    """DIS from the first frame (T+1, H, W, 3) to the others, like `onset_flow`, with a preset of OpenCV's.

    `changed` are settings of the estimator that differ from the preset, by OpenCV's names.
    """

    def fields(frames: np.ndarray) -> np.ndarray:
        estimator = cv2.DISOpticalFlow.create(preset)
        for name, value in changed.items():
            getattr(estimator, f"set{name}")(value)
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        return np.stack([estimator.calc(grey[0], g, None).transpose(2, 0, 1) for g in grey[1:]])  # pyright: ignore

    return fields


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Farneback": lambda frames: onset_flow(frames, "farneback"),
    "DIS ultrafast": dis(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST),
    "DIS fast": dis(cv2.DISOPTICAL_FLOW_PRESET_FAST),
    "DIS medium": dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
    "DIS medium, finest scale 0": dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, FinestScale=0),
    "DIS medium, patches 4 apart": dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, PatchStride=4),
}
REFERENCE = ("Farneback", "native")


def error_and_share(measured: np.ndarray, true: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Mean length of the difference of two fields (2, H, W) inside the mask, and the least-squares share of `true`."""
    error = float(np.hypot(*(measured - true))[mask].mean())
    share = float((measured * true)[:, mask].sum() / (true**2)[:, mask].sum())
    return error, share


@dataclass
class Row:
    """What one method made of one size of face: by peak and scene its (error, share), and milliseconds a frame."""

    found: dict[float, dict[str, tuple[float, float]]] = field(default_factory=dict)
    milliseconds: list[float] = field(default_factory=list)


Rows = dict[tuple[str, str], Row]


def measure(scenes: Iterator[tuple[float, Scene]], methods: Sequence[str], network: int, rounds: int) -> Rows:
    """All methods at both sizes on all scenes. (method, `native` or the network's size) -> row."""
    rows: Rows = {(method, at): Row() for method in methods for at in ("native", str(network))}
    timed = None
    for peak, scene in scenes:
        side = scene.square[2]
        for (method, at), row in rows.items():
            size = side if at == "native" else network
            onset, _, apex = scene.cuts(size)
            flow = METHODS[method](np.stack([onset, apex]))[0]
            error, share = error_and_share(flow, scene.flow(size), scene.face(size))
            row.found.setdefault(peak, {})[scene.name] = (error * side / size, share)
        timed = timed or scene
    if timed is not None:
        # Real clips move on from frame to frame; no method's time depends on it much, so three frames take turns.
        frames = [timed.frames[0], *(timed.frames[1 + n % 2] for n in range(FIELDS))]
        for _ in range(rounds):
            for (method, at), row in rows.items():
                started = time.process_time()
                size = None if at == "native" else network
                METHODS[method](np.stack([cut(frame, timed.square, size) for frame in frames]))
                row.milliseconds.append((time.process_time() - started) / FIELDS * 1000)
    return rows


def quartiles(values: Sequence[float] | np.ndarray) -> str:
    """Median and quartiles, as in the tables."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def table(face: str, rows: Rows) -> Iterator[list[str]]:
    """Cells of each row."""
    for (method, at), row in rows.items():
        cells = [face, method, at]
        better = scenes = 0
        for peak, found in row.found.items():
            for column in (0, 1):
                cells.append(quartiles([both[column] for both in found.values()]))
            if REFERENCE in rows:
                reference = rows[REFERENCE].found[peak]
                better += sum(found[name][0] < reference[name][0] for name in found)
                scenes += len(found)
        cells.append(f"{better / scenes:.0%}" if scenes and (method, at) != REFERENCE else "")
        times = row.milliseconds
        cells.append(f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})")
        yield cells


def show(head: list[str], lines: list[list[str]], markdown: bool) -> None:
    """Print a table: Markdown, or columns that line up."""
    if markdown:
        print("\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines)))
    else:
        widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
        for cells in (head, *lines):
            print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", nargs="+", choices=["rendered", "portraits"], default=["rendered", "portraits"])
    parser.add_argument("--faces", nargs="+", choices=FACES, default=list(FACES), help="face sizes of these data sets")
    parser.add_argument("--peaks", type=float, nargs="+", default=[0.5, 1.0, 2.0], help="largest motion, pixels")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--network", type=int, default=NETWORK, help="the other size of the cut, pixels")
    parser.add_argument("--subjects", type=int, default=12, help="rendered faces")
    parser.add_argument("--portraits", type=Path, metavar="FOLDER")
    parser.add_argument("--enlarge-at-most", type=float, default=np.inf, help="leave out portraits of smaller faces")
    parser.add_argument("--noise", type=float, default=1.0, help="sensor noise, times that of a clip of difficulty 0.5")
    parser.add_argument("--rounds", type=int, default=5, help="readings of the milliseconds")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    chosen = parser.parse_args(argv)
    if min(chosen.peaks) <= 0 or chosen.noise < 0 or chosen.network < 32 or min(chosen.subjects, chosen.rounds) < 1:
        parser.error("--peaks above 0, --noise 0 or more, --network 32 or more, --subjects and --rounds 1 or more")
    cv2.setNumThreads(1)
    try:
        portraits = read_portraits(chosen.portraits) if "portraits" in chosen.on else []
    except SlsttError as error:
        print(f"flow_accuracy: error: {error}", file=sys.stderr)
        return error.exit_code
    head = ["face", "method", "cut"]
    for peak in chosen.peaks:
        head += [f"error at {peak:g} px", f"share at {peak:g} px"]
    head += ["less error", "ms a frame"]
    for material in chosen.on:
        lines: list[list[str]] = []
        remarks = []
        for face in chosen.faces:
            side = FACES[face]
            print(f"{material}, {face} ...", file=sys.stderr)
            if material == "portraits":
                kept = [p for p in portraits if side / p.side <= chosen.enlarge_at_most]
                scenes = portrait_scenes(kept, side, chosen.peaks, chosen.seed, noise=chosen.noise)
                remarks.append(f"{face}: " + ", ".join(f"{p.name} x{side / p.side:.2f}" for p in kept))
            else:
                scenes = rendered_scenes(chosen.subjects, side, chosen.peaks, chosen.seed, chosen.noise)
            rows = measure(scenes, chosen.methods, chosen.network, chosen.rounds)
            count = [len(found) for row in rows.values() for found in row.found.values()]
            if not count:
                print(f"{material}, {face}: no face is left at this size", file=sys.stderr)
                continue
            lines += table(f"{face}, {side} px ({count[0]} scenes)", rows)
        print(f"\n{material}\n")
        if lines:
            show(head, lines, chosen.markdown)
        print("".join(f"\n{remark}\n" for remark in remarks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
