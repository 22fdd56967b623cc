"""Many tasks at once: in this process, in processes of this machine, or on Ray (`ray_workers.py`), by the same rules.

A worker calls `make(worker, *arguments)` once and applies the function it returns to each task. Results come in the
order in which they are finished. A worker that dies (killed by the kernel, say) costs its own task alone, which is
tried again after the others.
"""

import multiprocessing
import os
import pickle
import queue
import re
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from slstt.errors import SlsttError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a batch system's time limit, a closed terminal."""
CONTEXT = multiprocessing.get_context("spawn")  # a forked child may not use CUDA, nor threads started before

Work = Callable[[Any], Any]
Make = Callable[..., Work]
Answer = tuple[str, Any]
"""What a worker sends: done (result), error (type, problems), died (exit code, hint), message, or left."""


@dataclass(frozen=True)
class Worker:
    """What `make` needs to know about the worker it is called in."""

    place: int
    """From 0; no two processes at work have the same, so it may choose a GPU. 0 in this process and on Ray."""
    stop: Callable[[], bool]
    """Whether the task at work is to save and return: the user asked to stop, or the run has ended."""
    send: Callable[[Any], None]
    """Send the run a message about the task at work; it never fails."""


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


@dataclass
class PoolPlan:
    """What is to be done, and who gets messages and retries: see `at_work`."""

    make: Make
    arguments: tuple[Any, ...]
    waiting: deque[tuple[Any, int]]
    """Tasks that are not at work, each with the number of its next attempt."""
    stop: Callable[[], bool]
    on_message: Callable[[Any, Any], None]
    on_retry: Callable[[Died], None]
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
                self.on_retry(died)


@runtime_checkable
class Pool(Protocol):
    """Workers that have begun with a plan."""

    def outcomes(self) -> Iterator[Done | Died]:
        """Do the tasks; the outcomes in the order in which they come."""
        ...

    def end(self, saves: bool) -> None:
        """End the workers; where `saves`, after those at work have saved."""
        ...


@runtime_checkable
class Where(Protocol):
    """Where tasks are done: `Here`, `OnProcesses` or `ray_workers.OnRay`."""

    def start(self, plan: PoolPlan) -> AbstractContextManager[Pool]:
        """Within the block there are workers for `plan`. Raises ConfigError where none can be had."""
        ...


@dataclass(frozen=True)
class Here:
    """One task after the other in this process; an unexpected exception is raised as it is."""

    @contextmanager
    def start(self, plan: PoolPlan) -> Iterator[Pool]:
        """See `Where`."""
        yield _ThisProcess(plan)


@dataclass(frozen=True)
class OnProcesses:
    """Up to `count` processes of this machine. They end with this one, however it ends."""

    count: int

    @contextmanager
    def start(self, plan: PoolPlan) -> Iterator[Pool]:
        """See `Where`."""
        yield _Processes(plan, self.count)


@contextmanager
def at_work(
    make: Make,
    arguments: Sequence[Any],
    tasks: Sequence[Any],
    where: Where,
    *,
    stop: Callable[[], bool] = lambda: False,
    on_message: Callable[[Any, Any], None] = lambda task, message: None,
    on_retry: Callable[[Died], None] = lambda died: None,
    saves: bool = False,
    attempts: int = 2,
) -> Iterator[Iterator[Done | Died]]:
    """Within the block workers are at work; iterate over what it yields for one outcome per finished task.

    Once `stop` says yes no task is begun and those at work are told. `on_message` gets (task, message) for what they
    send, `on_retry` a death after which the task is begun once more, at most `attempts` times in all. `saves`: the
    tasks heed `worker.stop`, so at the end of the block, and where this process dies, those at work are asked to save;
    otherwise, and after KeyboardInterrupt, they end at once. Except in this process everything must be picklable.

    A SlsttError in a worker concerns the whole run and is raised by the iterator; the workers end with the block.
    Raises ConfigError where Ray is not installed or no cluster answers.
    """
    waiting = deque((task, 1) for task in tasks)
    plan = PoolPlan(make, tuple(arguments), waiting, stop, on_message, on_retry, saves, attempts)
    with (where if tasks else Here()).start(plan) as pool:
        try:
            yield pool.outcomes()
        except KeyboardInterrupt:
            saves = False
            raise
        finally:
            pool.end(saves)


def answer_of(work: Callable[[], Any]) -> Answer:
    """What `work` returns or raises, as a value to be sent. An unexpected exception counts as the worker's death."""
    try:
        return "done", work()
    except SlsttError as error:
        return "error", (type(error), tuple(error.problems))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "died", (None, f"{one_line(error)} ({Path(frame.filename).name}, line {frame.lineno})")


def one_line(error: Exception) -> str:
    """The error as one line of at most a few hundred characters."""
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


class _ThisProcess:
    def __init__(self, plan: PoolPlan) -> None:
        self.plan = plan

    def outcomes(self) -> Iterator[Done | Died]:
        task = work = None
        worker = Worker(0, self.plan.stop, lambda message: self.plan.on_message(task, message))
        while (given := self.plan.next()) is not None:
            task, _ = given
            work = work or self.plan.make(worker, *self.plan.arguments)
            yield Done(task, work(task))

    def end(self, saves: bool) -> None:
        pass  # it goes on without them


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

    def assign(self, task: Any, attempt: int) -> None:
        self.task, self.attempt = task, attempt
        self.send(pickle.dumps(task))

    def send(self, text: bytes) -> None:
        with suppress(OSError):  # where it died, its sentinel tells
            self.pipe.send_bytes(text)

    def answer(self) -> Answer:
        """What it sent, or that it died."""
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
    def __init__(self, plan: PoolPlan, count: int) -> None:
        self.plan, self.count = plan, count
        self.busy: list[_Process] = []
        self.leaving: list[SpawnProcess] = []

    def outcomes(self) -> Iterator[Done | Died]:
        self._fill()
        asked = False
        while self.busy:
            if not asked and self.plan.stop():
                asked = True
                for one in self.busy:
                    one.send(b"")
            for one in self._ready(0.2):
                answer = one.answer()
                if answer[0] == "message":
                    self.plan.on_message(one.task, answer[1])
                    continue
                task, attempt = one.task, one.attempt
                given = self.plan.next() if answer[0] == "done" else None
                if given is None:
                    self._dismiss(one)
                else:
                    one.assign(*given)
                yield from self.plan.settle(task, attempt, answer)
                self._fill()

    def end(self, saves: bool) -> None:
        """End all workers; where they save, after they have."""
        try:
            if saves:
                for one in self.busy:
                    one.send(b"")
                while self.busy:
                    for one in self._ready(None):
                        if one.answer()[0] != "message":  # their other messages are of no interest
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
        """The busy workers that have sent something, or died."""
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
            one.assign(*given)

    def _dismiss(self, one: _Process) -> None:
        self.busy.remove(one)
        self.leaving.append(one.process)
        one.pipe.close()


def _serve(pipe: Connection, place: int, make: Make, arguments: tuple[Any, ...], saves: bool) -> None:
    """A worker process."""
    # Ctrl-C and batch systems signal the whole group; the run decides, and stops its workers itself.
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
        answer = answer_of(lambda task=task: do(task))
        send(*answer)
        if answer[0] == "died":
            return  # what it left behind (on a GPU, say) goes with the process
