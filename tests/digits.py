"""Whole runs on the digits, as the command line makes them."""

import json
from typing import Any

from tests.conftest import composed
from unlearning.pipeline import run
from unlearning.request import Request


def results(places: list[str], *overrides: str) -> dict[str, Any]:
    """The results of a run, without the metrics that take time."""
    config, choices = composed("tracking=none", "evaluation.membership=null", *overrides, *places)
    found: dict[str, Any] = json.loads((run(Request(config, choices)) / "results.json").read_text())
    return found


def rows(places: list[str], *overrides: str) -> dict[str, dict[str, float]]:
    """The rows of a run's table by model."""
    found: dict[str, dict[str, float]] = results(places, *overrides)["rows"]
    return found
