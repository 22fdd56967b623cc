"""Where on the face a network's answer comes from: attention rollout, or, for a network of one patch, occlusion.

Both are a sanity check, not an explanation: rollout says along which paths information could travel, occlusion how much
the answer leans on each place (Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from slstt.errors import DataError
from slstt.evaluation.tables import short
from slstt.models.slstt import SLSTT
from slstt.models.vit import Attention, TransformerBlock
from slstt.pages import DARK, GREY, LIGHT, WARM, figure_style, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRAMES_AT_ONCE = 8
"""Frames per step: the attention of one 384 px frame in all 12 blocks takes 16 MB."""


@dataclass(frozen=True)
class AttentionInput:
    """Clips of one fold's left-out subject, as that fold's model saw them."""

    model: SLSTT
    pictures: Tensor
    """(B, T, 3, H, W), encoded and normalised."""
    flow: Tensor
    """(B, T, 2, H, W) in pixels, or (B, T, 3, H, W) u, v and strain, scaled."""
    classes: Sequence[str]
    """The true class of each clip."""


@dataclass
class AttentionMaps:
    """Sums over the clips of one class."""

    clips: int
    attention: np.ndarray
    """(G, G): rollout relative to even attention, mean over frames, summed over clips."""
    motion: np.ndarray
    """(H, W): mean over frames of the flow's length (or of the strain), summed over clips."""
    intensity: np.ndarray
    """(T,): mean length of the flow in each frame, as a share of the clip's highest, summed over clips."""
    gate: np.ndarray | None
    """(T,): mean output gate of the last LSTM layer, summed over clips; None without an LSTM."""


@torch.no_grad()
def rollout(model: SLSTT, frames: Tensor) -> Tensor:
    """Frames (N, 3, H, W) -> (N, G, G): the class token's attention to each patch, rolled out over all blocks.

    Each block counts as 0.5 * (attention, mean over heads) + 0.5 * identity, for its residual branch. The class token's
    own share is left out and the patches' shares are scaled to sum to one.
    """
    encoder = model.encoder
    tokens, layers = encoder.embed(frames), []
    for block in cast(Sequence[TransformerBlock], encoder.blocks):
        block_input = block.attention_norm(tokens) if block.pre else tokens
        layers.append(_attention(block.attention, block_input))
        tokens = block(tokens)
    share = torch.zeros(len(frames), 1, tokens.shape[1], device=tokens.device)
    share[:, :, 0] = 1
    for attention in reversed(layers):  # one row from the top down: no product of L x L matrices is needed
        share = 0.5 * (share @ attention) + 0.5 * share
    patches = share[:, 0, 1:]
    return (patches / patches.sum(1, keepdim=True)).unflatten(1, (encoder.grid, encoder.grid))


