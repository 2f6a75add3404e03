"""Requests for deletion that follow each other: ``python -m unlearning.requests``."""
