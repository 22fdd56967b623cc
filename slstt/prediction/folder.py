"""The folder of `slstt-predict`: whose it is, and what several recordings share in it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slstt.errors import ConfigError, DataError, SlsttError
from slstt.files import write_csv, write_text
from slstt.prediction.recording import Recording
from slstt.prediction.report import write_index
from slstt.prediction.result import Result, write_tables
from slstt.training.run_folder import locked

SOURCE = "source.txt"
"""Holds the path of what was watched, so that another recording, or another kind of folder, is not written over."""


def refuse_other(out: Path, path: Path) -> None:
    """Raise ConfigError where `out` holds something else than predictions of `path`, DataError where it is a file."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out}: is a file; --out must name a folder")
    try:
        own = (out / SOURCE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if others := sorted(entry.name for entry in out.iterdir() if not entry.name.startswith(".")):
            raise ConfigError(
                f"{out}: holds other things than predictions ({', '.join(others[:3])}); choose another --out"
            ) from None
        return
    except OSError as error:
        raise DataError(f"{out / SOURCE}: cannot be read ({error.strerror}); choose another --out") from error
    if own != str(path.resolve()):
        raise ConfigError(f"{out}: holds the predictions of {own}; choose another --out, or delete it")


@contextmanager
def only_run(out: Path, path: Path) -> Iterator[None]:
    """Hold the folder for one run over `path`. Raises ConfigError where another is at work in it, DataError where it
    cannot be written.
    """
    with locked(out / ".predict.lock", wait=0.0, busy=f"{out}: another slstt-predict is at work in it; wait for it"):
        for part in out.rglob(".*.part*"):
            part.unlink(missing_ok=True)
        write_text(out / SOURCE, f"{path.resolve()}\n")
        yield


def write_summary(
    out: Path, results: Sequence[Result], failures: Sequence[tuple[Recording, SlsttError]], classes: Sequence[str]
) -> None:
    """What several recordings share: both tables, failures.csv, and a page that leads to the reports."""
    write_tables(out, results, classes)
    rows = [(recording.name, line) for recording, error in failures for line in error.problems]
    write_index(out, results, rows, classes)
    write_csv(out / "failures.csv", ("recording", "reason"), rows)
