"""Many tasks at once: in this process, in processes of this machine, or on Ray, by the same rules.

A worker calls `make(worker, *arguments)` once and applies the function it returns to each task. Results come in the
order in which they are finished. A worker that dies costs its own task alone, which is tried again after the others.
"""

import logging
import multiprocessing
import os
import pickle
import queue
import re
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Self

from slstt.errors import ConfigError, SlsttError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a batch system's time limit, a closed terminal."""
STOP_FILE = ".stop"
CONTEXT = multiprocessing.get_context("spawn")  # a forked child may not use CUDA, nor threads started before

Work = Callable[[Any], Any]
Make = Callable[..., Work]
Answer = tuple[str, Any]
"""What a worker says: done (result), error (type, problems), died (exit code, hint), message, or left."""


@dataclass(frozen=True)
class Worker:
    """What `make` is told of the worker it is called in."""

    place: int
    """From 0; no two processes at work have the same, so it may choose a GPU. 0 in this process and on Ray."""
    stop: Callable[[], bool]
    """Whether the task at work is to save and return: the user asked to stop, or the run has ended."""
    send: Callable[[Any], None]
    """Tell the run something about the task at work; it never fails."""


@dataclass(frozen=True)
class Done:
    """A task and what its worker returned."""

    task: Any
    result: Any


@dataclass(frozen=True)
class Died:
    """A task whose worker was killed or failed with an unexpected exception."""

    task: Any
    exit_code: int | None
    """Negative: the number of the signal. None on Ray, and after an exception."""
    hint: str

    @property
    def how(self) -> str:
        """Exit code and hint in one phrase."""
        return self.hint if self.exit_code is None else f"exit code {self.exit_code}; {self.hint}"


@dataclass(frozen=True)
class Here:
    """One task after the other in this process; an unexpected exception is raised as it is."""


@dataclass(frozen=True)
class OnProcesses:
    """Up to `count` processes of this machine. They end with this one, however it ends."""

    count: int


@dataclass(frozen=True)
class OnRay:
    """Tasks of a Ray cluster whose machines see the same folders under the same names."""

    address: str | None
    """None: a Ray of this machine alone, which ends with the run."""
    setting: str
    """The setting that holds the address, for messages."""
    folder: Path
    """One that all machines see: the file `.stop` in it tells tasks at work to save."""
    count: int | None = None
    """How many tasks at once, and the CPUs of a Ray of this machine; None: as many as there is room for."""
    cpus: float = 1.0
    gpus: float = 0.0
    """Per task."""


Where = Here | OnProcesses | OnRay


@dataclass
class _Plan:
    """What is to be done, and whom to tell: see `at_work`."""

    make: Make
    arguments: tuple[Any, ...]
    waiting: deque[tuple[Any, int]]
    """Tasks that are not at work, each with the number of its next attempt."""
    stop: Callable[[], bool]
    heard: Callable[[Any, Any], None]
    again: Callable[[Died], None]
    saves: bool
    attempts: int

    def next(self) -> tuple[Any, int] | None:
        """A task to begin now and its attempt; None where nothing waits or the user asked to stop."""
        return self.waiting.popleft() if self.waiting and not self.stop() else None

    def settle(self, task: Any, attempt: int, answer: Answer) -> Iterator[Done | Died]:
        """The outcome that a worker's answer means; a task whose worker died waits once more, if it may."""
        kind, value = answer
        if kind == "done":
            yield Done(task, value)
        elif kind == "error":
            raise value[0](*value[1])
        elif kind == "died":
            died = Died(task, *value)
            if attempt >= self.attempts:
                yield died
            elif not self.stop():
                self.waiting.append((task, attempt + 1))  # behind the others: memory may be free by then
                self.again(died)


