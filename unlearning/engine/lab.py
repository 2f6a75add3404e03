"""Train, unlearn, predict: functions of their arguments, each result made once and kept in the store."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import lightning as L
from torch import Tensor, nn

from ..config.build import Spec
from ..errors import UserError
from ..methods.base import Method
from ..methods.one_shot import OneShot
from ..metrics.features import Features
from ..models.naming import Naming
from ..runtime.digests import ids_digest, state_digest
from ..runtime.progress import training
from ..scenarios.base import Problem
from .compute import Compute
from .evaluation import Curves
from .features import predict_with_features
from .fitting import Observed, built, load_weights, made, points
from .key import Key, key_of
from .networks import Architecture
from .predict import predict, spread
from .store import Contents, Store
from .unfinished import Unfinished
from .watch import Watch, Watcher

# Where the code begins that decides what training and unlearning make, and what predictions are
MAKING = (f"{__package__}.fitting.fit", f"{__package__}.networks.Architecture")
WATCHER = f"{__package__}.watch.Watcher"
PREDICT = f"{__package__}.predict.predict"
FEATURES = f"{__package__}.features.predict_with_features"


@dataclass(frozen=True)
class Trained:
    """A network, what making it cost, the curves of its making, and how a file of the user's names its tensors."""

    network: nn.Module
    cost: Mapping[str, float]
    curves: Curves
    naming: Naming = field(default_factory=Naming)


