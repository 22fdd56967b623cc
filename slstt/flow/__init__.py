"""Optical flow: how it is measured, interpolated frames, its files, and what a network is given of it."""
