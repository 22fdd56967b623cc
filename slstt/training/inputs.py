"""What goes into the network, batch by batch: encoded and normalised pictures, or the frozen encoder's features.

Both kinds answer the same three calls, so the training loop does not know which it has.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from slstt.config.train import TrainConfig
from slstt.models.slstt import SLSTT
from slstt.training.augment import augment
from slstt.training.encodings import encode, normalize_each
from slstt.training.features import Features
from slstt.training.flow_dataset import FlowData

Batch = tuple[Sequence[int], Tensor]


class Pictures:
    """Flow, encoded and normalised on `device`; mean and deviation come from the clips `statistics` alone."""

    def __init__(self, data: FlowData, settings: TrainConfig, device: torch.device, statistics: Sequence[int]) -> None:
        self.data, self.settings, self.device = data, settings, device
        self.mean = self.deviation = None
        if settings.data.normalize == "train":
            mean, deviation = data.statistics(statistics, settings.data.encoding)
            self.mean, self.deviation = (x.to(device)[:, None, None] for x in (mean, deviation))

    def read(self, batches: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """The batches' flow (B, T, C, H, W) on the device; the next one is read while the last one is worked on."""
        if len(self.data.held) == len(self.data):
            yield from ((indices, self._load(indices)) for indices in batches)
        else:
            yield from _ahead(self._load, batches)

    def training(self, flow: Tensor, generator: torch.Generator) -> Tensor:
        """Flow (B, T, C, H, W) -> pictures (B, T, 3, H, W), randomly changed."""
        return self.plain(augment(flow, self.settings.training.augment, generator))

    def plain(self, flow: Tensor) -> Tensor:
        """Flow (B, T, C, H, W) -> pictures (B, T, 3, H, W)."""
        pictures = encode(flow, self.settings.data.encoding)
        if self.mean is not None and self.deviation is not None:
            return (pictures - self.mean) / self.deviation
        return normalize_each(pictures) if self.settings.data.normalize == "map" else pictures

    def forward(self, model: nn.Module, pictures: Tensor) -> Tensor:
        """Logits (B, K)."""
        return model(pictures)

    def _load(self, indices: Sequence[int]) -> Tensor:
        batch = self.data.batch(indices)
        if self.device.type == "cuda":
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        return batch.float()


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


def _ahead(load, batches: Iterable[Sequence[int]]) -> Iterator[Batch]:
    with ThreadPoolExecutor(1) as reader:
        waiting = None
        for indices in batches:
            coming = (indices, reader.submit(load, indices))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting is not None:
            yield waiting[0], waiting[1].result()
