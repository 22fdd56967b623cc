"""Prove on a machine with a CUDA card that the card gives what the CPU gives, and print how much faster it is.

    python scripts/gpu_check.py [--out gpu.md] [--only RIFE resume] [--size paper|tiny] [--device cuda]

Each line runs one way through slstt twice, on the CPU in float32 and on the card, and compares the numbers. No data are
needed: flow and faces are made up. `--device cpu --size tiny` tries the script without a card: the CPU
against itself. RIFE's weights are fetched once (or named in $SLSTT_RIFE_WEIGHTS); without them they are random.

Exit codes: 0 all agree, 1 a line differs by more than it may or failed, 2 there is no card.
"""

import argparse
import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from slstt import __version__
from slstt.cli.train import main as slstt_train
from slstt.config.load import load_config
from slstt.config.pretrain import PretrainConfig
from slstt.config.train import TrainConfig
from slstt.datasets.clips import Clip, write_index
from slstt.errors import ConfigError, WeightsError
from slstt.evaluation.predictions import read_predictions
from slstt.evaluation.saliency import AttentionInput, attention_maps, saliency_maps
from slstt.flow.flow_files import flow_path, write_flow
from slstt.flow.interpolation import IFNet, Precision, Rife
from slstt.models.baselines import MAP_NETWORKS
from slstt.models.model_file import SYNTHETIC, load_model, read_model_input
from slstt.prediction.classify import find_classifier, logits
from slstt.training.checkpoint import FoldState, make_optimizer
from slstt.training.classifiers import classify_fold
from slstt.training.flow_data import read_data
from slstt.training.inputs import FlowInputs, FrozenFeatures, compute_features, open_features
from slstt.training.pretraining import pretrain
from slstt.training.run import make_folds
from slstt.training.trainer import Callbacks, ClassLoss, FoldSetup, batches, make_model, one_step, predict, train_fold

ROOT = Path(__file__).parents[1]
EMOTIONS = ("negative", "positive", "surprise")
SMALL = """\
data: {protocol: smic_sde, encoding: uv_magnitude}
model: {image_size: 32, patch_size: 16, width: 64, depth: 2, heads: 4, mlp_ratio: 2, lstm_width: 64, lstm_layers: 1,
        head_width: 32, drop_path: 0.0}
training: {epochs: 3, batch_size: 8, optimizer: adamw, learning_rate: 1e-3, schedule: cosine, warmup_epochs: 1}
"""
# drop_path is 0 wherever numbers are compared: the card draws other random numbers than the CPU.
PAPER = """\
data: {protocol: smic_sde, encoding: hsv_frame, normalize: imagenet, memory_gb: 0}
model: {drop_path: 0.0, gelu: tanh}
training: {batch_size: 2, learning_rate: 1e-3}
"""
TINY = "image_size: 32, width: 64, depth: 2, heads: 4, lstm_width: 64, head_width: 32"
"""PAPER's network, small."""
CHANGES = (  # what is drawn, is drawn on the CPU, so augmentation is the same on both
    "training.augment.mirror=true",
    "training.augment.rotate=5",
    "training.augment.zoom=0.1",
    "training.augment.shift=0.05",
    "training.augment.intensity=0.2",
    "training.augment.jitter=0.5",
)
THREADS = torch.get_num_threads()
Numbers = dict[str, Tensor]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Place:
    """Where a line runs: folder for its files, device, sizes."""

    folder: Path
    device: torch.device
    paper: bool
    """The paper's sizes, or tiny ones."""

    @property
    def name(self) -> str:
        """`cpu` or `card`."""
        return "cpu" if self.device.type == "cpu" else "card"


