"""Synthetic subjects whose faces move by action units, in any of the native layouts."""

from slstt.datasets.synthetic.clips import render
from slstt.datasets.synthetic.dataset import Plan, Truth, read_truth, write
from slstt.datasets.synthetic.layouts import LAYOUTS, LONG_LAYOUTS

__all__ = ["LAYOUTS", "LONG_LAYOUTS", "Plan", "Truth", "read_truth", "render", "write"]
