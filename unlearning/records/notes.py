"""Warnings that a run's numbers do not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.evaluation import Result
    from ..request import Request

DESTROYED = 0.5  # of the original's retain accuracy: below that a model is of no use


def notes(request: Request, result: Result) -> list[str]:
    """Sentences about a run: that it is a trial, changed nothing, or destroyed the model or was kept from it."""
    found = []
    if (samples := request.config["trial"]) is not None:
        found.append(f"this is a trial on at most {samples} samples of each set; its numbers are not results")
    if result.unchanged:
        found.append(f"{request.label} left the weights bit-equal to the original's: nothing was forgotten")
    before, after = (result.rows[row].get("retain/acc") for row in ("original", "unlearned"))
    if before is not None and after is not None and after < DESTROYED * before:
        found.append(
            f"{request.label} destroyed the model: its accuracy on the retain set is {after:.3f}, and was {before:.3f}"
        )
    if (way := result.curves.get("unlearn/way")) is not None:
        found.append(
            f"{request.label} was kept from destroying the model: it went back to {way[-1][1]:.3g} of its way from the "
            "original (method.keep; null lets it go on)"
        )
    return found