@dataclass(frozen=True)
class Measured:
    """What came out, and how long it took."""

    numbers: Numbers
    seconds: float
    remark: str = ""


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    name: str
    measure: Callable[..., Measured]
    allowed: float
    """Length of the difference in units of the length of the CPU's numbers, all together; grey levels for RIFE."""
    reference: dict[str, Any] = field(default_factory=dict)
    """What the CPU is asked for."""
    asked: dict[str, Any] = field(default_factory=dict)
    """What the card is asked for besides."""


def clips(folder: Path, size: int, frames: int, subjects: int = 3, each: int = 6) -> Path:
    """Stored flow of made-up clips whose classes move different corners of the face."""
    root = folder / f"flow{size}x{frames}x{subjects}x{each}"
    if (root / "index.csv").exists():
        return root
    generator, listed, half = np.random.default_rng(0), [], size // 2
    for subject in range(1, subjects + 1):
        for number in range(each):
            emotion = EMOTIONS[number % 3]
            row, column, u, v = ((0, 0, 1, 0), (1, 1, 0, -1), (1, 0, -1, 0.5))[number % 3]
            flow = generator.normal(0, 0.1, (frames, 2, size, size))
            corner = flow[:, :, row * half :, column * half :][:, :, :half, :half]
            corner += np.linspace(0.5, 1.5, frames)[:, None, None, None] * np.array([u, v])[:, None, None]
            clip = Clip("smic", f"s{subject:02}", f"s{subject:02}_{number:02}", emotion, 1, 5, 9, Path())
            write_flow(flow_path(root, clip.key), flow, f"{size} {subject} {number}")
            listed.append(clip)
    write_index(root / "index.csv", listed)
    return root


def settings(place: Place, text: str, *words: str) -> TrainConfig:
    """Training settings over made-up clips of the right size."""
    large = text == PAPER and place.paper
    root = clips(place.folder, 384, 11, 2, 3) if large else clips(place.folder, 32, 5)
    path = place.folder / ("paper.yaml" if text == PAPER else "small.yaml")
    path.write_text(text if large else text.replace("model: {drop_path", f"model: {{{TINY}, drop_path"))
    return load_config(TrainConfig, path, [f"data.root={root}", f"run.threads_per_fold={THREADS}", *words])


