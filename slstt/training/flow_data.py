"""The clips of a run and their flow: what the protocol takes of preprocessed folders or published flow maps."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from slstt.config.train import Data, roots
from slstt.datasets import flow_maps
from slstt.datasets.clips import Clip, name_of, read_index
from slstt.datasets.protocols import (
    PROTOCOLS,
    Protocol,
    class_of,
    left_out,
    manifest_difference,
    protocol_of,
    test_set_differences,
)
from slstt.datasets.units import (
    UNIT_NAMES,
    UNIT_PROTOCOLS,
    UnitProtocol,
    UnitRow,
    read_units,
    undecided_count,
    unit_differences,
    unit_row,
)
from slstt.errors import DataError, shortened
from slstt.files import fingerprint, is_file
from slstt.flow.encoding import EPSILON, encode, resize_pictures
from slstt.flow.flow_files import flow_path, manifest_problems, read_flow, read_header, setting_differences
from slstt.training.folds import ClipKey


@dataclass(frozen=True)
class FlowData:
    """N clips, sorted by key, with T frames of C channels each."""

    keys: tuple[ClipKey, ...]
    labels: tuple[int, ...]
    """Positions in `classes`; empty where units are learned."""
    classes: tuple[str, ...]
    """What the network answers, in this order: classes, or action units."""
    fingerprint: str
    """Names clips, classes and flow: two runs on equal data have equal names."""
    fingerprints: tuple[str, ...]
    """The same for each clip's flow alone."""
    frames: int
    channels: int
    """2: u and v in pixels; 3: u, v and strain, scaled."""
    image_size: int
    """Side of the network's pictures; cached flow is larger or smaller, each clip as its own face square."""
    units: tuple[UnitRow, ...] = ()
    """Each clip's action units; empty where classes are learned."""
    leaves_out: Literal["subject", "dataset", "test_sets"] = "subject"
    """What a fold tests."""
    splits: tuple[str, ...] = ()
    """The owners' training or test set of each clip, where the protocol's folds are theirs."""
    left_out: tuple[str, ...] = ()
    """What lies there and is not of the protocol, one line each."""
    paths: tuple[Path, ...] = ()
    """Flow files, where `held` does not hold everything from the start."""
    capacity: int = 0
    """How many bytes of flow may be held in memory."""
    held: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)
    sums: dict[tuple[int, str], Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.keys)

    def counts(self, indices: Iterable[int] | None = None) -> dict[str, int]:
        """How many of these clips (None: all) are of each class, or show each unit, in the order of `classes`."""
        chosen = list(range(len(self)) if indices is None else indices)
        if self.units:
            return {name: sum(self.units[i][place] == 1 for i in chosen) for place, name in enumerate(self.classes)}
        found = Counter(self.labels[i] for i in chosen)
        return {name: found[place] for place, name in enumerate(self.classes)}

    def clip(self, index: int) -> Float[Tensor, "T C H W"]:
        """One clip's flow: float16 (T, 2, S, S) in pixels, S its face square's side; or a float32 map (1, 3, S, S).

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
        if sum(held.nbytes for held in self.held.values()) + flow.nbytes <= self.capacity:
            self.held[index] = flow
        return flow

    def statistics(self, indices: Sequence[int], encoding: str) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
        """Mean and deviation of each channel over the encoded pictures of these clips and no others."""
        total = torch.stack([self._sums(i, encoding) for i in indices]).sum(0)
        count, first, second = total[0], total[1], total[2]
        mean = first / count
        deviation = (second / count - mean**2).clamp_min(EPSILON**2).sqrt()
        return mean.float(), deviation.float()

    def _sums(self, index: int, encoding: str) -> Tensor:
        if (index, encoding) not in self.sums:
            encoded = encode(self.clip(index).float().unsqueeze(0), encoding)
            pictures = resize_pictures(encoded, self.image_size)[0].double()
            count = torch.full((pictures.shape[1],), float(pictures[:, 0].numel()), dtype=torch.float64)
            self.sums[index, encoding] = torch.stack((count, pictures.sum((0, 2, 3)), (pictures**2).sum((0, 2, 3))))
        return self.sums[index, encoding]


def read_data(data: Data, image_size: int) -> FlowData:
    """The clips that `data.protocol` takes from `data.root`.

    Raises DataError, naming everything that is wrong: a missing folder, a clip whose flow is missing or listed twice,
    no clip of the protocol, clips of different length, data sets preprocessed differently or not to the end.
    """
    return _read_maps(data, image_size) if data.kind == "flow_maps" else _read_cache(data, image_size)


def protocol_lines(data: FlowData, protocol: str) -> list[str]:
    """Where the clips differ from the published list of `protocol`, and what was left out; [] for its very clips.

    Missing clips are counted by data set and class; of clips that are not on the list the first few are named.
    """
    if data.units:
        found = unit_differences(
            UNIT_PROTOCOLS[protocol], [(key[0], row) for key, row in zip(data.keys, data.units, strict=True)]
        )
        return [*data.left_out, *found]
    rows = [(*key, data.classes[label]) for key, label in zip(data.keys, data.labels, strict=True)]
    known = protocol_of(protocol, data.classes)
    lines = manifest_difference(known, rows)
    counted = [line for line in lines if line.split(":")[0] in known.datasets]
    counted += test_set_differences(known, Counter(data.splits))
    return [*data.left_out, *counted, *shortened([line for line in lines if line not in counted], limit=5)]


def _read_cache(data: Data, image_size: int) -> FlowData:
    units = UNIT_PROTOCOLS[data.protocol] if data.target == "units" else None
    classes = protocol_of(data.protocol, data.classes) if units is None else None
    protocol = units or classes
    assert protocol is not None
    problems: list[str] = []
    found: dict[ClipKey, _Listed] = {}
    used, passed_over = set(), _PassedOver()
    for root in roots(data):
        if not is_file(root / "index.csv"):
            problems.append(f"{root}: no index.csv; run slstt-preprocess --out {root} first, or correct data.root")
            continue
        # An unfinished run's index may list no clip yet, so every data set of the protocol is asked for.
        problems += manifest_problems(root, protocol.datasets)
        for clip in read_index(root / "index.csv"):
            label = class_of(classes, clip) if classes else None
            row = _units_of(units, clip, passed_over) if units else None
            if label is None and row is None:
                continue
            if clip.key in found:
                problems.append(f"{root}: {name_of(clip.key)} is listed twice; give each data set's folder once")
            found[clip.key] = _Listed(label, row, flow_path(root, clip.key), clip.split)
            used.add((root, clip.dataset))
    keys = tuple(sorted(found))
    listed = [found[key] for key in keys]
    problems += setting_differences(used)
    if classes is not None and classes.leaves_out == "test_sets":
        problems += _split_problems(classes, listed, data)
    headers, missing = [], []
    for one in listed:
        try:
            headers.append(read_header(one.path))
        except DataError as error:
            missing += error.problems
    problems += shortened(missing)
    if len(counts := Counter(header.frames for header in headers)) > 1 and not missing:
        usual = counts.most_common(1)[0][0]
        problems += shortened(
            [
                f"{name_of(key)}: has {header.frames} frames, most clips {usual}; preprocess all data sets with the "
                "same frames.count"
                for key, header in zip(keys, headers, strict=True)
                if header.frames != usual
            ]
        )
    if not problems and not keys:
        where = ", ".join(map(str, roots(data)))
        problems.append(
            passed_over.problem(where, protocol.datasets)
            if units
            else f"{where}: no clip of the protocol {data.protocol} "
            f"(data sets {', '.join(protocol.datasets)}); correct data.protocol or data.root"
        )
    if units is not None and not problems:
        problems += _unit_problems(units, keys)
    if problems:
        raise DataError(*problems)
    labels = tuple(classes.classes.index(one.label) for one in listed if one.label is not None) if classes else ()
    rows = tuple(one.units for one in listed if one.units is not None)
    fingerprints = tuple(header.fingerprint for header in headers)
    return FlowData(
        keys=keys,
        labels=labels,
        classes=classes.classes if classes else UNIT_NAMES,
        fingerprint=_data_fingerprint(keys, [str(row) for row in rows] if units else labels, fingerprints),
        fingerprints=fingerprints,
        frames=headers[0].frames,
        channels=2,
        image_size=image_size,
        units=rows,
        leaves_out=protocol.leaves_out,
        splits=tuple(one.split for one in listed),
        left_out=tuple(passed_over.lines(protocol.datasets) + _undecided_lines(keys, rows)),
        paths=tuple(one.path for one in listed),
        capacity=int(data.memory_gb * 1e9),
    )


@dataclass(frozen=True)
class _Listed:
    """A clip of the protocol in an index.csv."""

    label: str | None
    units: UnitRow | None
    path: Path
    split: str


@dataclass
class _PassedOver:
    """Micro-expressions whose units are not learned from, counted by data set."""

    uncoded: Counter[str] = field(default_factory=Counter)
    """The sheet says nothing of their units."""
    others: Counter[str] = field(default_factory=Counter)
    """Of data sets outside the protocol."""
    unread: Counter[str] = field(default_factory=Counter)
    """Parts of texts that name no unit, in clips that are kept."""

    def lines(self, datasets: Sequence[str]) -> list[str]:
        """What was left out, one line each."""
        found = [
            f"{dataset}: {_clips(count)} left out (no action units in the sheet)"
            for dataset, count in sorted(self.uncoded.items())
        ]
        found += [
            f"{dataset}: {_clips(count)} left out (the protocol takes {', '.join(datasets)})"
            for dataset, count in sorted(self.others.items())
        ]
        if self.unread:
            shown = ", ".join(f"'{text}'" for text, _ in self.unread.most_common(5))
            found.append(f"{self.unread.total()} parts of the sheets' texts name no unit and are passed over: {shown}")
        return found

    def problem(self, where: str, datasets: Sequence[str]) -> str:
        """Why there is no clip at all."""
        if self.uncoded:
            return (
                f"{where}: no clip has action units (index.csv, column action_units); an index.csv of an earlier "
                "version has none: run slstt-preprocess again, it keeps the flow"
            )
        return (
            f"{where}: no clip of the data sets whose units are learned ({', '.join(datasets)}); correct data.root, "
            "or learn classes (data.target: emotion)"
        )


def _clips(count: int) -> str:
    return f"{count} clip{'s' * (count > 1)}"


def _units_of(protocol: UnitProtocol, clip: Clip, passed_over: _PassedOver) -> UnitRow | None:
    """The clip's units; None, counted, where it is not learned from."""
    if clip.kind != "micro":
        return None
    if clip.dataset not in protocol.datasets:
        passed_over.others[clip.dataset] += 1
        return None
    coded = read_units(clip.action_units)
    if coded is None:
        passed_over.uncoded[clip.dataset] += 1
        return None
    passed_over.unread.update(coded.unread)
    return unit_row(coded)


