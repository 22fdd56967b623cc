"""The state of training: checkpoints, optimizer, learning rate (warm-up, steps, cosine), averaged weights.

A checkpoint is `last.pt`, the one before it `previous.pt`; where neither can be read, a fold starts from zero.

Tensors, numbers and text only, read with `weights_only=True`; a file's checksums (of the zip container that torch
writes) are verified before anything of it is used.
"""

import io
import math
import pickle
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slstt.config.train import Training
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


def make_optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameters that learn, in torch's fused form."""
    if training.optimizer == "adamw":
        return adamw(model, training.learning_rate, training.weight_decay)
    return torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        fused=True,
    )


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the parameters that learn; it decays matrices and kernels only, not norms, biases and tokens."""
    learning = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in learning if p.dim() < 2 or name.endswith(("positions", "class_token"))]
    decayed = [p for name, p in learning if not (p.dim() < 2 or name.endswith(("positions", "class_token")))]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=True)


def learning_rate(training: Training, epoch: float | int) -> float:
    """The learning rate at `epoch`, counted in passes from 0 and with the steps as fractions."""
    top, warmup = training.learning_rate, training.warmup_epochs
    if training.schedule == "cosine":
        return warmup_cosine(top, epoch, warmup, training.epochs)
    if epoch < warmup:
        return _rising(top, epoch, warmup)
    return top * training.step_factor ** int(epoch // training.step_epochs) if training.schedule == "step" else top


def warmup_cosine(top: float, at: float | int, warmup: float | int, end: float | int) -> float:
    """A learning rate that rises to `top` until `warmup` and then falls to zero at `end` as a cosine does."""
    if at < warmup:
        return _rising(top, at, warmup)
    return top * (1 + math.cos(math.pi * (at - warmup) / (end - warmup))) / 2


def _rising(top: float, at: float | int, warmup: float | int) -> float:
    return top * (at + 1e-3) / warmup  # never exactly zero, or the first step would be lost


STATE_FORMAT = 2
Row = dict[str, float | int]
"""One line of history.csv."""


@dataclass
class FoldHistory:
    """What training has left so far besides weights."""

    epochs: list[Row] = field(default_factory=list)
    """One row per finished epoch, the columns of history.csv."""
    peek: list[list[int]] = field(default_factory=list)
    """The test clips' predicted classes after each epoch; filled only with run.peek."""
    best: dict[str, Any] | None = None
    """selection.method inner: epoch, uf1, loss and weights of the best epoch so far."""


class Average:
    """Exponential moving average of a network's numbers; the decay grows to `decay`, so early steps fade soon.

    Whole numbers (how many batches BatchNorm has seen) are taken as they are.
    """

    def __init__(self, tensors: Iterable[tuple[str, Tensor]], decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.values = {name: tensor.detach().clone() for name, tensor in tensors}

    @torch.no_grad()
    def update(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Move the average towards the tensors, after each step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in tensors:
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor.detach(), 1 - decay)
            else:
                self.values[name].copy_(tensor)


class FoldState:
    """Model, optimizer, averaged weights, position (epoch and step, from 0) and running loss of one fold."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, average: float | None) -> None:
        """`average`: decay of the averaged weights, None for none."""
        self.model, self.optimizer = model, optimizer
        self.average = Average(self.changing(), average) if average is not None else None
        self.epoch, self.step = 0, 0
        self.losses, self.weight = 0.0, 0.0
        self.history = FoldHistory()
        self._resumed: dict[str, Tensor] | None = None

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def learning(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters that learn."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def changing(self) -> Iterator[tuple[str, Tensor]]:
        """What training changes: the parameters that learn, and buffers (BatchNorm's running statistics).

        Only these are kept; the frozen parameters follow from the settings.
        """
        yield from self.learning()
        yield from self.model.named_buffers()

    def start_epoch(self, generator: torch.Generator, seed: int) -> None:
        """Set torch's random state for this epoch, or, in the middle of a resumed one, both states as they were."""
        torch.manual_seed(seed)
        if self._resumed is not None:
            generator.set_state(self._resumed["augment"])
            torch.set_rng_state(self._resumed["torch"])
            if "cuda" in self._resumed and self._device.type == "cuda":
                torch.cuda.set_rng_state(self._resumed["cuda"], self._device)
            self._resumed = None

    def finish_epoch(self, row: Row) -> None:
        """Count the epoch and begin the next one's sums."""
        self.history.epochs.append(row)
        self.epoch, self.step, self.losses, self.weight = self.epoch + 1, 0, 0.0, 0.0

    def to_checkpoint(self, generator: torch.Generator) -> dict[str, Any]:
        """The whole state as tensors, numbers and text."""
        random = {"augment": generator.get_state(), "torch": torch.get_rng_state()}
        if self._device.type == "cuda":  # this fold's card, which need not be the first
            random["cuda"] = torch.cuda.get_rng_state(self._device)
        return {
            "format": STATE_FORMAT,
            "weights": {name: value.detach() for name, value in self.changing()},
            "optimizer": self.optimizer.state_dict(),
            "average": {"steps": self.average.steps, "values": self.average.values} if self.average else None,
            "random": random,
            "position": [self.epoch, self.step, self.losses, self.weight],
            "history": self.history.epochs,
            "peek": self.history.peek,
            "best": self.history.best,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `to_checkpoint`'s state."""
        self.load(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.steps = state["average"]["steps"]
            for name, value in self.average.values.items():
                value.copy_(state["average"]["values"][name])
        self.epoch, self.step, self.losses, self.weight = state["position"]
        self._resumed = state["random"] if self.step else None
        self.history = FoldHistory(state["history"], state["peek"], state["best"])

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Set what training changes."""
        for name, value in self.changing():
            value.copy_(weights[name])

    def weights(self) -> dict[str, Tensor]:
        """A copy of what training changes, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.changing()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the model holds the averaged weights, where there are any."""
        if self.average is None:
            yield
            return
        current = {name: value.detach().clone() for name, value in self.changing()}
        self.load(self.average.values)
        yield
        self.load(current)
