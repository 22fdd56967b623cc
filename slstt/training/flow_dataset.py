"""The clips of a run: their classes, their flow, and the statistics of any set of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from slstt.config.train import Data, roots
from slstt.datasets import flow_maps
from slstt.datasets.cache import flow_path, read_fingerprint, read_flow
from slstt.datasets.clip import read_index
from slstt.datasets.protocols import PROTOCOLS, class_of
from slstt.errors import DataError
from slstt.evaluation.predictions import name_of, shortened
from slstt.files import fingerprint
from slstt.training.encodings import EPSILON, encode
from slstt.training.folds import Key


@dataclass(frozen=True)
class FlowData:
    """N clips, sorted by key, with T frames of C channels each."""

    keys: tuple[Key, ...]
    labels: tuple[int, ...]
    """Positions in `classes`."""
    classes: tuple[str, ...]
    fingerprint: str
    """Names clips, classes and flow: two runs on equal data have equal names."""
    prints: tuple[str, ...]
    """The same for each clip's flow alone."""
    frames: int
    channels: int
    """2: u and v in pixels; 3: u, v and strain, scaled."""
    image_size: int
    paths: tuple[Path, ...] = ()
    """Flow files, where `held` does not hold everything from the start."""
    capacity: int = 0
    """How many clips may be held in memory."""
    held: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)
    sums: dict[tuple[int, str], Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.keys)

    def clip(self, index: int) -> Float[Tensor, "T C H W"]:
        """One clip's flow at the run's size: float16 (T, 2, S, S), pixels of that size, or a float32 map (1, 3, S, S).

        Raises DataError where its file is missing or damaged.
        """
        if index in self.held:
            return self.held[index]
        flow = torch.from_numpy(read_flow(self.paths[index]))
        if len(flow) != self.frames:
            raise DataError(
                f"{self.paths[index]}: has {len(flow)} frames, the first clip {self.frames}; preprocess all data sets "
                "with the same frames.count"
            )
        flow = resized(flow, self.image_size)
        if len(self.held) < self.capacity:
            self.held[index] = flow
        return flow

    def batch(self, indices: Sequence[int]) -> Float[Tensor, "B T C H W"]:
        """Several clips' flow, (B, T, C, S, S), on the CPU."""
        return torch.stack([self.clip(i) for i in indices])

    def statistics(self, indices: Sequence[int], encoding: str) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
        """Mean and deviation of each channel over the encoded pictures of these clips and no others."""
        total = torch.stack([self._sums(i, encoding) for i in indices]).sum(0)
        count, first, second = total[0], total[1], total[2]
        mean = first / count
        deviation = (second / count - mean**2).clamp_min(EPSILON**2).sqrt()
        return mean.float(), deviation.float()

    def _sums(self, index: int, encoding: str) -> Tensor:
        if (index, encoding) not in self.sums:
            pictures = encode(self.clip(index).float().unsqueeze(0), encoding)[0].double()
            count = torch.full((pictures.shape[1],), float(pictures[:, 0].numel()), dtype=torch.float64)
            self.sums[index, encoding] = torch.stack((count, pictures.sum((0, 2, 3)), (pictures**2).sum((0, 2, 3))))
        return self.sums[index, encoding]


def read_data(data: Data, image_size: int) -> FlowData:
    """The clips that `data.protocol` takes from `data.root`.

    Raises DataError, naming everything that is wrong: a missing folder, a clip whose flow is missing or listed twice,
    no clip of the protocol, clips of different length.
    """
    return _read_maps(data, image_size) if data.kind == "flow_maps" else _read_cache(data, image_size)


def resized(flow: Float[Tensor, "T C H W"], size: int) -> Float[Tensor, "T C S S"]:
    """Flow brought to `size` x `size` pixels; its vectors, counted in pixels, shrink or grow with the picture."""
    height, width = flow.shape[-2:]
    if (height, width) == (size, size):
        return flow
    scaled = F.interpolate(flow[:, :2].float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return (scaled * torch.tensor([size / width, size / height])[None, :, None, None]).to(flow.dtype)


def _read_cache(data: Data, image_size: int) -> FlowData:
    protocol = PROTOCOLS[data.protocol]
    problems, found = [], {}
    for root in roots(data):
        if not (root / "index.csv").is_file():
            problems.append(f"{root}: no index.csv; run slstt-preprocess --out {root} first, or mend data.root")
            continue
        for clip in read_index(root / "index.csv"):
            label = class_of(protocol, clip)
            if label is None:
                continue
            if clip.key in found:
                problems.append(f"{root}: {name_of(clip.key)} is listed twice; give each data set's folder once")
            found[clip.key] = (protocol.classes.index(label), flow_path(root, clip.key))
    keys = tuple(sorted(found))
    prints, missing = [], []
    for key in keys:
        try:
            prints.append(read_fingerprint(found[key][1]))
        except DataError as error:
            missing += error.problems
    problems += shortened(missing)
    if not problems and not keys:
        problems.append(
            f"{', '.join(map(str, roots(data)))}: no clip of the protocol {data.protocol} "
            f"(data sets {', '.join(protocol.datasets)}); mend data.protocol or data.root"
        )
    if problems:
        raise DataError(*problems)
    labels = tuple(found[key][0] for key in keys)
    paths = tuple(found[key][1] for key in keys)
    frames = read_flow(paths[0]).shape[0]
    size = frames * 2 * image_size**2 * 2  # float16
    return FlowData(
        keys,
        labels,
        protocol.classes,
        _print_of(keys, labels, prints),
        tuple(prints),
        frames,
        2,
        image_size,
        paths,
        int(data.memory_gb * 1e9 // size),
    )


def _read_maps(data: Data, image_size: int) -> FlowData:
    protocol, (root,) = PROTOCOLS[data.protocol], roots(data)
    maps = flow_maps.read(root)
    rows = [row for row, key in enumerate(maps.keys) if key[0] in protocol.datasets]  # sorted by key, as `maps` is
    if not rows:
        raise DataError(f"{root}: no clip of the protocol {data.protocol}; mend data.protocol")
    pictures = maps.maps[rows]
    if pictures.shape[-2:] != (image_size, image_size):
        height, width = pictures.shape[-2:]
        raise DataError(
            f"{root}: the maps are {width}x{height} pixels and model.image_size is {image_size}; "
            f"set model.image_size={width}"
        )
    keys = tuple(maps.keys[row] for row in rows)
    labels = tuple(protocol.classes.index(maps.labels[row]) for row in rows)
    prints = tuple(hashlib.sha256(picture.tobytes()).hexdigest()[:16] for picture in pictures)
    return FlowData(
        keys,
        labels,
        protocol.classes,
        _print_of(keys, labels, prints),
        prints,
        1,
        3,
        image_size,
        held={i: torch.from_numpy(picture[None]) for i, picture in enumerate(pictures)},
    )


def _print_of(keys: Sequence[Key], labels: Sequence[int], prints: Sequence[str]) -> str:
    return fingerprint({"clips": list(zip(keys, labels, prints, strict=True))})
