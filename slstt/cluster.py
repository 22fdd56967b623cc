"""A Ray cluster to work on: one that runs already, or one of this machine alone."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from slstt.errors import ConfigError


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
            _knock(address)
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


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at `host:port` or `ray://host:port`: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
