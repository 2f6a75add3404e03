"""Make the trials of each study, show them, and write the row of the best."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.arguments import Arguments
from ..errors import UserError
from ..metrics.rules import RULES
from ..records.log import quiet
from ..runtime.progress import over_trials
from .judge import Judged, Judgement, judged
from .plan import Options, Plan, plans
from .row import write_row
from .screen import SHOWN, cost, failures, say, summary, trials_table
from .trials import Trial, front


@dataclass(frozen=True)
class Chosen:
    """What a study ended with; no trial where none is better than the settings as they are."""

    plan: Plan
    asitis: Judged
    trials: Sequence[Trial]

    @property
    def best(self) -> Trial | None:
        """The trial with the least score, the first of equal ones."""
        made = [trial for trial in self.trials if trial.judgement is not None]
        best = min(made, key=lambda trial: score(trial), default=None)
        return best if best is not None and score(best) < self.asitis.unlearned.score else None


def tune(arguments: Arguments, options: Options, root: Path | None) -> int:
    """Do what the command line asks for; returns the exit code."""
    quiet()
    if options.rule not in RULES:
        raise UserError(
            f"rule={options.rule}: there is no such rule: choose from {', '.join(RULES)}", key="rule", kind="choice"
        )
    todo = plans(arguments, options, root)
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
    """Make the trials of a study that are left. Raises ``UserError`` where the settings as they are do not run."""
    asitis = judged(plan.requests, plan.options.rule)
    trials = plan.trials()
    say(f"{plan.label}: searches {', '.join(map(str, plan.space.dimensions))} ({plan.space.why})")
    with over_trials(f"Tuning {plan.label}", trials.budget, len(trials.done())) as progress:
        while (trial := trials.ask()) is not None:
            trials.tell(trial, outcome(plan, trial, root))
            done = trials.done()
            made = [score(one) for one in done if one.judgement is not None]
            progress(len(done), f"best {min(made):.3f}" if made else "all failed")
    return Chosen(plan, asitis, trials.done())


def outcome(plan: Plan, trial: Trial, root: Path | None) -> Judgement | str:
    """The judgement of a trial, or why it failed: whatever stops a setting is its own fault, and others may work."""
    try:
        return judged(plan.with_settings(trial.settings, root), plan.options.rule).unlearned
    except Exception as error:
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return " ".join(text.split())


def score(trial: Trial) -> float:
    """That of a trial which did not fail."""
    assert trial.judgement is not None
    return trial.judgement.score


def show(chosen: Chosen) -> None:
    """Print the trials and what was chosen; write the row, unless a front is asked for."""
    plan, options = chosen.plan, chosen.plan.options
    made = sorted((t for t in chosen.trials if t.judgement is not None), key=lambda t: (score(t), t.number))
    beside = {**chosen.asitis.references, "as it is": chosen.asitis.unlearned}
    say(trials_table(front(made) if options.pareto else made[:SHOWN], beside, options.pareto))
    if len(made) > SHOWN and not options.pareto:
        say(f"the best {SHOWN} of {len(made)} trials; all are in {plan.trials().file}")
    say(*failures(chosen.trials), f"{plan.label}: {cost(chosen.trials)}")
    if options.pareto:
        say("no other trial both forgets and retains better than one of these; no row is written")
    elif not made:
        say(f"{plan.label}: every trial failed; nothing is chosen")
    elif chosen.best is None:
        say(f"{plan.label}: no trial is better than the settings as they are; no row is written")
    else:
        write_row(plan.table, plan.name, reason(chosen, chosen.best), plan.when, chosen.best.settings)
        say(f"{plan.table}: a row with {' '.join(chosen.best.settings)}", "use it with", f"  {command(plan)}")


def command(plan: Plan) -> str:
    """The command line of a run with the row."""
    run = shlex.split(plan.requests[0].command)
    return shlex.join([*run[:2], "--config-dir", str(plan.folder), *run[2:]])


def reason(chosen: Chosen, best: Trial) -> str:
    """Why the row is there."""
    plan, references = chosen.plan, chosen.asitis.references
    others = {"with the settings as they were": chosen.asitis.unlearned.score}
    others |= {f"for the {name} model": one.score for name, one in references.items() if name != "retrained"}
    against = " and ".join(f"{value:.3f} {text}" for text, value in others.items())
    draws = f" over {len(plan.jobs)} draws" if len(plan.jobs) > 1 else ""
    return (
        f"Searched by python -m unlearning.tune (rule={plan.options.rule}): the score on validation samples is "
        f"{score(best):.3f}{draws}, against {against}; the best of {cost(chosen.trials)}."
    )


def row_of(chosen: Chosen) -> list[str]:
    """The row of a study in the summary."""
    best, before = chosen.best, f"{chosen.asitis.unlearned.score:.3f}"
    settings = "as it is" if best is None else " ".join(s.removeprefix("method.") for s in best.settings)
    return [chosen.plan.label, before if best is None else f"{score(best):.3f}", before, cost(chosen.trials), settings]
