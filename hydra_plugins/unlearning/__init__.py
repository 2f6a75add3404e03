"""Hydra plugins: settings from tables, sweeps over unions of grids, and a list of the jobs of a sweep."""
