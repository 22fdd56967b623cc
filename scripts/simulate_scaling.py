"""How long leave-one-subject-out runs take on 1 to 256 workers, by simulation from measured costs; seeded.

A worker is whatever trains one fold at a time: a GPU, a share of one, or a CPU core. Folds are independent tasks of
unequal length (stragglers), nodes of 8 workers are lost at random, and a lost fold continues elsewhere from its last
checkpoint. The costs come from benchmarks/loso.py; give your own, e.g.

  python scripts/simulate_scaling.py --fold-seconds 600 --workers-per-node 4
"""

import argparse
import heapq
from dataclasses import dataclass

import numpy as np

WORKLOADS = {"SDE (26 folds)": 26, "CDE (68 folds)": 68, "10 seeds x 20 configs of CDE (13,600 folds)": 13_600}
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Executor:
    """What an executor costs beside the training itself, in seconds."""

    name: str
    startup: float
    """Once, until the first fold can begin."""
    per_fold: float
    """For each fold: dispatch, files, pooling."""
    largest: int
    """Workers it can use."""
    survives: bool
    """Whether it goes on by itself when a node is lost; otherwise someone starts it again, `RESTART` later."""


RESTART = 1800.0


def simulate(
    folds: int,
    workers: int,
    executor: Executor,
    fold_seconds: float,
    spread: float,
    losses_per_node_day: float,
    checkpoint_seconds: float,
    workers_per_node: int,
    generator: np.random.Generator,
) -> float:
    """Seconds until the last fold is done.

    Lengths are log-normal about `fold_seconds` with deviation `spread` of the logarithm. Longest first would be better,
    but lengths are not known beforehand: the order is random. A node is back after `RESTART`.
    """
    workers = min(workers, executor.largest)
    lengths = fold_seconds * np.exp(generator.normal(-(spread**2) / 2, spread, folds))
    free = [(executor.startup, worker) for worker in range(workers)]
    heapq.heapify(free)
    rate = losses_per_node_day / 86400
    nodes = -(-workers // workers_per_node)
    fail_at = generator.exponential(1 / rate, nodes) if rate > 0 else np.full(nodes, np.inf)
    waiting = list(lengths[::-1])
    end, whole_stop = 0.0, 0.0
    while waiting:
        start, worker = heapq.heappop(free)
        node = worker // workers_per_node
        start = max(start, whole_stop)
        while start >= fail_at[node]:  # lost while idle: back later, with a new time of failure
            start = max(start, fail_at[node] + RESTART)
            fail_at[node] = fail_at[node] + RESTART + generator.exponential(1 / rate)
        length = waiting.pop()
        done = start + executor.per_fold + length
        if done <= fail_at[node]:
            end = max(end, done)
            heapq.heappush(free, (done, worker))
            continue
        trained = max(0.0, fail_at[node] - start - executor.per_fold)
        kept = max(0.0, trained - generator.uniform(0, checkpoint_seconds))
        waiting.append(length - kept)
        back = fail_at[node] + RESTART
        if not executor.survives:
            whole_stop = max(whole_stop, back)
        heapq.heappush(free, (back, worker))
        # The node's other workers meet the same failure time when their turn comes; it moves on once all have passed.
        if all(at >= fail_at[node] for at, other in free if other // workers_per_node == node):
            fail_at[node] = back + generator.exponential(1 / rate)
    return end


def span(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for size, unit, name in ((172800, 86400, "d"), (7200, 3600, "h"), (120, 60, "min")):
        if seconds >= size:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fold-seconds", type=float, default=300.0, help="mean training time of a fold on one worker")
    parser.add_argument("--spread", type=float, default=0.15, help="deviation of the logarithm of a fold's time")
    parser.add_argument("--losses", type=float, default=0.05, help="losses per node and day")
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0)
    parser.add_argument("--workers-per-node", type=int, default=8)
    parser.add_argument("--serial", type=float, nargs=2, default=(6.0, 0.05), metavar=("STARTUP", "PER_FOLD"))
    parser.add_argument("--processes", type=float, nargs=2, default=(11.0, 0.05), metavar=("STARTUP", "PER_FOLD"))
    parser.add_argument("--ray", type=float, nargs=2, default=(20.0, 0.1), metavar=("STARTUP", "PER_FOLD"))
    parser.add_argument("--array", type=float, nargs=2, default=(120.0, 6.0), metavar=("STARTUP", "PER_FOLD"))
    parser.add_argument("--repeats", type=int, default=20, help="simulations per figure; the median is shown")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    executors = (
        Executor("serial", given.serial[0], given.serial[1], 1, False),
        Executor("processes", given.processes[0], given.processes[1], given.workers_per_node, False),
        Executor("ray", given.ray[0], given.ray[1], 10**9, True),
        Executor("job array", given.array[0], given.array[1], 10**9, True),
    )
    print(
        f"Folds of {span(given.fold_seconds)} (log-normal, {given.spread:g}), {given.losses:g} losses per node and "
        f"day, {given.workers_per_node} workers per node, median of {given.repeats}, seed {given.seed}.\n"
    )
    for title, folds in WORKLOADS.items():
        repeats = given.repeats if folds < 1000 else max(1, given.repeats // 5)
        print(
            f"**{title}**\n\n| workers | "
            + " | ".join(e.name for e in executors)
            + " | within 3 % of the best | efficiency |"
        )
        print("|---:|" + "---:|" * len(executors) + "---|---:|")
        for workers in WORKERS:
            times = {}
            for executor in executors:
                if workers > executor.largest:
                    continue
                # The same folds and losses for every executor, so that only its own costs tell them apart.
                generator = np.random.default_rng([given.seed, folds, workers])
                runs = [
                    simulate(
                        folds, workers, executor, given.fold_seconds, given.spread, given.losses,
                        given.checkpoint_seconds, given.workers_per_node, generator,
                    )
                    for _ in range(repeats)
                ]  # fmt: skip
                times[executor.name] = float(np.median(runs))
            least = min(times.values())
            good = [name for name, seconds in times.items() if seconds <= 1.03 * least]
            best = "any" if len(good) == len(executors) or len(good) == len(times) > 1 else ", ".join(good)
            cells = " | ".join(span(times[e.name]) if e.name in times else "" for e in executors)
            share = folds * given.fold_seconds / (workers * least)
            print(f"| {workers} | {cells} | {best} | {share:.0%} |")
        print()


if __name__ == "__main__":
    main()
