"""Files that are either whole or absent: written under a temporary name, then moved into place."""

import csv
import fcntl
import hashlib
import io
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slstt.errors import ConfigError, DataError, SlsttError

if TYPE_CHECKING:
    import pandas


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, move it into place.

    An exception, a full disk or a kill leaves `path` as it was. The file's mode follows the umask, like that of any
    new file. Raises DataError where the folder cannot be written.
    """
    # Shortened, so that the temporary name is never longer than a name may be where `path` itself is not.
    stem = path.name.encode()[:100].decode(errors="ignore")
    part = path.with_name(f".{stem}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The system applies the umask here. tempfile's files are for their owner alone, and asking for the umask means
        # changing it for a moment, in every thread.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", error)
        raise DataError(f"{path}: cannot be written ({reason}); free space or choose another folder") from error
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); free space or choose another folder") from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file with a header row, whole or not at all; a carriage return inside a cell becomes a blank."""
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        # Python < 3.13 leaves a lone carriage return unquoted, which would end the row when read back.
        writer.writerows([str(cell).replace("\r", " ") for cell in row] for row in rows)


PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
"""How the names of pictures that can be read end."""
VIDEOS = frozenset(".mp4 .m4v .mov .avi .mkv .webm .wmv .mpg .mpeg .mts .m2ts .ts .3gp .flv .ogv .gif".split())  # noqa: SIM905


def data_frame(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> "pandas.DataFrame":
    """The table for pandas. Raises ConfigError where pandas, which nothing else here needs, is not installed."""
    try:
        import pandas
    except ImportError as error:
        raise ConfigError("a table for pandas needs pandas; run pip install pandas") from error
    return pandas.DataFrame([list(row) for row in rows], columns=list(columns))


def is_video(path: Path) -> bool:
    """Whether the name ends as those of videos do."""
    return path.suffix.lower() in VIDEOS


MOST_CSV_BYTES = 256 * 2**20
"""Of a CSV file; the largest known, landmarks of a hundred thousand clips, has half of it."""


def read_csv(path: Path, columns: Sequence[str], one_line: bool = False) -> list[dict[str, str]]:
    """Read a CSV file as text rows; every cell stays text, so `006` keeps its zeros.

    With `one_line` a cell that runs over several lines is refused: it is a quote that was never closed and has
    swallowed rows. Raises DataError where the file is missing, is not text, is too large, lacks one of `columns`, or
    has a row of another length.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_CSV_BYTES + 1)
        if len(raw) > MOST_CSV_BYTES:
            raise DataError(f"{path}: larger than {MOST_CSV_BYTES // 2**20} MB, the most that is read")
        rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True))
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found") from error
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not UTF-8, or a path with a NUL
        raise DataError(f"{path}: unreadable as CSV ({error})") from error
    if not rows:
        raise DataError(f"{path}: empty; expected a header with {', '.join(columns)}")
    header = rows[0]
    problems = [f"{path}: column '{name}' is missing" for name in columns if name not in header]
    problems += [f"{path}: column '{name}' appears twice" for name in sorted(set(header)) if header.count(name) > 1]
    problems += [
        f"{path}: line {number} has {len(row)} cells, the header {len(header)}"
        for number, row in enumerate(rows[1:], start=2)
        if row and len(row) != len(header)
    ]
    problems += [
        f'{path}: line {number}: a cell runs over several lines; close its quote (")'
        for number, row in enumerate(rows, start=1)
        if one_line and any("\n" in cell or "\r" in cell for cell in row)
    ]
    if problems:
        raise DataError(*problems)
    return [dict(zip(header, row, strict=True)) for row in rows[1:] if row]


def is_file(path: Path) -> bool:
    """Whether `path` is a file; no, rather than an error, for a path that no system can hold (too long, with a NUL)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A short hexadecimal name of `settings` (JSON values, paths, nested): equal settings, equal name."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def locked(
    path: Path,
    *,
    shared: bool = False,
    wait: float | None = None,
    busy: str = "",
    needed: bool = True,
    fix: str = "choose another --out",
    error: type[SlsttError] = DataError,
) -> Iterator[None]:
    """Hold the lock file `path`, alone or `shared`; the kernel gives it back when this process ends, however it ends.

    `wait` is in seconds, None for ever; afterwards ConfigError(`busy`). Raises `error` with `fix` where the file
    cannot be made, and where the file system has no locks, unless it goes without (not `needed`).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as problem:
        raise error(f"{path.parent}: cannot be written ({problem.strerror}); {fix}") from problem
    try:
        until = None if wait is None else time.monotonic() + wait
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if until is not None and time.monotonic() >= until:
                    raise ConfigError(busy) from None
                time.sleep(0.05)
            except OSError as problem:
                if not needed:
                    break
                reason = f"this file system offers no locks ({problem.strerror}); mount it with flock or {fix}"
                raise error(f"{path}: {reason}") from problem
        yield
    finally:
        os.close(handle)
