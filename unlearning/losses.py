"""Divergences between the predictions of two classifiers, as pure functions of logits."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

MeanOver = Literal["samples", "elements"]


def distillation(student: Tensor, teacher: Tensor, temperature: float = 1.0, mean_over: MeanOver = "samples") -> Tensor:
    """``T^2 KL(softmax(teacher / T) || softmax(student / T))``, mean over the batch (Hinton et al., 2015, section 2).

    Both arguments are logits (B, C); the result is a scalar in nats. The factor T^2 keeps the size of the gradient
    the same for every temperature. With ``mean_over="elements"`` the mean is over the B C terms of the sum, which
    divides the divergence by C; several public codes take this mean.
    """
    log_student = (student / temperature).log_softmax(-1)
    log_teacher = (teacher / temperature).log_softmax(-1)
    divergence = F.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")
    return temperature**2 * (divergence if mean_over == "samples" else divergence / student.shape[-1])


def js_divergence(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence of each sample: ``(KL(p || m) + KL(q || m)) / 2`` with ``m = (p + q) / 2`` (Lin, 1991).

    Both arguments are logits (B, C); the result is (B,), in nats: 0 for equal predictions, ln 2 for disjoint ones.
    """
    log_p, log_q = p_logits.log_softmax(-1), q_logits.log_softmax(-1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    divergence = (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum(-1) / 2
    return divergence.clamp_min(0)  # rounding may leave a value slightly below zero