@torch.no_grad()
def output_gate(lstm: torch.nn.LSTM, features: Tensor) -> Tensor:
    """Features (B, T, D) -> the last layer's output gate (B, T, U), each in 0..1; torch's gate order is i, f, g, o."""
    below, gates = features, []
    for layer in range(lstm.num_layers):
        weights = [getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        hidden = cell = torch.zeros(len(below), lstm.hidden_size, device=below.device)
        outputs, gates = [], []
        for frame in below.unbind(1):
            sums = frame @ weights[0].T + weights[2] + hidden @ weights[1].T + weights[3]
            enter, forget, candidate, leave = sums.chunk(4, dim=1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            outputs.append(hidden)
            gates.append(leave.sigmoid())
        below = torch.stack(outputs, 1)
    return torch.stack(gates, 1)


@torch.no_grad()
def attention_maps(inputs: Iterable[AttentionInput]) -> dict[str, AttentionMaps]:
    """Sums over all clips, by true class; divide by `clips` for means."""
    maps: dict[str, AttentionMaps] = {}
    for group in inputs:
        model = group.model.eval()
        lstm = getattr(model.aggregator, "lstm", None)
        for clip, flow, name in zip(group.pictures, group.flow, group.classes, strict=True):
            pieces = clip.split(FRAMES_AT_ONCE)
            attention = torch.cat([rollout(model, piece) for piece in pieces]).mean(0) * model.encoder.grid**2
            gate = None
            if lstm is not None:
                features = torch.cat([model.encode(piece) for piece in pieces])
                gate = output_gate(lstm, features[None])[0].mean(1).cpu().double().numpy()
            length = flow[:, 2] if flow.shape[1] == 3 else flow.float().square().sum(1).sqrt()
            level = length.mean((1, 2))
            parts = (
                attention.cpu().double().numpy(),
                length.mean(0).cpu().double().numpy(),
                (level / level.max().clamp_min(1e-12)).cpu().double().numpy(),
            )
            summed = maps.get(name)
            if summed is None:
                maps[name] = AttentionMaps(1, *parts, gate)
                continue
            summed.clips += 1
            summed.attention += parts[0]
            summed.motion += parts[1]
            summed.intensity += parts[2]
            if summed.gate is not None and gate is not None:
                summed.gate += gate
    return maps


def _attention(attention: Attention, tokens: Tensor) -> Tensor:
    """(N, L, D) -> (N, L, L): softmax(q k / sqrt(D / A)), mean over the A heads."""
    n, length, width = tokens.shape
    per_head = (attention.heads, width // attention.heads)
    q, k, _ = attention.qkv(tokens).view(n, length, 3, *per_head).permute(2, 0, 3, 1, 4)  # each (N, A, L, D / A)
    return (q @ k.transpose(-1, -2) * per_head[1] ** -0.5).softmax(-1).mean(1)


PLACES = 14
"""Places a side at which the picture is hidden."""
WINDOW = 4
"""The hidden square's side is this part of the picture's."""


@dataclass(frozen=True)
class SaliencyMap:
    """One interval's map over the picture, 0 or more; `kind` is `attention` (times even attention) or `occlusion`
    (by how much the probability of the named class falls when the place is hidden).
    """

    kind: str
    values: np.ndarray


@torch.inference_mode()
def saliency_maps(model: SLSTT, pictures: Float[Tensor, "T 3 S S"], label: int) -> SaliencyMap:
    """Where in the picture `model` finds class `label` in one interval."""
    pictures = pictures.to(next(model.parameters()).device)
    if model.encoder.grid > 1:
        pieces = [rollout(model, piece) for piece in pictures.split(FRAMES_AT_ONCE)]
        return SaliencyMap("attention", torch.cat(pieces).mean(0).cpu().numpy() * model.encoder.grid**2)
    size = pictures.shape[-1]
    fill = pictures.transpose(0, 1).flatten(1).median(1).values[:, None, None]
    before = model(pictures[None]).softmax(1)[0, label]
    half, values = size / WINDOW / 2, np.zeros((PLACES, PLACES), np.float32)
    centres = (np.arange(PLACES) + 0.5) * size / PLACES
    for row, y in enumerate(centres):
        hidden = pictures.repeat(PLACES, 1, 1, 1, 1)
        for column, x in enumerate(centres):
            top, left = max(0, round(y - half)), max(0, round(x - half))
            hidden[column, :, :, top : round(y + half), left : round(x + half)] = fill
        values[row] = (before - model(hidden).softmax(1)[:, label]).cpu().numpy()
    return SaliencyMap("occlusion", values.clip(min=0))


def write_attention(maps: Mapping[str, AttentionMaps], classes: Sequence[str], folder: Path) -> list[Path]:
    """Draw `attention` (and `attention_gate` for an LSTM over several frames) as PNG and PDF into `folder`.

    Returns the PNG files. Raises DataError where there is no clip.
    """
    names = [name for name in classes if name in maps]
    if not names:
        raise DataError(f"{folder.parent}: no clip to look at; train with run.save_models=true")
    with figure_style():
        save_figure(attention_figure(maps, names), folder, "attention")
        written = [folder / "attention.png"]
        if len(maps[names[0]].intensity) > 1:
            save_figure(gate_figure(maps, names), folder, "attention_gate")
            written.append(folder / "attention_gate.png")
    return written


def attention_figure(maps: Mapping[str, AttentionMaps], names: Sequence[str]) -> "Figure":
    """Above, the mean motion of each class; below, the mean attention over it, on one scale for all classes."""
    from matplotlib.figure import Figure

    means = [maps[name].attention / maps[name].clips for name in names]
    low, high = min(m.min() for m in means), max(m.max() for m in means)
    figure = Figure(figsize=(1.1 + 2.1 * len(names), 4.7))
    rows = figure.subplots(2, len(names), squeeze=False)
    shown = None
    for column, name in enumerate(names):
        motion = maps[name].motion / maps[name].clips
        edge = (-0.5, motion.shape[1] - 0.5, motion.shape[0] - 0.5, -0.5)
        rows[0, column].imshow(motion, cmap="gray", extent=edge)
        rows[0, column].set_title(f"{short(name)}\n({maps[name].clips} clips)")
        rows[1, column].imshow(motion, cmap="gray", extent=edge)
        shown = rows[1, column].imshow(
            means[column], cmap="cividis", vmin=low, vmax=high, extent=edge, alpha=0.75, interpolation="bilinear"
        )
        for axes in rows[:, column]:
            axes.set(xticks=(), yticks=())
            axes.spines[:].set_visible(False)
    rows[0, 0].set_ylabel("mean motion")
    rows[1, 0].set_ylabel("attention over it")
    if shown is not None:
        figure.colorbar(shown, ax=rows[1, :].tolist(), shrink=0.9, label="times even attention")
    return figure


def gate_figure(maps: Mapping[str, AttentionMaps], names: Sequence[str]) -> "Figure":
    """Intensity and output gate over the frames, one line per class."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.4 if maps[names[0]].gate is not None else 2.4))
    panels = figure.subplots(2 if maps[names[0]].gate is not None else 1, 1, squeeze=False, sharex=True)[:, 0]
    for place, name in enumerate(names):
        summed, line = maps[name], ("-", "--", "-.", ":")[place % 4]
        frames = np.arange(1, len(summed.intensity) + 1)
        colour = (DARK, WARM, GREY, LIGHT)[place % 4]
        drawn = {"color": colour, "ls": line, "marker": "osD^v"[place % 5], "ms": 3.5}
        panels[0].plot(frames, summed.intensity / summed.clips, label=short(name), **drawn)
        if summed.gate is not None:
            panels[1].plot(frames, summed.gate / summed.clips, **drawn)
    panels[0].set(ylabel="mean motion,\nshare of the clip's highest", ylim=(0, 1.05))
    panels[0].legend(frameon=False, ncols=3)
    if len(panels) == 2:
        panels[1].set_ylabel("mean output gate\nof the last LSTM layer")
    panels[-1].set_xlabel("frame after the onset")
    return figure
