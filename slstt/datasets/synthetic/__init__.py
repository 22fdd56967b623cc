"""Synthetic subjects whose faces move by action units, in any of the native layouts."""
