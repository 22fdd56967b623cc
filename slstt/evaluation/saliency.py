"""Where on the face a network's answer comes from: attention rollout, or, for a network of one patch, occlusion.

Both are a sanity check, not an explanation: rollout says along which paths information could travel, occlusion how much
the answer leans on each place (Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

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
