"""Sharpness-aware minimisation (Foret et al., ICLR 2021, arXiv:2010.01412; adaptive: Kwon et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ..gradients.vectors import assign, trainable, weights_of
from ..models.base import batch_norms
from ..types import Gradients, Positive, Steps
from .base import Addon


class SAM(Addon):
    """Step by the gradient at the worst weights nearby instead of the gradient at the weights themselves.

    With d the gradient of the step's loss the worst weights are ``theta + rho theta^2 d / || |theta| d ||`` (adaptive,
    arXiv:2102.11600, eq. 8), or ``theta + rho d / ||d||``. Each step passes twice over its batch, with the same random
    draws; BatchNorm statistics move in the first pass only. The ascent ignores the penalties of other add-ons.

    Args:
        rho: the radius.
        adaptive: whether the radius of each weight is proportional to its size.
    """

    splits_gradients = True

    def __init__(self, rho: Positive = 2.0, adaptive: bool = True) -> None:
        self.rho, self.adaptive = rho, adaptive

    def gradients(self, method: Steps, evaluate: Callable[[], Gradients]) -> Gradients:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng([method.device] if method.device.type == "cuda" else []))
            for random in method.randoms:
                stack.enter_context(random.rewound())
            step = method.combined(evaluate())
        weights = weights_of(method.model)
        scaled = step * weights.abs() if self.adaptive else step
        direction = scaled * weights.abs() if self.adaptive else step
        parameters = trainable(method.model)
        assign(parameters, weights + direction * (self.rho / scaled.norm().clamp_min(1e-12)))
        with resting_statistics(method.model):
            found = evaluate()
        assign(parameters, weights)
        return found


@contextmanager
def resting_statistics(model: nn.Module) -> Iterator[None]:
    """Keep the running statistics of BatchNorm from moving, while it normalises as before."""
    moving: list[Any] = [module for module in batch_norms(model) if module.track_running_stats]
    for module in moving:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in moving:
            module.track_running_stats = True
