"""Where on the face a network's answer comes from: attention rollout, or, for a network of one patch, occlusion.

Both are a sanity check, not an explanation: rollout says along which paths information could travel, occlusion how much
the answer leans on each place (Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from slstt.evaluation.attention import FRAMES_AT_ONCE, rollout
from slstt.models.slstt import SLSTT

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
    """What `model` looked at in one interval to name class `label`."""
    pictures = pictures.to(next(model.parameters()).device)
    if model.encoder.grid > 1:
        pieces = [rollout(model, piece) for piece in pictures.split(FRAMES_AT_ONCE)]
        return SaliencyMap("attention", torch.cat(pieces).mean(0).cpu().numpy() * model.encoder.grid**2)
    size = pictures.shape[-1]
    rest = pictures.transpose(0, 1).flatten(1).median(1).values[:, None, None]
    before = model(pictures[None]).softmax(1)[0, label]
    half, values = size / WINDOW / 2, np.zeros((PLACES, PLACES), np.float32)
    centres = (np.arange(PLACES) + 0.5) * size / PLACES
    for row, y in enumerate(centres):
        hidden = pictures.repeat(PLACES, 1, 1, 1, 1)
        for column, x in enumerate(centres):
            top, left = max(0, round(y - half)), max(0, round(x - half))
            hidden[column, :, :, top : round(y + half), left : round(x + half)] = rest
        values[row] = (before - model(hidden).softmax(1)[:, label]).cpu().numpy()
    return SaliencyMap("occlusion", values.clip(min=0))
