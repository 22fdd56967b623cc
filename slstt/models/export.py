"""A trained SLSTT for other programs: ONNX, any number of clips and frames, checked before it is kept.

The tracer does not follow an LSTM over an unknown number of frames, so ONNX's own LSTM operator takes its place. The
exported file is run on several sizes and compared with the model.

Shapes in this file: B clips, T frames, D = width of a frame's features, H = lstm_width.
"""

import copy
import importlib.util
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slstt import __version__
from slstt.errors import ConfigError, SlsttError, WeightsError
from slstt.files import sha256, whole_file
from slstt.models.model_file import ModelInput, load_model, read_model_input
from slstt.models.slstt import SLSTT

TOLERANCE = 1e-4
"""Largest difference of a logit from the model's, as a share of the largest logit or of 1."""

ExportRun = Callable[[Tensor], Tensor]


class OnnxLSTM(nn.Module):
    """torch's LSTM as ONNX's operator; its gates are ordered i, o, f, g (ONNX) instead of i, f, g, o (torch)."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.layers, self.hidden = lstm.num_layers, lstm.hidden_size
        for layer in range(self.layers):
            into, within, bias_in, bias_within = (_reordered(weight) for weight in _weights(lstm, layer))
            self.register_buffer(f"into{layer}", into)
            self.register_buffer(f"within{layer}", within)
            self.register_buffer(f"bias{layer}", torch.cat([bias_in, bias_within], dim=1))

    def forward(self, features: Float[Tensor, "B T D"]) -> tuple[Float[Tensor, "B T H"], None]:
        """Features (B, T, D) -> the last layer's outputs (B, T, H); only to be traced, not to be run."""
        x = features.transpose(0, 1)
        for layer in range(self.layers):
            inputs = [x, *(getattr(self, f"{name}{layer}") for name in ("into", "within", "bias"))]
            shape = (x.shape[0], 1, x.shape[1], self.hidden)  # (T, directions, B, H)
            y = torch.onnx.ops.symbolic("LSTM", inputs, {"hidden_size": self.hidden}, dtype=x.dtype, shape=shape)
            x = y.squeeze(1)  # pyright: ignore[reportAttributeAccessIssue]
        return x.transpose(0, 1), None


def check_packages() -> None:
    """Raise ConfigError where ONNX files cannot be written here."""
    missing = [package for package in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(package)]
    if missing or not hasattr(torch.onnx, "ops"):
        what = f"{', '.join(missing)} not installed" if missing else f"torch {torch.__version__} is too old"
        raise ConfigError(f"{what}; run pip install 'slstt[export]'")


@torch.no_grad()
def export(path: Path, target: Path) -> dict[str, str]:
    """Write the model file `path` as the ONNX file `target`, whole or not at all.

    The file maps `pictures` (B, T, 3, S, S) float32 to `logits` (B, K), any B and T; it carries the metadata that is
    returned. Raises WeightsError for a file that is no model of ours or whose logits are not finite, ConfigError where
    ONNX cannot be written, SlsttError where what was written does not agree with the model within `TOLERANCE`.
    """
    check_packages()
    wanted, model = read_model_input(path), load_model(path)
    for x in samples(wanted):
        if not model(x).isfinite().all():
            raise WeightsError(f"{path}: its answers are not finite; nothing was written")
    about = metadata(wanted, path)
    traced = copy.deepcopy(model)
    lstm = getattr(traced.aggregator, "lstm", None)
    if lstm is not None:
        traced.aggregator.lstm = OnnxLSTM(lstm)  # pyright: ignore[reportAttributeAccessIssue]
    traced.eval()
    example = torch.zeros(2, 3, 3, wanted.image_size, wanted.image_size)
    with whole_file(target) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own, about itself
        run = _write_onnx(traced, example, part, about)
        worst = difference(model, run, wanted)
        if worst > TOLERANCE:
            raise SlsttError(f"{target}: differs from the model by {worst:.1e} of its logits; nothing was kept")
    return about | {"largest_difference": f"{worst:.1e}"}


