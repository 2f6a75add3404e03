"""The steps that methods should take on ``Tiny``, derived by hand, and the data that they are derived from.

With softmax regression ``f(x) = w x``, one weight a class, the gradient of the mean cross-entropy is
``mean_b (softmax(w x_b) - onehot(y_b)) x_b``.
"""

import functools
from dataclasses import replace

import numpy as np
import torch
from scipy.special import softmax
from torch import nn

from tests.conftest import Tiny, compute
from unlearning.config.validation import check
from unlearning.data.datamodule import UnlearningData
from unlearning.engine.fitting import run
from unlearning.methods.dampening import Dampening
from unlearning.methods.one_shot import OneShot

W = np.array([0.5, -1.0])
FORGET = np.array([0.2, 1.0]), np.array([0, 1])
RETAIN = np.array([0.4, 0.8]), np.array([0, 1])
LR = 0.5
SGD = functools.partial(torch.optim.SGD, lr=LR)
STILL = functools.partial(torch.optim.SGD, lr=0.0)


def probabilities(w: np.ndarray, x: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(B, 2) the predictions for x (B,)."""
    return softmax(np.outer(x, w) / temperature, axis=1)


def gradient_to(w: np.ndarray, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(2,) gradient of the mean cross-entropy to probabilities (B, 2)."""
    return ((probabilities(w, x) - targets) * x[:, None]).mean(0)


def gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(2,) gradient of the mean cross-entropy to labels (B,)."""
    return gradient_to(w, x, np.eye(2)[y])


def close(tiny: Tiny, expected: np.ndarray, rtol: float = 1e-5) -> None:
    """Assert that the weights are the expected ones, up to rounding."""
    np.testing.assert_allclose(tiny.weight.numpy(), expected, rtol=rtol, atol=0.01 * rtol)


def forgets_class_0(tiny: Tiny) -> Tiny:
    """The same with a request for the whole of class 0."""
    tiny.split = replace(tiny.split, forget_classes=(0,), named_classes=(0,))
    return tiny


def fresh_weight(tiny: Tiny, seed: int = 3) -> np.ndarray:
    """The weights of the first new network after seeding."""
    torch.manual_seed(seed)
    return tiny.networks().fresh()[1].weight.detach().flatten().numpy()


def given(tiny: Tiny, method: object) -> UnlearningData:
    """Data for a method's looks, without a trainer."""
    data = UnlearningData(tiny.data, tiny.split, tiny.problem.task, tiny.networks())
    method.data = data
    return data


def observe(tiny: Tiny, method: OneShot) -> None:
    """Let a one-shot method look at its streams, without its edit."""
    given(tiny, method)
    run(method, compute(), "Observing")


def observed(method: Dampening, forget: list[float], retain: list[float], samples: tuple[int, int]) -> Dampening:
    """The method as it is after a look at two batches of each set."""
    for stream, importance, count in zip(("forget", "retain"), (forget, retain), samples, strict=True):
        method.observations[stream] = 2 * torch.tensor(importance)
        method.observations[f"{stream}_batches"] = torch.tensor(2.0)
        method.observations[f"{stream}_samples"] = torch.tensor(float(count))
    return method


def ones(weights: int) -> nn.Linear:
    """A linear map of this number of inputs, with weights of one."""
    layer = nn.Linear(weights, 1, bias=False)
    nn.init.ones_(layer.weight)
    return layer


def check_options(kind: type, **options: object) -> None:
    """Check a method's options as those of a configuration are checked."""
    node = {"_target_": f"{kind.__module__}.{kind.__name__}", **options}
    check(node, "method", {"model": None, "addons": ()})