def finished(device: torch.device) -> float:
    """The time at which the device has done all that it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def warmed(run: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """What the second call of `run` returns, and its seconds."""
    run()
    begun = finished(device)
    result = run()
    return result, finished(device) - begun


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether cuDNN may round float32 to ten bits of mantissa in convolutions and LSTMs; torch's default lets it."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def step(place: Place, words: Sequence[str] = (), exact: bool = False) -> Measured:
    """A training step: loss and gradients of the first, the time of later ones, flow read from disk."""
    chosen = settings(place, PAPER, *words)
    data = read_data(chosen.data, chosen.model.image_size)
    fold, device = make_folds(chosen, data)[0], place.device
    model = make_model(chosen, 3).to(device).train()
    if chosen.run.compile:
        model.compile()
    state = FoldState(model, make_optimizer(model, chosen.training), chosen.training.ema)
    inputs = FlowInputs(data, chosen, device, fold.train)
    generator, loss = torch.Generator().manual_seed(0), ClassLoss(torch.ones(3, device=device), 0.0)
    steps = batches(fold.train * 4, chosen.training.batch_size)[:3]
    found, begun = {}, None
    with tf32(not exact):
        for indices, raw in inputs.read(steps):
            targets = torch.tensor([data.labels[i] for i in indices], device=device)
            one_step(state, inputs.training(raw, generator), inputs.forward, targets, loss, chosen)
            if begun is None:
                found = {name: p.grad.float().cpu() for name, p in state.learning() if p.grad is not None}
                begun = finished(device)
    seconds = (finished(device) - (begun or 0.0)) / (len(steps) - 1)
    return Measured(found, seconds)


def pictures(place: Place) -> Measured:
    """Reading, pinning, augmenting, encoding and normalising, from disk."""
    chosen = settings(place, PAPER, *CHANGES)
    data = read_data(chosen.data, chosen.model.image_size)
    inputs, generator = FlowInputs(data, chosen, place.device, ()), torch.Generator().manual_seed(0)
    found, seconds = warmed(
        lambda: [inputs.training(raw, generator) for _, raw in inputs.read(batches(range(len(data)), 2))], place.device
    )
    return Measured({str(number): x.float().cpu() for number, x in enumerate(found)}, seconds)


def network_of_maps(place: Place, name: str) -> Measured:
    """A published network for flow maps: logits and gradients without Dropout (channels_last inside)."""
    torch.manual_seed(0)
    chosen = settings(place, SMALL, f"classifier.name={name}", "model.image_size=28", "model.patch_size=28")
    model, x = make_model(chosen, 3).to(place.device).eval(), torch.randn(256, 1, 3, 28, 28).to(place.device)

    def both_ways() -> Tensor:
        model.zero_grad()
        answer = model(x)
        answer.square().mean().backward()
        return answer.detach()

    with tf32(False):
        answer, seconds = warmed(both_ways, place.device)
    gradients = {key: p.grad.cpu() for key, p in model.named_parameters() if p.grad is not None}
    return Measured({"logits": answer.cpu(), **gradients}, seconds)


def frozen(place: Place, precision: str = "fp32") -> Measured:
    """The frozen encoder's features of all clips, in float32 (without TF32) or bfloat16."""
    chosen = settings(
        place, PAPER, "encoder.trainable=none", "training.augment.mirror=true", f"run.precision={precision}"
    )
    data = read_data(chosen.data, chosen.model.image_size)
    model, folder = make_model(chosen, 3), place.folder / f"features-{place.name}-{precision}"
    features = open_features(model, data, chosen, folder)  # pyright: ignore[reportArgumentType]
    begun = finished(place.device)
    with tf32(False):
        inputs = FlowInputs(data, chosen, place.device, ())
        compute_features(features, model, inputs.plain, chosen, place.device)  # pyright: ignore[reportArgumentType]
    seconds = finished(place.device) - begun
    return Measured({str(i): features.read(i).float() for i in range(len(data))}, seconds)


def fold(place: Place, words: Sequence[str] = (), half_on: str | None = None) -> Measured:
    """A whole fold; with `half_on` (cpu or card) it is stopped there half way and continued on the other."""
    chosen = settings(place, SMALL, *words)
    data = read_data(chosen.data, chosen.model.image_size)
    one, folder = make_folds(chosen, data)[0], place.folder / f"fold{len(list(place.folder.iterdir()))}"
    folder.mkdir()
    others = {"cpu": torch.device("cpu"), "card": place.device}
    devices = [place.device] if half_on is None else [others[half_on], others["card" if half_on == "cpu" else "cpu"]]
    begun, found, asked = time.perf_counter(), None, 0

    def halfway() -> bool:
        nonlocal asked
        asked += 1
        return len(devices) == 2 and asked == 3  # of two steps an epoch: in the middle of the second epoch

    for device in devices:
        if chosen.encoder.keeps_features:
            model = make_model(chosen, 3)
            features = open_features(model, data, chosen, folder)  # pyright: ignore[reportArgumentType]
            plain = FlowInputs(data, chosen, device, ()).plain
            compute_features(features, model, plain, chosen, device)  # pyright: ignore[reportArgumentType]
            inputs = FrozenFeatures(features, device)
        else:
            inputs = FlowInputs(data, chosen, device, one.train)
        setup = FoldSetup(one, data, chosen, inputs, folder, device)
        if chosen.classifier.trained_at_once:
            found = classify_fold(setup)
        else:
            found = train_fold(setup, Callbacks(stop=halfway))
    if found is None:
        raise RuntimeError("the fold did not end")
    return Measured({"probabilities": torch.from_numpy(found.probabilities)}, time.perf_counter() - begun)