def metadata(wanted: ModelInput, path: Path) -> dict[str, str]:
    """What the exported file says: how to make its input, and what its output means."""
    facts = {
        "classes": list(wanted.classes),
        "kind": wanted.kind,
        "encoding": "u, v, strain" if wanted.kind == "flow_maps" else wanted.encoding,
        "normalize": wanted.normalize,
        "frames": wanted.frames,
        "image_size": wanted.image_size,
        "crop": wanted.crop,
        "mean": wanted.mean,
        "deviation": wanted.deviation,
        "preprocessing": wanted.preprocessing,
    }
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    return texts | {
        "input": " ".join(_steps(wanted)),
        "output": "logits (clips, classes) in the order of classes; softmax gives probabilities",
        "trained_on": wanted.trained_on,
        "left_out": wanted.left_out,
        "model_sha256": sha256(path),
        "slstt": __version__,
        "use": "research; not for decisions about people",
    }


def difference(model: SLSTT, run: ExportRun, wanted: ModelInput) -> float:
    """The largest difference between the two over several numbers of clips and frames (see `TOLERANCE`)."""
    worst = 0.0
    for x in samples(wanted):
        true = model(x)
        scale = max(1.0, float(true.abs().max()))
        gap = float((run(x) - true).abs().max()) / scale
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def samples(wanted: ModelInput) -> Iterator[Float[Tensor, "B T 3 S S"]]:
    """Random pictures (B, T, 3, S, S), always the same, for several numbers of clips and frames."""
    generator = torch.Generator().manual_seed(0)
    for clips, frames in {(1, wanted.frames), (1, 1), (3, 2), (2, wanted.frames + 2)}:
        yield torch.randn(clips, frames, 3, wanted.image_size, wanted.image_size, generator=generator)


def _steps(wanted: ModelInput) -> list[str]:
    size = wanted.image_size
    crop = "the face square of arXiv 2112.05851" if wanted.crop is None else "the crop (in interocular distances)"
    steps = [f"pictures (clips, frames, 3, {size}, {size}) float32: optical flow from the onset in {crop},"]
    if wanted.kind == "flow_maps":
        steps.append(f"resized to {size} x {size} with the vectors in pixels of that size;")
        steps.append("channels u (right), v (down) and optical strain, each scaled to -1..1 by its least and greatest;")
    else:
        steps.append(f"channels as slstt.flow.encoding.encode(flow, '{wanted.encoding}') at the size of the square,")
        steps.append(f"then resized to {size} x {size} (bilinear, antialiased);")
    match wanted.normalize:
        case "map":
            steps.append("of each clip's channel subtract the median, then divide by the deviation from the mean.")
        case "train":
            steps.append("subtract mean, divide by deviation, per channel.")
        case "imagenet":
            steps.append("halve and add 0.5 (0..1), subtract ImageNet's mean (0.485, 0.456, 0.406) and divide by its")
            steps.append("deviation (0.229, 0.224, 0.225), per channel.")
        case _:
            steps.append("no normalisation.")
    return steps


def _write_onnx(traced: nn.Module, example: Tensor, part: Path, about: dict[str, str]) -> ExportRun:
    import onnxruntime

    program: Any = torch.onnx.export(
        traced,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},),
        input_names=["pictures"],
        output_names=["logits"],
        verbose=False,
    )
    program.model.metadata_props.update(about)
    program.save(part, external_data=False)
    session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"pictures": x.numpy()})[0])


def _weights(lstm: nn.LSTM, layer: int) -> list[Tensor]:
    return [getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def _reordered(weight: Tensor) -> Tensor:
    """A gate-wise stack (4 H, ...) in ONNX's order, with its axis of directions: (1, 4 H, ...)."""
    enter, forget, candidate, leave = weight.detach().chunk(4)
    return torch.cat([enter, leave, forget, candidate])[None]
