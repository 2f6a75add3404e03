"""The Python API: unlearn, evaluate and train with any network and any torch data, without a configuration.

Nothing is written, Hydra's and torch's global state stay as they were, and the networks that are passed in are not
changed. Settings follow the rules of the command line: a method's defaults, then the rows of its table that apply to
what ``dataset``, ``model_name`` and the kind of request say, then the options of the call.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from .config.build import Spec, specs
from .config.settings import choice, method_settings
from .config.tables import Row
from .data.own import Samples, own_data, read_samples
from .engine.compute import Compute
from .engine.evaluation import Curves, Model
from .engine.evaluation import evaluate as evaluate_models
from .engine.fitting import curves_of, fit
from .engine.predict import predict
from .errors import UserError
from .methods.base import Method
from .models.initialise import reinitialised
from .records.log import quiet
from .scenarios.base import Problem
from .types import Networks

RECIPE = "digits"  # the recipe whose settings methods and training take unless another is named


@dataclass(frozen=True)
class Unlearned:
    """A changed copy of a network, and how it was made."""

    model: nn.Module  # on the device of the original, in eval mode
    cost: Mapping[str, float]  # ``cost/seconds``, ``cost/passes`` and others, of the method alone
    access: Mapping[str, str]  # what the method saw of each set
    curves: Curves  # (step, value) of each loss and of whatever else the method records
    settings: Mapping[str, Any]  # of the method, resolved
    rows: Sequence[Row] = field(default_factory=list)  # of the settings' table that applied, with their reasons


@dataclass(frozen=True)
class Evaluation:
    """Metrics of each model, and the gaps of the unlearned to the retrained one."""

    rows: Mapping[str, Mapping[str, float]]
    gaps: Mapping[str, float]  # ``gap/<metric>``; empty without a retrained model
    directions: Mapping[str, str]  # how each metric is read: ``up``, ``down``, ``to-retrained``
    failed: Mapping[str, str]  # why a metric has no value, by model and metric


def unlearn(
    model: nn.Module,
    forget: Samples,
    retain: Samples,
    method: str = "ssd",
    *,
    addons: Sequence[str] | Mapping[str, Mapping[str, Any]] = (),
    validation: Samples | None = None,
    seed: int = 0,
    fresh: Callable[[], nn.Module] | None = None,
    recipe: str = RECIPE,
    dataset: str = "",
    model_name: str = "",
    **options: Any,
) -> Unlearned:
    """Make a copy of a trained classifier forget the samples ``forget``.

    Args:
        model: maps inputs (B, ...) to logits (B, num_classes); it stays as it is.
        forget, retain: the training data in two parts, each a torch data set or loader of (input, label), or a tuple of
            tensors. They are read once. Classes of which ``retain`` has no sample are forgotten whole.
        method: a name that ``python -m unlearning.config.catalogue methods`` lists.
        addons: names of add-ons, or a mapping from names to their options.
        validation: further samples, for methods that compare with some (SCRUB with ``rewind=True``).
        seed: of all random draws.
        fresh: makes a new network of the same architecture, for methods that need one; otherwise a copy of the model
            is initialised anew.
        recipe: the choice of ``pretrain`` that methods which train from scratch take their settings from.
        dataset, model_name: names that the conditions of the method's table are compared with.
        options: of the method, by name; a mapping changes a part of an option: ``optimizer={"lr": 0.01}``.

    Raises ``UserError`` for options that do not exist, for data that do not fit, and for a method that diverges.

    >>> import torch
    >>> from unlearning import unlearn
    >>> inputs, labels = torch.randn(60, 4), torch.arange(60) % 3
    >>> network = torch.nn.Linear(4, 3)
    >>> forget, retain = (inputs[labels == 2], labels[labels == 2]), (inputs[labels < 2], labels[labels < 2])
    >>> done = unlearn(network, forget, retain, method="finetune", epochs=1, batch_size=16)
    >>> done.access
    {'retain': 'inputs and labels'}
    >>> int(done.cost["cost/backward"])
    40
    """
    with quietly():
        sets = {"forget": read_samples(forget, "forget"), "retain": read_samples(retain, "retain")}
        if validation is not None:
            sets["validation"] = read_samples(validation, "validation")
        problem = problem_of(model, sets)
        scenario = "class" if problem.split.forget_classes else "random"
        node, rows = method_settings(method, options, recipe, dataset, model_name, scenario)
        named = addons if isinstance(addons, Mapping) else {name: {} for name in addons}
        nodes = {name: choice("addon", name).get(name, {}) | dict(own) for name, own in named.items()}
        built = [spec.build() for spec in specs(nodes, "addon").values()]
        unlearning: Method = Spec("method", node).build(
            model=copy.deepcopy(model), **({"addons": built} if built else {})
        )
        unlearning.check(problem.task)
        for addon in unlearning.addons:
            addon.check(unlearning)
        cost = fit(unlearning, problem, compute_like(model), seed, networks_like(model, fresh), method)
    return Unlearned(unlearning.model.to(device_of(model)), cost, unlearning.access, curves_of(unlearning), node, rows)


def train(
    model: nn.Module,
    data: Samples,
    *,
    seed: int = 0,
    fresh: Callable[[], nn.Module] | None = None,
    recipe: str = RECIPE,
    **options: Any,
) -> Unlearned:
    """Train a copy of a network from scratch: every parameter and buffer is initialised anew.

    The arguments are those of ``unlearn``; ``options`` are those of the recipe (``epochs``, ``optimizer``, ...).
    """
    with quietly():
        samples = read_samples(data, "data")
        problem = problem_of(model, {"forget": (samples[0][:0], samples[1][:0]), "retain": samples})
        node = choice("pretrain", recipe) | dict(options)
        training: Method = Spec("pretrain", node).build(model=copy.deepcopy(model))
        cost = fit(training, problem, compute_like(model), seed, networks_like(model, fresh), "Training")
    return Unlearned(training.model.to(device_of(model)), cost, training.access, curves_of(training), node)


def retrain(model: nn.Module, retain: Samples, **options: Any) -> Unlearned:
    """The model that unlearning is compared with: ``train`` on the retain set alone."""
    return train(model, retain, **options)


def evaluate(
    model: nn.Module,
    forget: Samples,
    retain: Samples,
    test: Samples,
    *,
    original: nn.Module | None = None,
    retrained: nn.Module | None = None,
    validation: Samples | None = None,
    evaluation: str = "default",
) -> Evaluation:
    """The metrics of an unlearned model, next to those of the original and of the retrained model if they are given.

    Args:
        model: the unlearned network.
        forget, retain, test, validation: as in ``unlearn``.
        original, retrained: the reference models. Without ``retrained`` there are no gaps.
        evaluation: the choice of metrics: ``default`` or ``full``.

    >>> import torch
    >>> from unlearning import evaluate
    >>> inputs, labels = torch.randn(60, 4), torch.arange(60) % 3
    >>> parts = [(inputs[i::3], labels[i::3]) for i in (2, 0, 1)]
    >>> found = evaluate(torch.nn.Linear(4, 3), *parts)
    >>> sorted(found.rows), 0 <= found.rows["unlearned"]["forget/acc"] <= 1
    (['unlearned'], True)
    """
    with quietly():
        sets = {"forget": forget, "retain": retain, "test": test}
        if validation is not None:
            sets["validation"] = validation
        problem = problem_of(model, {name: read_samples(part, name) for name, part in sets.items()})
        nodes = choice("evaluation", evaluation)
        metrics = {name: spec.build() for name, spec in specs(nodes, "evaluation").items()}
        named = {"original": original, "retrained": retrained, "unlearned": model}
        networks = {name: network for name, network in named.items() if network is not None}
        models = {
            name: Model(network, predict(copy.deepcopy(network), problem, compute_like(model)), {})
            for name, network in networks.items()
        }
        needs_untrained = any("untrained" in metric.needs for metric in metrics.values())
        untrained = predict(reinitialised(model), problem, compute_like(model)) if needs_untrained else None
        found = evaluate_models(problem, metrics, models, untrained)
    return Evaluation(found["rows"], found["gaps"], found["directions"], found["failed"])


def problem_of(model: nn.Module, sets: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> Problem:
    """The problem of a user's own sets; the number of classes is that of the model's outputs."""
    first = next(inputs for inputs, _ in sets.values() if len(inputs))[:1]
    network = copy.deepcopy(model).eval()
    with torch.no_grad():
        logits = network(first.to(device_of(model)))
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise UserError("the model must map a batch of inputs to a tensor of logits (B, num_classes)", key="model")
    return Problem.of(*own_data(sets, logits.shape[1]))


def networks_like(model: nn.Module, fresh: Callable[[], nn.Module] | None) -> Networks:
    """Makers of new networks: the user's, or copies of the model that are initialised anew."""
    make = fresh or (lambda: reinitialised(model))
    return Networks(make, make)


def device_of(model: nn.Module) -> torch.device:
    """The device of a network's first parameter."""
    return next(model.parameters()).device


def compute_like(model: nn.Module) -> Compute:
    """The settings of a trainer on the device that a network is on."""
    device = device_of(model)
    gpu = device.type == "cuda"
    return Compute(
        {
            "_target_": "lightning.Trainer",
            "accelerator": "gpu" if gpu else "cpu",
            "devices": [device.index or 0] if gpu else 1,
        }
    )


@contextmanager
def quietly() -> Iterator[None]:
    """Leave the global random state and the environment as they were, and the screen to the caller."""
    quiet()
    environment = dict(os.environ)
    with isolate_rng():
        try:
            yield
        finally:
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
