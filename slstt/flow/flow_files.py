"""One clip's flow on disk: a safetensors file that knows whether it is whole and what it was made from.

The header carries one metadata entry, `slstt`: JSON with `checksum` (CRC-32 of the whole file, its own eight digits
counted as zeros), `fingerprint` (a name of everything that determined the content) and `about` (see the pipeline).
One entry, because safetensors writes several in random order, and equal content must give equal bytes.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from slstt.errors import DataError
from slstt.files import whole_file

MANIFEST = "manifest.json"
_ENTRY = "slstt"
_MARK = b'{\\"checksum\\":\\"'
_BLANK = b"00000000"


def flow_path(out: Path, key: tuple[str, str, str]) -> Path:
    """Where the flow of the clip (dataset, subject, name) lies below the output folder."""
    dataset, subject, name = key
    return out / "flow" / dataset / subject / f"{name}.safetensors"


def read_manifest(out: Path) -> dict[str, Any]:
    """manifest.json, by data set; empty where there is none. Raises DataError where it cannot be read."""
    path = out / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: unreadable ({error}); delete it, the next run writes it anew") from error


def storable(flow: np.ndarray) -> bool:
    """Whether every value is finite in float16, the type in which flow is stored."""
    largest = float(np.finfo(np.float16).max)
    return bool(flow.min() >= -largest and flow.max() <= largest)  # both False where a value is not a number


def write_flow(
    path: Path,
    flow: np.ndarray,
    fingerprint: str,
    about: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write one clip's flow, whole or not at all.

    `flow` is (T, 2, H, W) in pixels, (u right, v down), stored as float16; `about` is any JSON; `tensors` are further
    arrays kept beside it (landmarks, a picture for the report). Equal arguments give equal bytes.
    Raises DataError where the file cannot be written or the flow is not finite.
    """
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise ValueError(f"flow must be (T, 2, H, W), not {flow.shape}")
    if not storable(flow):
        raise DataError(f"{path}: the flow holds values that are not finite in float16; nothing was written")
    stored = flow.astype(np.float16)
    entry = {"checksum": _BLANK.decode(), "fingerprint": fingerprint, "about": about or {}}
    contents = {"flow": stored, **(tensors or {})}
    raw = bytearray(
        save(
            {name: np.ascontiguousarray(array) for name, array in contents.items()},
            metadata={_ENTRY: json.dumps(entry, separators=(",", ":"), sort_keys=False)},
        )
    )
    at = raw.index(_MARK) + len(_MARK)
    raw[at : at + 8] = _checksum(raw, at)
    with whole_file(path) as part:
        part.write_bytes(raw)


def read_flow(path: Path) -> np.ndarray:
    """The flow of one clip, (T, 2, H, W) float16, pixels. Raises DataError where the file is missing or damaged."""
    return read_whole(path)[0]["flow"]


def read_whole(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(every array, the `about`) of a flow file whose checksum was found right; raises DataError like `read_flow`."""
    try:
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        entry = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"][_ENTRY])
        at = raw.index(_MARK) + len(_MARK)
        if _checksum(raw, at) != raw[at : at + 8]:
            raise ValueError("the checksum differs")
        tensors = load(raw)
        if tensors["flow"].ndim != 4:
            raise ValueError("not a flow")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise _damaged(path, error) from error
    return tensors, entry["about"]


def read_fingerprint(path: Path) -> str:
    """The fingerprint alone, from the header alone (the data behind it is not checked); raises DataError."""
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = stream.read(min(size, 1 << 24))
        return json.loads(json.loads(header)["__metadata__"][_ENTRY])["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _checksum(raw: bytes | bytearray, at: int) -> bytes:
    view = memoryview(raw)
    value = zlib.crc32(view[at + 8 :], zlib.crc32(_BLANK, zlib.crc32(view[:at])))
    return f"{value:08x}".encode()


def _damaged(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: not found; run slstt-preprocess again, it makes what is missing")
    return DataError(
        f"{path}: damaged or not a flow file ({' '.join(str(error).split())}); "
        "run slstt-preprocess again, it rebuilds what is damaged"
    )
