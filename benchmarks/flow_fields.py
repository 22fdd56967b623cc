"""Maps a second of `flow_fields.draw`, against the same fields computed one pull at a time.

python benchmarks/flow_fields.py
"""

import time

import numpy as np

from slstt.config.pretrain import Fields
from slstt.datasets.synthetic.action_units import place
from slstt.datasets.synthetic.clips import displacement
from slstt.datasets.synthetic.faces import canonical_landmarks
from slstt.datasets.synthetic.flow_fields import FIELD_UNITS, draw


def main() -> None:
    for frames, resolution, count in ((1, 28, 4000), (11, 28, 500), (1, 112, 300)):
        started, used = time.perf_counter(), time.process_time()
        fields = draw(Fields(frames=frames), count, seed=0, resolution=resolution)
        seconds, used = time.perf_counter() - started, time.process_time() - used
        sites = place(FIELD_UNITS, canonical_landmarks())
        column = [FIELD_UNITS.index(unit) for unit in sites.unit]
        x = np.linspace(-1.2, 1.2, resolution)
        grid = np.stack(np.meshgrid(x, x), axis=-1)
        singles = 20
        slow = time.perf_counter()
        for units in fields.units[:singles]:
            displacement(grid, sites, units[column, sites.right.astype(int)])
        slow = (time.perf_counter() - slow) / singles
        print(
            f"T={frames} {resolution}x{resolution}: {count / seconds:.0f} clips/s "
            f"({count / used:.0f} clips per CPU second), {slow / (seconds / count):.1f} x one pull at a time"
        )


if __name__ == "__main__":
    main()
