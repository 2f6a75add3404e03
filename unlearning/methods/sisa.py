"""SISA: exact unlearning by retraining the shards of an ensemble that held the forgotten samples."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..data.feed import Feed, Phase
from ..errors import UserError
from ..models.ensemble import Ensemble, State
from ..types import Task
from .base import Method


class SISA(Method):
    """Train each network of an ensemble on its shard, slice by slice, from the first slice that is not as it should be.

    Of a new ensemble these are all slices, so this also is how the original and the retrained model are made. To
    unlearn is to find the first slice of each shard that holds a forgotten sample, to go back to the state of its
    network before it, and to train on from there without the sample; the other shards stay as they are. The result is
    equal to that of training from scratch without the samples, weight by weight, since the partition and all draws
    follow from the seed of the ensemble's first training, the shard and the slice.

    With R slices the network learns slices 1 to r in step r, in ``max(1, round(2 epochs / (R + 1)))`` epochs, so that
    all steps together have as many sample passes as ``epochs`` without slices. Each step has an optimiser and a
    learning-rate schedule of its own.

    The method sees which samples are retained: a slice that holds fewer of them than it has learned is retrained.

    Args:
        model: an ``Ensemble``.
        redraw: added to the seed of all draws but the partition; where it is not 0, unlearning is another draw of the
            same training.
        options: of the training of each slice, as in ``Method``.

    Raises ``UserError`` for a model that is not an ensemble, and for add-ons.

    Source: Bourtoule et al., "Machine unlearning", IEEE S&P 2021, https://arxiv.org/abs/1912.03817.
    """

    feed = Feed(streams=("retain",))
    replaces = True
    serves_ensembles = True
    stronger = {}

    def __init__(self, model: nn.Module, redraw: int = 0, **options: Any) -> None:
        super().__init__(model, **options)
        self.redraw, self.options = redraw, options
        if self.addons:
            raise UserError(
                "SISA trains its shards from stored states, so add-ons would be without effect: leave them out",
                key="addon",
                kind="conflict",
            )

    def check(self, task: Task) -> None:
        super().check(task)
        if not isinstance(self.model, Ensemble):
            raise UserError(
                "SISA retrains the shards of an ensemble, and this model is a single network: set pretrain=sisa",
                key="pretrain",
                kind="conflict",
            )

    def phases(self) -> Sequence[Phase]:
        return []  # its parts have them

    def configure_optimizers(self) -> None:
        return None

    def begin(self) -> None:
        """Find the slices to retrain, bring their networks back to where they begin, and make a part of each slice."""
        ensemble, self.parts = self.model, {}
        assert isinstance(ensemble, Ensemble)
        rows = len(self.data.is_forget)
        if not ensemble.trained:
            seed = torch.initial_seed()
            torch.manual_seed(seed + self.redraw)
            ensemble.load_state_dict(self.networks.starting().state_dict())
            ensemble.seed.fill_(seed)
            ensemble.rows.fill_(rows)
        elif int(ensemble.rows) != rows:
            raise UserError(
                f"the ensemble learned a data set of {int(ensemble.rows):,} samples, and this has {rows:,}: which of "
                "its networks learned which is not known. Give it that data set, samples that were forgotten before "
                "included, or train it anew",
                key="dataset",
                kind="conflict",
            )
        shards, slices = ensemble.places(rows)
        kept = torch.zeros(rows, dtype=torch.bool)
        kept[self.data.stream("retain")] = True
        place = (shards * ensemble.slices + slices)[kept]
        samples = place.bincount(minlength=ensemble.learned.numel()).view_as(ensemble.learned)
        first = self.firsts(ensemble.learned, samples)
        for shard, begin in enumerate(first):
            for number in range(begin, ensemble.slices):
                held = kept & (shards == shard) & (slices <= number)
                name = f"shard_{shard}_slice_{number}"
                seed = (int(ensemble.seed) + self.redraw + zlib.crc32(name.encode())) % 2**63
                network, state = ensemble.members[shard], ensemble.state_before(shard, number)
                if number == begin:
                    state.give(network)
                epochs = max(1, round(2 * self.epochs / (ensemble.slices + 1)))
                options = self.options | {"epochs": epochs}
                self.parts[name] = Slice(network, state, held.nonzero()[:, 0], seed, **options)
        ensemble.learned.copy_(samples)
        touched = sum(begin < ensemble.slices for begin in first)
        for name, count in {"shards": touched, "other_shards": len(first) - touched, "slices": len(self.parts)}.items():
            self.curves[name].append(torch.tensor(count))

    @staticmethod
    def firsts(learned: Tensor, samples: Tensor) -> list[int]:
        """The first slice of each shard that has not learned as many samples as it has; R where there is none.

        Both are (S, R).
        """
        same = (learned == samples).long().cumprod(1)
        return [int(count) for count in same.sum(1)]

    @staticmethod
    def remarks(last: Mapping[str, float], options: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[str]:
        if last:
            yield (
                f"SISA retrained {last['shards']:g} of {last['shards'] + last['other_shards']:g} shards (slices: "
                f"{last['slices']:g}); the networks of the other shards are as they were"
            )


class Slice(Method):
    """Train the network of one shard on its slices up to one of them.

    Args:
        model: the network, which the ensemble shares.
        state: keeps what it is before.
        samples: ids of the samples of these slices.
        seed: of all draws.
        options: as in ``Method``.
    """

    feed = Feed(streams=("retain",))

    def __init__(self, model: nn.Module, state: State, samples: Tensor, seed: int, **options: Any) -> None:
        super().__init__(model, **options)
        self.state, self.samples, self.draws = [state], samples, seed  # in a list: it is not moved with the network

    def phases(self) -> Sequence[Phase]:
        retained = self.data.stream("retain")
        others = retained[~torch.isin(retained, self.samples)]
        return [Phase("train", replace(self.feed, left_out=others), self.epochs)] if len(self.samples) else []

    def on_fit_start(self) -> None:
        super().on_fit_start()
        (state,) = self.state
        state.take(self.model)
        torch.manual_seed(self.draws)
