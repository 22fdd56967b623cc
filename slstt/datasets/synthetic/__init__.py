"""Synthetic subjects whose faces move by action units, in any of the native layouts."""

from slstt.datasets.synthetic.clips import render
from slstt.datasets.synthetic.dataset import LAYOUTS, Plan, Truth, read_truth, write

__all__ = ["LAYOUTS", "Plan", "Truth", "read_truth", "render", "write"]
