"""What did it look at? Attention rollout of the class token over the face, and the LSTM's output gate over time.

Attention rollout: Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (arXiv 2005.00928), section 3. It
says along which paths information could travel to the class token, not which pixels decided: read it as a sanity
check (does the network look at brows and mouth, or at the border?), not as an explanation.

Every clip is shown to the model of the fold that left its subject out. Shapes: B clips, T frames, N = B * T, C
channels of flow, L = G * G + 1 tokens, U units of the LSTM's last layer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from slstt.errors import DataError
from slstt.evaluation import figures
from slstt.models.slstt import SLSTT
from slstt.models.vit import Attention, TransformerBlock

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
        seen = block.attention_norm(tokens) if block.pre else tokens
        layers.append(_attention(block.attention, seen))
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
def attention_maps(shown: Iterable[AttentionInput]) -> dict[str, AttentionMaps]:
    """Sums over all clips, by true class; divide by `clips` for means."""
    found: dict[str, AttentionMaps] = {}
    for group in shown:
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
            before = found.get(name)
            if before is None:
                found[name] = AttentionMaps(1, *parts, gate)
                continue
            before.clips += 1
            before.attention += parts[0]
            before.motion += parts[1]
            before.intensity += parts[2]
            if before.gate is not None and gate is not None:
                before.gate += gate
    return found


def write_attention(shown: Iterable[AttentionInput], classes: Sequence[str], folder: Path) -> list[Path]:
    """Draw `attention` (and `attention_gate` for an LSTM over several frames) as PNG and PDF into `folder`.

    Returns the PNG files. Raises DataError where no clip was shown.
    """
    found = attention_maps(shown)
    if not found:
        raise DataError(f"{folder.parent}: no clip to look at; train with run.save_models=true")
    names = [name for name in classes if name in found]
    with figures.style():
        figures.save(_faces(found, names), folder, "attention")
        written = [folder / "attention.png"]
        if len(found[names[0]].intensity) > 1:
            figures.save(_gates(found, names), folder, "attention_gate")
            written.append(folder / "attention_gate.png")
    return written


def _attention(attention: Attention, tokens: Tensor) -> Tensor:
    """(N, L, D) -> (N, L, L): softmax(q k / sqrt(D / A)), mean over the A heads."""
    n, length, width = tokens.shape
    per_head = (attention.heads, width // attention.heads)
    q, k, _ = attention.qkv(tokens).view(n, length, 3, *per_head).permute(2, 0, 3, 1, 4)  # each (N, A, L, D / A)
    return (q @ k.transpose(-1, -2) * per_head[1] ** -0.5).softmax(-1).mean(1)


def _faces(found: dict[str, AttentionMaps], names: Sequence[str]) -> Figure:
    """Above, the mean motion of each class; below, the mean attention over it, on one scale for all classes."""
    means = [found[name].attention / found[name].clips for name in names]
    low, high = min(m.min() for m in means), max(m.max() for m in means)
    figure = Figure(figsize=(1.1 + 2.1 * len(names), 4.7))
    rows = figure.subplots(2, len(names), squeeze=False)
    shown = None
    for column, name in enumerate(names):
        motion = found[name].motion / found[name].clips
        edge = (-0.5, motion.shape[1] - 0.5, motion.shape[0] - 0.5, -0.5)
        rows[0, column].imshow(motion, cmap="gray", extent=edge)
        rows[0, column].set_title(f"{figures.short(name)}\n({found[name].clips} clips)")
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


def _gates(found: dict[str, AttentionMaps], names: Sequence[str]) -> Figure:
    """Intensity and output gate over the frames, one line per class."""
    figure = Figure(figsize=(6.0, 4.4 if found[names[0]].gate is not None else 2.4))
    panels = figure.subplots(2 if found[names[0]].gate is not None else 1, 1, squeeze=False, sharex=True)[:, 0]
    for place, name in enumerate(names):
        watched, line = found[name], ("-", "--", "-.", ":")[place % 4]
        frames = np.arange(1, len(watched.intensity) + 1)
        colour = (figures.DARK, figures.WARM, figures.GREY, figures.LIGHT)[place % 4]
        look = {"color": colour, "ls": line, "marker": "osD^v"[place % 5], "ms": 3.5}
        panels[0].plot(frames, watched.intensity / watched.clips, label=figures.short(name), **look)
        if watched.gate is not None:
            panels[1].plot(frames, watched.gate / watched.clips, **look)
    panels[0].set(ylabel="mean motion,\nshare of the clip's highest", ylim=(0, 1.05))
    panels[0].legend(frameon=False, ncols=3)
    if len(panels) == 2:
        panels[1].set_ylabel("mean output gate\nof the last LSTM layer")
    panels[-1].set_xlabel("frame after the onset")
    return figure