@contextmanager
def at_work(
    make: Make,
    arguments: Sequence[Any],
    tasks: Sequence[Any],
    where: Where,
    *,
    stop: Callable[[], bool] = lambda: False,
    heard: Callable[[Any, Any], None] = lambda task, message: None,
    again: Callable[[Died], None] = lambda died: None,
    saves: bool = False,
    attempts: int = 2,
) -> Iterator[Iterator[Done | Died]]:
    """Within the block workers are at work; iterate over what it yields for one outcome per finished task.

    Once `stop` says yes no task is begun and those at work are told. `heard` gets (task, message) for what they send,
    `again` a death after which the task is begun once more, at most `attempts` times in all. `saves`: the tasks heed
    `worker.stop`, so at the end of the block, and where this process dies, those at work are asked to save; otherwise,
    and after KeyboardInterrupt, they end at once. Except in this process everything must be picklable.

    A SlsttError in a worker concerns the whole run and is raised by the iterator; the workers end with the block.
    Raises ConfigError where Ray is not installed or no cluster answers.
    """
    waiting = deque((task, 1) for task in tasks)
    plan = _Plan(make, tuple(arguments), waiting, stop, heard, again, saves, attempts)
    with ExitStack() as stack:
        if isinstance(where, Here) or not tasks:
            yield _here(plan)
            return
        if isinstance(where, OnProcesses):
            crew = _Processes(plan, where.count)
        else:
            crew = _Ray(plan, where, stack.enter_context(ray_cluster(where.address, where.count, where.setting)))
        try:
            yield crew.outcomes()
        except KeyboardInterrupt:
            saves = False
            raise
        finally:
            crew.end(saves)


def _answer(work: Callable[[], Any]) -> Answer:
    """What `work` returns or raises, as a value to be sent. An unexpected exception counts as the worker's death."""
    try:
        return "done", work()
    except SlsttError as error:
        return "error", (type(error), tuple(error.problems))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "died", (None, f"{_line(error)} ({Path(frame.filename).name}, line {frame.lineno})")


