"""How alike two models represent the same samples, whatever their heads make of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Evidence, Metric, Need, given
from .features import Features


class OriginalCKA(Metric):
    """``cka/original_<set>``: similarity of the features before the head to the original model's, on forget and retain.

    Linear centred kernel alignment (Kornblith et al., 2019, arXiv:1905.00414), 0 to 1: with the features X and Y of the
    two models for the same samples, each column centred, ``|Y'X|^2 / (|X'X| |Y'Y|)`` in Frobenius norms. It is 1 where
    one is the other up to rotation and isotropic scaling, as after a change of the head alone. The retrained model has
    its value, too, and closer to that is better.

    The plain estimate is too high for few samples: about ``D / (n + D)`` for unrelated normal features of D dimensions
    and n samples. The ``debiased`` one is about 0 there, can be below 0, and is otherwise read alike.

    Args:
        debiased: estimate each inner product by the unbiased HSIC of Song et al. (2012, JMLR 13, theorem 2).

    Raises ``ValueError`` with too few samples, or features that are all the same.
    """

    directions = {"cka/original_*": "to-retrained"}
    needs: Sequence[Need] = ("features",)

    def __init__(self, debiased: bool = False) -> None:
        self.debiased = debiased

    def applies_to(self, evidence: Evidence) -> bool:
        return super().applies_to(evidence) and evidence.original_features is not None

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return self.similarity("original", evidence, given(evidence.original_features))

    def similarity(self, name: str, evidence: Evidence, reference: Features) -> dict[str, float]:
        """The similarity to one reference model on each set."""
        found, own = {}, given(evidence.features)
        for part, ids in {"forget": evidence.split.forget, "retain": evidence.split.retain}.items():
            rows = own.among(ids)
            found[f"cka/{name}_{part}"] = linear_cka(own.of(rows), reference.of(rows), self.debiased)
        return found


class RetrainedCKA(OriginalCKA):
    """``cka/retrained_<set>``: similarity of the features before the head to the retrained model's; higher is better.

    See ``OriginalCKA``. Two models that were trained from different seeds are below 1, so what can be hoped for is the
    value of another retrained model: ``method=retrain``.
    """

    directions = {"cka/retrained_*": "up"}
    needs = ("features", "retrained")

    def applies_to(self, evidence: Evidence) -> bool:
        return Metric.applies_to(self, evidence)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return self.similarity("retrained", evidence, given(evidence.retrained_features))


class OriginalLayerCKA(Metric):
    """``layer_cka/original_<set>/<block>``: similarity of each block's outputs to the original's, on forget and retain.

    Linear CKA as in ``OriginalCKA``, of the output of every block with its normalisation, from input to head, whose
    output is the logits; of maps it is the mean over positions. Where the first blocks are the original's and the last
    one is not, a method changed the head alone. The retrained model has its values, too, and closer to those is better.

    Args:
        debiased: as in ``OriginalCKA``.

    Raises ``ValueError`` as ``OriginalCKA``.
    """

    directions = {"layer_cka/original_*": "to-retrained"}
    needs: Sequence[Need] = ("layers",)

    def __init__(self, debiased: bool = False) -> None:
        self.debiased = debiased

    def applies_to(self, evidence: Evidence) -> bool:
        return super().applies_to(evidence) and evidence.original_features is not None

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return self.similarities("original", evidence, given(evidence.original_features))

    def similarities(self, name: str, evidence: Evidence, reference: Features) -> dict[str, float]:
        """The similarity of each block to the same one of a reference model, on each set."""
        found, own = {}, given(evidence.features)
        for part, ids in {"forget": evidence.split.forget, "retain": evidence.split.retain}.items():
            rows = own.among(ids)
            for block in own.layers:
                pair = own.of_layer(block, rows), reference.of_layer(block, rows)
                found[f"layer_cka/{name}_{part}/{block}"] = linear_cka(*pair, self.debiased)
        return found


class RetrainedLayerCKA(OriginalLayerCKA):
    """``layer_cka/retrained_<set>/<block>``: similarity of each block's outputs to the retrained model's.

    Higher is better; see ``OriginalLayerCKA`` and ``RetrainedCKA``.
    """

    directions = {"layer_cka/retrained_*": "up"}
    needs = ("layers", "retrained")

    def applies_to(self, evidence: Evidence) -> bool:
        return Metric.applies_to(self, evidence)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return self.similarities("retrained", evidence, given(evidence.retrained_features))


def linear_cka(x: Tensor, y: Tensor, debiased: bool = False) -> float:
    """Linear CKA of features (n, D) and (n, E) of the same samples.

    Raises ``ValueError`` with fewer than two samples, four if ``debiased``, with features that are all the same, and
    where an unbiased HSIC that is to be positive is not, which few samples have by chance.
    """
    if len(x) < (least := 4 if debiased else 2):
        raise ValueError(f"CKA needs at least {least} samples, not {len(x)}")
    products = [features @ features.T for features in (x - x.mean(0), y - y.mean(0))]
    measure = unbiased_hsic if debiased else inner_product
    mixed = measure(products[0], products[1])
    own = [measure(product, product) for product in products]
    if not all(product.any() for product in products):
        raise ValueError("the features do not differ between the samples")
    if min(own) <= 0:
        raise ValueError(f"{len(x)} samples are too few: the unbiased HSIC of features with themselves is not above 0")
    return float(mixed / (own[0] * own[1]) ** 0.5)


def inner_product(k: Tensor, m: Tensor) -> float:
    """``tr(K M)`` of centred Gram matrices (n, n)."""
    return (k * m).sum().item()


def unbiased_hsic(k: Tensor, m: Tensor) -> float:
    """The unbiased estimate of HSIC from Gram matrices (n, n), times ``n (n - 3)``."""
    n, (k, m) = len(k), (product - torch.diag(product.diag()) for product in (k, m))
    sums = k.sum(0), m.sum(0)
    whole = sums[0].sum() * sums[1].sum() / ((n - 1) * (n - 2))
    return ((k * m).sum() + whole - 2 / (n - 2) * sums[0] @ sums[1]).item()