def rife(place: Place, precision: Precision = "fp32") -> Measured:
    """Middle frames of faces' size, in grey levels."""
    torch.manual_seed(0)
    try:
        network, remark = Rife.load(None, precision, place.device), ""
    except WeightsError:
        network, remark = Rife(IFNet(), precision, place.device), "random weights"
    side, generator = (320 if place.paper else 64), np.random.default_rng(0)
    coarse = torch.from_numpy(generator.uniform(0, 255, (1, 3, 20, 20)))
    texture = torch.nn.functional.interpolate(coarse, (side + 8, side + 8), mode="bicubic").clamp(0, 255)[0]
    whole = texture.permute(1, 2, 0).numpy().astype(np.uint8)
    a, b = (np.stack([whole[n : n + side, n : n + side] for n in at]) for at in ((0, 1, 2, 3), (4, 5, 6, 7)))
    middle, seconds = warmed(lambda: network.midpoint(a, b), place.device)
    return Measured({"grey levels": torch.from_numpy(middle.astype(np.float32))}, seconds, remark)


def prediction(place: Place) -> Measured:
    """Intervals of a recording and the shipped weights, as in slstt-predict, which takes the card by itself."""
    found = {}
    begun = finished(place.device)
    for source in sorted(path.stem for path in SYNTHETIC.parent.glob("*.safetensors")):
        classifier = find_classifier(source)
        generator = torch.Generator().manual_seed(0)
        flows = [torch.randn(classifier.wanted.frames, 2, 160, 160, generator=generator) for _ in range(8)]
        if place.device.type == "cuda":
            found[source] = classifier.probabilities(flows)
        else:
            model, wanted = load_model(classifier.paths[0]), read_model_input(classifier.paths[0])
            found[source] = torch.stack([logits(model, wanted, flow).double().softmax(0) for flow in flows])
    return Measured(found, finished(place.device) - begun)


def attention(place: Place) -> Measured:
    """The report's maps: attention rollout with the LSTM's gate, and occlusion for a network of one patch."""
    found, begun = {}, finished(place.device)
    for path in sorted(SYNTHETIC.parent.glob("*.safetensors")):
        model, wanted = load_model(path).to(place.device), read_model_input(path)
        x = torch.randn(
            2, wanted.frames, 3, wanted.image_size, wanted.image_size, generator=torch.Generator().manual_seed(0)
        )
        found[path.stem] = torch.from_numpy(saliency_maps(model, x[0], 0).values)
        shown = AttentionInput(model, x.to(place.device), x.to(place.device)[:, :, :2], ["positive", "surprise"])
        for name, maps in attention_maps([shown]).items():
            found[f"{path.stem} {name}"] = torch.from_numpy(maps.attention)
            if maps.gate is not None:
                found[f"{path.stem} {name} gate"] = torch.from_numpy(maps.gate)
    return Measured(found, finished(place.device) - begun)


def pretraining(place: Place) -> Measured:
    """A few steps of slstt-pretrain: losses and the averaged weights."""
    steps = 60 if place.paper else 4
    words = [
        f"training.steps={steps}", "training.warmup_steps=2", "held_out.fields=50", "model.drop_path=0",
        f"training.batch_size={128 if place.paper else 16}", f"run.device={place.device}",
    ]  # fmt: skip
    chosen = load_config(PretrainConfig, ROOT / "configs" / "pretrain" / "flow_map.yaml", words)
    folder = place.folder / f"pretrained-{place.name}"
    begun = finished(place.device)
    ended = pretrain(chosen, folder)
    seconds = finished(place.device) - begun
    if ended is None:
        raise RuntimeError("pretraining did not end")
    losses = torch.tensor([row["loss"] for row in ended[2]])
    return Measured({"losses": losses}, seconds)


