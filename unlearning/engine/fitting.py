"""Fit a method to a problem: the only place that does, whatever its kind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import lightning as L
import torch
from torch import Tensor, nn

from ..config.build import Spec
from ..data.datamodule import UnlearningData
from ..errors import UserError
from ..methods.base import Method
from ..methods.one_shot import OneShot
from ..runtime.cost import Meter
from ..runtime.distributed import lead
from ..runtime.interrupts import interruptible
from ..runtime.progress import OBSERVING, REPAIRING, UNLEARNING, Progress
from ..scenarios.base import Problem
from ..types import Networks
from .compute import Compute

if TYPE_CHECKING:
    from .unfinished import Unfinished
    from .watch import Watcher  # here, so that the keys of models do not follow the metrics

log = logging.getLogger(__name__)

Costs = dict[str, float]
Observed = tuple[dict[str, Tensor], Costs]  # observations by name, and what making them cost


Cache = Callable[[Callable[[], Observed]], Observed]  # returns the observations it keeps, or those that are made
PartCache = Callable[[str, Callable[[], Observed]], Observed]  # the same for weights and curves of a part, by its name


def make_now(make: Callable[[], Observed]) -> Observed:
    """The cache that keeps nothing."""
    return make()


def make_part_now(_: str, make: Callable[[], Observed]) -> Observed:
    """The cache of parts that keeps nothing."""
    return make()


def fit(
    method: Method,
    problem: Problem,
    compute: Compute,
    seed: int,
    networks: Networks | None = None,
    title: str = UNLEARNING,
    cached: Cache = make_now,
    cached_part: PartCache = make_part_now,
    data: UnlearningData | None = None,
    watcher: Watcher | None = None,
    unfinished: Unfinished | None = None,
) -> Costs:
    """Let a method change its model, which ends on the CPU in eval mode; returns what that cost.

    The parts of a method are fitted first. A one-shot method looks at its streams, edits the weights, and lets its
    repair train them. The same method, problem, seed and settings give the same weights, whether or not observations
    and parts came from a cache.

    Args:
        seed: of all random draws.
        networks: makers of networks of the original's architecture, for methods that need some.
        title: of the progress bar.
        cached: where a one-shot method's observations are looked up and kept.
        cached_part: where the models of its parts are.
        data: what the method is given, if it shares that with the method that it is a part of.
        watcher: evaluates the model by epoch.
        unfinished: saves the state of a training, and has that of one that was interrupted; one-shot methods have none.

    Raises ``UserError`` for a method that diverged.
    """
    L.seed_everything(seed, verbose=False)
    method.data = data_of(problem, compute, networks) if data is None else data
    method.begin()
    for name, part in method.parts.items():
        whose = partial(made, part, problem, compute, seed, networks, f"{title} ({name})", data=method.data)
        tensors, spent = cached_part(name, whose)
        load_weights(part.model, tensors)
        method.meter.add(spent, name)
        L.seed_everything(seed, verbose=False)  # the same from here on, whether or not the part was fitted now
    if isinstance(method, OneShot):
        cost = fit_one_shot(method, compute, seed, cached, watcher)
    else:
        run(method, compute, title, watcher, unfinished)
        cost = method.meter.metrics()
    method.meter.release()
    if watcher is not None:
        cost = cost | watcher.finish(method)
    settle(method.model)
    return cost


def data_of(problem: Problem, compute: Compute, networks: Networks | None = None) -> UnlearningData:
    """The data that a method is given."""
    size = compute.predict_batch_size
    return UnlearningData(problem.data, problem.split, problem.task, networks, predict_batch_size=size)


def built(spec: Spec, addons: Mapping[str, Spec], network: nn.Module, problem: Problem, compute: Compute) -> Method:
    """A method with its add-ons around a network. Raises ``UserError`` if it cannot serve the problem."""
    given = {"addons": [addon.build() for addon in addons.values()]} if addons else {}
    method: Method = spec.build(model=network, **given)
    method.check(problem.task)
    parts = [method, *method.parts.values()]  # those that Lightning fits
    if isinstance(method, OneShot) and method.repair is not None:
        parts = [method, method.repair] if method.streams else [method.repair]
    for part in parts:
        part.data = data_of(problem, compute)  # the number of its passes may depend on them
        for addon in part.addons:
            addon.check(part)
        compute.check(part)
    return method


def made(
    method: Method,
    problem: Problem,
    compute: Compute,
    seed: int,
    networks: Networks | None,
    title: str = UNLEARNING,
    cached: Cache = make_now,
    cached_part: PartCache = make_part_now,
    data: UnlearningData | None = None,
    watcher: Watcher | None = None,
    unfinished: Unfinished | None = None,
) -> Observed:
    """Weights and curves that ``fit`` makes, as tensors by ``weight <name>`` and ``curve <name>``, and the costs."""
    cost = fit(method, problem, compute, seed, networks, title, cached, cached_part, data, watcher, unfinished)
    curves = {f"curve {name}": torch.stack(values).float() for name, values in method.curves.items()}
    return {f"weight {name}": tensor for name, tensor in state_of(method.model).items()} | curves, cost


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Put weights made by ``made`` into a network, in their precision."""
    weights = {name.partition(" ")[2]: tensor for name, tensor in tensors.items() if name.startswith("weight ")}
    floats = [tensor.dtype for tensor in weights.values() if tensor.is_floating_point()]
    network = network.to(floats[0]) if floats else network
    network.load_state_dict(weights)
    return network


