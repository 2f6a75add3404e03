"""How far a method is from retraining by each judge, how alike judges rank methods, and who passes the output alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from statistics import fmean, stdev

import numpy as np

from unlearning.report.comparison import competes, costs
from unlearning.report.groups import group_runs
from unlearning.report.noise_floor import FLOOR
from unlearning.report.rivals import rivals
from unlearning.report.runs import Run
from unlearning.report.statistics import Array, Difference, holm, paired_test, ranks, resamples

STEPS = "relearn/steps"
JUDGES: Mapping[str, Mapping[str, str]] = {  # by judge, the metrics whose costs it averages, with their arrows
    "accuracy": {"forget/acc": "→", "retain/acc": "→", "test/acc": "→"},
    "membership": {"mia/loss_auc": "→", "mia/matched_loss_acc": "→"},
    "three-class": {"tcmia/retain_auc": "→", "tcmia/forget_auc": "→"},
    "CMIA": {"cmia/auc": "↓", "cmia/tv": "↓"},
    "probes": {"probe/linear_forget": "→", "probe/knn_forget": "→", "probe/silhouette": "→"},
    "CKA": {"cka/original_forget": "→", "cka/retrained_forget": "↑"},
    "relearning": {STEPS: ""},
    "compression": {"quantised/forget_acc_4bit": "→", "pruned/forget_acc_50pct": "→"},
}
OUTPUT = ("accuracy", "membership")  # what a paper's table has
INSIDE = tuple(name for name in JUDGES if name not in OUTPUT)
LEAST = 0.01  # a limit below it would ask for less than a sample or two
LEVEL = 0.05
ROUNDS = 1000  # of the bootstrap
Costs = Mapping[int, float]  # by seed


@dataclass(frozen=True)
class Setting:
    """The runs of one data set and scenario.

    Args:
        name: of the setting.
        seeds: that count.
        costs: by judge, method and seed; 0 is a model like the retrained one. Controls are among the methods.
        ranked: the methods that compete, in alphabetical order.
        failed: the number of failed runs, by method.
    """

    name: str
    seeds: Sequence[int]
    costs: Mapping[str, Mapping[str, Costs]]
    ranked: Sequence[str]
    failed: Mapping[str, int]

    def of(self, judge: str, method: str) -> Costs:
        """The costs of a method by a judge; empty where there are none."""
        return self.costs.get(judge, {}).get(method, {})

    def mean(self, judge: str, method: str) -> float:
        """The mean cost over seeds; NaN without any."""
        found = self.of(judge, method)
        return fmean(found.values()) if found else math.nan

    def limit(self, judge: str) -> float:
        """The noise floor: mean and two standard deviations of the costs of a second retrained model, or ``LEAST``.

        NaN where fewer than two seeds have it.
        """
        found = list(self.of(judge, FLOOR).values())
        return max(fmean(found) + 2 * stdev(found), LEAST) if len(found) > 1 else math.nan

    def worse(self, judge: str, method: str) -> Difference:
        """The costs less those of a second retrained model, paired by seed."""
        own, floor = self.of(judge, method), self.of(judge, FLOOR)
        return paired_test([own[seed] - floor[seed] for seed in sorted(own.keys() & floor.keys())])

    def fails(self, method: str, judges: Sequence[str] = INSIDE) -> list[str]:
        """The judges whose mean is above the noise floor, and whose difference to it is shown.

        Student's test over seeds, p by Holm over these judges.
        """
        tests = {judge: self.worse(judge, method) for judge in judges}
        known = [judge for judge, test in tests.items() if not math.isnan(test.p)]
        p = dict(zip(known, holm([tests[judge].p for judge in known]), strict=True))
        above = [judge for judge in known if self.mean(judge, method) > self.limit(judge)]
        return [judge for judge in above if p[judge] <= LEVEL and tests[judge].mean > 0]

    def passes(self, method: str) -> bool:
        """Whether the accuracies are within the noise floor, and no judge of the output fails the method."""
        return self.mean("accuracy", method) <= self.limit("accuracy") and not self.fails(method, OUTPUT)

    def judged_by(self, judge: str) -> list[str]:
        """The competing methods that have a number of this judge in every seed."""
        return [method for method in self.ranked if len(self.of(judge, method)) == len(self.seeds)]

    def table(self, judge: str, methods: Sequence[str]) -> Array:
        """(S, M) costs by seed and method."""
        return np.array([[self.costs[judge][method][seed] for method in methods] for seed in self.seeds])

    def ranks(self, judge: str) -> dict[str, float]:
        """The ranks of the methods that this judge can tell, by mean cost; 1 is best."""
        methods = self.judged_by(judge)
        means = np.array([[self.mean(judge, method) for method in methods]])
        return dict(zip(methods, map(float, ranks(means)[0]), strict=True)) if methods else {}


def cost(run: Run, judge: str) -> float | None:
    """How far a run is from the retrained model by a judge: the mean over its metrics; None where one is missing."""
    found = [steps(run) if metric == STEPS else one(run, metric, arrow) for metric, arrow in JUDGES[judge].items()]
    there = [value for value in found if value is not None]
    return fmean(there) if len(there) == len(found) else None


def one(run: Run, metric: str, arrow: str) -> float | None:
    """The cost by one metric; what is best at 1 costs what it lacks of that."""
    found = next(iter(costs([run], metric, arrow).values()), None)
    return found + 1 if found is not None and arrow == "↑" else found


def steps(run: Run) -> float | None:
    """The difference of the steps of relearning as a share of the larger number; 0 where neither model needs any."""
    ours, theirs = (run.values[row].get(STEPS) for row in ("unlearned", "retrained"))
    if ours is None or theirs is None:
        return None
    return abs(ours - theirs) / max(ours, theirs, 1.0)


def setting(name: str, runs: Sequence[Run]) -> Setting:
    """The costs of the finished runs of a setting. Of several settings of one method, validation data choose one.

    Seeds that fewer than three quarters of the methods have are left out: they are still being made. A method that
    lacks one of the others is not ranked.
    """
    groups = rivals([group for group in group_runs(runs)[0] if group.row == "unlearned"], "gap/mean").ranked
    times = Counter(int(run.config["seed"]) for group in groups for run in group.runs)
    seeds = sorted(seed for seed, count in times.items() if 4 * count >= 3 * len(groups))
    found: dict[str, dict[str, dict[int, float]]] = {judge: {} for judge in JUDGES}
    for group, judge in product(groups, JUDGES):
        values = {int(run.config["seed"]): cost(run, judge) for run in group.runs}
        if there := {seed: value for seed in seeds if (value := values.get(seed)) is not None}:
            found[judge][group.runs[0].method] = there
    competing = sorted(group.runs[0].method for group in groups if competes(group))
    ranked = [method for method in competing if len(found["accuracy"].get(method, {})) == len(seeds)]
    broken = Counter(run.method for run in runs if run.state == "failed" and run.result)
    return Setting(name, seeds, {judge: own for judge, own in found.items() if own}, ranked, dict(broken))


def spearman(one: Array, other: Array) -> Array:
    """(S,) correlations of the ranks of M methods, from two arrays (S, M) of costs; NaN where one has no order."""
    a, b = (found - found.mean(1, keepdims=True) for found in map(ranks, (one, other)))
    norm = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), norm, out=np.full(len(norm), np.nan), where=norm > 0)


def kendall(one: Array, other: Array) -> float:
    """Kendall's tau-b of two lists of costs; NaN where one has no order."""
    a, b = (np.sign(found[:, None] - found[None, :]) for found in (one, other))
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else math.nan