def command(place: Place, words: Sequence[str] = ()) -> Measured:
    """slstt-train over all folds; the saved models are read on the CPU and must answer as predictions.csv says."""
    chosen = settings(place, SMALL, "run.save_models=true")
    path, out = place.folder / "small.yaml", place.folder / f"run-{place.name}-{len(words)}"
    more = [f"data.root={chosen.data.root}", "run.save_models=true", f"run.device={place.device.type}", *words]
    begun = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        code = slstt_train(["--config", str(path), "--out", str(out), "--quiet", *more])
    seconds = time.perf_counter() - begun
    if code != 0:
        raise RuntimeError(f"slstt-train ended with exit code {code}")
    data, cpu = read_data(chosen.data, chosen.model.image_size), torch.device("cpu")
    pooled, again = read_predictions(out / "predictions.csv"), []
    for one in make_folds(chosen, data):
        model = load_model(out / "folds" / one.name / "model.safetensors")
        again.append(predict(model, FlowInputs(data, chosen, cpu, ()), one.test, chosen, cpu)[0])
    probabilities = torch.from_numpy(pooled.probabilities)
    return Measured({"pooled": probabilities, "models": torch.from_numpy(np.concatenate(again))}, seconds)


def onnx(place: Place) -> Measured:
    """A model file that the card wrote, as ONNX; slstt-export compares it with the model itself."""
    from slstt.models.export import check_packages, export

    try:
        check_packages()
    except ConfigError as error:
        return Measured({"nothing": torch.zeros(1)}, 0.0, f"left out: {error.problems[0]}")
    command_out = place.folder / f"run-{place.name}-0"
    begun = time.perf_counter()
    export(command_out / "folds" / "smic-s01" / "model.safetensors", place.folder / f"{place.name}.onnx")
    return Measured({"nothing": torch.zeros(1)}, time.perf_counter() - begun)


FP32, TF32, BF16, GREY = 1e-3, 1e-2, 0.1, 0.5
SHARED = ("run.executor=processes", "run.workers=2", "run.threads_per_fold=1")
COMPILED = ("run.compile=true",)
LINES = (
    Line("inputs: read, pinned, augmented, encoded", pictures, FP32),
    Line("training step, float32 without TF32", step, FP32, asked={"exact": True}),
    Line("training step, float32 as torch has it (TF32)", step, TF32),
    Line("training step, bfloat16", step, BF16, asked={"words": ("run.precision=bf16",)}),
    Line("training step, compiled, float32", step, TF32, asked={"words": COMPILED}),
    Line("training step, compiled, bfloat16", step, BF16, asked={"words": (*COMPILED, "run.precision=bf16")}),
    Line("training step, activation checkpointing, batch in 2 pieces", step, TF32,
         asked={"words": ("model.checkpointing=true", "training.accumulate=2")}),
    Line("training step, last 2 blocks", step, TF32, {"words": ("encoder.trainable=last:2", "encoder.dropout=0.0")}),
    *(Line(f"{name}: forward and backward", network_of_maps, FP32, {"name": name}) for name in MAP_NETWORKS),
    Line("frozen features, float32 without TF32", frozen, FP32),
    Line("frozen features, bfloat16", frozen, BF16, asked={"precision": "bf16"}),
    Line("a fold: averaged weights, inner selection, balanced loss", fold, TF32,
         {"words": ("training.ema=0.9", "selection.method=inner", "training.balance=loss", *CHANGES)}),
    Line("a fold: last norm learns, stored features", fold, TF32,
         {"words": ("encoder.trainable=norm", "training.augment.mirror=true")}),
    Line("a fold: RBF SVM on frozen features", fold, TF32,
         {"words": ("encoder.trainable=none", "classifier.name=svm_rbf")}),
    Line("a fold stopped on the card, resumed on the CPU", fold, TF32, asked={"half_on": "card"}),
    Line("a fold stopped on the CPU, resumed on the card", fold, TF32, asked={"half_on": "cpu"}),
    Line("slstt-train, all folds, saved models read on the CPU", command, TF32),
    Line("slstt-train, two folds share the card", command, TF32, {"words": SHARED}),
    Line("export to ONNX of a model the card wrote", onnx, 0.0),
    Line("slstt-pretrain, some steps", pretraining, TF32),
    Line("prediction: intervals with the shipped weights", prediction, TF32),
    Line("attention and occlusion of the report", attention, TF32),
    Line("RIFE, middle frames, float32", rife, GREY),
    Line("RIFE, middle frames, bfloat16", rife, GREY * 2, asked={"precision": "bf16"}),
)  # fmt: skip


