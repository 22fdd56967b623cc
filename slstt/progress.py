"""Progress of long work on stderr: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm


class Progress:
    """Counts finished pieces of work.

    On a terminal a bar with rate and remaining time; elsewhere (a log file, a batch job) one plain line at most
    every `seconds`, and one at the end. `fields` given to `advance` (e.g. failed=2, uf1="0.71") stand behind the count.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        done: int = 0,
        unit: str = "clip",
        quiet: bool = False,
        position: int = 0,
        seconds: float = 10.0,
    ) -> None:
        self.label, self.total, self.done, self.unit, self.quiet = label, total, done, unit, quiet
        self.seconds, self.fields = seconds, {}
        self.started = self.printed = time.monotonic()
        self.first = done
        terminal = sys.stderr.isatty() and not quiet
        self.bar = (
            tqdm(
                total=total,
                initial=done,
                desc=label,
                unit=unit,
                position=position,
                leave=position == 0,
                file=sys.stderr,
            )
            if terminal
            else None
        )

    def advance(self, count: int = 1, **fields: object) -> None:
        """Report `count` more pieces done, with what else is worth seeing."""
        self.done += count
        self.fields.update(fields)
        if self.bar is not None:
            self.bar.set_postfix(self.fields, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.printed >= self.seconds:
            self._line()

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        elif not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def _line(self) -> None:
        self.printed = time.monotonic()
        if self.quiet:
            return
        elapsed = self.printed - self.started
        rate = (self.done - self.first) / elapsed if elapsed > 0 else 0.0
        fields = "".join(f", {name} {value}" for name, value in self.fields.items())
        print(
            f"{self.label}: {self.done}/{self.total} {self.unit}s, {rate:.2f} {self.unit}s/s{fields}",
            file=sys.stderr,
            flush=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        else:
            self._line()