def _undecided_lines(keys: Sequence[ClipKey], rows: Sequence[UnitRow]) -> list[str]:
    """How many clips have a unit that is neither learned nor scored, by data set."""
    by_dataset: dict[str, list[UnitRow]] = {}
    for key, row in zip(keys[: len(rows)], rows, strict=True):
        by_dataset.setdefault(key[0], []).append(row)
    counts = {dataset: undecided_count(found) for dataset, found in by_dataset.items()}
    return [
        f"{dataset}: {_clips(count)} with an undecided unit ('12 or 14', '12?'), which is neither learned nor scored"
        for dataset, count in counts.items()
        if count
    ]


def _unit_problems(protocol: UnitProtocol, keys: Sequence[ClipKey]) -> list[str]:
    datasets = sorted({key[0] for key in keys})
    if protocol.leaves_out == "dataset" and len(datasets) < 2:
        return [
            f"data.protocol: {protocol.name} leaves one data set out and all clips are of {datasets[0]}; name the "
            "folders of others in data.root too, or set data.protocol=cd6me_subjects, which leaves one subject out"
        ]
    return []


def _split_problems(protocol: Protocol, listed: Sequence[_Listed], data: Data) -> list[str]:
    where = ", ".join(map(str, roots(data)))
    found = Counter(one.split for one in listed)
    known = {"train", *protocol.test_sets}
    problems = []
    if listed and (unlisted := sum(count for name, count in found.items() if name not in known)):
        problems.append(
            f"{where}: {_clips(unlisted)} in none of the owners' lists (index.csv, column split: "
            f"{', '.join(sorted(known))}); put the lists beside the clips and run slstt-preprocess again"
        )
    absent = [name for name in ("train", *protocol.test_sets) if not found[name]]
    if listed and absent and not problems:
        problems.append(f"{where}: no clip of {', '.join(absent)}; preprocess the whole data set")
    return problems


