"""Pruning before unlearning (Jia et al., NeurIPS 2023, arXiv:2304.04934, section 4): "prune first, then unlearn"."""

from __future__ import annotations

from math import cos, pi
from typing import Literal

import lightning as L
import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.vectors import assign, flatten, smallest, trainable, weights_of
from ..runtime.common_random import CommonRandom
from .holder import Holder


class Prune(Holder):
    """Set a share of the weights to zero before unlearning, and hold them there.

    Weights of convolutions and linear layers are ranked together, over all layers, and those of the lowest score go:

    * ``l1``: ``|theta|``.
    * ``random``: a random number.
    * ``synflow``: ``|theta dR / dtheta|`` with ``R = 1^T f(1)``, f being the network in eval mode with the absolute
      values of its weights, in ``rounds`` after each of which a share ``(1 - rate)^(round / rounds)`` is left
      (Tanaka et al., NeurIPS 2020, arXiv:2006.05467, algorithm 1); it looks at no data.

    Args:
        score: see above.
        rate: the share of the weights that is pruned.
        rounds: of ``synflow``.
    """

    moves = True

    def __init__(self, score: Literal["l1", "random", "synflow"] = "l1", rate: float = 0.5, rounds: int = 100) -> None:
        super().__init__()
        if not 0 < rate < 1 or rounds < 1:
            raise UserError(
                f"pruning at rate={rate} in rounds={rounds}: the rate is the share of the weights that become zero, "
                "between 0 and 1, and there must be at least one round"
            )
        self.score, self.rate, self.rounds = score, rate, rounds

    def prepare(self, trainer: L.Trainer, method: L.LightningModule) -> None:
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

    def prune(self, method: L.LightningModule, chosen: Tensor) -> None:
        """Set the chosen weights, (n,) bool, to zero, where they will be held."""
        weights = weights_of(method.model)
        self.frozen, self.values = chosen, torch.zeros_like(weights)
        assign(trainable(method.model), weights.masked_fill(chosen, 0.0))


class MagnitudePruning(Prune):
    """Prune by magnitude and train what is left on the whole training set, once or in rounds, before unlearning.

    In each round the weights of the lowest ``|theta|`` go, as in ``Prune``, until after round r a share
    ``(1 - rate)^(r / rounds)`` is left; then the others are trained by SGD with momentum .9, weight decay 5e-4 and a
    learning rate that falls by a cosine. One round is one-shot magnitude pruning (OMP), several are iterative (IMP).
    With ``rewind="rate"`` the weights go on from where they are and the learning rate alone is rewound (Renda et al.,
    ICLR 2020, arXiv:2003.02389); with ``rewind="weights"`` all of them, and BatchNorm's statistics, go back to what the
    original model was initialised with (Frankle & Carbin, ICLR 2019, arXiv:1803.03635), so ``epochs`` should be as many
    as the original had. This looks at the training set with labels, whatever the method itself may see.

    Args:
        rate: the share of the weights that is pruned in the end.
        epochs: passes over the training set in each round.
        lr: the learning rate at first.
        rounds: see above.
        rewind: see above.
    """

    looks = ("train",)
    sees_labels = True

    def __init__(
        self,
        rate: float = 0.5,
        epochs: int = 5,
        lr: float = 0.02,
        rounds: int = 1,
        rewind: Literal["rate", "weights"] = "rate",
    ) -> None:
        super().__init__("l1", rate, rounds)
        if epochs < 1 or lr <= 0:
            raise UserError(f"pruning, then training: epochs={epochs} must be at least 1 and lr={lr} above 0")
        self.epochs, self.lr, self.rewind, self.random = epochs, lr, rewind, CommonRandom("magnitude_pruning")

    def prepare(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        with method.meter.item("prune"):
            for round_ in range(1, self.rounds + 1):
                scores = weights_of(method.model).abs()
                if self.frozen is not None:
                    scores.masked_fill_(self.frozen, -1.0)  # what is pruned stays pruned
                chosen = lowest(scores, prunable(method.model), 1 - (1 - self.rate) ** (round_ / self.rounds))
                if self.rewind == "weights":
                    method.model.load_state_dict(self.start(method))
                self.prune(method, chosen)
                self.train(trainer, method)

    def start(self, method: L.LightningModule) -> dict[str, Tensor]:
        """The state that the original model was initialised with."""
        if method.task.original_start is None:
            raise UserError(
                "pruning with rewind=weights needs the weights that the original model started from, and those of "
                "pretrain.checkpoint are not known: take rewind=rate"
            )
        return method.task.original_start().state_dict()

    def train(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        """Train what is not pruned on the whole training set."""
        parameters = trainable(method.model)
        optimizer = torch.optim.SGD(parameters, self.lr, momentum=0.9, weight_decay=5e-4)
        shuffle = self.random.on(torch.device("cpu"))
        method.model.train()
        for epoch in range(self.epochs):
            optimizer.param_groups[0]["lr"] = self.lr * (1 + cos(pi * epoch / self.epochs)) / 2
            for batch in self.look(trainer, "train", shuffle):
                loss = F.cross_entropy(method.model(batch.images), batch.labels)
                for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    parameter.grad = gradient
                self.on_before_optimizer_step(trainer, method, optimizer)
                optimizer.step()
                with torch.no_grad():
                    self.after_step(method, optimizer)
        optimizer.zero_grad()
        if trainer.world_size > 1:  # each process has trained by itself, with its own augmentation
            for tensor in method.model.state_dict().values():
                distributed.broadcast(tensor, 0)


def prunable(model: nn.Module) -> Tensor:
    """Which weights of the vector over the trainable parameters are of convolutions or linear layers; (n,) bool."""
    kernels = {m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    return flatten(torch.full_like(p, p in kernels, dtype=torch.bool) for p in trainable(model))


def lowest(scores: Tensor, prunable: Tensor, rate: float) -> Tensor:
    """The share ``rate`` of the prunable weights with the lowest scores, to the nearest weight; (n,) bool."""
    return smallest(scores.masked_fill(~prunable, torch.inf), round(rate * int(prunable.sum())))


def synflow(model: nn.Module, shape: tuple[int, ...], prunable: Tensor, rate: float, rounds: int) -> Tensor:
    """The weights that SynFlow prunes from a model of inputs (B, *shape); (n,) bool. See ``Prune``."""
    model.eval()
    state = {n: t.detach().double().abs() for n, t in model.state_dict().items() if t.is_floating_point()}
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    weights = [state[name].requires_grad_() for name in names]
    ones = torch.ones(1, *shape, dtype=torch.float64, device=prunable.device)
    for round_ in range(1, rounds + 1):
        flow = functional_call(model, state, (ones,)).sum()
        gradients = torch.autograd.grad(flow, weights, materialize_grads=True)
        # Without ReLU some scores are negative; their size is what counts, or whole layers would go first.
        scores = (flatten(gradients) * flatten(w.detach() for w in weights)).abs()
        pruned = lowest(scores, prunable, 1 - (1 - rate) ** (round_ / rounds))
        with torch.no_grad():
            assign(weights, flatten(weights).masked_fill(pruned, 0.0))
    return pruned
