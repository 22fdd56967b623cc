"""Micro-expression recognition with SLSTT (arXiv 2112.05851): preprocessing, LOSO training and evaluation."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from slstt.models.slstt import SLSTT

__all__ = ["SLSTT", "__version__"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: `slstt-eval` needs no torch and should start at once.
    if name == "SLSTT":
        from slstt.models.slstt import SLSTT

        return SLSTT
    raise AttributeError(f"module 'slstt' has no attribute '{name}'")
