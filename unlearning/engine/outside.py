"""Networks and data that come from a user's program instead of a configuration."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from ..data.own import own_data
from ..errors import UserError
from ..metrics.features import looked_at
from ..models.initialise import reinitialised
from ..scenarios.base import Problem
from ..types import Networks
from .compute import Compute
from .evaluation import Model
from .features import predict_with_features
from .predict import predict

PRECISIONS = {torch.float64: "64-true", torch.bfloat16: "bf16-true", torch.float16: "16-true"}


def copied(model: nn.Module) -> nn.Module:
    """A copy of a network. Raises ``UserError`` for one that cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception as error:  # modules fail to be copied in many ways
        raise UserError(f"the model cannot be copied: {error}", key="model") from None


def weights_of(model: nn.Module) -> Tensor:
    """A network's first parameter of floating-point numbers, which tells its device and precision."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter
    raise UserError("the model has no weights to change", key="model")


def problem_of(model: nn.Module, sets: Mapping[str, tuple[Tensor, Tensor]]) -> Problem:
    """The problem of a user's own sets; the number of classes is that of the model's outputs.

    Raises ``UserError`` for sets of different shapes, and for inputs or outputs that do not fit the model.
    """
    weights, network = weights_of(model), copied(model).eval()
    typed = {name: (inputs.to(weights.dtype), labels) for name, (inputs, labels) in sets.items()}
    shapes = {name: tuple(inputs.shape[1:]) for name, (inputs, _) in typed.items() if len(inputs)}
    if len(set(shapes.values())) > 1:
        raise UserError(f"the sets hold inputs of different shapes: {shapes}", key="forget", kind="conflict")
    first = next(inputs for inputs, _ in typed.values() if len(inputs))[:1]
    try:
        with torch.no_grad():
            logits = network(first.to(weights.device))
    except Exception as error:  # a network may refuse an input in any way
        raise UserError(f"the model does not take inputs of shape {tuple(first.shape)}: {error}", key="model") from None
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise UserError("the model must map a batch of inputs to a tensor of logits (B, num_classes)", key="model")
    return Problem.of(*own_data(typed, logits.shape[1]))


def networks_like(model: nn.Module, fresh: Callable[[], nn.Module] | None) -> Networks:
    """Makers of new networks: the user's, or copies of the model that are initialised anew."""
    make = fresh or (lambda: reinitialised(model))
    return Networks(make, make)


def compute_like(model: nn.Module, predict_batch_size: int = 256) -> Compute:
    """The settings of a trainer on the device and in the precision of a network."""
    weights = weights_of(model)
    gpu = weights.device.type == "cuda"
    return Compute(
        {
            "_target_": "lightning.Trainer",
            "accelerator": "gpu" if gpu else "cpu",
            "devices": [weights.device.index or 0] if gpu else 1,
            "precision": PRECISIONS.get(weights.dtype, "32-true"),
            "predict_batch_size": predict_batch_size,
        }
    )


def predicted(network: nn.Module, problem: Problem, compute: Compute, needs: Collection[str] = ()) -> Model:
    """A network as a model of the table, with the predictions of a copy.

    ``needs`` are those of the metrics; ``features`` and ``layers`` among them are predicted, too.
    """
    if "layers" in needs or "features" in needs:
        ids, layers = looked_at(problem.split), "layers" in needs
        logits, found = predict_with_features(copied(network), problem, compute, ids, layers)
        return Model(network, logits, {}, features=found)
    return Model(network, predict(copied(network), problem, compute), {})
