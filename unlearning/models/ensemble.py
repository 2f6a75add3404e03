"""An ensemble of networks that learn disjoint shards, in slices: the models of SISA (Bourtoule et al., 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ..types import Count

UNTRAINED = -1  # in place of the seed


class Ensemble(nn.Module):
    """Networks of one architecture whose outputs are aggregated, and the states from which they can be retrained.

    Args:
        make: makes one of the networks.
        shards: the number of networks, each of which learns a shard of its own.
        slices: parts of a shard, which its network learns one after the other.
        aggregate: ``vote`` counts the networks' predicted classes, and ``mean`` averages their probabilities.

    Let v be the votes and p the mean probabilities. The outputs (B, C) are ``log p``, or ``log((v + p) / (S + 1))`` for
    S shards and votes: the class with the most votes then has the largest output, since p lies between 0 and 1, and p
    decides between classes of equally many. A softmax of the outputs gives back these probabilities.

    ``members`` are the networks, ``states[s][r]`` is that of network s before it learned slice r, ``learned`` (S, R)
    the number of samples in each slice, ``seed`` that of the partition and of all draws, and ``rows`` the number of
    samples that are partitioned. All of them are in the ``state_dict``, so a file of weights is enough in order to go
    on.

    Source: Bourtoule et al., "Machine unlearning", IEEE S&P 2021, section IV, https://arxiv.org/abs/1912.03817.
    """

    learned: Tensor
    seed: Tensor
    rows: Tensor

    def __init__(
        self,
        make: Callable[[], nn.Module],
        shards: Count = 5,
        slices: Count = 1,
        aggregate: Literal["vote", "mean"] = "vote",
    ) -> None:
        super().__init__()
        self.shards, self.slices, self.aggregate = shards, slices, aggregate
        self.members = nn.ModuleList(make() for _ in range(shards))
        self.states = nn.ModuleList(nn.ModuleList(State(m) for _ in range(slices)) for m in self.members)
        self.register_buffer("learned", torch.zeros(shards, slices, dtype=torch.int64))
        self.register_buffer("seed", torch.tensor(UNTRAINED))
        self.register_buffer("rows", torch.tensor(UNTRAINED))

    @property
    def trained(self) -> bool:
        """Whether its networks have learned anything."""
        return int(self.seed) != UNTRAINED

    def forward(self, inputs: Tensor) -> Tensor:
        found = torch.stack([member(inputs) for member in self.members]).log_softmax(2)
        mean = found.logsumexp(0) - math.log(self.shards)
        if self.aggregate == "mean":
            return mean
        votes = nn.functional.one_hot(found.argmax(2), found.shape[2]).sum(0).to(mean)
        return votes.log().logaddexp(mean) - math.log(self.shards + 1)

    def state_before(self, shard: int, number: int) -> State:
        """The state of a shard's network before it learned a slice."""
        states = self.states[shard]
        assert isinstance(states, nn.ModuleList)
        found = states[number]
        assert isinstance(found, State)
        return found

    def places(self, samples: int) -> tuple[Tensor, Tensor]:
        """The shard and the slice of each row of a data set of that many ``samples``; (samples,) each.

        They are drawn at random by the seed. Of a smaller training set every sample is where it is in a larger one.
        """
        turn = torch.randperm(samples, generator=torch.Generator().manual_seed(int(self.seed)))
        return turn % self.shards, turn // self.shards * self.slices // -(-samples // self.shards)


class State(nn.Module):
    """A copy of a network's parameters and buffers, as buffers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name, tensor in network.state_dict().items():
            self.register_buffer(name.replace(".", "/"), tensor.detach().clone())

    def take(self, network: nn.Module) -> None:
        """Become the state of a network, in its precision."""
        for name, tensor in network.state_dict().items():
            setattr(self, name.replace(".", "/"), tensor.detach().cpu().clone())

    def give(self, network: nn.Module) -> None:
        """Bring a network back to this state."""
        network.load_state_dict({name.replace("/", "."): tensor for name, tensor in self.named_buffers()})
