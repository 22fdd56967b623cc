"""The frozen encoder's features: computed once per frame for a whole leave-one-subject-out run, kept on disk.

One file per clip below a folder named by everything that determines the features: the frozen weights and sizes, the
encoding, the normalisation, the arithmetic. The clip's own flow is named in the file's header.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slstt.config.train import TrainConfig
from slstt.errors import DataError
from slstt.files import fingerprint, whole_file
from slstt.models.slstt import SLSTT, frozen_fingerprint
from slstt.training.augment import mirror
from slstt.training.flow_dataset import FlowData


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
                return json.loads(stored.metadata()["slstt"]) == [self.data.prints[index], self.views]
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
            "precision": settings.encoder.precision,
        }
    )
    frozen_blocks_only = model.trainable.startswith("last")
    per_frame = model.arguments["width"] * (model.encoder.positions.shape[1] if frozen_blocks_only else 1)
    bytes_per_clip = views * data.frames * per_frame * (2 if settings.encoder.precision == "bf16" else 4)
    folder = (settings.encoder.cache or run / "features") / name
    return Features(folder, data, views, bytes_per_clip, int(settings.data.memory_gb * 1e9 // bytes_per_clip))


@torch.no_grad()
def compute_features(
    features: Features,
    model: SLSTT,
    pictures: Callable[[Tensor], Tensor],
    settings: TrainConfig,
    device: torch.device,
    each: Callable[[], None] = lambda: None,
) -> int:
    """Compute what is missing, clip by clip, in evaluation mode; returns the number of frames encoded.

    `pictures` turns flow (B, T, C, H, W) into the network's pictures; `each` is called after each clip and may raise
    to stop: what was written stays, and the next call continues behind it.
    """
    model = model.to(device).eval()
    encoded = 0
    for index in features.missing():
        flow = features.data.batch([index]).to(device).float()
        variants = [flow, mirror(flow)][: features.views]
        frames = torch.cat([pictures(variant) for variant in variants]).flatten(0, 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.encoder.precision == "bf16"):
            found = torch.cat([model.frozen_features(part) for part in frames.split(32)])
        encoded += len(frames)
        stored = found.to(torch.bfloat16 if settings.encoder.precision == "bf16" else torch.float32)
        stored = stored.unflatten(0, (features.views, features.data.frames)).cpu().contiguous()
        with whole_file(features.path(index)) as part:
            header = {"slstt": json.dumps([features.data.prints[index], features.views])}
            save_file({"features": stored}, part, metadata=header)
        each()
    return encoded
