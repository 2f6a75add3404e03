"""Recompute the numbers of finished runs from the files in their folders, with code of its own."""
