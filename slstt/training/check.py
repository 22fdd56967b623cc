"""`slstt-train --check`: everything validated, time and memory estimated from measured steps, nothing written."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from slstt.config.train import TrainConfig
from slstt.datasets.protocols import protocol_of
from slstt.datasets.units import UNIT_PROTOCOLS
from slstt.errors import ConfigError, DataError, Problems, listed
from slstt.models.slstt import SLSTT
from slstt.training.flow_data import FlowData, protocol_lines, read_data
from slstt.training.folds import Fold, audit, choose, subjects_on_both_sides
from slstt.training.inputs import Features, FlowInputs, open_features
from slstt.training.loso import make_folds, worker_count
from slstt.training.optimization import batches
from slstt.training.run_folder import differences, is_done, refuse_differences
from slstt.training.trainer import add_gradients, make_loss, make_model, make_slstt, wanted

Frozen = tuple[SLSTT, Features]
"""A model with a frozen part, and what that part gave for each clip."""
LISTED = 100
"""Folds shown one by one."""


def check(
    settings: TrainConfig, run: Path, names: Sequence[str] | None, shard: tuple[int, int] | None, device: str
) -> list[str]:
    """What a start would do, as lines for the user.

    Raises ConfigError or DataError, all problems at once: clips, weights, a run folder of other settings or that
    cannot be written, too little disk.
    """
    problems = Problems()
    data: FlowData | None = None
    with problems.collecting():
        data = read_data(settings.data, settings.model.image_size)
    if settings.model.pretrained is not None:
        from slstt.models.model_file import find_weights

        with problems.collecting():
            find_weights(settings.model.pretrained, fetch=False)
    with problems.collecting():
        _check_writable(run)
    problems.raise_if_any()
    assert data is not None

    folds = make_folds(settings, data)
    chosen = choose(folds, names, shard)
    for fold in chosen:
        audit(fold, data.keys, fold.train)
    refuse_differences(run, differences(run, settings, data))
    todo = [fold for fold in chosen if not is_done(run, fold.name)]
    if settings.encoder.keeps_features:  # nothing but an SLSTT has a frozen encoder
        model = make_slstt(settings, len(data.classes))
        frozen = (model, open_features(model, data, settings, run))
    else:
        model, frozen = make_model(settings, len(data.classes)), None
    lines = [*_data_lines(settings, data), *_fold_lines(settings, data, chosen, run)]
    lines += _cost_lines(settings, data, model, frozen, todo, run, device)
    return lines


def _check_writable(run: Path) -> None:
    """Raise DataError where the run folder could not be made or written, without making it."""
    folder = run
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; choose another --out")
    try:
        tempfile.TemporaryFile(dir=folder).close()  # has no name where the system allows; root passes os.access always
    except OSError as error:
        raise DataError(f"{run}: cannot be written ({error.strerror}); choose another --out") from error


def _data_lines(settings: TrainConfig, data: FlowData) -> list[str]:
    name = settings.data.protocol
    found = protocol_lines(data, name)
    same = not set(found) - set(data.left_out)
    if data.units:
        title = f"{UNIT_PROTOCOLS[name].title}; " + ("its published counts" if same else "not its published counts:")
    elif (protocol := protocol_of(name, data.classes)).by_rule:
        known = "its published counts" if same else "not its published counts:"
        title = f"{protocol.heading}" + (f"; {known}" if protocol.counts or not same else "")
    else:
        title = f"{protocol.title}; " + ("its very clips" if same else "not its very clips:")
    return [
        f"protocol  {name}: {title}",
        *(f"          {line}" for line in found),
        f"clips     {len(data)} of {len({key[:2] for key in data.keys})} subjects, {data.frames} frames each: "
        + ", ".join(f"{one} {count}" for one, count in data.counts().items()),
    ]


def _fold_lines(settings: TrainConfig, data: FlowData, chosen: Sequence[Fold], run: Path) -> list[str]:
    done = sum(is_done(run, fold.name) for fold in chosen)
    lines = [f"folds     {len(chosen)}: {done} done, {len(chosen) - done} to do", ""]
    width = max(len(fold.name) for fold in chosen) if chosen else 4
    what = "unit" if data.units else "class"
    lines.append(f"  {'fold':<{width}}  state  test  train  steps  training clips per {what}")
    for fold in chosen[:LISTED]:
        counts = data.counts(fold.train)
        steps = settings.training.epochs * len(batches(fold.train, settings.training.batch_size))
        classes = ", ".join(f"{name} {count}" for name, count in counts.items())
        state = "done" if is_done(run, fold.name) else "to do"
        lines.append(
            f"  {fold.name:<{width}}  {state:<5}  {len(fold.test):>4}  {len(fold.train):>5}  {steps:>5}  {classes}"
        )
        absent = [name for name, count in counts.items() if not count]
        if absent:
            lines.append(f"  {'':<{width}}  no training clip of {', '.join(absent)}: it cannot be learned in this fold")
        lines += [f"  {'':<{width}}  {name}: {len(part)} test clips" for name, part in fold.test_sets.items()]
        if fold.test_sets and (both := subjects_on_both_sides(fold, data.keys)):
            lines.append(
                f"  {'':<{width}}  the owners' split has {len(both)} subjects on both sides: {listed(both, 5)}"
            )
    if len(chosen) > LISTED:
        lines.append(f"  ... and {len(chosen) - LISTED} more")
    return [*lines, ""]


def _cost_lines(
    settings: TrainConfig,
    data: FlowData,
    model: nn.Module,
    frozen: Frozen | None,
    todo: Sequence[Fold],
    run: Path,
    device: str,
) -> list[str]:
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    every = sum(p.numel() for p in model.parameters())
    workers = 1 if settings.run.executor == "serial" else worker_count(settings, len(todo), device)
    lines = [
        f"model     {every / 1e6:.2f} M parameters, {learning / 1e6:.2f} M of them learn",
        f"device    {device}, {settings.run.executor}"
        + (f" x {workers}" if settings.run.executor == "processes" else "")
        + f", {settings.run.threads_per_fold} CPU threads per fold",
    ]
    if not todo or settings.classifier.trained_at_once:
        return [*lines, "time      nothing to train" if not todo else "time      no epochs: each fold takes seconds"]
    seconds, ahead = _measure(settings, data, model, frozen, todo[0], device)
    steps = sum(settings.training.epochs * len(batches(fold.train, settings.training.batch_size)) for fold in todo)
    lines.append(
        f"time      about {duration(steps * seconds / workers + ahead)}: {steps} steps of {seconds * 1000:.1f} ms "
        f"(one measured)" + (f", {duration(ahead)} for the frozen features" if ahead else "")
    )
    states = 2 + (1 if settings.training.optimizer == "adamw" else 0) + (1 if settings.training.ema is not None else 0)
    checkpoints = learning * 4 * states * 2
    disk = min(workers, len(todo)) * checkpoints + (len(todo) * every * 4 if settings.run.save_models else 0)
    if frozen is not None:
        disk += len(frozen[1].missing()) * frozen[1].bytes_per_clip
    folder = run
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if disk > free:
        raise DataError(
            f"{run}: the run needs about {disk / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; choose another --out"
        )
    return [*lines, f"disk      about {disk / 1e6:.0f} MB at most at a time; {free / 1e9:.0f} GB free in {folder}"]


def _measure(
    settings: TrainConfig, data: FlowData, model: nn.Module, frozen: Frozen | None, fold: Fold, device: str
) -> tuple[float, float]:
    """(seconds of one training step, seconds for all missing frozen features), each from one measurement.

    A step is measured without the optimizer, which takes the least of it: torch's loads its compiler, and that would
    take longer than all the rest of the check.
    """
    torch.set_num_threads(settings.run.threads_per_fold)
    on = torch.device(device)
    model = model.to(on).train()
    indices = fold.train[: settings.training.batch_size]
    targets, loss = wanted(data, indices, on), make_loss(data, fold.train, settings, on)
    generator = torch.Generator().manual_seed(0)
    inputs, frozen_seconds, x = FlowInputs(data, settings, on, fold.train), 0.0, None
    if frozen is not None:
        encoder, store = frozen
        begun = time.perf_counter()
        (_, flow), *_ = inputs.read([indices[:1]])
        frames = inputs.plain(flow).flatten(0, 1)
        features = encoder.eval().frozen_features(frames).unflatten(0, (1, data.frames))
        encoder.train()
        frozen_seconds = len(store.missing()) * store.views * (time.perf_counter() - begun)
        x = features.expand(len(indices), *features.shape[1:]).float()
    seconds = 0.0
    for _ in range(2):  # the first one warms up
        begun = time.perf_counter()
        if x is None:
            (_, flow), *_ = inputs.read([indices])
            add_gradients(model, inputs.training(flow, generator), inputs.forward, targets, loss, settings)
        else:
            add_gradients(model, x, SLSTT.forward_from, targets, loss, settings)
        if on.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
    return seconds, frozen_seconds


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    for size, unit in ((86400 * 2, 86400), (7200, 3600), (120, 60)):
        if seconds >= size:
            return f"{seconds / unit:.1f} {({86400: 'days', 3600: 'h', 60: 'min'})[unit]}"
    return f"{seconds:.0f} s"