@dataclass(frozen=True)
class Agreement:
    """How alike accuracy and another judge rank the same methods.

    Args:
        methods: their number.
        spearman, kendall: of the mean costs over seeds.
        interval: 95 % of Spearman's over draws of seeds, with replacement.
        repeat: Spearman's of the judge with itself, from some seeds to the others; the mean over halves.
    """

    methods: int
    spearman: float
    kendall: float
    interval: tuple[float, float]
    repeat: float


def agreement(there: Setting, judge: str) -> Agreement | None:
    """The agreement of a judge with accuracy; None with fewer than three methods or two seeds."""
    methods = there.judged_by(judge)
    if len(methods) < 3 or len(there.seeds) < 2:
        return None
    accuracy, other = (there.table(name, methods) for name in ("accuracy", judge))
    drawn = resamples(len(other))[:ROUNDS]
    again = spearman(accuracy[drawn].mean(1), other[drawn].mean(1))
    low, high = map(float, np.nanquantile(again, [0.025, 0.975])) if not np.isnan(again).all() else (math.nan, math.nan)
    a, b = accuracy.mean(0), other.mean(0)
    return Agreement(len(methods), float(spearman(a[None], b[None])[0]), kendall(a, b), (low, high), repeated(other))


def repeated(table: Array) -> float:
    """Spearman's correlation of the costs over some seeds and over the others, the mean over all ways to halve them."""
    seeds = range(len(table))
    parts = [list(part) for part in combinations(seeds, len(table) // 2)]
    rests = [[seed for seed in seeds if seed not in part] for part in parts]
    return float(spearman(*(table[rows].mean(1) for rows in (parts, rests))).mean())
