"""What a sweep will cost, from what finished runs of the same kind have cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from ..config.groups import label
from ..records.names import DONE
from .runs import SETTING, Run, read

LOOKED_AT = 300  # finished runs, the newest ones
OWN = ("method", "addon")  # groups that neither the original nor the retrained model depends on
COSTS = ("cost/passes", "cost/seconds")


def forecast(jobs: Iterable[Sequence[str]], choices: Mapping[str, str], folder: Path) -> list[str]:
    """Lines on how many models a sweep trains at most, and what that and the methods take at the rate of earlier runs.

    Args:
        jobs: the overrides of each job.
        choices: the choice of each config group where a job has none of its own.
        folder: where finished runs are.
    """
    jobs = list(jobs)
    trained = {frozenset(word for word in job if group_of(word) not in OWN): choice_of(job, choices) for job in jobs}
    todo: Counter[tuple[str, ...]] = Counter()
    for choice in trained.values():
        todo.update([("original", *place(choice)), ("retrained", *place(choice))])
    todo.update((label(choice), *place(choice)) for choice in (choice_of(job, choices) for job in jobs))
    measured = rates(finished(folder))
    unknown = list(dict.fromkeys(part[0] for part in todo if part not in measured))
    passes, seconds = (sum(n * measured[part][i] for part, n in todo.items() if part in measured) for i in range(2))
    lines = [f"runs: {len(jobs):,}; trained: at most {len(trained):,} original and {len(trained):,} retrained models"]
    if len(unknown) < len({part[0] for part in todo}):
        told = f"cost: about {passes:,.0f} passes and {duration(seconds)} in one process, as finished runs took"
        return [*lines, told + (f"; besides {named(unknown)}, of which none is finished" if unknown else "")]
    return [*lines, f"cost: not known: no run like these is finished in {folder}"]


def choice_of(job: Sequence[str], choices: Mapping[str, str]) -> dict[str, str]:
    """The choices of a job."""
    own = dict(word.lstrip("+").split("=", 1) for word in job if "=" in word)
    return {group: own.get(group, chosen) for group, chosen in choices.items()}


def group_of(word: str) -> str:
    """The config group of an override."""
    return word.lstrip("+~").partition("=")[0].partition(".")[0]


def place(choice: Mapping[str, str]) -> list[str]:
    """What decides how long training takes."""
    return [choice.get(group, "") for group in SETTING]


def finished(folder: Path) -> list[Run]:
    """The newest finished runs of a folder."""
    if not folder.is_dir():
        return []
    done = sorted(folder.glob(f"*/{DONE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    return [run for file in done[:LOOKED_AT] if (run := read(file.parent)).state == "done"]


def rates(runs: Iterable[Run]) -> dict[tuple[str, ...], list[float]]:
    """The median passes and seconds of each kind of model and of each method, by setting; trials count nothing."""
    found: dict[tuple[str, ...], list[list[float]]] = {}
    for run in runs:
        if run.result["config"].get("trial") is not None:
            continue
        for row, values in run.values.items():
            part = run.method if row == "unlearned" else row
            if all(name in values for name in COSTS):
                found.setdefault((part, *place(run.choices)), []).append([values[name] for name in COSTS])
    return {part: [median(column) for column in zip(*rows, strict=True)] for part, rows in found.items()}


def named(words: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")


def duration(seconds: float) -> str:
    """Seconds in words."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