def _line(error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Ray colours its messages
    return f"{type(error).__name__}: {' '.join(text.split())[:300]}"


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV and torch, where they are loaded, at one thread: the tasks run side by side, not their kernels."""
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


class Stop:
    """SIGINT, SIGTERM and SIGHUP: the first asks for a good end, the second ends at once.

    While active, a first signal is only noted (`stop()` is then True); outside `graceful`, and the second time,
    KeyboardInterrupt is raised where the program is.
    """

    def __init__(self) -> None:
        self.asked = self.graceful = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether the user, or the batch system, asked to stop."""
        return self.asked

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # An ignored SIGHUP stays ignored: `nohup` is the user's way to outlive a terminal.
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.asked or not self.graceful:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping after this step; once more to stop at once", file=sys.stderr, flush=True)


def _here(plan: _Plan) -> Iterator[Done | Died]:
    task = work = None
    worker = Worker(0, plan.stop, lambda message: plan.heard(task, message))
    while (given := plan.next()) is not None:
        task, _ = given
        work = work or plan.make(worker, *plan.arguments)
        yield Done(task, work(task))


# --- processes ------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Process:
    """A worker process and the task it is at work on.

    The pipe carries tasks and, as an empty message, the wish to stop down, and answers and messages up. A closed pipe
    ends the worker, whether the run closed it or died.
    """

    process: SpawnProcess
    pipe: Connection
    place: int
    task: Any = None
    attempt: int = 0

    def give(self, task: Any, attempt: int) -> None:
        self.task, self.attempt = task, attempt
        self.tell(pickle.dumps(task))

    def tell(self, text: bytes) -> None:
        with suppress(OSError):  # where it died, its sentinel tells
            self.pipe.send_bytes(text)

    def answer(self) -> Answer:
        """What it says, or that it died."""
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except (EOFError, OSError):
            pass
        self.process.join()
        code = self.process.exitcode or 0
        if code == -signal.SIGKILL:
            return "died", (code, "killed by the kernel: out of memory?")
        return "died", (code, signal.strsignal(-code) if code < 0 else "it ended by itself")


class _Processes:
    def __init__(self, plan: _Plan, count: int) -> None:
        self.plan, self.count = plan, count
        self.busy: list[_Process] = []
        self.leaving: list[SpawnProcess] = []

    def outcomes(self) -> Iterator[Done | Died]:
        self._fill()
        told = False
        while self.busy:
            if not told and self.plan.stop():
                told = True
                for one in self.busy:
                    one.tell(b"")
            for one in self._ready(0.2):
                answer = one.answer()
                if answer[0] == "message":
                    self.plan.heard(one.task, answer[1])
                    continue
                task, attempt = one.task, one.attempt
                given = self.plan.next() if answer[0] == "done" else None
                if given is None:
                    self._dismiss(one)
                else:
                    one.give(*given)
                yield from self.plan.settle(task, attempt, answer)
                self._fill()

    def end(self, saves: bool) -> None:
        """End all workers; where they save, after they have."""
        try:
            if saves:
                for one in self.busy:
                    one.tell(b"")
                while self.busy:
                    for one in self._ready(None):
                        if one.answer()[0] != "message":  # what else they have to say is of no interest
                            self._dismiss(one)
                for process in self.leaving:
                    process.join()
        finally:
            for one in list(self.busy):
                self._dismiss(one)
            for process in self.leaving:
                process.kill()
                process.join()

    def _ready(self, seconds: float | None) -> list[_Process]:
        """The busy workers that have said something, or died."""
        ready = wait([end for one in self.busy for end in (one.pipe, one.process.sentinel)], seconds)
        return [one for one in self.busy if one.pipe in ready or one.process.sentinel in ready]

    def _fill(self) -> None:
        """Start workers while there is room and something to do."""
        while len(self.busy) < self.count and (given := self.plan.next()) is not None:
            place = min(set(range(self.count)) - {one.place for one in self.busy})
            ours, theirs = CONTEXT.Pipe()
            arguments = (theirs, place, self.plan.make, self.plan.arguments, self.plan.saves)
            process = CONTEXT.Process(target=_serve, args=arguments, daemon=True)
            resource_tracker.ensure_running()  # its own start would let the signals through
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the process can ignore them itself
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()  # so that the end of the process is the end of the pipe
            one = _Process(process, ours, place)
            self.busy.append(one)
            one.give(*given)

    def _dismiss(self, one: _Process) -> None:
        self.busy.remove(one)
        self.leaving.append(one.process)
        one.pipe.close()


def _serve(pipe: Connection, place: int, make: Make, arguments: tuple[Any, ...], saves: bool) -> None:
    """A worker process."""
    # Ctrl-C and batch systems signal the whole group; the run decides, and tells or ends its workers itself.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    stopping = threading.Event()
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        with suppress(EOFError, OSError):
            while True:
                if task := pipe.recv_bytes():
                    inbox.put(task)
                else:
                    stopping.set()
        if not saves:
            os._exit(1)
        stopping.set()
        inbox.put(b"")

    def send(kind: str, value: Any = None) -> None:
        with suppress(OSError):  # the run is gone: the task is asked to save in a moment
            pipe.send((kind, value))

    threading.Thread(target=listen, daemon=True).start()
    worker, work = Worker(place, stopping.is_set, lambda message: send("message", message)), None

    def do(task: bytes) -> Any:
        nonlocal work
        work = work or make(worker, *arguments)
        return work(pickle.loads(task))

    while task := inbox.get():
        if stopping.is_set():
            send("left")
            continue
        answer = _answer(lambda task=task: do(task))
        send(*answer)
        if answer[0] == "died":
            return  # what it left behind (on a GPU, say) goes with the process


# --- on Ray ---------------------------------------------------------------------------------------------------------


@contextmanager
def ray_cluster(address: str | None, cpus: int | None, setting: str) -> Iterator[Any]:
    """Within the block the yielded `ray` is connected to `address`; None: to a Ray of this machine with `cpus` (all).

    A connection that stood before is used and left standing. Raises ConfigError where Ray is not installed, or,
    naming `setting`, where no cluster answers at `address`.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("'run.executor': ray is not installed; pip install 'slstt[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's coming default, which it warns about
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:  # without "local" Ray would join whatever cluster it finds here, and die with it
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            _check_reachable(address)
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        if address is None:
            raise ConfigError(f"'run.executor': Ray cannot be started here ({said}); use processes") from error
        raise ConfigError(
            f"{setting}: no Ray cluster answers at {address} ({said}); "
            f"start one with `ray start --head`, or leave {setting} out"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own there, which would leave without saving
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise OSError where nothing listens at `host:port` or `ray://host:port`: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


class _Ray:
    """Ray tasks, at most `count` at a time. Ray's own retries are off: `_Plan.settle` has the rule."""

    def __init__(self, plan: _Plan, where: OnRay, ray: Any) -> None:
        self.plan, self.ray, self.count = plan, ray, where.count or len(plan.waiting)
        self.stop_file = where.folder / STOP_FILE
        self.stop_file.unlink(missing_ok=True)
        self.post = ray.remote(num_cpus=0, max_restarts=-1)(_Post).remote()
        self.key = uuid.uuid4().hex
        self.run = ray.put((plan.make, plan.arguments, self.stop_file, self.post))
        self.begin = ray.remote(num_cpus=where.cpus, num_gpus=where.gpus, max_retries=0)(_ray_task).remote
        self.begun: list[Any] = []
        """Every task begun; a message names its position here."""
        self.pending: dict[Any, tuple[Any, int]] = {}

    def outcomes(self) -> Iterator[Done | Died]:
        while True:
            if self.plan.stop():
                self.stop_file.touch()
            while len(self.pending) < self.count and (given := self.plan.next()) is not None:
                self.pending[self.begin(self.key, self.run, len(self.begun), given[0])] = given
                self.begun.append(given[0])
            if not self.pending:
                return
            finished, _ = self.ray.wait(list(self.pending), timeout=0.5)
            with suppress(self.ray.exceptions.RayError):  # a lost message is not worth the run
                for number, message in self.ray.get(self.post.take.remote(), timeout=10):
                    self.plan.heard(self.begun[number], message)
            for reference in finished:
                task, attempt = self.pending.pop(reference)
                try:
                    answer = self.ray.get(reference)
                except self.ray.exceptions.RayError as error:
                    answer = "died", (None, _line(error))
                yield from self.plan.settle(task, attempt, answer)

    def end(self, saves: bool) -> None:
        """Where the tasks save, give them a minute for it; then end them."""
        try:
            if saves and self.pending:
                self.stop_file.touch()
                self.ray.wait(list(self.pending), num_returns=len(self.pending), timeout=60)
        finally:
            for reference in self.pending:
                self.ray.cancel(reference, force=True)
            self.ray.kill(self.post)
            self.stop_file.unlink(missing_ok=True)


class _Post:
    """A Ray actor that keeps what the tasks send until the run takes it."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, Any]] = []

    def put(self, number: int, message: Any) -> None:
        self.kept.append((number, message))

    def take(self) -> list[tuple[int, Any]]:
        kept, self.kept = self.kept, []
        return kept


class _RayWorker:
    """The worker of one run in a Ray process, which Ray gives many tasks; what `make` loads is kept."""

    def __init__(self, make: Make, arguments: tuple[Any, ...], stop_file: Path, post: Any) -> None:
        self.make, self.arguments, self.stop_file, self.post = make, arguments, stop_file, post
        self.work: Work | None = None
        self.number, self.sent = 0, None
        self.asked, self.looked = False, 0.0

    def do(self, task: Any) -> Any:
        self.work = self.work or self.make(Worker(0, self.stop, self.send), *self.arguments)
        return self.work(task)

    def stop(self) -> bool:
        # A look at a shared folder may cost more than a step of a task: once a second is enough.
        if time.monotonic() - self.looked > 1.0:
            self.asked, self.looked = self.stop_file.exists(), time.monotonic()
        return self.asked

    def send(self, message: Any) -> None:
        self.sent = self.post.put.remote(self.number, message)


_ray_workers: dict[str, _RayWorker] = {}


def _ray_task(key: str, run: tuple[Make, tuple[Any, ...], Path, Any], number: int, task: Any) -> Answer:
    """The Ray task. Errors are values: Ray would wrap a raised one."""
    import ray
    from ray.exceptions import RayError

    if key not in _ray_workers:
        _ray_workers.clear()
        _ray_workers[key] = _RayWorker(*run)
    worker = _ray_workers[key]
    worker.number, worker.sent = number, None
    if worker.stop():
        return "left", None
    answer = _answer(lambda: worker.do(task))
    if answer[0] == "died":
        _ray_workers.clear()
    if worker.sent is not None:
        with suppress(RayError):  # the run hears every message before the outcome
            ray.get(worker.sent, timeout=10)
    return answer
