"""One clip's flow on disk: float16 in a safetensors file, with a checksum and a name of what it was made from.

The header carries one metadata entry, `slstt`: JSON with `checksum` (CRC-32 of the whole file, its own eight digits
counted as zeros), `fingerprint` (a name of everything that determined the content) and `about` (see the pipeline).
One entry, because safetensors writes several in random order, and equal content must give equal bytes.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from slstt.errors import DataError
from slstt.files import whole_file

MANIFEST = "manifest.json"
FLOW_VERSION = 2
"""Raised whenever the same input and settings begin to give another flow. 2: at the size of the face square."""
_ENTRY = "slstt"
_MARK = b'{\\"checksum\\":\\"'
_BLANK = b"00000000"


def flow_path(out: Path, key: tuple[str, str, str]) -> Path:
    """Where the flow of the clip (dataset, subject, name) lies below the output folder."""
    dataset, subject, name = key
    return out / "flow" / dataset / subject / f"{name}.safetensors"


def read_manifest(out: Path) -> dict[str, dict[str, Any]]:
    """manifest.json, by data set; empty where there is none. Raises DataError where it cannot be read."""
    path = out / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(manifest, dict) and all(isinstance(entry, dict) for entry in manifest.values())):
            raise ValueError("not an object by data set")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: unreadable ({error}); delete it, the next run writes it anew") from error
    return manifest


def manifest_problems(out: Path, datasets: Iterable[str]) -> list[str]:
    """Why the flow of `datasets` in `out` is not to be trained on yet: a line for each made by an earlier version or
    whose run is not over.

    A folder without manifest.json was made by other means and has no such problem; data sets it does not hold neither.
    """
    manifest = read_manifest(out)
    problems = []
    for dataset in datasets:
        entry = manifest.get(dataset)
        if entry is None:
            continue
        if entry.get("version", 1) != FLOW_VERSION:
            problems.append(
                f"{out}: the flow of {dataset} was made by another version of slstt; run slstt-preprocess --out {out} "
                "again, it makes it anew"
            )
        elif entry.get("finished") is not True:
            state = "is not finished" if "finished" in entry else "does not say whether it is finished"
            problems.append(
                f"{out}: the preprocessing of {dataset} {state}; run slstt-preprocess --out {out} again, it keeps what "
                "is there"
            )
    return problems


def setting_differences(used: Iterable[tuple[Path, str]]) -> list[str]:
    """What was set differently for the data sets in `used`, pairs of (folder, data set): a line for each setting.

    The settings, the models' SHA-256 and the version of the preprocessing in manifest.json count. A data set that a
    manifest.json does not list is named, unless no folder has one: then nothing is known and nothing said.
    """
    used = sorted(set(used))
    manifests = {out: read_manifest(out) for out, _ in used}
    if not any(manifests.values()):
        return []
    problems, values = [], {}
    for out, dataset in used:
        name = f"{dataset} in {out}"
        if dataset not in manifests[out]:
            problems.append(f"{name}: how it was made is unknown ({MANIFEST} does not list it); run slstt-preprocess")
            continue
        entry = manifests[out][dataset]
        # Landmarks may be given for one data set and looked for in another; then only one has the landmark model.
        values[name] = {"version of the preprocessing": entry.get("version", 1)} | _flat(entry.get("settings"))
        values[name] |= {f"model {model}": digest for model, digest in _flat(entry.get("models")).items()}
    for key in sorted({key for entry in values.values() for key in entry}):
        found = {name: entry.get(key) for name, entry in values.items() if key in entry or not key.startswith("model ")}
        if len({json.dumps(value, sort_keys=True) for value in found.values()}) > 1:
            listed = ", ".join(f"{name}: {_shown(value)}" for name, value in found.items())
            problems.append(f"{key} differs ({listed}); preprocess all data sets with the same settings")
    return problems


def _flat(values: object, prefix: str = "") -> dict[str, Any]:
    """Nested settings as `section.key` -> value."""
    flat: dict[str, Any] = {}
    for key, value in values.items() if isinstance(values, dict) else ():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _shown(value: object) -> str:
    text = "absent" if value is None else str(value)
    return f"{text[:12]}..." if len(text) == 64 else text  # of a SHA-256 the beginning


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
    entry = {"checksum": _BLANK.decode(), "fingerprint": fingerprint, "about": about or {}}
    contents = {"flow": _halved(flow), **(tensors or {})}
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


def _halved(flow: np.ndarray) -> np.ndarray:
    """The flow as float16, rounded to nearest as NumPy does; torch takes a tenth of NumPy's time for it."""
    if flow.dtype != np.float32:
        return flow.astype(np.float16)
    import torch

    return torch.from_numpy(np.ascontiguousarray(flow)).half().numpy()


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


@dataclass(frozen=True)
class FlowHeader:
    """What a flow file says of itself."""

    fingerprint: str
    frames: int
    """T of the flow (T, 2, H, W)."""


def read_header(path: Path) -> FlowHeader:
    """The header alone (the data behind it is not checked); raises DataError where it is missing or damaged."""
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(size, 1 << 24)))
        frames, _, _, _ = header["flow"]["shape"]
        return FlowHeader(json.loads(header["__metadata__"][_ENTRY])["fingerprint"], int(frames))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
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