def run(
    method: Method,
    compute: Compute,
    title: str,
    watcher: Watcher | None = None,
    unfinished: Unfinished | None = None,
) -> None:
    """Lightning's fit."""
    began = time.perf_counter()
    callbacks = [callback for callback in (Progress(title), watcher, unfinished) if callback is not None]
    with interruptible(), unfinished.checkpoint() if unfinished else nullcontext() as state:
        compute.trainer(method.passes, callbacks).fit(
            method, datamodule=method.data, ckpt_path=state, weights_only=True if state else None
        )
    log.info("%s: %s, %d epochs, %.1f s", title, type(method).__name__, method.passes, time.perf_counter() - began)


def fit_one_shot(method: OneShot, compute: Compute, seed: int, cached: Cache, watcher: Watcher | None = None) -> Costs:
    """Observe, edit, repair: one account of the costs and curves of all three."""

    def observe() -> Observed:
        run(method, compute, OBSERVING)
        return method.observations, method.meter.metrics()

    observations, cost = cached(observe) if method.streams else ({}, None)
    run_now = method.meter.forward + method.meter.backward
    if cost is not None:
        method.meter.release()
        method.meter = Meter.resumed(cost, "observe")
    L.seed_everything(seed, verbose=False)  # the same from here on, whether or not the data were looked at now
    edit(method, compute, observations, watcher)
    if method.repair is not None:
        method.repair.data, method.repair.meter, method.repair.curves = method.data, method.meter, method.curves
        run(method.repair, compute, REPAIRING, watcher)
    found = method.meter.metrics()
    return found if cost is None else found | {"cost/passes_run": run_now + found["cost/passes"] - cost["cost/passes"]}


def edit(method: OneShot, compute: Compute, observations: dict[str, Tensor], watcher: Watcher | None = None) -> None:
    """Let a one-shot method change its weights, on the device and in the precision of the trainer."""
    strategy = compute.trainer().strategy
    device = strategy.root_device
    strategy.precision_plugin.convert_module(method).to(device)
    method.model.eval()
    method.observations = {name: tensor.to(device) for name, tensor in observations.items()}
    method.count_passes()
    if watcher is not None:
        watcher.look(method)
    with method.meter.running(), torch.no_grad():
        method.begin_guard()
        method.edit()
        method.end_guard()
    if watcher is not None:
        watcher.epoch += 1
        watcher.look(method)
    method.cpu()


def settle(model: nn.Module) -> None:
    """Give all processes the same weights, since BatchNorm's averages differ by process.

    The model is left in eval mode and without gradients. Raises ``UserError`` for weights that are not finite.
    """
    model.load_state_dict(lead(lambda: state_of(model)))
    model.eval()
    model.zero_grad(set_to_none=True)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(
                f"the training diverged: {name} holds values that are not finite; a smaller learning rate "
                "(optimizer.lr) is the usual remedy",
                kind="diverged",
            )


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """A network's parameters and buffers, detached and on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}


def curves_of(method: Method) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of what a method recorded at each step, by name."""
    return {name: points(torch.stack(values).float()) for name, values in method.curves.items()}


def points(values: Tensor) -> list[tuple[int, float]]:
    """(step, value) of each of (n,) values; the rows of (n, 2) values are a step and a value themselves."""
    rows = values.tolist()
    return [(int(step), value) for step, value in rows] if values.ndim == 2 else list(enumerate(rows))
