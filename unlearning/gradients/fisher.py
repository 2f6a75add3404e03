"""The exact Fisher information of a classifier's weights: over the labels that the model itself expects."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .per_sample import SampleBackward
from .vectors import trainable


def exact_fisher(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The diagonal Fisher information of each trainable parameter, in its shape, summed over a batch of samples.

    ``F = sum_x sum_y p(y|x) (d log p(y|x) / d w)^2``. With J the Jacobian of the logits, this is the diagonal of
    ``J^T H J``, ``H = diag(p) - p p^T``, and any square root of H gives it. So C - 1 backward passes of the batch
    replace C passes of every sample.

    Args:
        model: maps ``images`` to logits (B, C); in eval mode.
        images: (B, ...).
    """
    parameters = trainable(model)
    fisher: dict[Tensor, Tensor] = {p: torch.zeros_like(p) for p in parameters}
    backward = SampleBackward(model, images)
    for direction in root_of_output_fisher(backward.logits.detach()):
        for gradients in backward.along(direction):
            fisher[gradients.parameter] += gradients.sum_of_squares()
    return [fisher[p] for p in parameters]


def root_of_output_fisher(logits: Tensor) -> Tensor:
    """Vectors s_k with ``sum_k s_k s_k^T = diag(p) - p p^T`` for p the softmax of a sample's logits, (C - 1, B, C).

    This is the Cholesky factor in closed form (Tanabe and Sagae, J. R. Stat. Soc. B 54, 1992): with ``q_k`` the
    probability of the classes after k, ``s_k = sqrt(p_k q_k / q_{k-1}) (e_k - p_{>k} / q_k)``, class k against those
    after it. Only positive numbers are added, so confident predictions do not lose the digits that ``p - 1`` loses.
    """
    p = logits.softmax(-1)
    tails = p.flip(-1).cumsum(-1).flip(-1)  # (B, C): q_{k-1}, the probability of class k and those after it
    least = torch.finfo(p.dtype).tiny
    here, before, after = p[:, :-1], tails[:, :-1], tails[:, 1:]
    scale = (here * after / before.clamp_min(least)).sqrt()
    later = (p[:, None, :] / after.clamp_min(least)[:, :, None]).triu(1)
    eye = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)[:-1]
    return (scale[:, :, None] * (eye - later)).transpose(0, 1)
