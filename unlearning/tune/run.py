"""Make the trials of each study, show them, and write the row of the best."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ..config.arguments import Arguments
from ..config.groups import addon_names
from ..config.space import METHOD
from ..errors import UserError
from ..metrics.rules import RULES
from ..records.log import quiet
from ..request import command_line
from ..runtime.progress import over_trials
from .judge import Judged, Judgement, judged
from .plan import Options, Plan, plans
from .row import write_rows
from .screen import SHOWN, cost, failures, say, summary, trials_table
from .trials import Trial, front


@dataclass(frozen=True)
class Chosen:
    """What a study ended with.

    Args:
        plan: the study.
        before: the settings as they are; None where they diverge.
        trials: those that have ended.
    """

    plan: Plan
    before: Judged | None
    trials: Sequence[Trial]

    @property
    def made(self) -> list[Trial]:
        """The trials that did not fail, the best first."""
        return sorted((t for t in self.trials if t.judgement is not None), key=lambda t: (score(t), t.number))

    @property
    def best(self) -> Trial | None:
        """The best trial; None where none is better than the settings as they are."""
        best = next(iter(self.made), None)
        return best if best is not None and (self.before is None or score(best) < self.before.unlearned.score) else None


def tune(arguments: Arguments, options: Options, root: Path | None) -> int:
    """Do what the command line asks for; returns the exit code."""
    if options.rule not in RULES:
        raise UserError(
            f"rule={options.rule}: there is no such rule: choose from {', '.join(RULES)}", key="rule", kind="choice"
        )
    quiet()
    with silence():
        todo, left_out = plans(arguments, options, root)
        say(*left_out)
        return tune_each(todo, root)


@contextmanager
def silence() -> Iterator[None]:
    """Context manager without the warnings of runs: what goes wrong in a trial is in the table of trials."""
    log = logging.getLogger(__name__.partition(".")[0])
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def tune_each(todo: Sequence[Plan], root: Path | None) -> int:
    """Make one study after the other; returns the exit code."""
    rows, failed = [], False
    for plan in todo:
        try:
            chosen = study(plan, root)
        except UserError as error:
            if len(todo) == 1:
                raise
            failed = True
            rows.append([plan.label, "failed", "", "", str(error)])
            continue
        failed |= not any(trial.judgement for trial in chosen.trials)
        show(chosen)
        rows.append(row_of(chosen))
    if len(todo) > 1:
        say(summary(rows))
    return int(failed)


def study(plan: Plan, root: Path | None) -> Chosen:
    """Make the trials of a study that are left. Raises ``UserError`` where the method cannot serve the request."""
    try:
        before = judged(plan.requests, plan.options.rule)
    except UserError as error:
        if error.kind != "diverged":
            raise
        before = None  # other settings may work
    trials = plan.trials()
    if not trials.file.exists() and (older := plan.older):
        say(f"{plan.label}: a new study begins; that of {older[-1]} had other settings, data, code or values to search")
    say(f"{plan.label}: searches {', '.join(map(str, plan.space.dimensions))} ({plan.space.why})")
    with over_trials(f"Tuning {plan.label}", trials.budget, len(trials.done())) as progress:
        while (trial := trials.ask()) is not None:
            try:
                trials.tell(trial, outcome(plan, trial, root))
            except BaseException:  # a mistake of ours, too little memory or an interruption: nothing about the setting
                trials.give_up(trial)
                raise
            done = trials.done()
            made = [score(one) for one in done if one.judgement is not None]
            progress(len(done), f"best {min(made):.3f}" if made else "all failed")
    return Chosen(plan, before, trials.done())


def outcome(plan: Plan, trial: Trial, root: Path | None) -> Judgement | str:
    """The judgement of a trial, or why it failed: a setting that cannot work, or whose numbers cannot.

    Any other error is raised, since it says nothing about the setting.
    """
    try:
        return judged(plan.with_settings(trial.settings, root), plan.options.rule).unlearned
    except (UserError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        if isinstance(error, UserError) and error.kind == "storage":
            raise
        return " ".join(str(error).split())


def score(trial: Trial) -> float:
    """That of a trial which did not fail."""
    assert trial.judgement is not None
    return trial.judgement.score


def show(chosen: Chosen) -> None:
    """Print the trials and what was chosen; write the row, unless a front is asked for."""
    plan, options, made = chosen.plan, chosen.plan.options, chosen.made
    beside = {} if chosen.before is None else {**chosen.before.references, "as it is": chosen.before.unlearned}
    say(trials_table(front(made) if options.pareto else made[:SHOWN], beside, RULES[options.rule], options.pareto))
    if len(made) > SHOWN and not options.pareto:
        say(f"the best {SHOWN} of {len(made)} trials; all are in {plan.trials().file}")
    say(*failures(chosen.trials), f"{plan.label}: {cost(chosen.trials)}")
    if left := plan.trials().budget - len(chosen.trials):
        say(f"{left} more are being made by other processes, which choose again when they are done")
    if options.pareto:
        say("no other trial both forgets and retains better than one of these; no row is written")
    elif not made:
        say(f"{plan.label}: every trial failed; nothing is chosen")
    elif chosen.best is None:
        say(f"{plan.label}: no trial is better than the settings as they are; no row is written")
    elif addons := addon_names(plan.requests[0].choices["addon"]):
        method, settings = plan.requests[0].choices["method"], chosen.best.settings
        say(f"{plan.label}: a row would hold for {method} without {' and '.join(addons)}, too, so none is written")
        say(f"best are {' '.join(settings)}; use them with", f"  {command(plan, settings=settings)}")
    else:
        write_rows(plan.table, plan.name, reason(chosen, chosen.best), plan.when, chosen.best.settings)
        say(f"{plan.table}: a row with {' '.join(chosen.best.settings)}", "use it with")
        no_table = any(setting.startswith("table@method=") for setting in plan.requests[0].overrides)
        say(f"  {command(plan, ['--config-dir', str(plan.folder)], chosen.best.settings if no_table else ())}")


def command(plan: Plan, flags: Sequence[str] = (), settings: Sequence[str] = ()) -> str:
    """The command line of a run with what was chosen, by a seed that had no part in the choice.

    An own model has learned what the draws say, so its run has their seed.
    """
    first = plan.requests[0]
    if first.config["pretrain"]["checkpoint"]:
        return command_line([*first.overrides, *settings], *flags)
    seed = 1 + max(request.config["seed"] for request in plan.requests)
    given = [setting for setting in first.overrides if not setting.startswith("seed=")]
    return command_line([*given, *settings, f"seed={seed}"], *flags)


def reason(chosen: Chosen, best: Trial) -> str:
    """Why the row is there."""
    plan, before = chosen.plan, chosen.before
    draws = f" over {len(plan.jobs)} draws" if len(plan.jobs) > 1 else ""
    oracle = ", compared with the retrained model" if plan.oracle else ""
    against = "; the settings as they were diverge"
    if before is not None:
        original = before.references["original"].score
        against = f", against {before.unlearned.score:.3f} with the settings as they were and {original:.3f} for the"
        against += " original model"
    return (
        f"Searched by python -m unlearning.tune (rule={plan.options.rule}{oracle}) with {plan.circumstances}: the "
        f"score on validation samples is {score(best):.3f}{draws}{against}; the best of {cost(chosen.trials)}."
    )


def row_of(chosen: Chosen) -> list[str]:
    """The row of a study in the summary."""
    best, before = chosen.best, "diverged" if chosen.before is None else f"{chosen.before.unlearned.score:.3f}"
    settings = "as it is" if best is None else " ".join(s.removeprefix(METHOD) for s in best.settings)
    return [chosen.plan.label, before if best is None else f"{score(best):.3f}", before, cost(chosen.trials), settings]
