"""Many clips at once: in this process, in worker processes of this machine, or on a Ray cluster.

All three take a `make` function, called once per worker, that returns the function applied to each task; models loaded
there are loaded once per worker. Results come back in the order in which they are finished.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from slstt.cluster import ray_cluster
from slstt.errors import SlsttError

Work = Callable[[Any], Any]
Make = Callable[..., Work]


@dataclass(frozen=True)
class Died:
    """The worker process that had `task` in hand was killed from outside (out of memory, say) or crashed."""

    task: Any
    exit_code: int | None


def here(make: Make, arguments: Sequence[Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """One task after the other in this process, at one thread; the thread counts are put back afterwards."""
    work = make(*arguments)
    with one_thread():
        for task in tasks:
            yield work(task)


def in_processes(make: Make, arguments: Sequence[Any], tasks: Sequence[Any], workers: int) -> Iterator[Any]:
    """Tasks spread over `workers` processes; a result, or Died where a process was lost (another takes its place).

    The processes end with this one, however it ends. A SlsttError raised by a worker (a full disk, a missing model)
    is raised here.
    """
    context = multiprocessing.get_context("spawn")
    waiting = deque(tasks)
    crew: dict[Connection, tuple[SpawnProcess, Any]] = {}

    def start() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, make, tuple(arguments)), daemon=True)
        process.start()
        theirs.close()  # so that the end of the child is the end of the pipe
        hand_over(ours, process)

    def hand_over(connection: Connection, process: SpawnProcess) -> None:
        task = waiting.popleft()
        crew[connection] = (process, task)
        with suppress(BrokenPipeError):  # the process is gone: reading from it says so in a moment
            connection.send(task)

    try:
        while len(crew) < min(workers, len(tasks)):
            start()
        while crew:
            for connection in wait(list(crew)):
                assert isinstance(connection, Connection)
                process, task = crew.pop(connection)
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    connection.close()
                    process.join()
                    if waiting:
                        start()
                    yield Died(task, process.exitcode)
                    continue
                if waiting:
                    hand_over(connection, process)
                else:
                    process.kill()
                    process.join()
                    connection.close()
                if isinstance(result, SlsttError):
                    raise result
                yield result
    finally:
        for connection, (process, _) in crew.items():
            process.kill()
            process.join()
            connection.close()


def on_ray(
    make: Make, arguments: Sequence[Any], tasks: Sequence[Any], workers: int, address: str | None
) -> Iterator[Any]:
    """Tasks spread over `workers` Ray actors; every machine must see the same folders under the same names.

    Raises ConfigError where Ray is not installed or no cluster answers at `address`; None: Ray on this machine.
    """
    with ray_cluster(address, workers, "run.ray_address") as ray:
        actor_class: Any = ray.remote(num_cpus=1, max_restarts=0)(_Actor)
        idle = [actor_class.remote(make, tuple(arguments)) for _ in range(min(workers, len(tasks)))]
        waiting, running = deque(tasks), {}
        while waiting or running:
            while waiting and idle:
                actor, task = idle.pop(), waiting.popleft()
                running[actor.work.remote(task)] = (actor, task)
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            actor, task = running.pop(ready)
            try:
                result = ray.get(ready)
            except ray.exceptions.RayActorError:
                idle.append(actor_class.remote(make, tuple(arguments)))
                yield Died(task, None)
                continue
            idle.append(actor)
            if isinstance(result, SlsttError):
                raise result
            yield result


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV and torch, where they are loaded, at one thread: the clips run side by side, not their kernels."""
    cv2, torch = sys.modules.get("cv2"), sys.modules.get("torch")
    before = cv2.getNumThreads() if cv2 else 1, torch.get_num_threads() if torch else 1
    try:
        if cv2:
            cv2.setNumThreads(1)
        if torch:
            torch.set_num_threads(1)
        yield
    finally:
        if cv2:
            cv2.setNumThreads(before[0])
        if torch:
            torch.set_num_threads(before[1])


class _Actor:
    def __init__(self, make: Make, arguments: tuple[Any, ...]) -> None:
        self.function = make(*arguments)

    def work(self, task: Any) -> Any:
        try:
            with one_thread():
                return self.function(task)
        except SlsttError as error:
            return error


def _serve(connection: Connection, make: Make, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C and batch systems signal the whole group; the parent decides, and ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = None
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            work = work or make(*arguments)
            with one_thread():
                result = work(task)
        except SlsttError as error:
            result = error
        connection.send(result)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
