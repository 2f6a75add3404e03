"""What a setting is worth: its models' distance from what a rule expects, on training and validation samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import torch

from ..engine.job import Job
from ..errors import UserError
from ..metrics.base import Evidence, mean_gap
from ..metrics.rules import RULES, Rule, measured, rule_for
from ..pipeline import results
from ..request import Request
from ..runtime.memory import keep_freed

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Judgement:
    """The numbers of a setting, each the mean over the draws.

    Args:
        score: the mean distance from what the rule expects; 0 is best.
        forgetting, retention: its parts.
        values: what was measured of the unlearned model.
        seconds, passes: what the unlearnings cost, all draws together, whether or not the store had them.
    """

    score: float
    forgetting: float
    retention: float
    values: Numbers
    seconds: float
    passes: float

    @property
    def record(self) -> dict[str, Any]:
        """The judgement as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Judged:
    """A setting and, for comparison, the original and the retrained model; the latter where the rule needs it."""

    unlearned: Judgement
    references: Mapping[str, Judgement]


def judged(requests: Sequence[Request], name: str) -> Judged:
    """The judgement of a setting by the rule of that name, over the requests of all draws.

    Models and predictions are made as for any run, and kept in the store. No test sample is looked at. Raises
    ``UserError`` where a run or the rule cannot work, and for predictions that are not finite.
    """
    found: dict[str, list[Judgement]] = {}
    for request in requests:
        for model, judgement in of_draw(request, name).items():
            found.setdefault(model, []).append(judgement)
    means = {model: mean_of(each) for model, each in found.items()}
    return Judged(means.pop("unlearned"), means)


def of_draw(request: Request, name: str) -> dict[str, Judgement]:
    """The judgements of the models of one draw, by the model's name."""
    trainer = request.config["trainer"]
    if trainer["processes"] > 1:
        raise UserError(
            f"trainer.devices={trainer['devices']}: a trial runs in one process; to be faster, start the same command "
            "several times",
            key="trainer.devices",
            kind="conflict",
        )
    keep_freed()
    torch.set_num_threads(trainer["threads"])
    job = Job.of(request.config)
    rule = rule_for(name, job.problem.split, job.retrained, "rule")
    oracle = rule.oracle or (job.best_by is not None and RULES[job.best_by].oracle)
    job = replace(job, metrics={}, retrained=oracle, again=False)
    result = results(job, job.access)
    expected = rule.expected(result.evidence["unlearned"])
    costs = {"unlearned": result.cost}
    return {model: judgement(rule, e, expected, costs.get(model, {})) for model, e in result.evidence.items()}


def judgement(rule: Rule, evidence: Evidence, expected: Numbers, cost: Numbers) -> Judgement:
    """The judgement of one model."""
    values = measured(evidence)
    sides = ({name: expected[name] for name in side} for side in (rule.forgetting, rule.retention))
    forgetting, retention = (mean_gap(values, side) for side in sides)
    seconds, passes = (cost.get(f"cost/{what}", 0.0) for what in ("seconds", "passes"))
    shown = {name: values[name] for name in expected}
    return Judgement(mean_gap(values, expected), forgetting, retention, shown, seconds, passes)


def mean_of(each: Sequence[Judgement]) -> Judgement:
    """The mean over the draws; costs are summed."""
    return Judgement(
        score=fmean(one.score for one in each),
        forgetting=fmean(one.forgetting for one in each),
        retention=fmean(one.retention for one in each),
        values={name: fmean(one.values[name] for one in each) for name in each[0].values},
        seconds=sum(one.seconds for one in each),
        passes=sum(one.passes for one in each),
    )
