"""One model of a run, as formulas see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .files import Array, Files

Numbers = dict[str, float]


@dataclass(frozen=True)
class View:
    """One model of a run."""

    files: Files
    model: str

    @property
    def logits(self) -> Array:
        """(N, C) of this model."""
        return self.files.logits[self.model]

    @property
    def right(self) -> Array:
        """(N,) whether a sample is given its label as taught."""
        return self.predicted == self.files.labels

    @property
    def predicted(self) -> Array:
        """(N,) the predicted classes."""
        return self.predicted_by(self.model)

    def predicted_by(self, model: str) -> Array:
        """(N,) the classes that a model predicts."""
        found: Array = self.files.logits[model].argmax(1)
        return found

    def of(self, name: str, values: Array) -> Array:
        """The values (N, ...) of an index set."""
        found: Array = values[self.files.sets[name]]
        return found


def mean(values: Array) -> float:
    """The mean; NaN where there are no values."""
    return float(np.mean(values, dtype=np.float64)) if len(values) else float("nan")
