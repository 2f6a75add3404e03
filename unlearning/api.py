"""The Python API: unlearn, evaluate and train with any network and any torch data, without a configuration.

Nothing is written, the global state of Python, torch and Hydra stays as it was, and the networks that are passed in are
not changed. Settings follow the rules of the command line: a method's defaults, then the rows of its table that apply
to ``dataset``, ``model_name`` and ``scenario``, then the options of the call.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from .config.build import Spec, specs
from .config.settings import choice, method_settings, recipe_of
from .config.tables import Row, merged
from .data.own import Samples, read_samples
from .engine.evaluation import Curves
from .engine.evaluation import evaluate as evaluate_models
from .engine.fitting import built, curves_of, fit
from .engine.outside import compute_like, copied, networks_like, predicted, problem_of, weights_of
from .engine.predict import predict, spread
from .engine.watch import metric_nodes
from .errors import UserError
from .methods.base import Method
from .records.log import LIBRARIES, SCREEN, quiet

log = logging.getLogger(__package__)


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
    unstated: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # numbers that need more unseen samples


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
    recipe: str | None = None,
    dataset: str = "",
    model_name: str = "",
    scenario: str = "",
    predict_batch_size: int = 256,
    **options: Any,
) -> Unlearned:
    """Make a copy of a trained classifier forget the samples ``forget``.

    Args:
        model: maps inputs (B, ...) to logits (B, num_classes); it stays as it is.
        forget, retain: the training data in two parts, each a torch data set or loader of (input, label), or a tuple of
            tensors. They are read once and held in memory. Classes of which ``retain`` has no sample are forgotten
            whole.
        method: a name that ``python -m unlearning.config.catalogue methods`` lists.
        addons: names of add-ons, or a mapping from names to their options.
        validation: held-out samples, for methods that need some (SCRUB with ``rewind=True``).
        seed: of all random draws, those of shuffled loaders included.
        fresh: makes a new network of the same architecture, for methods that need one; otherwise a copy of the model
            is initialised anew.
        recipe: the choice of ``pretrain`` from which methods that train from scratch have their settings; that of
            ``dataset`` or else of the digits, if it is None.
        dataset, model_name, scenario: choices with which the conditions of the method's table are compared. An empty
            scenario is ``class`` where classes are forgotten whole, and otherwise ``random``.
        predict_batch_size: samples in a batch outside of the method's steps.
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
    with quietly(seed):
        sets = {"forget": read_samples(forget, "forget"), "retain": read_samples(retain, "retain")}
        if validation is not None:
            sets["validation"] = read_samples(validation, "validation")
        problem = problem_of(model, sets)
        asked = scenario or ("class" if problem.split.forget_classes else "random")
        node, rows = method_settings(method, options, recipe_of(recipe, dataset), dataset, model_name, asked)
        named = addons if isinstance(addons, Mapping) else {name: {} for name in addons}
        nodes = {name: merged(choice("addon", name).get(name, {}), own) for name, own in named.items()}
        compute = compute_like(model, predict_batch_size)
        unlearning = built(Spec("method", node), specs(nodes, "addon"), copied(model), problem, compute)
        cost = fit(unlearning, problem, compute, seed, networks_like(model, fresh), method)
    device, curves = weights_of(model).device, curves_of(unlearning)
    sizes = {name: len(ids) for name, ids in problem.split.sets.items()}
    for remark in unlearning.remarks({name: points[-1][1] for name, points in curves.items()}, node, sizes):
        log.warning(remark)
    return Unlearned(unlearning.model.to(device), cost, unlearning.access, curves, node, rows)


