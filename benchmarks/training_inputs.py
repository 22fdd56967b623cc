"""What reaches the network and at what price: stored features against computing them anew, and the input road's speed.

    OMP_NUM_THREADS=1 python benchmarks/training_inputs.py                 # all three parts
    OMP_NUM_THREADS=1 python benchmarks/training_inputs.py --only loso --epochs 4

`loso`: a whole leave-one-subject-out run (24 folds, 40 epochs, a small frozen encoder, an LSTM that learns) whose
features are computed once and stored, against the same run that encodes every clip anew in every epoch, both run to
the end, in turn, with the same predictions. `full`: the same ratio for ViT-B/16 at 384 pixels, put together from one
measured clip and one measured step, since the slow way would take weeks. `road`: reading, augmentation, encoding and
normalisation alone, in clips per second, and how many times as fast as a training step takes them. Seconds are this
process's processor time on one thread, which other processes disturb least.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from loso import write_cache
from torch.nn import functional as F

from slstt.config.load import load_config
from slstt.config.train import TrainConfig
from slstt.models.slstt import SLSTT, set_trainable
from slstt.training.flow_data import FlowData, read_data
from slstt.training.folds import leave_one_subject_out
from slstt.training.inputs import FlowInputs, FrozenFeatures, compute_features, open_features
from slstt.training.trainer import FoldSetup, make_slstt, train_fold

CPU = torch.device("cpu")


def timed(function: Callable[[], object], count: int) -> float:
    """Median seconds of `count` calls, after one that is not counted."""
    function()
    seconds = []
    for _ in range(count):
        begun = time.process_time()
        function()
        seconds.append(time.process_time() - begun)
    return statistics.median(seconds)


def run_loso(settings: TrainConfig, data: FlowData, folder: Path, stored: bool) -> tuple[float, np.ndarray]:
    """(seconds, probabilities of all clips) of one whole run."""
    begun, found = time.process_time(), []
    if stored:
        model = make_slstt(settings, len(data.classes))
        features = open_features(model, data, settings, folder)
        pictures = FlowInputs(data, settings, CPU, ()).plain
        compute_features(features, model, pictures, settings, CPU)
        inputs = FrozenFeatures(features, CPU)
    else:
        inputs = FlowInputs(data, settings, CPU, ())
    for fold in leave_one_subject_out(data.keys):
        trained = train_fold(FoldSetup(fold, data, settings, inputs, folder / fold.name, CPU))
        assert trained is not None
        found.append(trained.probabilities)
    return time.process_time() - begun, np.concatenate(found)


def loso(subjects: int, clips: int, epochs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_cache(root / "flow", subjects, clips)
        words = ["data.normalize=none", "encoder.trainable=norm", f"training.epochs={epochs}"]
        words += ["training.augment.mirror=false", "training.augment.jitter=0", "training.warmup_epochs=0"]
        settings = load_config(TrainConfig, Path("configs/demo.yaml"), [f"data.root={root / 'flow'}", *words])
        data = read_data(settings.data, settings.model.image_size)
        first_epoch = settings.training.model_copy(update={"epochs": 1})
        run_loso(settings.model_copy(update={"training": first_epoch}), data, root / "warm", stored=True)
        once, first = run_loso(settings, data, root / "stored", stored=True)
        anew, second = run_loso(settings, data, root / "anew", stored=False)
        print(
            f"| whole LOSO, {subjects} folds x {epochs} epochs, {len(data)} clips, demo's network, encoder frozen "
            f"| {once:.0f} s | {anew:.0f} s | {anew / once:.1f} x | within {abs(first - second).max():.0e} |",
            flush=True,
        )


def full(clips: int, folds: int, epochs: int) -> None:
    """ViT-B/16, 384 pixels, 11 frames: encoder per clip and learning step measured, the rest counted."""
    settings = load_config(TrainConfig, Path("configs/paper/slstt.yaml"), ["model.pretrained=null"])
    model = SLSTT(**settings.model.model_dump(exclude={"pretrained"}))
    set_trainable(model, "norm")
    frames = torch.randn(11, 3, 384, 384)
    with torch.no_grad():
        encode = timed(lambda: model.frozen_features(frames), 2)
    batch = settings.training.batch_size
    features, targets = torch.randn(batch, 11, 768), torch.arange(batch) % 3
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model.train().forward_from(features), targets).backward()
        optimizer.step()

    learn = timed(step, 9)
    seen = clips * (folds - 1) * epochs  # every clip is in the training part of all folds but its own
    steps = seen / batch
    once = clips * encode + steps * learn
    anew = (seen + clips) * encode + steps * learn
    print(
        f"| ViT-B/16 at 384 px, {folds} folds x {epochs} epochs, {clips} clips; put together from {encode:.1f} s "
        f"a clip and {learn * 1000:.0f} ms a step | {once / 3600:.1f} h | {anew / 3600:.0f} h "
        f"| {anew / once:.0f} x | |",
        flush=True,
    )


def road(config: str, changes: list[str], size: int) -> None:
    """Clips per second of the inputs alone, and of the training step that waits for them."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_cache(root, 2, 8, size=size)
        settings = load_config(TrainConfig, Path(config), [f"data.root={root}", "model.pretrained=null", *changes])
        data = read_data(settings.data, settings.model.image_size)
        inputs = FlowInputs(data, settings, CPU, range(len(data)) if settings.data.normalize == "train" else ())
        batches = [list(range(len(data)))[i : i + 4] for i in range(0, len(data), 4)]
        generator = torch.Generator().manual_seed(0)

        def read(disk: bool) -> None:
            if disk:
                data.held.clear()
            for _, raw in inputs.read(batches):
                inputs.training(raw, generator)

        from_disk, from_memory = (len(data) / timed(lambda disk=disk: read(disk), 3) for disk in (True, False))
        model = make_slstt(settings, len(data.classes)).train()
        set_trainable(model, "all")
        pictures = next(iter(inputs.read(batches[:1])))[1][:1]
        pictures = inputs.training(pictures, generator)
        learn = 1 / timed(
            lambda: F.cross_entropy(model(pictures), torch.tensor([0])).backward(), 1 if size > 99 else 20
        )
        print(
            f"| {Path(config).stem}, {size} px, {settings.data.encoding}, {', '.join(changes) or 'as shipped'} "
            f"| {from_disk:.1f} | {from_memory:.1f} | {learn:.2f} | {from_disk / learn:.0f} x |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("loso", "full", "road")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--clips", type=int, default=4, help="per subject, in the run that is run whole")
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread\n")
    if "loso" in given.only or "full" in given.only:
        print(
            "| leave-one-subject-out | features stored | computed anew | ratio | predictions |\n|---|---|---|---|---|"
        )
    if "loso" in given.only:
        loso(24, given.clips, given.epochs)
    if "full" in given.only:
        full(249, 24, 40)
    if "road" in given.only:
        print("\n| input road | clips/s from disk | from memory | training step, clips/s | road is as fast |")
        print("|---|---|---|---|---|")
        road("configs/demo.yaml", [], 64)
        every = [f"training.augment.{change}" for change in ("mirror=true", "rotate=5", "zoom=0.1", "jitter=0.5")]
        road("configs/paper/slstt.yaml", ["encoder.trainable=all", "encoder.dropout=0"], 384)
        road("configs/paper/slstt.yaml", ["encoder.trainable=all", "encoder.dropout=0", *every], 384)


if __name__ == "__main__":
    main()
