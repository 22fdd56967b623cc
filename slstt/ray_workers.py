"""Tasks on Ray: the cluster, the share of a CPU or GPU that each Ray task gets, and the messages between machines."""

import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slstt.errors import ConfigError
from slstt.workers import Answer, Died, Done, Make, Pool, PoolPlan, Work, Worker, answer_of, one_line

STOP_FILE = ".stop"


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

    @contextmanager
    def start(self, plan: PoolPlan) -> Iterator[Pool]:
        """See `Where`. Raises ConfigError where Ray is not installed or no cluster answers."""
        with ray_cluster(self.address, self.count, self.setting) as ray:
            yield _RayPool(plan, self, ray)


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
        reason = " ".join(str(error).split())[:200]
        if address is None:
            raise ConfigError(f"'run.executor': Ray cannot be started here ({reason}); use processes") from error
        raise ConfigError(
            f"{setting}: no Ray cluster answers at {address} ({reason}); "
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


class _RayPool:
    """Ray tasks, at most `count` at a time. Ray's own retries are off: `PoolPlan.settle` has the rule."""

    def __init__(self, plan: PoolPlan, where: OnRay, ray: Any) -> None:
        self.plan, self.ray, self.count = plan, ray, where.count or len(plan.waiting)
        self.stop_file = where.folder / STOP_FILE
        self.stop_file.unlink(missing_ok=True)
        self.messages = ray.remote(num_cpus=0, max_restarts=-1)(_MessageActor).remote()
        self.key = uuid.uuid4().hex
        self.run = ray.put((plan.make, plan.arguments, self.stop_file, self.messages))
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
                for number, message in self.ray.get(self.messages.taken.remote(), timeout=10):
                    self.plan.on_message(self.begun[number], message)
            for reference in finished:
                task, attempt = self.pending.pop(reference)
                try:
                    answer = self.ray.get(reference)
                except self.ray.exceptions.RayError as error:
                    answer = "died", (None, one_line(error))
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
            self.ray.kill(self.messages)
            self.stop_file.unlink(missing_ok=True)


class _MessageActor:
    """A Ray actor that keeps what the tasks send until the run takes it."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, Any]] = []

    def put(self, number: int, message: Any) -> None:
        self.kept.append((number, message))

    def taken(self) -> list[tuple[int, Any]]:
        kept, self.kept = self.kept, []
        return kept


class _RayWorker:
    """The worker of one run in a Ray process, which Ray gives many tasks; what `make` loads is kept."""

    def __init__(self, make: Make, arguments: tuple[Any, ...], stop_file: Path, messages: Any) -> None:
        self.make, self.arguments, self.stop_file, self.messages = make, arguments, stop_file, messages
        self.work: Work | None = None
        self.number, self.sent = 0, None
        self.asked, self.checked = False, 0.0

    def do(self, task: Any) -> Any:
        self.work = self.work or self.make(Worker(0, self.stop, self.send), *self.arguments)
        return self.work(task)

    def stop(self) -> bool:
        # Looking into a shared folder may cost more than a step of a task: once a second is enough.
        if time.monotonic() - self.checked > 1.0:
            self.asked, self.checked = self.stop_file.exists(), time.monotonic()
        return self.asked

    def send(self, message: Any) -> None:
        self.sent = self.messages.put.remote(self.number, message)


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
    answer = answer_of(lambda: worker.do(task))
    if answer[0] == "died":
        _ray_workers.clear()
    if worker.sent is not None:
        with suppress(RayError):  # the run gets every message before the outcome
            ray.get(worker.sent, timeout=10)
    return answer
