"""Predictions made up for metrics: ten samples to count by hand, and many synthetic ones."""

import torch
from torch import Tensor

from unlearning.metrics.base import Evidence
from unlearning.types import Split


def ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long)


def from_probabilities(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log().float()


def one_hot(*classes: int, count: int = 3) -> Tensor:
    """Logits that predict the given classes."""
    return torch.eye(count)[list(classes)] * 4


def ten_samples() -> Evidence:
    """Ten samples of three classes; class 2 is forgotten; rows 0-5 train, 6 validation, 7-9 test."""
    split = Split(
        train=ids(0, 1, 2, 3, 4, 5),
        forget=ids(2, 5),
        retain=ids(0, 1, 3, 4),
        validation=ids(6),
        test=ids(7, 8, 9),
        test_forget=ids(9),
        test_retain=ids(7, 8),
        forget_classes=(2,),
    )
    labels = ids(0, 1, 2, 0, 1, 2, 0, 0, 1, 2)
    predicted = one_hot(0, 1, 2, 0, 0, 1, 0, 0, 0, 0)  # wrong on 4, 5, 8 and 9
    return Evidence(predicted, labels, split, ("cat", "dog", "ship"), retrained=one_hot(*[0] * 10))


def synthetic(forgotten: bool, classes: int = 4, size: int = 4000) -> Evidence:
    """A model of many samples that knows nothing of class 0 (``forgotten``) or has memorised all of train."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(size) % classes
    rows = torch.arange(size)
    train, test, of_class = rows[: size // 2], rows[size // 2 :], labels == 0
    split = Split(
        train=train,
        forget=train[of_class[train]],
        retain=train[~of_class[train]],
        validation=rows[:0],
        test=test,
        test_forget=test[of_class[test]],
        test_retain=test[~of_class[test]],
        forget_classes=(0,),
    )
    strength = torch.where(rows < size // 2, 7.0, 3.0)
    if forgotten:
        strength[of_class] = -3
    logits = torch.randn(size, classes, generator=generator)
    logits[rows, labels] += strength
    return Evidence(logits, labels, split, tuple("abcdefgh"[:classes]))
