"""Pruning before unlearning (Jia et al., NeurIPS 2023, arXiv:2304.04934, section 4): "prune first, then unlearn"."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..gradients.vectors import assign, flatten, smallest, trainable, weights_of
from ..runtime.common_random import CommonRandom
from ..types import Count, PartialFraction, Steps
from .holder import Holder


class Pruning(Holder):
    """An add-on that sets some weights to zero before unlearning and holds them there."""

    moves = True

    def prune(self, method: Steps, chosen: Tensor) -> None:
        """Set the chosen weights, (n,) bool, to zero, and hold them and no others."""
        weights = weights_of(method.model)
        self.frozen, self.values = chosen, torch.zeros_like(weights)
        assign(trainable(method.model), weights.masked_fill(chosen, 0.0))


class Prune(Pruning):
    """Set a share of the weights to zero before unlearning, and hold them there.

    The weights of convolutions and linear layers are ranked together, over all layers, and those with the lowest scores
    are pruned. The scores are:

    * ``l1``: ``|theta|``.
    * ``random``: a random number.
    * ``synflow``: ``|theta dR / dtheta|`` with ``R = 1^T f(1)``, f being the network in eval mode with the absolute
      values of its weights. After each of ``rounds`` rounds a share ``(1 - rate)^(round / rounds)`` is left (Tanaka et
      al., NeurIPS 2020, arXiv:2006.05467, algorithm 1). It looks at no data.

    Args:
        score: see above.
        rate: the share of the weights that is pruned.
        rounds: of ``synflow``.
    """

    def __init__(
        self, score: Literal["l1", "random", "synflow"] = "l1", rate: PartialFraction = 0.5, rounds: Count = 100
    ) -> None:
        super().__init__()
        self.score, self.rate, self.rounds = score, rate, rounds

    def prepare(self, method: Steps) -> None:
        with method.meter.item("prune"):
            weights, of_matrices = weights_of(method.model), prunable(method.model)
            if self.score == "synflow":
                shape = method.task.input_shape
                chosen = synflow(method.model, shape, of_matrices, self.rate, self.rounds)
            else:
                generator = CommonRandom("prune").on(weights.device)
                random = torch.rand(weights.shape, generator=generator, device=weights.device)
                chosen = lowest(weights.abs() if self.score == "l1" else random, of_matrices, self.rate)
            self.prune(method, chosen)


def prunable(model: nn.Module) -> Tensor:
    """Mask (n,) over the trainable parameters of the weights of convolutions and linear layers."""
    kernels = {m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    return flatten(torch.full_like(p, p in kernels, dtype=torch.bool) for p in trainable(model))


def lowest(scores: Tensor, prunable: Tensor, rate: float) -> Tensor:
    """Mask (n,) of the prunable weights with the lowest scores: a share ``rate`` of them, to the nearest weight."""
    return smallest(scores.masked_fill(~prunable, torch.inf), round(rate * int(prunable.sum())))


def shares(rate: float, rounds: int) -> list[float]:
    """The share that is pruned after each round, if every round leaves the same share of what it finds."""
    return [1 - (1 - rate) ** (round_ / rounds) for round_ in range(1, rounds + 1)]


def synflow(model: nn.Module, shape: tuple[int, ...], prunable: Tensor, rate: float, rounds: int) -> Tensor:
    """Mask (n,) of the weights that SynFlow prunes from a model of inputs (B, *shape); see ``Prune``."""
    model.eval()
    state = {n: t.detach().double().abs() for n, t in model.state_dict().items() if t.is_floating_point()}
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    weights = [state[name].requires_grad_() for name in names]
    ones = torch.ones(1, *shape, dtype=torch.float64, device=prunable.device)
    pruned = torch.zeros_like(prunable)
    for share in shares(rate, rounds):
        flow = functional_call(model, state, (ones,)).sum()
        gradients = torch.autograd.grad(flow, weights, materialize_grads=True)
        # Without ReLU some scores are negative. They are ranked by size, or whole layers would be pruned first.
        scores = (flatten(gradients) * flatten(w.detach() for w in weights)).abs()
        pruned = lowest(scores, prunable, share)
        with torch.no_grad():
            assign(weights, flatten(weights).masked_fill(pruned, 0.0))
    return pruned