@dataclass(frozen=True)
class Lab:
    """Makes the models and predictions of a run, and keeps them in the store.

    Args:
        store: keeps what is made.
        architecture: of all networks.
        compute: the trainer's settings.
        resume: whether a training that was interrupted goes on from its last epoch.
    """

    store: Store
    architecture: Architecture
    compute: Compute
    resume: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decide everything made here."""
        return {**self.architecture.settings, "trainer": self.compute.numerics}

    def own_model(self, problem: Problem) -> Trained:
        """The user's own original model."""
        network, naming = self.architecture.own_original(problem.data)
        return Trained(network, {}, {}, naming)

    def train(self, problem: Problem, recipe: Spec, ids: Tensor, seed: int, name: str = "model") -> Trained:
        """The model that a recipe makes of the samples ``ids``; ``name`` is for the progress bar and messages."""
        self.store.note(problem.data)
        network = self.architecture.network(problem.data)
        numerics = {k: v for k, v in self.compute.numerics.items() if k != "predict_batch_size"}
        learning, networks = problem.learning(ids), self.architecture.networks(problem.data)
        key = key_of(
            self.settings | {"trainer": numerics, "pretrain": recipe.node, "seed": seed},
            MAKING,
            data={"samples": problem.data.digest, "ids": ids_digest(ids)},
        )

        unfinished = Unfinished(self.store, key) if self.resume else None

        def make() -> tuple[dict[str, Tensor], dict[str, Any]]:
            method: Method = recipe.build(model=copy.deepcopy(network))
            try:
                method.check(learning.task)
                return made(method, learning, self.compute, seed, networks, training(name), unfinished=unfinished)
            except UserError as error:
                if error.key.partition(".")[0] not in ("method", ""):
                    raise
                key = error.key.replace("method.", "pretrain.", 1)  # a recipe is a method with keys of its own
                raise UserError(
                    f"the {name} model: {str(error).replace(error.key, key)}", key=key, kind=error.kind
                ) from None

        trained = self.restored(network, "models", key, make)
        if unfinished is not None:
            unfinished.done()
        return trained

    def unlearn(
        self,
        problem: Problem,
        method: Spec,
        addons: Mapping[str, Spec],
        start: nn.Module,
        seed: int,
        again: bool = False,
        watch: Watch | None = None,
    ) -> Trained:
        """The model that a method makes of the network ``start``, which stays as it is.

        ``again`` makes it even if the store has it; ``watch`` says what is looked at meanwhile, and may choose among
        its epochs.
        """
        self.store.note(problem.data)
        weights = state_digest(start.state_dict())
        nodes = {name: spec.node for name, spec in addons.items()}
        shared = self.settings | {"seed": seed}
        data = {"samples": problem.data.digest, "split": problem.split.digest}

        def key(node: Mapping[str, Any], addons: Mapping[str, Any], watch: Watch | None = None) -> Key:
            settings = shared | {"method": node, "addon": addons, "pretrain.seed": self.architecture.seed}
            watched = {} if watch is None else {"watch": watch.settings}
            code = MAKING if watch is None else (*MAKING, WATCHER)
            return key_of(settings | watched, code, data=data, weights={"start": weights})

        def make() -> tuple[dict[str, Tensor], dict[str, Any]]:
            unlearning = self.method(problem, method, addons, copy.deepcopy(start))

            def cached(observe: Callable[[], Observed]) -> Observed:
                assert isinstance(unlearning, OneShot)
                observed = key_of(
                    shared | {"observation": unlearning.observation_key()},
                    [*MAKING, unlearning.observer()],
                    data=data,
                    weights={"start": weights},
                )
                entry = self.store.get_or_create("observations", observed, observe)
                return entry.tensors, dict(entry.facts)

            def cached_part(name: str, make_part: Callable[[], Observed]) -> Observed:
                if name not in method.node:  # what the method itself has made of it is no model of its own
                    return make_part()
                node = {option: value for option, value in method.node[name].items() if option != "_partial_"}
                entry = self.store.get_or_create("unlearned", key(node, {}), make_part)  # as that method alone has it
                return entry.tensors, dict(entry.facts)

            networks = self.architecture.networks(problem.data)
            return made(
                unlearning,
                problem,
                self.compute,
                seed,
                networks,
                cached=cached,
                cached_part=cached_part,
                watcher=None if watch is None else Watcher(watch, problem),
            )

        return self.restored(copy.deepcopy(start), "unlearned", key(method.node, nodes, watch), make, again)

    def method(self, problem: Problem, method: Spec, addons: Mapping[str, Spec], network: nn.Module) -> Method:
        """A method with its add-ons around a network. Raises ``UserError`` if it cannot serve the problem."""
        return built(method, addons, network, problem, self.compute)

    def restored(
        self, network: nn.Module, kind: str, key: Key, make: Callable[[], Contents], again: bool = False
    ) -> Trained:
        """The store's entry of that key, made if it is missing, as a model."""
        entry = self.store.get_or_create(kind, key, make, again)
        curves = {name.partition(" ")[2]: curve for name, curve in entry.tensors.items() if name.startswith("curve ")}
        found = {f"unlearn/{name}": points(values) for name, values in curves.items()}
        return Trained(load_weights(network, entry.tensors).eval(), dict(entry.facts), found)

    # Predictions

    def predict(self, problem: Problem, network: nn.Module, ids: Tensor | None = None) -> Tensor:
        """(len(ids), C) logits of a network on the samples ``ids``, all where it is None.

        Raises ``UserError`` where they are not finite.
        """
        self.store.note(problem.data)
        data = {"samples": problem.data.digest} | ({} if ids is None else {"ids": ids_digest(ids)})
        key = key_of(
            self.settings,
            [PREDICT],
            data=data,
            weights={"network": state_digest(network.state_dict())},  # before predicting, which may round the weights
        )

        def make() -> tuple[dict[str, Tensor], dict[str, Any]]:
            return {"logits": usable(predict(network, problem, self.compute, ids))}, {}

        return self.store.get_or_create("predictions", key, make).tensors["logits"]

    def predict_with_features(
        self, problem: Problem, network: nn.Module, ids: Tensor, layers: bool = False
    ) -> tuple[Tensor, Features]:
        """(N, C) logits of all samples, as ``predict`` has them, and features of the sorted ``ids``, in one pass.

        ``layers`` also keeps the outputs of the network's blocks.
        """
        self.store.note(problem.data)
        key = key_of(
            self.settings | ({"layers": True} if layers else {}),
            [FEATURES],
            data={"samples": problem.data.digest, "ids": ids_digest(ids)},
            weights={"network": state_digest(network.state_dict())},
        )

        def make() -> tuple[dict[str, Tensor], dict[str, Any]]:
            logits, features = predict_with_features(network, problem, self.compute, ids, layers)
            blocks = {f"layer {name}": usable(values) for name, values in features.layers.items()}
            tensors = {"logits": usable(logits), "features": usable(features.values), **blocks}
            return tensors, {"layers": list(features.layers)}

        entry = self.store.get_or_create("predictions", key, make)
        blocks = {name: entry.tensors[f"layer {name}"] for name in entry.facts["layers"]}
        return entry.tensors["logits"], Features(ids, entry.tensors["features"], blocks)

    def triggered(self, problem: Problem, network: nn.Module) -> Tensor | None:
        """A network's logits on the test images with the trigger; None where the scenario plants none."""
        if problem.attack is None:
            return None
        test = problem.split.test
        attacked = replace(problem, data=problem.data.with_trigger(problem.attack.trigger, test))
        return self.predict(attacked, network, test)

    def untrained(self, problem: Problem) -> Tensor:
        """(N, C) logits of a network with random weights, one per data, model and seed; NaN but for the forget set."""
        L.seed_everything(self.architecture.seed, verbose=False)
        ids = problem.split.forget
        logits = self.predict(problem, self.architecture.network(problem.data, pretrained=False), ids)
        return spread(logits, ids, len(problem.data.labels))


def usable(predictions: Tensor) -> Tensor:
    """The same predictions. Raises ``UserError`` where they are not finite."""
    if not predictions.isfinite().all():
        raise UserError("the model's predictions are not finite: it is not a usable model", kind="diverged")
    return predictions
