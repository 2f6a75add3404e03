"""Does what was forgotten come back when a model's weights are rounded or pruned?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from ..gradients.vectors import smallest
from ..types import Count, PartialFraction
from .base import Evidence, Metric, given
from .directions import Direction
from .features import drawn

BATCH = 256
Bits = Annotated[int, Ge(2), Le(16)]


class Compression(Metric):
    """A metric of compressed copies of a model: their accuracy on the forget set, and on retain samples.

    Args:
        retained: at most this number of retain samples is drawn, the same for all models.

    Each copy costs a pass over the forget set and these samples.
    """

    def __init__(self, retained: Count = 1000) -> None:
        self.retained = retained

    def accuracies(self, evidence: Evidence, compress: Callable[[nn.Module], None]) -> dict[str, float]:
        """The accuracy of a copy of the model that ``compress`` has changed, by set."""
        network = copy.deepcopy(given(evidence.model)).eval()
        with torch.no_grad():
            compress(network)
        sets = {"forget": evidence.split.forget, "retain": drawn(evidence.split.retain, self.retained)}
        return {name: accuracy(network, evidence, ids) for name, ids in sets.items()}


class Quantisation(Compression):
    """``quantised/<set>_acc_<bits>bit``: accuracy with the weights rounded to a number of bits.

    A model that only hides what it was to forget by small changes of its weights gets them undone by rounding, as was
    found for language models (Zhang et al., 2025, arXiv:2410.16454). On the forget set closer to the retrained model
    is better, on the retain set higher. The weights of all layers are rounded to the nearest of the ``2^bits - 1``
    multiples of a step up to the largest absolute value, symmetric to 0. Biases, and the weights of normalisation,
    which are vectors, stay as they are.

    Args:
        bits: the widths to try.
        per: whether each output channel has a step of its own, or only each tensor.
        retained: as in ``Compression``.
    """

    directions: Mapping[str, Direction] = {"quantised/forget_*": "to-retrained", "quantised/retain_*": "up"}

    def __init__(
        self, bits: Sequence[Bits] = (8, 4), per: Literal["channel", "tensor"] = "channel", retained: Count = 1000
    ) -> None:
        super().__init__(retained)
        self.bits, self.per = tuple(bits), per

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        found = {}
        for bits in self.bits:

            def compress(network: nn.Module, bits: int = bits) -> None:
                for weight in matrices(network):
                    weight.copy_(rounded(weight, bits, self.per == "channel"))

            for name, value in self.accuracies(evidence, compress).items():
                found[f"quantised/{name}_acc_{bits}bit"] = value
        return found


class Pruning(Compression):
    """``pruned/<set>_acc_<share>pct``: accuracy with the smallest weights set to zero.

    Methods that hide a class behind small weights lose it again; on the forget set closer to the retrained model is
    better, on the retain set higher. The weights of all layers together are ranked by absolute value; biases, and the
    weights of normalisation, stay as they are.

    Args:
        shares: the fractions of the weights to try.
        retained: as in ``Compression``.
    """

    directions: Mapping[str, Direction] = {"pruned/forget_*": "to-retrained", "pruned/retain_*": "up"}

    def __init__(self, shares: Sequence[PartialFraction] = (0.5, 0.9), retained: Count = 1000) -> None:
        super().__init__(retained)
        self.shares = tuple(shares)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        found = {}
        for share in self.shares:

            def compress(network: nn.Module, share: float = share) -> None:
                weights = matrices(network)
                sizes = torch.cat([weight.reshape(-1).abs() for weight in weights])
                gone = smallest(sizes, round(share * len(sizes))).split([weight.numel() for weight in weights])
                for weight, part in zip(weights, gone, strict=True):
                    weight.masked_fill_(part.view(weight.shape), 0.0)

            for name, value in self.accuracies(evidence, compress).items():
                found[f"pruned/{name}_acc_{100 * share:g}pct"] = value
        return found


def matrices(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not vectors."""
    return [weight for weight in network.parameters() if weight.ndim > 1]


def rounded(weight: Tensor, bits: int, by_channel: bool) -> Tensor:
    """The nearest multiples of ``max |w| / (2^(bits - 1) - 1)``, with the maximum over a channel or over all."""
    rows = weight.flatten(1) if by_channel else weight.reshape(1, -1)
    step = rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    return torch.where(step > 0, (rows / step).round() * step, rows).view(weight.shape)


@torch.inference_mode()
def accuracy(network: nn.Module, evidence: Evidence, ids: Tensor) -> float:
    """The fraction of samples that a network in eval mode gets right; NaN where there are none."""
    like = next(network.parameters())
    parts = [network(given(evidence.images)(part).to(like)).argmax(1).cpu() for part in ids.split(BATCH)]
    return (torch.cat(parts) == evidence.labels[ids]).double().mean().item()
