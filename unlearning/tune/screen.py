"""What the tuner shows: a table of trials, a front of forgetting against retention, and a summary of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from ..config.legend import number
from ..config.space import METHOD
from ..metrics.rules import Rule
from .judge import Judgement
from .trials import Trial

SHOWN = 10  # trials


def trials_table(trials: Sequence[Trial], beside: Mapping[str, Judgement], rule: Rule, pareto: bool) -> Table:
    """The trials in their order, below what they are compared with: the reference models, the settings as they are."""
    measured = [*rule.forgetting, *rule.retention]
    heads = (["forgets", "retains"] if pareto else ["score"]) + measured
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", no_wrap=True)
    for head in heads:
        table.add_column(head.replace("/", "/\n").replace("loss_", "loss_\n"), justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for name, judgement in beside.items():
        table.add_row(name, *cells(judgement, measured, pareto), "")
    table.add_section()
    for trial in trials:
        if trial.judgement is not None:
            settings = "\n".join(setting.removeprefix(METHOD) for setting in trial.settings)
            table.add_row(str(trial.number + 1), *cells(trial.judgement, measured, pareto), settings)
    return table


def cells(judgement: Judgement, measured: Sequence[str], pareto: bool) -> list[str]:
    """The numbers of a judgement: the score or its two sides, and what was measured."""
    first = [judgement.forgetting, judgement.retention] if pareto else [judgement.score]
    return [f"{value:.3f}" for value in (*first, *(judgement.values[name] for name in measured))]


def failures(trials: Sequence[Trial]) -> list[str]:
    """A line for each reason for which trials failed."""
    reasons: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.judgement is None:
            reasons.setdefault(trial.reason, []).append(trial)
    return [
        f"failed: trial {', '.join(str(trial.number + 1) for trial in failed)}: {reason}"
        for reason, failed in reasons.items()
    ]


def cost(trials: Sequence[Trial]) -> str:
    """What the trials' unlearnings cost."""
    made = [trial.judgement for trial in trials if trial.judgement is not None]
    failed = len(trials) - len(made)
    passes, seconds = sum(one.passes for one in made), sum(one.seconds for one in made)
    return (
        f"{len(trials)} trials{f', {failed} failed' if failed else ''}, {number('cost/passes', passes)} sample passes, "
        f"{seconds:.1f} s of unlearning"
    )


def summary(rows: Sequence[Sequence[str]]) -> Table:
    """One row for each method."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("method", "score", "as it was", "budget", "settings"):
        table.add_column(head, justify="left" if head in ("method", "settings") else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def say(*lines: object) -> None:
    """Print lines and tables as they are."""
    console = Console(highlight=False, markup=False)
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))
