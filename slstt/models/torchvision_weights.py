"""torchvision's published weights: by name, downloaded once, and checked by their hash.

torchvision takes seconds to import and few runs need it, so it is imported in one place here and nowhere else.
"""

import http.client
import sys
from pathlib import Path
from typing import Any

import torch

from slstt.errors import WeightsError
from slstt.files import sha256

IMAGENET = "ViT_B_16_Weights.IMAGENET1K_V1"
"""What "imagenet" means: torchvision's ViT-B/16, 224 pixels."""


def _models() -> Any:
    import torchvision.models

    return torchvision.models


def torchvision_weights(source: str | Path) -> Any | None:
    """torchvision's entry for `source`, None where `source` is a file. Raises WeightsError for an unknown name."""
    name = IMAGENET if str(source) == "imagenet" else str(source)
    if not name.startswith("ViT_"):
        return None
    try:
        return _models().get_weight(name)
    except (ValueError, KeyError) as error:
        raise WeightsError(f"model.pretrained: torchvision knows no weights {name}; try {IMAGENET}") from error


def torchvision_sizes(source: str | Path) -> dict[str, Any]:
    """The sizes of the network that torchvision's weights `source` are of, by the names of SLSTT's arguments."""
    name = (IMAGENET if str(source) == "imagenet" else str(source)).split("_Weights")[0].lower()
    with torch.device("meta"):
        theirs: Any = _models().get_model(name)
    return {
        "patch_size": theirs.patch_size,
        "width": theirs.hidden_dim,
        "depth": len(theirs.encoder.layers),
        "heads": theirs.encoder.layers[0].num_heads,
        "mlp_ratio": theirs.mlp_dim / theirs.hidden_dim,
        "channels": 3,
        "norm": "pre",
    }


def cached_download(url: str, folder: Path, fetch: bool = True) -> Path:
    """`url` as a file in `folder`, downloaded if need be; its name ends in the first digits of its SHA-256.

    Raises WeightsError where it cannot be had or its hash differs.
    """
    path = folder / url.rsplit("/", 1)[-1]
    expected = path.stem.rsplit("-", 1)[-1]
    remedy = f"download {url} elsewhere and put it at {path}, or give a file as model.pretrained"
    if path.is_file():
        if not sha256(path).startswith(expected):
            raise WeightsError(f"{path}: damaged (its SHA-256 does not start with {expected}); delete it and try again")
        return path
    if not fetch:
        raise WeightsError(f"{path}: not downloaded yet; {remedy}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise WeightsError(f"{url}: cannot be downloaded ({error}); {remedy}") from error
    return path
