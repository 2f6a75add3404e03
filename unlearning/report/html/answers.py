"""The answer of a report in sentences: which method is best in each setting, and which are not told apart from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ...metrics.directions import CORRECTED
from ..comparison import Ranks, by_setting, paired, rivals_of
from ..groups import Group, varied
from ..rivals import Rivals, notes_of
from ..tables import Report
from ..verdicts import LEVEL, corrective
from .rows import SHARE

NAMED, LETTERS = 6, 40  # methods that a sentence names, and letters of each


def answers(report: Report, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """For each setting its name, the ``best`` method (or nothing) and ``words`` about it."""
    return [answer(report, table.setting, [rows[i] for i in places(report, table.setting)]) for table in report.tables]


def places(report: Report, setting: str) -> list[int]:
    """The places of a setting's groups among all of them."""
    return [i for i, group in enumerate(report.groups) if group.setting == setting]


def answer(report: Report, setting: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The answer of one setting."""
    own = [group for group in report.groups if group.setting == setting]
    healing = any(corrective(group) for group in own)
    metric = CORRECTED[0] if healing else "gap/mean"
    found = {name: costs for name, costs in by_setting(own, metric, report.arrows).get(setting, {}).items() if costs}
    unranked = rivals_of(own, metric).get(setting, Rivals())
    if not found:
        why = f"No method has {metric}." if healing else no_gap(unranked)
        return {"setting": setting, "best": "", "words": why}
    best, others = paired(found)
    row = next(row for row in rows if row["label"] == best and row["competes"])
    value = row["values"][metric]
    what = (
        f"corrects the most manipulated samples: {metric}" if healing else "is closest to the retrained model: gap/mean"
    )
    said = " ".join(filter(None, [what, value["text"], value["interval"]])) + f" (n={value['n']}"
    said += f", {row['over']})" if value["n"] > 1 else ")"
    if SHARE in row["values"]:
        said += f", in {row['values'][SHARE]['text']} of the time of retraining"
    tied = [other.method for other in others if other.p is not None and other.p > 1 - LEVEL]
    untested = [other.method for other in others if other.p is None]
    said += ". " + told("Not told apart from it (paired over seeds, p by Holm): ", tied)
    if others and not tied and not untested:
        said += "It is told apart from all others (paired over seeds, p by Holm), by the runs that it was chosen by. "
    if len(others) == len(untested) and others:
        said += "Nothing is tested: that takes two seeds that another method shares, and a spread over them."
    else:
        said += told("Not tested, with fewer than two shared seeds or no spread over them: ", untested)
    return {"setting": setting, "best": best, "words": (said + noise(own, metric) + outside(unranked)).strip()}


def no_gap(found: Rivals) -> str:
    """Why no method has a mean gap that is ranked."""
    if found.unranked:
        return f"Nothing is ranked.{outside(found)}"
    return "No run has a retrained model to compare with: read the metrics below."


def outside(found: Rivals) -> str:
    """Which groups are not ranked, and what was chosen on test data, in sentences."""
    notes = notes_of(found)
    more = f" And {len(notes) - NAMED} more." if len(notes) > NAMED else ""
    return "".join(f" {note[0].upper()}{note[1:]}." for note in notes[:NAMED]) + more


def told(head: str, names: Sequence[str]) -> str:
    """Some names in a sentence."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    shown = (
        name if len(name) <= LETTERS else name[: LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}" for name in names[:NAMED]
    )
    return f"{head}{', '.join(shown)}{more}. " if names else ""


def noise(groups: Sequence[Group], metric: str) -> str:
    """What retraining with another seed has in the metric: no method can be expected to do better."""
    runs = [
        run for group in groups if group.row == "unlearned" and group.runs[0].method == "retrain" for run in group.runs
    ]
    found = [run.values["unlearned"][metric] for run in runs if metric in run.values["unlearned"]]
    if not found or metric != "gap/mean":
        return ""
    return f" Retraining with another seed has {fmean(found):.3f} (n={len(found)}, {varied(runs, 'unlearned')})."


def over_settings(ranks: Ranks | None) -> str:
    """The answer over all settings; empty without ranks."""
    if ranks is None:
        return ""
    best = next(iter(ranks.means))
    alike = next((names for names in ranks.alike if names[0] == best), [])
    tied = told("Not told apart from it (Nemenyi, .05): ", [name for name in alike if name != best])
    head = f"has the best mean rank of {ranks.metric} over {ranks.settings} settings: {ranks.means[best]:.2f}. "
    return (head + tied).strip()
