"""Recompute the numbers of finished runs from the files in their folders, with code of its own."""

TOLERANCE = 1e-6  # of a number: some are sums of float32
