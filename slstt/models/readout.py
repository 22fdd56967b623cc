"""What a network tells of a face beside the class: which action units are there on which side, and if any are.

Linear readouts of the mean feature over the frames, learned together with the network by slstt-pretrain. They stand in
the model file beside the network, which works without them.

Shapes in this file: B clips, T frames, D = width of a frame's features, U action units.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slstt.errors import WeightsError
from slstt.models.weight_files import read_weights

PREFIX = "readout."
"""Of its tensors in a model file."""
HIGHEST_UNIT = 99
"""FACS numbers its codes below 100."""


class Readout(nn.Module):
    """Action units by side and, where `none`, the chance that the motion is no expression."""

    def __init__(self, width: int, units: tuple[int, ...], none: bool = False) -> None:
        super().__init__()
        self.numbers = units
        self.units = nn.Linear(width, len(units) * 2)
        self.none = nn.Linear(width, 1) if none else None

    def forward(self, features: Float[Tensor, "B T D"]) -> tuple[Float[Tensor, "B U 2"], Float[Tensor, " B"] | None]:
        """Features (B, T, D) -> logits of the units on the picture's left and right half (B, U, 2), of none (B,)."""
        mean = features.mean(1)
        return self.units(mean).unflatten(1, (-1, 2)), None if self.none is None else self.none(mean)[:, 0]

    @property
    def header(self) -> dict[str, str]:
        """What a model file's header says of it."""
        return {"units": json.dumps(self.numbers)}


def without_readout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the network alone."""
    return {key: value for key, value in state.items() if not key.startswith(PREFIX)}


def load_readout(path: str | Path) -> Readout | None:
    """The readout that lies in a model file, in evaluation mode; None where it has none.

    Raises WeightsError where the file is unreadable or its readout does not fit what its header says.
    """
    path = Path(path)
    state, header = read_weights(path)
    held = {key.removeprefix(PREFIX): value.float() for key, value in state.items() if key.startswith(PREFIX)}
    if not held:
        return None
    wrong = f"{path}: its readout of action units does not fit its header; get the file again"
    units, weight = _units(header), held.get("units.weight")
    if units is None or weight is None or weight.dim() != 2:
        raise WeightsError(wrong)
    with torch.device("meta"):
        readout = Readout(weight.shape[1], units, none="none.weight" in held)
    if {key: value.shape for key, value in readout.state_dict().items()} != {k: v.shape for k, v in held.items()}:
        raise WeightsError(wrong)
    readout.load_state_dict(held, assign=True)
    return readout.eval()


def _units(header: Mapping[str, str]) -> tuple[int, ...] | None:
    try:
        numbers = json.loads(header.get("units", "null"))
    except (ValueError, RecursionError):
        return None
    known = isinstance(numbers, list) and all(type(n) is int and 0 < n <= HIGHEST_UNIT for n in numbers)
    return tuple(numbers) if known and numbers and len(set(numbers)) == len(numbers) else None
