"""What goes into the network, batch by batch: encoded and normalised pictures, or the frozen encoder's features.

Both kinds answer the same three calls, so the training loop does not know which it has.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from slstt.config.train import TrainConfig
from slstt.datasets.clips import name_of
from slstt.errors import DataError, WeightsError
from slstt.files import fingerprint, whole_file
from slstt.flow.encoding import Changes, augment, draw_changes, encode, mirror, normalized, resize_pictures
from slstt.models.slstt import SLSTT, frozen_fingerprint
from slstt.training.flow_data import FlowData

Flows = Tensor | Sequence[Tensor]
"""The flow (T, C, S, S) of B clips, each at the size of its own face square; of clips of one size, (B, T, C, S, S)."""
Batch = tuple[Sequence[int], Any]
"""Clips and what was read of them: `Flows`, or a tensor of features."""


@dataclass(frozen=True)
class Features:
    """Where the features of a run's clips lie; `read` gives one clip's."""

    folder: Path
    data: FlowData
    views: int
    """2 where the mirrored clip's features are kept beside the clip's own."""
    bytes_per_clip: int
    capacity: int
    """How many clips' features may be held in memory."""
    held: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def path(self, index: int) -> Path:
        """The file of one clip."""
        dataset, subject, name = self.data.keys[index]
        return self.folder / dataset / subject / f"{name}.safetensors"

    def read(self, index: int) -> Tensor:
        """One clip's features, (V, T, D) or (V, T, L, D). Raises DataError where they are missing or damaged."""
        if index in self.held:
            return self.held[index]
        try:
            with safe_open(self.path(index), "pt") as stored:
                features = stored.get_tensor("features")
        except (OSError, SafetensorError) as error:
            raise DataError(f"{self.path(index)}: unreadable ({error}); delete it and start again") from error
        if len(self.held) < self.capacity:
            self.held[index] = features
        return features

    def missing(self) -> list[int]:
        """Clips whose features are not there, or were computed from another flow."""
        return [i for i in range(len(self.data)) if not self._present(i)]

    def _present(self, index: int) -> bool:
        try:
            with safe_open(self.path(index), "pt") as stored:
                return json.loads(stored.metadata()["slstt"]) == [self.data.fingerprints[index], self.views]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return False


