"""Micro-expression recognition with SLSTT (arXiv 2112.05851): preprocessing, LOSO training and evaluation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from slstt.api import evaluate, predict, preprocess, read_release, read_run
    from slstt.models.slstt import SLSTT

__all__ = ["SLSTT", "__version__", "evaluate", "predict", "preprocess", "read_release", "read_run"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: `slstt-eval` needs no torch and should start at once.
    if name in __all__:
        return getattr(import_module("slstt.models.slstt" if name == "SLSTT" else "slstt.api"), name)
    raise AttributeError(f"module 'slstt' has no attribute '{name}'")
