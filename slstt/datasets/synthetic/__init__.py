"""Synthetic subjects whose faces move by action units, in any of the native layouts."""

from slstt.datasets.synthetic.clips import render
from slstt.datasets.synthetic.layouts import LAYOUTS
from slstt.datasets.synthetic.plan import Plan
from slstt.datasets.synthetic.truth import Truth, read_truth
from slstt.datasets.synthetic.writer import write

__all__ = ["LAYOUTS", "Plan", "Truth", "read_truth", "render", "write"]
