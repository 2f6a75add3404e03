"""Select the runs and metrics of a report: the runs that pass the filters, and the metrics that are columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ..errors import UserError, nearest
from ..metrics.directions import CORRECTED, MEAN_OVER
from .runs import Run, text_of

COLUMNS = (*CORRECTED, *MEAN_OVER, "gap/mean", "cost/seconds")


def filtered(runs: Iterable[Run], filters: Sequence[str]) -> list[Run]:
    """The finished runs that pass filters such as ``method=ssd``; values of one key are alternatives.

    Raises ``UserError`` for a filter that is not KEY=VALUE, for a key that no run has, and where no run is left.
    """
    done = [run for run in runs if run.state == "done"]
    wanted = parsed(filters)
    for key in wanted:
        known_key(done, key)
    kept = [run for run in done if passes(run, wanted)]
    if filters and not kept:
        raise UserError(f"no finished run passes --filter {' '.join(filters)}", key="--filter")
    return kept


def without_result(runs: Iterable[Run], filters: Sequence[str]) -> list[Run]:
    """The other runs that pass the same filters, and those whose configuration is not known."""
    wanted = parsed(filters)
    return [run for run in runs if run.state != "done" and (not run.result or passes(run, wanted))]


def parsed(filters: Sequence[str]) -> dict[str, list[str]]:
    """The values that each key may have. Raises ``UserError`` for a filter that is not KEY=VALUE."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--filter {text}: write key=value, for example method=ssd or split.seed=0", key="--filter")
        wanted[key].append(value)
    return wanted


def passes(run: Run, wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether a run has one of the wanted values of each key."""
    return all(any(matches(run.lookup(key), value) for value in values) for key, values in wanted.items())


def matches(value: Any, pattern: str) -> bool:
    """Whether the value of a setting is what a filter asks for: the same number or text, or a text of that form."""
    if isinstance(value, float):
        try:
            return value == float(pattern)  # 1e-3 is .001
        except ValueError:
            pass
    return fnmatchcase(text_of(value), pattern) or text_of(value) == pattern  # [3] is also a glob


def known_key(runs: Iterable[Run], key: str) -> str:
    """The key itself. Raises ``UserError`` where no run has it."""
    known = {k for run in runs for k in (*run.choices, *run.config)}
    if key not in known:
        raise UserError(f"no run has the config key {key}: {nearest(key, known)}", key=key, kind="choice")
    return key


def known_metrics(runs: Iterable[Run]) -> list[str]:
    """The metrics that any run reports, or names as failed."""
    runs = list(runs)
    reported = {metric for run in runs for row in run.values.values() for metric in row}
    failed = {name for run in runs for names in run.failed.values() for name in names if "/" in name}
    return sorted(reported | failed)


def columns_of(patterns: str, known: Sequence[str]) -> list[str]:
    """The metrics that ``--metrics`` names; by default those of ``COLUMNS`` that exist.

    Raises ``UserError`` for a name that no metric has.
    """
    if not patterns:
        return [c for c in COLUMNS if c in known]
    columns: list[str] = []
    for pattern in filter(None, (p.strip() for p in patterns.split(","))):
        found = [metric for metric in known if fnmatchcase(metric, pattern)]
        if not found:
            raise UserError(f"no run has a metric {pattern}: {nearest(pattern, known)}", key="--metrics", kind="choice")
        columns += [metric for metric in found if metric not in columns]
    return columns
