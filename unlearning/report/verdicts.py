"""One sentence per group of runs: in which metrics it is shown to be as the retrained model, and in which to differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..metrics.directions import MEAN_OVER
from .groups import Group, varied
from .statistics import Difference, equivalence, paired_test

LEVEL = 0.95


def verdicts(groups: Sequence[Group], margin: float) -> list[str]:
    """The verdicts on all unlearned groups of one setting."""
    return [verdict(group, margin) for group in groups if group.row == "unlearned"]


def verdict(group: Group, margin: float) -> str:
    """The verdict on a group, over the metrics of ``gap/mean``, whose gaps are paired by seed.

    A metric is *within* the margin by two one-sided tests (TOST), or *differs* by Student's test; if neither is shown,
    that is said. Where all are within, that holds for all of them together at the same level, since each has to be.
    """
    within: list[str] = []
    differs: list[str] = []
    rest: list[str] = []
    missing: list[str] = []
    least = 0
    for metric in MEAN_OVER:
        gaps = [v for run in group.runs if (v := run.values["unlearned"].get(f"gap/{metric}")) is not None]
        if len(gaps) < 2:
            missing.append(metric)
            continue
        least = min(least, len(gaps)) if least else len(gaps)
        same, found = equivalence(gaps, margin), paired_test(gaps)
        if same <= 1 - LEVEL:
            within.append(f"{metric} ({p(same)})")
        elif found.p <= 1 - LEVEL:
            differs.append(f"{metric} ({found.mean:+.3f}, {p(found.p)})")
        else:
            rest.append(f"{metric} ({found.mean:+.3f} ± {half(found):.3f})")
    if not least:
        return f"{group.label}: nothing is shown: two runs with a retrained model are the least that a test takes"
    parts = [f"within {margin:g} of the retrained model in {', '.join(within)}"] if within else []
    parts += [f"differs in {', '.join(differs)}"] if differs else []
    parts += [f"neither is shown for {', '.join(rest)}"] if rest else []
    parts += [f"fewer than two gaps in {', '.join(missing)}"] if missing else []
    return f"{group.label}: {'; '.join(parts)}. n={least} ({varied(group.runs, 'unlearned')}), {LEVEL:.0%} confidence"


def p(value: float) -> str:
    """A p-value as text."""
    return "p<.001" if value < 0.001 else f"p={value:.3f}"


def half(found: Difference) -> float:
    """The half-width of Student's interval of a mean difference."""
    from scipy.special import stdtrit

    return float(stdtrit(found.n - 1, (1 + LEVEL) / 2)) * found.error if found.n > 1 else math.nan
