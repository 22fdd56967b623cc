"""The errors a user can cause; each carries the exit code its command ends with.

Exit codes (a stable contract): 0 all done; 1 some clips or folds failed and the rest is kept;
2 usage or config; 3 data or weights missing or unreadable; 130 interrupted, work saved.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class SlsttError(Exception):
    """A problem the user can solve. `problems` lists every one found, each naming the thing and the fix."""

    exit_code = 1

    def __init__(self, *problems: str) -> None:
        self.problems: Sequence[str] = problems
        super().__init__("\n".join(problems))


class ConfigError(SlsttError):
    """A wrong command line, config file or combination of settings."""

    exit_code = 2


class DataError(SlsttError):
    """A data set, clip, cache file or predictions file that is missing or unreadable."""

    exit_code = 3


class WeightsError(SlsttError):
    """A model file that is missing, damaged or of another architecture."""

    exit_code = 3


class Problems:
    """What is wrong with several inputs, collected so that the user reads all of it at once.

    Write `with problems.collecting(): ...` around each input, then `problems.raise_if_any()`.
    """

    def __init__(self) -> None:
        self.errors: list[SlsttError] = []

    def add(self, *errors: SlsttError) -> None:
        """Keep errors that were found without an exception."""
        self.errors += errors

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep the SlsttError that ends the block, and go on after the block."""
        try:
            yield
        except SlsttError as error:
            self.errors.append(error)

    def raise_if_any(self) -> None:
        """Raise every problem as one error of the gravest kind.

        A wrong command line or setting (exit code 2) counts before missing data or weights (3), and these before all
        others (1): what the user typed has to be right before anything else can be.
        """
        if self.errors:
            gravest = min(self.errors, key=lambda error: (2, 3, 1).index(error.exit_code))
            raise type(gravest)(*(line for error in self.errors for line in error.problems))


def shortened(items: Sequence[str], limit: int = 20) -> list[str]:
    """The first `limit` items and a last line that counts the rest, so that a long list does not fill the screen."""
    rest = len(items) - limit
    return [*items[:limit], f"... and {rest} more"] if rest > 0 else list(items)


def listed(items: Sequence[str], limit: int = 10) -> str:
    """`a, b, c and 5 more`: the first `limit` items for a sentence, and how many are left out."""
    rest = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {rest} more" if rest > 0 else "")


def printable(text: str) -> str:
    """`text` on one line, with control characters made visible: names from files may hold anything."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
