"""How fast a model learns again what it was to forget."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import Count, Positive
from .base import Evidence, Metric, given


class Relearning(Metric):
    """``relearn/epochs``, ``relearn/steps``: what it takes until the forget set's accuracy is back at the original's.

    A copy of the model learns the forget set with its labels as taught, by SGD, and its accuracy on that set is
    measured after every pass; 0 says that it was back before any. The last pass is then made once more with the
    accuracy measured after every step, and ``relearn/steps`` counts up to the first step of it at which it is back.
    What is left of the samples makes a model relearn them faster than the retrained one, so closer to that model is
    better (Golatkar et al., 2020, arXiv:1911.04933). ``relearn/anamnesis``, the anamnesis index of Chundawat et al.
    (2023, arXiv:2205.08096), is the steps divided by those of the retrained model: 1 is best, and near 0 the model had
    forgotten little; it is missing where the retrained model needs no step. The copy learns in eval mode: BatchNorm
    keeps its running statistics, since the forget set may be one class, and nothing is dropped out. Images are not
    augmented.

    Only the forget set is learned, which a bias of the head alone can answer: a head that was pushed far from a class
    may take longer than that of a retrained model, which was never pushed at all.

    The cost is two passes over the forget set for each epoch, one of them with gradients, and in the end one for each
    step of an epoch.

    Args:
        lr, momentum: of SGD.
        batch_size: samples in a step; their order is drawn once for each pass.
        margin: what the accuracy may lack of the original's, as a fraction of it.
        limit: passes at most.
        seed: of the order, which is the same for every model.

    Raises ``ValueError`` for a model whose accuracy is not back after ``limit`` passes: any number would be made up.
    """

    directions = {
        "relearn/epochs": "to-retrained",
        "relearn/steps": "to-retrained",
        "relearn/anamnesis": "to-retrained",
    }

    def __init__(
        self,
        lr: Positive = 0.01,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
        batch_size: Count = 64,
        margin: Annotated[float, Ge(0), Lt(1)] = 0.05,
        limit: Count = 100,
        seed: int = 0,
    ) -> None:
        self.lr, self.momentum, self.batch_size = lr, momentum, batch_size
        self.margin, self.limit, self.seed = margin, limit, seed

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        ids, original = evidence.split.forget, given(evidence.original)
        before = (original[ids].argmax(-1) == evidence.labels[ids]).double().mean().item()
        wanted = (1 - self.margin) * before
        network = copy.deepcopy(given(evidence.model)).eval().requires_grad_(True)
        optimizer = torch.optim.SGD(network.parameters(), self.lr, self.momentum)
        generator = torch.Generator().manual_seed(self.seed)
        if self.accuracy(network, evidence) >= wanted:
            return {"relearn/epochs": 0.0, "relearn/steps": 0.0}
        for epoch in range(1, self.limit + 1):
            start = copy.deepcopy(network), copy.deepcopy(optimizer.state_dict())
            batches = [ids[rows] for rows in torch.randperm(len(ids), generator=generator).split(self.batch_size)]
            for batch in batches:
                self.step(network, optimizer, evidence, batch)
            if self.accuracy(network, evidence) >= wanted:
                steps = (epoch - 1) * len(batches) + self.first(*start, evidence, batches, wanted)
                return {"relearn/epochs": float(epoch), "relearn/steps": float(steps)}
        raise ValueError(
            f"the accuracy on the forget set is not back at {wanted:.3f} after {self.limit} epochs: a larger "
            "relearning.limit or relearning.lr would find when"
        )

    def relative(self, row: Mapping[str, float], retrained: Mapping[str, float]) -> dict[str, float]:
        ours, theirs = (values.get("relearn/steps") for values in (row, retrained))
        return {"relearn/anamnesis": ours / theirs} if ours is not None and theirs else {}

    def step(self, network: nn.Module, optimizer: torch.optim.Optimizer, evidence: Evidence, ids: Tensor) -> None:
        """Learn a batch."""
        optimizer.zero_grad()
        F.cross_entropy(*self.predicted(network, evidence, ids)).backward()
        optimizer.step()

    def first(
        self, network: nn.Module, momentum: dict[str, Any], evidence: Evidence, batches: list[Tensor], wanted: float
    ) -> int:
        """The number of the first of these batches after which the accuracy is as ``wanted``; else of the last."""
        optimizer = torch.optim.SGD(network.parameters(), self.lr, self.momentum)
        optimizer.load_state_dict(momentum)
        for number, batch in enumerate(batches[:-1], 1):
            self.step(network, optimizer, evidence, batch)
            if self.accuracy(network, evidence) >= wanted:
                return number
        return len(batches)

    def predicted(self, network: nn.Module, evidence: Evidence, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C) logits and (B,) labels of some samples, on the network's device."""
        like = next(network.parameters())
        return network(given(evidence.images)(ids).to(like)), evidence.labels[ids].to(like.device)

    @torch.no_grad()
    def accuracy(self, network: nn.Module, evidence: Evidence) -> float:
        """The accuracy on the forget set."""
        parts = [self.predicted(network, evidence, ids) for ids in evidence.split.forget.split(self.batch_size)]
        return torch.cat([logits.argmax(-1) == labels for logits, labels in parts]).double().mean().item()
