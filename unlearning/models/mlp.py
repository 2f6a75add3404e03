"""The multilayer perceptron, for tabular features and flattened images."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import nn

from ..types import Count
from .base import Chain


class MLP(Chain):
    """Linear layers with ReLU between them; samples of any shape are flattened.

    With ``hidden=[]`` this is logistic regression.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, hidden: Sequence[Count] = (256, 256)) -> None:
        inputs = prod(input_shape)
        layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
        for index, outputs in enumerate(hidden, start=1):
            layers[f"hidden{index}"] = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())
            inputs = outputs
        super().__init__(**layers, head=nn.Linear(inputs, num_classes))
