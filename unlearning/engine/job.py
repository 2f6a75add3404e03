"""A request as objects: the one place where a configuration is taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..config.build import Spec, specs
from ..data.long_tail import long_tailed
from ..errors import UserError
from ..methods.base import Method
from ..metrics.base import Evidence, Metric
from ..metrics.features import looked_at
from ..metrics.rules import RULES
from ..scenarios.base import Problem, Scenario, check_whole
from .after import Earlier
from .compute import Compute
from .evaluation import Model
from .lab import Lab, Trained
from .networks import Architecture
from .store import Store
from .watch import BEST_BY, EVERY, SETS, Watch, check_watch, metric_nodes


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
    every: int | None = None  # epochs between two evaluations while the method unlearns
    best_by: str | None = None  # the rule by which the best of them is kept
    earlier: Earlier | None = None  # the run that the request follows

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Job:
        """The job of a configuration. Raises ``UserError`` for any part of it that cannot work."""
        pretrain = Spec("pretrain", config["pretrain"])
        scenario: Scenario = Spec("scenario", config["scenario"]).build()
        own, imbalance = pretrain.node["checkpoint"], config["split"].get("imbalance")
        if own and imbalance is not None:
            raise UserError(
                f"split.imbalance={imbalance:g} leaves training samples out that the model of pretrain.checkpoint may "
                "have learned: set one of the two to null",
                key="split.imbalance",
                kind="conflict",
            )
        if own and config["dataset"].get("limit") is not None:
            raise UserError(
                f"dataset.limit={config['dataset']['limit']} leaves images out that the model of pretrain.checkpoint "
                "may have learned, also listed ones: set one of the two to null",
                key="dataset.limit",
                kind="conflict",
            )
        raw = long_tailed(Spec("dataset", config["dataset"]).build(), imbalance, config["split"]["seed"])
        earlier = None
        if config["after"] is None:
            problem = scenario.prepare(raw)
        else:
            earlier = Earlier.read(Path(config["after"]))
            earlier.check(config)
            problem, raw = earlier.problem(scenario, raw)
            own = own or earlier.own
        requested = check_whole(scenario, raw, problem.split.forget) if own else None
        evaluation = config["evaluation"]
        check_watch(evaluation, problem.split, config["retrained"], config["method"].get("keep"))
        if config["trial"] is not None:
            problem = problem.thinned(config["trial"])
        lab = Lab(
            store=Store(Path(config["paths"]["store"])),
            architecture=Architecture.of(config, own),
            compute=Compute(config["trainer"]),
            resume=pretrain.node["resume"],
        )
        return cls(
            problem=problem,
            lab=lab,
            recipe=pretrain.without("seed", "checkpoint", "resume", "ensemble"),
            method=Spec("method", config["method"]),
            addons=specs(config["addon"], "addon"),
            metrics={name: spec.build() for name, spec in specs(metric_nodes(evaluation), "evaluation").items()},
            seed=config["seed"],
            pretrain_seed=pretrain.node["seed"],
            retrained=config["retrained"],
            again=config["force"],
            requested=requested,
            every=evaluation.get(EVERY),
            best_by=evaluation.get(BEST_BY),
            earlier=earlier,
        )

    def network(self) -> nn.Module:
        """A new network of the run's architecture."""
        return self.lab.architecture.network(self.problem.data)

    def checked(self) -> Method:
        """The method around an untrained network. Raises ``UserError`` if it cannot serve the problem."""
        return self.lab.method(self.problem, self.method, self.addons, self.network())

    @property
    def access(self) -> dict[str, str]:
        """What the method may see, and the choice of its epoch. Raises ``UserError`` as ``checked`` does."""
        chosen = {} if self.best_by is None else dict.fromkeys(SETS, "inputs and labels")
        if self.best_by is not None and RULES[self.best_by].oracle:
            chosen["retrained"] = "predictions"
        return dict(sorted((self.checked().access | chosen).items()))

    def watch(self, made: Mapping[str, Trained]) -> Watch | None:
        """What is looked at while the method unlearns, given the reference models; None for nothing."""
        if self.best_by is None:
            return None if self.every is None else Watch(self.every)
        logits = {name: self.model(trained).logits for name, trained in made.items()}
        data, split, original = self.problem.data, self.problem.split, logits["original"]
        evidence = Evidence(original, data.labels, split, data.classes, original, logits.get("retrained"))
        expected = RULES[self.best_by].expected(replace(evidence, true_labels=data.true_labels))
        return Watch(self.every or 1, self.best_by, expected)

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
        if (layers := self.needs("layers")) or self.needs("features"):
            ids = looked_at(self.problem.split)
            logits, features = self.lab.predict_with_features(self.problem, network, ids, layers)
            return Model(network, logits, trained.cost, triggered, features)
        return Model(network, self.lab.predict(self.problem, network), trained.cost, triggered)

    def untrained(self) -> Tensor | None:
        """The logits of a network with random weights, if a metric needs them."""
        return self.lab.untrained(self.problem) if self.needs("untrained") else None

    def needs(self, what: str) -> bool:
        """Whether a metric needs something: ``untrained``, ``attack``, ``features``, ``layers``."""
        return any(what in metric.needs for metric in self.metrics.values())
