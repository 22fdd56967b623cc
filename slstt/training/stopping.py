"""SIGINT, SIGTERM and SIGHUP: the first asks for a good end, the second ends at once."""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any


class Stop:
    """While active, a first signal is only noted (`stop()` is then True); outside `graceful`, and the second time,
    KeyboardInterrupt is raised where the program is.
    """

    def __init__(self) -> None:
        self.asked = False
        self.graceful = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether the user, or the batch system, asked to stop."""
        return self.asked

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # `nohup` is the user's way to outlive a terminal
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.graceful:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping after this step; once more to stop at once", file=sys.stderr, flush=True)
