"""The scores of a population: KLoM and the challenge's where its runs forget the same samples, else U-LiRA."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..metrics.directions import Direction as Reading
from .challenge import challenge_score, epsilons, forgetting_quality
from .chance import chance
from .folders import Population
from .klom import Direction, js_divergence, klom, ks_distance
from .thresholds import Array
from .ulira import Attack, efficacy, few, memorisation, privacy

MEMORISED = 0.1  # the fraction of the samples that counts as most memorised
FEW_OBSERVATIONS = 4  # of a forgotten sample, for a Gaussian
CLEAR_FLOOR = 0.5  # nats; with a higher null floor, KLoM says little
ACCURACIES = ("retain/acc", "test/acc")
LEAST_OTHERS = 1000  # samples of the other kind in a run, for a rate of 1 % of them to be told from chance
CHANCE = {"auc": 0.5, "acc": 0.5, "tpr": 0.01}
HIGHER_IS_BETTER = ("challenge/f", "challenge/score")


@dataclass(frozen=True)
class Scores:
    """The scores of a population by name, and what to know about them."""

    population: Population
    values: dict[str, float]
    floor: dict[str, float] = field(default_factory=dict)  # what two retrained populations of this size would have
    notes: list[str] = field(default_factory=list)


def reading(name: str) -> Reading:
    """How a score is read. That of an attack is better where it is lower, down to its level by chance."""
    return "up" if name in HIGHER_IS_BETTER else "down"


def scores(population: Population, direction: Direction = "unlearned||retrained") -> Scores:
    """All scores that the runs allow."""
    return of_one_request(population, direction) if population.same_request else of_shadows(population)


def of_one_request(population: Population, direction: Direction) -> Scores:
    """KLoM, KS, JS and the challenge's score, over the models that differ: equal ones count once."""
    unlearned, retrained = (np.unique(m, axis=0) for m in (population.unlearned, population.retrained))
    models, others = len(unlearned), len(retrained)
    if min(models, others) < 2:
        return Scores(population, {}, notes=["its models are all the same: let seed and pretrain.seed vary"])
    values: dict[str, float] = {}
    for name in ("forget", "retain", "validation"):
        if not (there := population.sets[name][0]).any():
            continue
        apart = klom(unlearned[:, there], retrained[:, there], direction)
        values |= {f"klom/{name}_mean": float(apart.mean()), f"klom/{name}_p95": float(np.percentile(apart, 95))}
    forget = population.sets["forget"][0]
    pair = unlearned[:, forget], retrained[:, forget]
    values |= {"ks/forget": float(ks_distance(*pair).mean()), "js/forget": float(js_divergence(*pair).mean())}
    found = epsilons(*pair)
    values |= {"challenge/epsilon": float(np.median(found)), "challenge/f": forgetting_quality(found)}
    ours, theirs = population.accuracies["unlearned"], population.accuracies["retrained"]
    if all(name in ours and theirs.get(name) for name in ACCURACIES):
        retain, test = ((ours[name], theirs[name]) for name in ACCURACIES)
        values["challenge/score"] = challenge_score(values["challenge/f"], retain, test)
    notes = [f"{models} unlearned and {others} retrained models, {forget.sum()} forgotten samples"]
    by_chance = chance(models, others, direction)
    if (mean := by_chance["klom/forget_mean"]) > CLEAR_FLOOR:
        notes.append(f"too few models for KLoM: two retrained populations of this size are {mean:.2f} apart")
    return Scores(population, values, {name: by_chance[name] for name in values}, notes)


def of_shadows(population: Population) -> Scores:
    """U-LiRA, for all samples and for the most memorised, where there are enough runs."""
    sets, forget = population.sets, population.sets["forget"]
    unknown, unseen = ~sets["retain"], ~sets["train"] & (sets["train"].any(0))
    values: dict[str, float] = {}
    notes: list[str] = []
    pooled = few(forget)
    for group, chosen in chosen_samples(population):
        judged = forget & chosen
        attack = efficacy(population.unlearned, population.retrained, judged, unknown, pooled)
        values |= named(f"ulira/{group}efficacy", attack)
        if not group:
            notes.append(
                f"{population.runs} runs, {attack.samples} samples, of which each is forgotten in "
                f"{attack.observations:g} runs (median)"
            )
            if attack.observations < FEW_OBSERVATIONS:
                notes.append("too few runs: make more, or let each forget more (scenario.fraction)")
        if unseen.any():
            values |= named(f"ulira/{group}privacy", privacy(population.unlearned, judged, unseen & chosen, pooled))
    notes.append(other_samples(population))
    if not unseen.any():
        notes.append("no privacy: all runs learned all samples; it needs scenario.learned=0.5")
    if pooled:
        notes.append("one variance for all samples, since each has few observations")
    return Scores(population, values, {name: CHANCE[name.rpartition("_")[2]] for name in values}, notes)


def other_samples(population: Population) -> str:
    """Why there is neither KLoM nor the challenge's score, and what would give them."""
    both = population.sets["forget"].any(0) & population.sets["retain"].any(0)
    if both.any():
        return "no KLoM and no challenge: the runs forget different samples; it needs scenario.seed=0 split.seed=0"
    return "no KLoM and no challenge: the runs have one request but different splits; it needs split.seed=0"


def chosen_samples(population: Population) -> Iterator[tuple[str, Array]]:
    """All samples, and the most memorised, which the original models alone decide, by the prefix of their scores."""
    yield "", np.ones(population.unlearned.shape[1], dtype=bool)
    if population.original is None:
        return
    train = population.sets["train"]
    memorised = np.where(train.any(0), memorisation(population.original, train), np.nan)
    if np.isfinite(memorised).any():
        yield "memorised_", memorised >= np.nanpercentile(memorised, 100 * (1 - MEMORISED))


def named(name: str, attack: Attack) -> dict[str, float]:
    """The means of an attack over the attacked runs; none where no run could be attacked."""
    if not len(attack.auc):
        return {}
    found = {"auc": attack.auc, "acc": attack.accuracy}
    if attack.others >= LEAST_OTHERS:
        found["tpr"] = attack.tpr
    return {f"{name}_{what}": float(values.mean()) for what, values in found.items()}
