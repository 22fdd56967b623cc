"""Folds as Ray tasks: on this machine, or on a cluster whose nodes see the same data and run folders.

A task whose node or process died is tried again elsewhere and continues from the fold's last checkpoint. The fold's
lock keeps a survivor of a lost node and its successor apart: the second waits, finds the fold done, and leaves it so.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from slstt.cluster import ray_cluster
from slstt.errors import SlsttError
from slstt.training.loso import FoldOutcome, FoldTrainer, TrainingJob

STOP_FILE = ".stop"

Trouble = tuple[type[SlsttError], Sequence[str]]
"""An error that concerns the whole run, as a value: Ray would dress up a raised one."""


def run_ray(job: TrainingJob, names: Sequence[str], stop: Callable[[], bool]) -> Iterator[FoldOutcome]:
    """Train the folds as Ray tasks. Raises what concerns the whole run, after the others were asked to save.

    Raises ConfigError where no cluster answers at run.ray.address.
    """
    options, stop_file = job.settings.run.ray, job.run / STOP_FILE
    stop_file.unlink(missing_ok=True)
    with ray_cluster(options.address, job.settings.run.workers, "run.ray.address") as ray:
        task: Any = ray.remote(
            num_cpus=options.cpus_per_fold, num_gpus=options.gpus_per_fold, max_retries=options.retries
        )(train_one)
        pending = {task.remote(job, name): name for name in names}
        try:
            while pending:
                if stop():
                    stop_file.touch()
                finished, _ = ray.wait(list(pending), timeout=0.5)
                for reference in finished:
                    name = pending.pop(reference)
                    try:
                        result = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        reason = " ".join(str(error).split())[:300]
                        result = FoldOutcome(name, "failed", f"{type(error).__name__}: {reason}")
                    if not isinstance(result, FoldOutcome):
                        raise result[0](*result[1])
                    yield result
        finally:
            stop_file.touch()
            if pending:
                ray.wait(list(pending), num_returns=len(pending), timeout=60)
            stop_file.unlink(missing_ok=True)


def train_one(job: TrainingJob, name: str) -> FoldOutcome | Trouble:
    """The task: one fold."""
    asked, looked = False, 0.0

    def stop() -> bool:
        # A look at a shared folder may cost more than a step of a small model: once a second is enough.
        nonlocal asked, looked
        if time.monotonic() - looked > 1.0:
            asked, looked = (job.run / STOP_FILE).exists(), time.monotonic()
        return asked

    try:
        return FoldOutcome(name, "interrupted") if stop() else _trainer(job).train(name, stop)
    except SlsttError as error:
        return type(error), tuple(error.problems)


@lru_cache(maxsize=1)
def _trainer(job: TrainingJob) -> FoldTrainer:
    """Ray runs many tasks in one process: the data are read once."""
    return FoldTrainer(job)