def open_features(model: SLSTT, data: FlowData, settings: TrainConfig, run: Path) -> Features:
    """The features of `data` under `model`'s frozen part, computed or not."""
    views = 2 if settings.training.augment.mirror else 1
    name = fingerprint(
        {
            "encoder": frozen_fingerprint(model),
            "encoding": settings.data.encoding if data.channels == 2 else "flow map",
            "normalize": settings.data.normalize,
            "precision": settings.run.precision,
        }
    )
    frozen_blocks_only = model.trainable.startswith("last")
    per_frame = model.arguments["width"] * (model.encoder.positions.shape[1] if frozen_blocks_only else 1)
    bytes_per_clip = views * data.frames * per_frame * (2 if settings.run.precision == "bf16" else 4)
    folder = run / "features" / name
    return Features(folder, data, views, bytes_per_clip, int(settings.data.memory_gb * 1e9 // bytes_per_clip))


@torch.no_grad()
def compute_features(
    features: Features,
    model: SLSTT,
    pictures: Callable[[Flows], Tensor],
    settings: TrainConfig,
    device: torch.device,
    each: Callable[[], None] = lambda: None,
) -> int:
    """Compute what is missing, clip by clip, in evaluation mode; returns the number of frames encoded.

    `pictures` turns clips' flow into the network's pictures; `each` is called after each clip and may raise
    to stop: what was written stays, and the next call continues behind it. Raises WeightsError where features are not
    finite.
    """
    model = model.to(device).eval()
    encoded = 0
    for index in features.missing():
        flow = features.data.clip(index).to(device).float()
        variants = [flow, mirror(flow[None])[0]][: features.views]
        frames = torch.cat([pictures([variant]) for variant in variants]).flatten(0, 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.run.precision == "bf16"):
            found = torch.cat([model.frozen_features(part) for part in frames.split(32)])
        if not found.isfinite().all():
            source = settings.model.pretrained or "the encoder's random weights"
            raise WeightsError(
                f"{source}: the features of {name_of(features.data.keys[index])} are not finite; give other weights as "
                "model.pretrained"
            )
        encoded += len(frames)
        stored = found.to(torch.bfloat16 if settings.run.precision == "bf16" else torch.float32)
        stored = stored.unflatten(0, (features.views, features.data.frames)).cpu().contiguous()
        with whole_file(features.path(index)) as part:
            header = {"slstt": json.dumps([features.data.fingerprints[index], features.views])}
            save_file({"features": stored}, part, metadata=header)
        each()
    return encoded


class FlowInputs:
    """Flow, encoded and normalised on `device`; mean and deviation come from the clips `statistics` alone."""

    def __init__(self, data: FlowData, settings: TrainConfig, device: torch.device, statistics: Sequence[int]) -> None:
        self.data, self.settings, self.device = data, settings, device
        self.mean = self.deviation = None
        if settings.data.normalize == "train":
            mean, deviation = data.statistics(statistics, settings.data.encoding)
            self.mean, self.deviation = (x.to(device)[:, None, None] for x in (mean, deviation))

    def read(self, batches: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """The batches' flow on the device; the next one is read while the last one is worked on."""
        if len(self.data.held) == len(self.data):
            yield from ((indices, self._load(indices)) for indices in batches)
        else:
            yield from _ahead(self._load, batches)

    def training(self, flows: Flows, generator: torch.Generator) -> Tensor:
        """Clips' flow -> pictures (B, T, 3, H, W), randomly changed."""
        changes = draw_changes(len(flows), len(flows[0]), self.settings.training.augment, generator)
        return self._pictures(flows, changes)

    def plain(self, flows: Flows) -> Tensor:
        """Clips' flow -> pictures (B, T, 3, H, W)."""
        return self._pictures(flows, None)

    def _pictures(self, flows: Flows, changes: Changes | None) -> Tensor:
        """Changed and encoded at their own size, then resized to the network's and normalised."""
        if isinstance(flows, Tensor):
            pictures = self._encoded(flows, changes)
        elif len({flow.shape for flow in flows}) == 1:
            pictures = self._encoded(torch.stack(list(flows)), changes)
        else:
            alone = (None if changes is None else changes.of(place) for place in range(len(flows)))
            pictures = torch.cat([self._encoded(flow[None], one) for flow, one in zip(flows, alone, strict=True)])
        if self.mean is not None and self.deviation is not None:
            return (pictures - self.mean) / self.deviation
        return normalized(pictures, self.settings.data.normalize)

    def _encoded(self, flow: Tensor, changes: Changes | None) -> Tensor:
        changed = flow if changes is None else augment(flow, changes)
        return resize_pictures(encode(changed, self.settings.data.encoding), self.data.image_size)

    def forward(self, model: nn.Module, pictures: Tensor) -> Tensor:
        """Logits (B, K)."""
        return model(pictures)

    def _load(self, indices: Sequence[int]) -> Flows:
        flows = [self.data.clip(index) for index in indices]
        together = len({flow.shape for flow in flows}) == 1
        if together:  # small clips cost more to pin and to send one by one than their bytes do
            flows = [torch.stack(flows)]
        if self.device.type == "cuda":
            flows = [flow.pin_memory().to(self.device, non_blocking=True) for flow in flows]
        flows = [flow.float() for flow in flows]
        return flows[0] if together else flows


class FrozenFeatures:
    """The frozen encoder's outputs from disk: (B, V, T, ...), V = 2 where mirrored views were computed too."""

    def __init__(self, features: Features, device: torch.device) -> None:
        self.features, self.device = features, device

    def read(self, batches: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """The batches' features on the device."""
        yield from _ahead(self._load, batches)

    def training(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """One of each clip's views at random."""
        if views.shape[1] == 1:
            return views[:, 0]
        chosen = torch.rand(len(views), generator=generator) < 0.5
        return views[torch.arange(len(views)), chosen.long()]

    def plain(self, views: Tensor) -> Tensor:
        """The view as it is."""
        return views[:, 0]

    def forward(self, model: nn.Module, features: Tensor) -> Tensor:
        """Logits (B, K)."""
        assert isinstance(model, SLSTT)  # nothing else has a frozen encoder
        return model.forward_from(features)

    def _load(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([self.features.read(i) for i in indices]).to(self.device).float()


def _ahead(load: Callable[[Sequence[int]], Any], batches: Iterable[Sequence[int]]) -> Iterator[Batch]:
    with ThreadPoolExecutor(1) as reader:
        waiting = None
        for indices in batches:
            coming = (indices, reader.submit(load, indices))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting is not None:
            yield waiting[0], waiting[1].result()
