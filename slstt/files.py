"""Files that are either whole or absent: written under a temporary name, then moved into place."""

import csv
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slstt.errors import DataError


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


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file as text rows; every cell stays text, so `006` keeps its zeros.

    Raises DataError where the file is missing, is not text, lacks one of `columns`, or has a row of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
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
    if problems:
        raise DataError(*problems)
    return [dict(zip(header, row, strict=True)) for row in rows[1:] if row]


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A short hexadecimal name of `settings` (JSON values, paths, nested): equal settings, equal name."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