def difference(found: Numbers, expected: Numbers) -> float:
    """The length of the difference by that of `expected`, all numbers together; RIFE: the mean, in grey levels."""
    if found.keys() != expected.keys():
        return float("inf")
    if "grey levels" in expected:
        return float((found["grey levels"] - expected["grey levels"]).abs().mean())
    a, b = (torch.cat([numbers[name].double().flatten() for name in expected]) for numbers in (found, expected))
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


def compared(line: Line, cpu: Place, card: Place, known: dict[str, Measured]) -> tuple[str, bool]:
    """The line of the table, and whether all is well. `known` keeps the CPU's answers for lines that share them."""
    key = f"{line.measure.__name__} {line.reference}"
    try:
        torch.set_num_threads(THREADS)  # pretraining and folds set their own
        if key not in known:
            known[key] = line.measure(cpu, **line.reference)
            torch.set_num_threads(THREADS)
        there = line.measure(card, **{**line.reference, **line.asked})
    except Exception as error:  # whatever a machine we never saw may do: the other lines are worth having
        what = " ".join(str(error).split())[:200]
        return f"| {line.name} | | | | | | FAILED: {type(error).__name__}: {what} |", False
    here = known[key]
    gap = difference(there.numbers, here.numbers)
    equal = gap <= line.allowed  # not for NaN
    ratio = f"{here.seconds / there.seconds:.1f}" if there.seconds else ""
    verdict = ", ".join(filter(None, ["yes" if equal else "NO", there.remark]))
    cells = (
        line.name,
        f"{here.seconds:.3f}",
        f"{there.seconds:.3f}",
        ratio,
        f"{gap:.1e}",
        f"{line.allowed:g}",
        verdict,
    )
    return f"| {' | '.join(cells)} |", equal


@cache
def machine(device: torch.device) -> str:
    """What the numbers were measured on."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no card: the CPU against itself"
    return (
        f"{card}; torch {torch.__version__}; CUDA {torch.version.cuda}; cuDNN {torch.backends.cudnn.version()}; "
        f"Python {platform.python_version()}; {os.cpu_count()} CPU cores; slstt {__version__}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--size", default="paper", choices=("paper", "tiny"), help="of networks and pictures")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only lines whose name holds one of these words")
    parser.add_argument("--out", type=Path, help="write the table there too")
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("gpu_check: torch sees no CUDA card on this machine, so nothing was checked", file=sys.stderr)
        return 2
    chosen = [line for line in LINES if not options.only or any(word in line.name for word in options.only)]
    device, shown, good, known = torch.device(options.device), [], True, {}
    head = ("way", "CPU s", "card s", "CPU / card", "difference", "allowed", "equal")
    shown += [machine(device), "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    print("\n".join(shown), flush=True)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="slstt-gpu-") as folder:
        cpu = Place(Path(folder, "cpu"), torch.device("cpu"), options.size == "paper")
        card = Place(Path(folder, "card"), device, options.size == "paper")
        for place in (cpu, card):
            place.folder.mkdir()
        for line in chosen:
            text, equal = compared(line, cpu, card, known)
            good = good and equal
            shown.append(text)
            print(text, flush=True)
    if options.out:
        options.out.write_text("\n".join(shown) + "\n")
    print(f"{'all agree' if good else 'NOT ALL AGREE'}; {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
