"""The worst-case forget set, on models of which it is known."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor, nn

from unlearning.difficulty.worst_case import WorstCase, projected


def test_a_projection_by_hand() -> None:
    values = torch.tensor([0.9, 0.5, 0.1, -3.0], dtype=torch.float64)
    assert projected(values, 1.5).tolist() == pytest.approx([0.9, 0.5, 0.1, 0.0])  # it is one of them
    assert projected(values, 0.6).tolist() == pytest.approx([0.5, 0.1, 0.0, 0.0])  # less .4
    assert projected(values, 2.6).tolist() == pytest.approx([1.0, 1.0, 0.6, 0.0])  # .5 more, and what is above 1 is cut
    for total in (0.3, 1.7, 3.2):
        found = projected(torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(3)), total)
        assert found.sum().item() == pytest.approx(total)
        assert 0 <= found.min() <= found.max() <= 1


def linear(weights: Tensor) -> nn.Linear:
    """A linear classifier without bias."""
    network = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    with torch.no_grad():
        network.weight.copy_(weights)
    return network


def test_one_round_by_hand() -> None:
    """Two classes, so the random label is the other one, and one batch: numpy takes the step along the sign."""
    inputs, labels = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [0.5, -1.0]]), torch.tensor([0, 1, 0])
    network = linear(torch.tensor([[0.3, -0.2], [-0.1, 0.4]]))
    x, w = inputs.numpy().astype(float), network.weight.detach().numpy().astype(float)
    logits = x @ w.T
    p = np.exp(logits - logsumexp(logits, 1, keepdims=True))
    target = np.eye(2)[labels] * (1 - 1 / 3) + np.eye(2)[1 - labels] / 3  # a third of each is to be forgotten
    stepped = w - 0.05 * np.sign((p - target).T @ x)
    logits = x @ stepped.T
    expected = 1 / 3 - 0.5 * (logsumexp(logits, 1) - logits[np.arange(3), labels])
    judge = WorstCase(fraction=1 / 3, rounds=1, rate=0.5, epochs=1, lr=0.05)
    assert judge.scores(network, inputs, labels, 2).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert network.weight.detach().numpy() == pytest.approx(w)  # the original is as it was


def test_what_the_rest_still_teaches_is_the_worst_to_forget() -> None:
    """30 copies of one sample, and 30 that have directions of their own.

    Where 6 copies get random labels, the other 24 keep their common probability at .8, and a loss of -ln .8 each.
    """
    inputs = torch.cat([torch.eye(31)[:1].expand(30, -1), torch.eye(31)[1:]])
    labels = torch.cat([torch.zeros(30), torch.arange(30) % 2 + 1]).long()
    learned = torch.full((3, 31), -2.0)
    learned[labels[29:], torch.arange(31)] = 2.0
    judge = WorstCase(fraction=0.1, rounds=8, epochs=60, lr=0.05, batch_size=60)
    scores = judge.scores(linear(learned), inputs, labels, 3)
    worst = scores.argsort(descending=True)[:6]
    assert worst.max() < 30
    mask = torch.zeros(60, dtype=torch.bool)
    mask[worst] = True
    alone = torch.arange(60) % 60 > 53
    assert judge.left(linear(learned), inputs, labels, 3, mask) == pytest.approx(-np.log(0.8), abs=0.05)
    assert judge.left(linear(learned), inputs, labels, 3, alone) > 2
