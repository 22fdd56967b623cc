"""The tables and the manifest of an output folder; several data sets may share one, each run replaces its own rows."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from slstt import __version__
from slstt.datasets.cache import MANIFEST, read_manifest
from slstt.datasets.clip import INDEX_COLUMNS, Clip, Remark, index_row
from slstt.errors import ConfigError, DataError
from slstt.files import read_csv, write_csv, write_json

try:
    import fcntl
except ImportError:  # Windows: two runs at once into one folder are then the user's to avoid
    fcntl = None

REMARK_COLUMNS = ("dataset", "subject", "clip", "reason")
INDEX, FAILURES, FLAGS = "index.csv", "failures.csv", "flags.csv"
VERSIONED = ("numpy", "opencv-python-headless", "dlib-bin", "torch", "safetensors")


def write_tables(
    out: Path, dataset: str, clips: Iterable[Clip], remarks: Iterable[Remark], manifest: Mapping[str, Any]
) -> None:
    """Replace the data set's rows in index.csv, failures.csv and flags.csv and its part of manifest.json.

    `clips` are those that have a flow file; `remarks` of action `failure` and `flag` go to their tables. Raises
    DataError where a table that is there cannot be read.
    """
    remarks = list(remarks)
    with only_writer(out):
        _replace_rows(out / INDEX, INDEX_COLUMNS, dataset, [index_row(clip) for clip in clips])
        for name, action in ((FAILURES, "failure"), (FLAGS, "flag")):
            rows = [(r.dataset, r.subject, r.clip, f"{r.kind}: {r.reason}") for r in remarks if r.action == action]
            _replace_rows(out / name, REMARK_COLUMNS, dataset, rows)
        write_json(out / MANIFEST, dict(sorted({**read_manifest(out), dataset: dict(manifest)}.items())))


def versions() -> dict[str, str]:
    """The versions of everything that computes: they may change a result in its last digits."""
    return {"slstt": __version__, **{name: metadata.version(name) for name in VERSIONED}}


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold what the data sets in an output folder share, and clear away what killed runs left half-written there."""
    with _locked(out / ".tables.lock", wait=True):
        for part in [*out.glob(".*.part"), *out.glob("report/**/.*.part")]:
            part.unlink(missing_ok=True)
        yield


@contextmanager
def only_run(out: Path, dataset: str) -> Iterator[None]:
    """Hold the output folder for one run over `dataset`. Raises ConfigError where another run has it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
    with _locked(out / f".{dataset}.lock", wait=False):
        yield


@contextmanager
def _locked(path: Path, wait: bool) -> Iterator[None]:
    try:
        stream = path.open("w")
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be written ({error.strerror}); choose another --out") from error
    with stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise ConfigError(f"{path.parent}: another slstt-preprocess is at work in it; wait for it") from error
            except OSError:
                pass  # some network file systems have no locks
        yield


def _replace_rows(path: Path, columns: tuple[str, ...], dataset: str, rows: list[tuple[str, ...]]) -> None:
    others = [tuple(row[c] for c in columns) for row in _rows(path, columns) if row["dataset"] != dataset]
    write_csv(path, columns, sorted([*others, *rows]))


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    return read_csv(path, columns) if path.exists() else []
