"""The errors a user can cause; each carries the exit code its command ends with.

Exit codes (a stable contract): 0 all done; 1 some clips or folds failed and the rest is kept;
2 usage or config; 3 data or weights missing or unreadable; 130 interrupted, work saved.
"""

from collections.abc import Sequence


class SlsttError(Exception):
    """A problem the user can mend. `problems` lists every one found, each naming the thing and the fix."""

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


class CheckpointError(SlsttError):
    """A training checkpoint that cannot be continued from."""

    exit_code = 3


def shortened(problems: Sequence[str], limit: int = 20) -> list[str]:
    """The first problems in full and a count of the rest, so that a bad file does not fill the screen."""
    rest = len(problems) - limit
    return [*problems[:limit], *([f"... and {rest} more of this kind"] if rest > 0 else [])]


def printable(text: str) -> str:
    """`text` on one line, with control characters made visible: names from files may hold anything."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
