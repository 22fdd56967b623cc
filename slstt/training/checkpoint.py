"""A fold's state on disk: `last.pt`, and `previous.pt`, the one before, for the case that the last was damaged.

Tensors, numbers and text only, read with `weights_only=True`; a file's checksums (of the zip container that torch
writes) are verified before anything of it is used.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from slstt.files import whole_file

LAST, PREVIOUS = "last.pt", "previous.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` as last.pt; what was last.pt becomes previous.pt. Raises DataError where it cannot be written.

    At every moment at least one of the two is whole.
    """
    buffer = io.BytesIO()  # torch.save straight to a file turns a full disk into an error without its reason
    torch.save(state, buffer)
    with whole_file(folder / LAST) as part:
        part.write_bytes(buffer.getbuffer())
        if (folder / LAST).exists():
            (folder / LAST).replace(folder / PREVIOUS)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest whole state, on the CPU, or None; and one remark for each damaged file that was passed over."""
    remarks = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"checksum of {damaged} differs")
            return torch.load(path, map_location="cpu", weights_only=True), remarks
        except (
            OSError,
            ValueError,
            RuntimeError,
            EOFError,
            KeyError,
            zipfile.BadZipFile,
            pickle.UnpicklingError,
        ) as error:
            remarks.append(f"{path}: damaged ({' '.join(str(error).split())[:120]}); continuing from an earlier state")
    return None, remarks


def remove_checkpoints(folder: Path) -> None:
    """Remove the state of a finished fold."""
    for name in (LAST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
