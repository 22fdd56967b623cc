"""Spotting in all recordings of a data set: measured once, thresholds from the other subjects, classes if wanted."""
