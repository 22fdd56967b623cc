"""Folds in several processes of this machine: one per GPU, or as many as the CPU cores allow.

A process that dies takes only its fold with it: the fold goes to a new process once more, from its last checkpoint.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from slstt.config.train import TrainConfig
from slstt.errors import SlsttError
from slstt.training.loso import FoldOutcome, FoldTrainer, TrainingJob

CONTEXT = multiprocessing.get_context("spawn")  # a forked child may not use CUDA, nor threads started before
ATTEMPTS = 2


def worker_count(settings: TrainConfig, folds: int, device: str) -> int:
    """How many processes: as configured, or one per GPU, or the cores this process may use / threads_per_fold."""
    wanted = settings.run.workers
    if wanted is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = torch.cuda.device_count() if device == "cuda" else cores // settings.run.threads_per_fold
    return max(1, min(wanted, folds))


def run_processes(
    job: TrainingJob,
    names: Sequence[str],
    stop: Callable[[], bool],
    report: Callable[[str, int], None],
    say: Callable[[str], None],
) -> Iterator[FoldOutcome]:
    """Train the folds, several at once. Raises what concerns the whole run, after the others were asked to save."""
    waiting = deque((name, 1) for name in names)
    stopping = CONTEXT.Event()
    workers = [_start(job, place, stopping) for place in range(worker_count(job.settings, len(names), job.device))]
    try:
        for worker in workers:
            worker.give(waiting)
        while any(worker.fold for worker in workers):
            if stop():
                stopping.set()
            busy = [worker for worker in workers if worker.fold]
            ready = wait([end for worker in busy for end in (worker.connection, worker.process.sentinel)], timeout=0.2)
            for worker in busy:
                if worker.connection not in ready and worker.process.sentinel not in ready:
                    continue
                kind, value = worker.message()
                match kind:
                    case "epoch":
                        report(*value)
                    case "say":
                        say(value)
                    case "outcome":
                        yield value
                        worker.give(waiting if not stop() else deque())
                    case "error":
                        raise value[0](*value[1])
                    case _:
                        name, attempt = worker.fold or ("", ATTEMPTS)
                        code = worker.process.exitcode
                        workers[workers.index(worker)] = fresh = _start(job, worker.place, stopping)
                        if attempt < ATTEMPTS:
                            say(f"{name}: its process died (exit code {code}); continuing from its last checkpoint")
                            waiting.appendleft((name, attempt + 1))
                        else:
                            yield FoldOutcome(name, "failed", f"its process died {ATTEMPTS} times (exit code {code})")
                        fresh.give(waiting if not stop() else deque())
    finally:
        stopping.set()
        for worker in workers:
            worker.end()


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    place: int
    fold: tuple[str, int] | None = None
    """The fold it is at work on, and the how-manieth attempt this is."""

    def give(self, waiting: deque[tuple[str, int]]) -> None:
        self.fold = waiting.popleft() if waiting else None
        with contextlib.suppress(OSError):  # where it died, its sentinel tells
            self.connection.send(self.fold[0] if self.fold else None)

    def message(self) -> tuple[str, Any]:
        try:
            return self.connection.recv() if self.connection.poll() else ("died", None)
        except (EOFError, OSError):
            self.process.join()
            return "died", None

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)
        # What it still has to say is of no interest, but a full pipe must not keep it from ending.
        while self.process.is_alive():
            try:
                if self.connection.poll(0.1):
                    self.connection.recv()
            except (EOFError, OSError):
                self.process.join()
        self.connection.close()


def _start(job: TrainingJob, place: int, stopping: Any) -> _Worker:
    if job.device == "cuda":
        job = replace(job, device=f"cuda:{place % torch.cuda.device_count()}")
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(job, theirs, stopping), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, place)


def _work(job: TrainingJob, connection: Connection, stopping: Any) -> None:
    """A worker process: folds in, messages out, until it is given None."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent is told as well, and asks for a good end
    orphaned = threading.Event()
    threading.Thread(target=_watch_parent, args=(orphaned,), daemon=True).start()

    def stop() -> bool:
        return stopping.is_set() or orphaned.is_set()

    try:
        trainer = None
        while (name := connection.recv()) is not None:
            trainer = trainer or FoldTrainer(job)
            outcome = trainer.train(
                name,
                stop,
                lambda epoch, name=name: connection.send(("epoch", (name, epoch))),
                lambda line: connection.send(("say", line)),
            )
            connection.send(("outcome", outcome))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone; the fold's checkpoint is on disk
    except SlsttError as error:
        connection.send(("error", (type(error), error.problems)))


def _watch_parent(orphaned: threading.Event) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        orphaned.set()
