"""What a user says of the accuracy of an own model, compared with what it has here: is the preprocessing the same?"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import torch

from ..config.build import Spec
from ..data.datasets import Dataset
from ..errors import UserError
from ..scenarios.base import Problem, assemble
from .compute import Compute
from .lab import Lab
from .networks import Architecture
from .store import Store

PARTS = ("test", "validation", "train")
FEWEST = 2  # decimals to which a number is taken to be rounded, at least


def accuracies(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(right, all) of the samples in each part of the data that has any, by the user's own model."""
    data: Dataset = Spec("dataset", config["dataset"]).build()
    lab = Lab(
        store=Store(Path(config["paths"]["store"])),
        architecture=Architecture.of(config, config["pretrain"]["checkpoint"]),
        compute=Compute(config["trainer"]),
    )
    nothing = torch.zeros(len(data.labels), dtype=torch.bool)
    problem = Problem.of(data, assemble(data, data.train[:1], nothing))  # predictions do not follow the request
    right = lab.predict(problem, lab.own_model(problem).network).argmax(1) == data.labels
    parts = {name: getattr(data, name) for name in PARTS}
    return {name: (int(right[ids].sum()), len(ids)) for name, ids in parts.items() if len(ids)}


def compared(config: Mapping[str, Any], claim: str | bool | None) -> str:
    """A sentence on whether the accuracy on the test samples, or on all where there are none, is the claimed one.

    A claim is met up to the rounding to its decimals. Without a number, the sentence gives the accuracies.

    Raises ``UserError`` where the claim is not met.
    """
    found = accuracies(config)
    rates = {name: right / count for name, (right, count) in found.items()}
    given = ", ".join(f"{name} {rates[name]:.4f} ({right:,}/{count:,})" for name, (right, count) in found.items())
    if not isinstance(claim, str):
        return f"your model is right about these fractions: {given}"
    part = next(name for name in PARTS if name in found)
    if abs(rates[part] - float(claim)) > rounding(claim):
        raise UserError(
            f"your model is right about {rates[part]:.4f} of the {part} samples here, and you say {claim}: the images "
            f"reach it otherwise than in your evaluation (dataset.fit, .shorter, .size, .interpolation, .mean, .std, "
            f".reader, .classes), or these are other images; in all: {given}",
            key="check",
            kind="conflict",
        )
    agreed = f"your model is right about {rates[part]:.4f} of the {part} samples, as you say ({claim})"
    return f"agrees: {agreed}; in all: {given}"


def rounding(claim: str) -> float:
    """Half a unit of the last decimal of a number as it is written, and what floats add."""
    exponent = Decimal(claim).as_tuple().exponent
    assert isinstance(exponent, int), "it is finite"
    return 0.5 * 10.0 ** -max(-exponent, FEWEST) + 1e-9