def train(
    model: nn.Module,
    data: Samples,
    *,
    seed: int = 0,
    fresh: Callable[[], nn.Module] | None = None,
    recipe: str | None = None,
    **options: Any,
) -> Unlearned:
    """Train a copy of a network from scratch: every parameter and buffer is initialised anew.

    The arguments are those of ``unlearn``; ``options`` are those of the recipe (``epochs``, ``optimizer``, ...).

    >>> import torch
    >>> from unlearning import train
    >>> samples = torch.randn(60, 4), torch.arange(60) % 3
    >>> made = train(torch.nn.Linear(4, 3), samples, epochs=2, optimizer={"lr": 0.01})
    >>> made.settings["optimizer"]["lr"], int(made.cost["cost/backward"])
    (0.01, 120)
    """
    with quietly(seed):
        samples = read_samples(data, "data")
        problem = problem_of(model, {"forget": (samples[0][:0], samples[1][:0]), "retain": samples})
        node = merged(choice("pretrain", recipe_of(recipe)), options)
        training: Method = Spec("pretrain", node).build(model=copied(model))
        cost = fit(training, problem, compute_like(model), seed, networks_like(model, fresh), "Training")
    return Unlearned(training.model.to(weights_of(model).device), cost, training.access, curves_of(training), node)


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
    seed: int = 0,
    fresh: Callable[[], nn.Module] | None = None,
    predict_batch_size: int = 256,
) -> Evaluation:
    """The metrics of an unlearned model, next to those of the original and of the retrained model if they are given.

    Args:
        model: the unlearned network.
        forget, retain, test, validation: as in ``unlearn``.
        original, retrained: the reference models. Without ``retrained`` there are no gaps.
        evaluation: the choice of metrics: ``default`` or ``full``.
        seed, fresh, predict_batch_size: as in ``unlearn``; ``fresh`` makes the untrained network of some metrics.

    >>> import torch
    >>> from unlearning import evaluate
    >>> inputs, labels = torch.randn(60, 4), torch.arange(60) % 3
    >>> parts = [(inputs[i::3], labels[i::3]) for i in (2, 0, 1)]
    >>> found = evaluate(torch.nn.Linear(4, 3), *parts)
    >>> sorted(found.rows), 0 <= found.rows["unlearned"]["forget/acc"] <= 1
    (['unlearned'], True)
    """
    with quietly(seed):
        sets = {"forget": forget, "retain": retain, "test": test}
        if validation is not None:
            sets["validation"] = validation
        problem = problem_of(model, {name: read_samples(part, name) for name, part in sets.items()})
        nodes = metric_nodes(choice("evaluation", evaluation))
        metrics = {name: spec.build() for name, spec in specs(nodes, "evaluation").items()}
        compute = compute_like(model, predict_batch_size)
        named = {"original": original, "retrained": retrained, "unlearned": model}
        needs = {need for metric in metrics.values() for need in metric.needs}
        models = {
            name: predicted(network, problem, compute, needs) for name, network in named.items() if network is not None
        }
        untrained = None
        if "untrained" in needs:
            ids = problem.split.forget
            logits = predict(networks_like(model, fresh).fresh(), problem, compute, ids)
            untrained = spread(logits, ids, len(problem.data.labels))
        found = evaluate_models(problem, metrics, models, untrained)
    return Evaluation(*(found[name] for name in ("rows", "gaps", "directions", "failed", "unstated")))


@contextmanager
def quietly(seed: int) -> Iterator[None]:
    """A context with random draws from ``seed`` and a silent screen, after which the global state is as it was.

    That state is random generators, environment variables, warnings filters and loggers.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise UserError(f"seed={seed} must be a whole number from 0 to {2**31 - 1}", key="seed")
    environment, root = dict(os.environ), logging.getLogger()
    levels: dict[logging.Logger, Any] = {log: log.level for log in map(logging.getLogger, LIBRARIES)}
    shown = SCREEN in root.handlers
    with isolate_rng(), warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
        quiet()
        L.seed_everything(seed, verbose=False)
        try:
            yield
        finally:
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
            for log, level in levels.items():
                log.setLevel(level)
            if not shown:
                root.removeHandler(SCREEN)
