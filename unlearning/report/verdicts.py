"""What is shown about a group of runs: in which metrics it is as the retrained model, and in which it differs.

Where the retain set holds manipulated samples, the retrained model has learned them and is not the aim. Such groups are
judged by the metrics of corrective unlearning, beside the model that has seen no manipulated sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..metrics.directions import CORRECTED, MEAN_OVER, taught_wrong
from .groups import Group, frozen, varied
from .runs import Run
from .statistics import Difference, equivalence, holm, paired_test

LEVEL = 0.95
LEAST = 3  # runs: two that happen to be alike would seem certain
Shown = Literal["within", "differs", "not shown", "no spread", "too few"]
TESTED: set[Shown] = {"within", "differs", "not shown"}


@dataclass(frozen=True)
class Judged:
    """What the runs show about one metric: n differences to the model that is the aim, and the p of what is shown."""

    metric: str
    shown: Shown
    difference: Difference
    p: float


def verdicts(groups: Sequence[Group], margin: float | None) -> list[str]:
    """The verdicts on all unlearned groups of one setting."""
    return [verdict(group, margin) for group in groups if group.row == "unlearned"]


def corrective(group: Group) -> bool:
    """Whether the retrained model of these runs has learned manipulated samples, so that it is not the aim."""
    return any(taught_wrong(run.result.get("sizes", {})) for run in group.runs)


def differences(group: Group) -> dict[str, list[float]]:
    """The differences to the model that is the aim, paired by run, for each metric that counts.

    Runs with the same weights beside the same reference count once: a method that draws nothing makes one model of one
    original, whatever its seed.
    """
    rows = [run.values for run in distinct(group.runs)]
    if corrective(group):
        pairs = [(found["unlearned"], found.get("clean", {})) for found in rows]
        return {m: [ours[m] - aim[m] for ours, aim in pairs if m in ours and m in aim] for m in CORRECTED}
    return {m: [v for found in rows if (v := found["unlearned"].get(f"gap/{m}")) is not None] for m in MEAN_OVER}


def distinct(runs: Sequence[Run]) -> list[Run]:
    """One of the runs that agree in the digest of their weights and in the numbers of the models that are their aim."""
    found: dict[str, Run] = {}
    for run in runs:
        made = run.result.get("weights") or run.name  # a run that does not tell is one of its own
        found.setdefault(frozen({"made": made} | {aim: run.values.get(aim) for aim in ("retrained", "clean")}), run)
    return list(found.values())


def judged(found: Mapping[str, Sequence[float]], margin: float | None) -> list[Judged]:
    """What differences show about each metric.

    A metric *differs* by Student's test, with p corrected for the number of metrics (Holm). It is *within* the margin
    by two one-sided tests (TOST). Where all metrics pass these at the level, that holds for all of them together, since
    each has to be; else their p are corrected, too. Without a margin none is within.

    Differences without any spread have no p, and fewer than three are too few.
    """
    tests = {metric: paired_test(values) for metric, values in found.items()}
    known = [metric for metric, test in tests.items() if test.n >= LEAST and not math.isnan(test.p)]
    apart = dict(zip(known, holm([tests[metric].p for metric in known]), strict=True))
    same: dict[str, float] = {}
    if margin is not None:
        each = [equivalence(found[metric], margin) for metric in known]
        same = dict(zip(known, each if all(p <= 1 - LEVEL for p in each) else holm(each), strict=True))
    texts = []
    for metric, test in tests.items():
        if metric not in known:
            flat = test.n > 1 and test.error == 0
            texts.append(Judged(metric, "no spread" if flat else "too few", test, math.nan))
        elif same.get(metric, 1.0) <= 1 - LEVEL:
            texts.append(Judged(metric, "within", test, same[metric]))
        else:
            shown: Shown = "differs" if apart[metric] <= 1 - LEVEL else "not shown"
            texts.append(Judged(metric, shown, test, apart[metric]))
    return texts


def verdict(group: Group, margin: float | None) -> str:
    """The verdict on a group in one sentence. Without a margin it says only which differences are shown."""
    aim = "clean" if corrective(group) else "retrained"
    found = judged(differences(group), margin)
    least = min((one.difference.n for one in found if one.shown != "too few"), default=0)
    if not least:
        learned = "its retrained model has learned manipulated samples; " if aim == "clean" else ""
        return (
            f"{group.label}: nothing is shown: {learned}three runs with a {aim} model are the least that a test takes"
        )
    words: dict[Shown, list[str]] = {"within": [], "differs": [], "not shown": [], "no spread": [], "too few": []}
    for one in found:
        test = one.difference
        told = {
            "within": f" ({p(one.p)})",
            "differs": f" ({test.mean:+.3f}, {p(one.p)})",
            "not shown": f" ({test.mean:+.3f} ± {half(test):.3f})",
            "no spread": f" ({test.mean:+.3f}, no spread, n={test.n})",
            "too few": "",
        }
        words[one.shown].append(one.metric + told[one.shown])
    heads: dict[Shown, str] = {
        "within": f"within {margin or 0:g} of the {aim} model in",
        "differs": "differs in" if words["within"] else f"differs from the {aim} model in",
        "not shown": "no difference is shown for" if margin is None else "neither is shown for",
        "no spread": "no test for",
        "too few": f"fewer than three {'gaps' if aim == 'retrained' else 'runs with both models'} in",
    }
    said = "; ".join(f"{heads[shown]} {', '.join(metrics)}" for shown, metrics in words.items() if metrics)
    shown = {one.shown for one in found}
    how = "each metric by itself, since all tested ones pass" if shown & TESTED == {"within"} else "Holm"
    sure = f", {LEVEL:.0%} confidence ({how})" if shown & TESTED else ""
    return f"{group.label}: {said}. n={least} ({varied(distinct(group.runs), 'unlearned')}){sure}"


def p(value: float) -> str:
    """A p-value as text."""
    return "p<.001" if value < 0.001 else f"p={value:.3f}"


def half(found: Difference) -> float:
    """The half-width of Student's interval of a mean difference."""
    from scipy.special import stdtrit

    return float(stdtrit(found.n - 1, (1 + LEVEL) / 2)) * found.error if found.n > 1 else math.nan