def _read_maps(data: Data, image_size: int) -> FlowData:
    protocol, (root,) = PROTOCOLS[data.protocol], roots(data)
    maps = flow_maps.read(root)
    rows = [  # sorted by key, as `maps` is
        row for row, key in enumerate(maps.keys) if key[0] in protocol.datasets and key not in protocol.without
    ]
    if not rows:
        raise DataError(
            f"{root}: no clip of the protocol {data.protocol}; the maps are of {', '.join(maps.datasets)}, "
            f"{data.protocol} takes {', '.join(protocol.datasets)}; correct data.protocol"
        )
    pictures = maps.maps[rows]
    if pictures.shape[-2:] != (image_size, image_size):
        height, width = pictures.shape[-2:]
        raise DataError(
            f"{root}: the maps are {width}x{height} pixels and model.image_size is {image_size}; "
            f"set model.image_size={width}"
        )
    keys = tuple(maps.keys[row] for row in rows)
    labels = tuple(protocol.classes.index(maps.labels[row]) for row in rows)
    fingerprints = tuple(hashlib.sha256(picture.tobytes()).hexdigest()[:16] for picture in pictures)
    return FlowData(
        keys=keys,
        labels=labels,
        classes=protocol.classes,
        fingerprint=_data_fingerprint(keys, labels, fingerprints),
        fingerprints=fingerprints,
        frames=1,
        channels=3,
        image_size=image_size,
        leaves_out=protocol.leaves_out,
        left_out=tuple(left_out(protocol, maps.keys)),
        held={i: torch.from_numpy(picture[None]) for i, picture in enumerate(pictures)},
    )


def _data_fingerprint(keys: Sequence[ClipKey], labels: Sequence[int | str], fingerprints: Sequence[str]) -> str:
    return fingerprint({"clips": list(zip(keys, labels, fingerprints, strict=True))})
