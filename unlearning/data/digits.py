"""The handwritten digits that come with scikit-learn: the default data set, which needs no download."""

from __future__ import annotations

import numpy as np
import torch

from .datasets import Dataset, Superclasses, hold_out

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(
    seed: int,
    validation: float = 0.1,
    test: float = 0.2,
    superclasses: Superclasses | None = None,
) -> Dataset:
    """Scikit-learn's digits: 1,797 real 8 x 8 grey images, bundled, split by class into train/validation/test."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    inputs = torch.from_numpy((raw.images * (255 / 16)).round().astype(np.uint8))[..., None]
    labels = torch.from_numpy(raw.target).long()
    rest, held = hold_out(torch.arange(len(labels)), labels, test, seed, "test")
    train, val = hold_out(rest, labels, validation, seed, "validation")
    mean, std = (0.3053,), (0.3759,)
    return Dataset(
        "digits", inputs, labels, CLASSES, train, val, held, mean, std, superclasses=superclasses, drawn_test=True
    )
