"""What two sets of flow maps have in common: their channels, their strain, and the motion of each class.

    python scripts/compare_maps.py --maps MAPS --other OTHER

Each channel of each map was scaled for itself, so lengths are lost; these figures are what is left to compare.

- *Middle* and *mean*: of a channel's 0..255, averaged over maps. At rest u and v are near their middle, strain near 0.
- *Strain*: the third channel's correlation with the strain computed from the map's own u and v, as they are and with
  the two numbers that the scaling hides: v against u, and a row's height against a column's width (median over maps;
  the numbers that suit all maps best).
- *Motion of a class*: u and v, each minus its median and divided by its deviation, averaged over the clips of a class
  and then correlated between the two sets. A flipped sign or exchanged channels would make it negative or none.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from slstt.datasets.flow_maps import CLASSES, FlowMaps, read
from slstt.flow.encoding import normalize_each

CHANNELS = ("u", "v", "strain")
RATIOS = np.geomspace(0.4, 2.5, 19)


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,): of (N, H, W) and (N, H, W) map by map; 0 where one is flat."""
    a, b = (x.reshape(len(x), -1) - x.mean(axis=(1, 2))[:, None] for x in (a, b))
    sizes = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return (a * b).sum(axis=1) / np.maximum(sizes, 1e-9)


def strain_lines(maps: FlowMaps) -> list[str]:
    """How well u and v explain the third channel, as strain and as what it might be instead."""
    u, v, third = np.moveaxis(maps.raw.astype(np.float64), 3, 0)
    (u_y, u_x), (v_y, v_x) = (np.gradient(channel, axis=(1, 2)) for channel in (u, v))
    u_0, v_0 = (channel - np.median(channel, axis=(1, 2), keepdims=True) for channel in (u, v))

    def median(explained: np.ndarray) -> float:
        return float(np.median(correlation(explained, third)))

    def strain(v_to_u: float, row: float) -> float:
        return median(np.sqrt(u_x**2 + (v_to_u * v_y / row) ** 2 + (u_y / row + v_to_u * v_x) ** 2 / 2))

    found = {(a, b): strain(a, b) for a in RATIOS for b in RATIOS}
    best = max(found, key=lambda pair: found[pair])
    given = f"v times {best[0]:.2f} and rows {best[1]:.2f} times as high as columns are wide"
    normal = max(median(np.hypot(u_x, a * v_y)) for a in RATIOS)
    length = max(median(np.hypot(u_0, a * v_0)) for a in RATIOS)
    return [
        f"| strain of its own u, v against the third channel | {strain(1, 1):.3f} |",
        f"| the same, {given} | {found[best]:.3f} |",
        f"| normal strains alone (u_x, v_y), best scale of v | {normal:.3f} |",
        f"| length of u, v instead, best scale of v | {length:.3f} |",
    ]


def class_motion(maps: FlowMaps, label: str, side: int) -> np.ndarray:
    """(2, side, side): the mean u and v of the class."""
    chosen = [i for i, found in enumerate(maps.labels) if found == label]
    mean = normalize_each(torch.from_numpy(maps.maps[chosen])[:, None])[:, 0, :2].mean(0).numpy()
    return np.stack([cv2.resize(channel, (side, side), interpolation=cv2.INTER_AREA) for channel in mean])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, required=True, help="a folder of flow maps")
    parser.add_argument("--other", type=Path, required=True, help="another")
    options = parser.parse_args(argv)
    both = [read(root) for root in (options.maps, options.other)]
    for root, maps in zip((options.maps, options.other), both, strict=True):
        print(f"\n{root}: {len(maps.keys)} maps of {maps.raw.shape[1]} pixels\n\n| | |\n| --- | --- |")
        for place, name in enumerate(CHANNELS):
            channel = maps.raw[..., place]
            print(f"| {name}: middle, mean | {np.median(channel, (1, 2)).mean():.0f}, {channel.mean():.0f} |")
        print("\n".join(strain_lines(maps)))
    side = min(maps.raw.shape[1] for maps in both)
    print("\n| motion of a class, one set against the other | u | v | u against v |\n| --- | --- | --- | --- |")
    for label in CLASSES:
        if all(label in maps.labels for maps in both):
            one, other = (class_motion(maps, label, side) for maps in both)
            pairs = (one[0], other[0]), (one[1], other[1]), (one[0], other[1])
            print(f"| {label} | {' | '.join(f'{float(correlation(a[None], b[None])[0]):+.2f}' for a, b in pairs)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
