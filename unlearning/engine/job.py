"""A request as objects: the one place where a configuration is taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..config.build import Spec, specs
from ..methods.base import Method
from ..metrics.base import Metric
from ..scenarios.base import Problem, Scenario, check_whole
from .after import Earlier
from .compute import Compute
from .evaluation import Model
from .lab import Lab, Trained
from .networks import Architecture
from .store import Store


@dataclass(frozen=True)
class Job:
    """The objects of one run."""

    problem: Problem
    lab: Lab
    recipe: Spec  # makes the original and the retrained model
    method: Spec
    addons: Mapping[str, Spec]
    metrics: Mapping[str, Metric]
    seed: int  # of the unlearning
    pretrain_seed: int
    retrained: bool  # whether there is a retrained model to compare with
    again: bool  # whether to unlearn even if the store has the result
    requested: int | None  # the samples that the user of an own model asks to forget
    earlier: Earlier | None = None  # the run that the request follows

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Job:
        """The job of a configuration. Raises ``UserError`` for any part of it that cannot work."""
        pretrain = Spec("pretrain", config["pretrain"])
        scenario: Scenario = Spec("scenario", config["scenario"]).build()
        raw = Spec("dataset", config["dataset"]).build()
        own, earlier = pretrain.node["checkpoint"], None
        if config["after"] is None:
            problem = scenario.prepare(raw)
        else:
            earlier = Earlier.read(Path(config["after"]))
            earlier.check(config)
            problem, raw = earlier.problem(scenario, raw)
            own = own or earlier.own
        requested = check_whole(scenario, raw, problem.split.forget) if own else None
        if config["trial"] is not None:
            problem = problem.thinned(config["trial"])
        lab = Lab(
            store=Store(Path(config["paths"]["store"])),
            architecture=Architecture(Spec("model", config["model"]), pretrain.node["seed"], own),
            compute=Compute(config["trainer"]),
        )
        return cls(
            problem=problem,
            lab=lab,
            recipe=pretrain.without("seed", "checkpoint"),
            method=Spec("method", config["method"]),
            addons=specs(config["addon"], "addon"),
            metrics={name: spec.build() for name, spec in specs(config["evaluation"], "evaluation").items()},
            seed=config["seed"],
            pretrain_seed=pretrain.node["seed"],
            retrained=config["retrained"],
            again=config["force"],
            requested=requested,
            earlier=earlier,
        )

    def network(self) -> nn.Module:
        """A new network of the run's architecture."""
        return self.lab.architecture.network(self.problem.data)

    def checked(self) -> Method:
        """The method around an untrained network. Raises ``UserError`` if it cannot serve the problem."""
        return self.lab.method(self.problem, self.method, self.addons, self.network())

    def given(self) -> dict[str, Trained]:
        """The original model where it is not trained here: that of the user, or the result of the earlier run."""
        if self.earlier is not None:
            return {"original": self.earlier.start(self.lab, self.problem.data)}
        return {"original": self.lab.own_model(self.problem)} if self.lab.architecture.checkpoint else {}

    def taught(self) -> dict[str, Tensor]:
        """The ids of the samples that each reference model learns, by the model's name."""
        split = self.problem.split
        taught = {} if self.lab.architecture.checkpoint or self.earlier else {"original": split.train}
        if self.retrained:
            taught["retrained"] = split.retain
            if len(split.manipulated) > len(split.forget):
                taught["clean"] = split.all_known.retain  # without any manipulated sample, known or not
        return taught

    def model(self, trained: Trained) -> Model:
        """A model of the table, with the predictions that the metrics need."""
        network = trained.network
        triggered = self.lab.triggered(self.problem, network) if self.needs("attack") else None
        if self.needs("features"):
            logits, features = self.lab.predict_with_features(self.problem, network)
            return Model(network, logits, trained.cost, triggered, features)
        return Model(network, self.lab.predict(self.problem, network), trained.cost, triggered)

    def untrained(self) -> Tensor | None:
        """The logits of a network with random weights, if a metric needs them."""
        return self.lab.untrained(self.problem) if self.needs("untrained") else None

    def needs(self, what: str) -> bool:
        """Whether a metric needs something: ``untrained``, ``attack``, ``features``."""
        return any(what in metric.needs for metric in self.metrics.values())
