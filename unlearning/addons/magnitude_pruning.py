"""Magnitude pruning, with retraining, before unlearning (Jia et al., NeurIPS 2023, arXiv:2304.04934, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.vectors import trainable, weights_of
from ..runtime.common_random import CommonRandom
from ..types import Count, PartialFraction, Positive, Steps
from .prune import Pruning, lowest, prunable, shares


@dataclass(frozen=True)
class Round:
    """One round of pruning and training.

    Args:
        share: of the prunable weights, those that are zero from this round on.
        start: the state of the model to which the other weights go back before they are trained; None: they go on.
        rates: the learning rate of each epoch of the training.
    """

    share: float
    start: Mapping[str, Tensor] | None
    rates: Sequence[float]


class MagnitudePruning(Pruning):
    """Prune by magnitude and train what is left on the whole training set, once or in rounds, before unlearning.

    In each round the weights with the lowest ``|theta|`` are pruned, as in ``Prune``, so that after round r a share
    ``(1 - rate)^(r / rounds)`` is left. The others are then trained by SGD with momentum 0.9, weight decay 5e-4 and a
    learning rate that falls by a cosine. One round is one-shot magnitude pruning (OMP), several are iterative (IMP).

    With ``rewind="rate"`` the weights are trained further and only the learning rate is rewound (Renda et al., ICLR
    2020, arXiv:2003.02389). With ``rewind="weights"`` all weights and the statistics of BatchNorm go back to the
    initialisation of the original model (Frankle & Carbin, ICLR 2019, arXiv:1803.03635), so ``epochs`` should then be
    as many as the original had. The add-on sees the training set with labels, whether or not the method itself does.

    Args:
        rate: the share of the weights that is pruned in the end.
        epochs: passes over the training set in each round.
        lr: the initial learning rate.
        rounds: see above.
        rewind: see above.
    """

    looks = ("train",)
    sees_labels = True

    def __init__(
        self,
        rate: PartialFraction = 0.5,
        epochs: Count = 5,
        lr: Positive = 0.02,
        rounds: Count = 1,
        rewind: Literal["rate", "weights"] = "rate",
    ) -> None:
        super().__init__()
        self.rate, self.epochs, self.lr, self.count, self.rewind = rate, epochs, lr, rounds, rewind
        self.random = CommonRandom("magnitude_pruning")

    def rounds(self, start: Mapping[str, Tensor] | None) -> list[Round]:
        """The rounds in turn; ``start`` as in ``Round``."""
        rates = [self.lr * (1 + cos(pi * epoch / self.epochs)) / 2 for epoch in range(self.epochs)]
        return [Round(share, start, rates) for share in shares(self.rate, self.count)]

    def prepare(self, method: Steps) -> None:
        with method.meter.item("prune"):
            of_matrices = prunable(method.model)
            pruned = torch.zeros_like(of_matrices)
            for round_ in self.rounds(initial_state(method) if self.rewind == "weights" else None):
                magnitudes = weights_of(method.model).abs().masked_fill_(pruned, -1.0)  # what is pruned stays pruned
                pruned = lowest(magnitudes, of_matrices, round_.share)
                if round_.start is not None:
                    method.model.load_state_dict(round_.start)
                self.prune(method, pruned)
                self.train(method, round_.rates)

    def train(self, method: Steps, rates: Sequence[float]) -> None:
        """Train what is not pruned on the whole training set, for one epoch at each of the learning rates."""
        parameters = trainable(method.model)
        optimizer = torch.optim.SGD(parameters, rates[0], momentum=0.9, weight_decay=5e-4)
        shuffle = self.random.on(torch.device("cpu"))
        method.model.train()
        for rate in rates:
            optimizer.param_groups[0]["lr"] = rate
            for batch in self.look(method, "train", shuffle):
                loss = F.cross_entropy(method.model(batch.images), batch.targets)
                for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    parameter.grad = gradient
                self.before_step(method)
                optimizer.step()
                with torch.no_grad():
                    self.after_step(method, optimizer)
        optimizer.zero_grad()
        if method.processes > 1:  # each process has trained by itself, with its own augmentation
            for tensor in method.model.state_dict().values():
                distributed.broadcast(tensor, 0)


def initial_state(method: Steps) -> Mapping[str, Tensor]:
    """The state that the original model was initialised with. Raises ``UserError`` where it is not known."""
    start = method.networks.original_start
    if start is None:
        raise UserError(
            "pruning with rewind=weights needs the weights that the original model started from, and they are not "
            "known for a checkpoint: use rewind=rate",
            key="addon",
            kind="conflict",
        )
    return start().state_dict()
