"""The trials of one study, which several processes share and a later one goes on with."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from ..config.space import Dimension
from ..runtime.shared_files import explained
from .judge import Judgement

REASON, JUDGEMENT = "reason", "judgement"  # attributes of a trial
SEEDS = 1_000_003  # studies of neighbouring seeds draw different trials


@dataclass(frozen=True)
class Trial:
    """One setting, and what came of it.

    Args:
        number: from 0.
        settings: of the command line, such as ``method.alpha=5``.
        judgement: None for a trial that failed.
        reason: why it failed.
    """

    number: int
    settings: tuple[str, ...]
    judgement: Judgement | None = None
    reason: str = ""


@dataclass
class Trials:
    """A study of Optuna (a TPE sampler, asked and told), in a journal file.

    Where all dimensions name their values, and there are no more combinations than trials, each is tried once. A trial
    that fails counts; one whose process died does not, and is made again as another one.

    Args:
        file: the journal.
        space: what is searched.
        most: trials, over all processes.
        seed: of the draws.
        pareto: whether forgetting and retention are two objectives instead of one.
    """

    file: Path
    space: Sequence[Dimension]
    most: int
    seed: int
    pareto: bool = False
    held: dict[int, tuple[optuna.Trial, FileLock]] = field(default_factory=dict)  # the trials of this process

    @cached_property
    def study(self) -> optuna.Study:
        """The study; made if there is none."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with explained(self.file, "out"):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            storage = JournalStorage(JournalFileBackend(str(self.file)))
            directions = [optuna.study.StudyDirection.MINIMIZE] * (2 if self.pareto else 1)
            return optuna.create_study(storage=storage, study_name="tune", directions=directions, load_if_exists=True)

    @cached_property
    def grid(self) -> list[dict[str, str]] | None:
        """All combinations, if each of them is tried once."""
        if not all(one.choices for one in self.space) or math.prod(len(one.choices) for one in self.space) > self.most:
            return None
        keys = [one.key for one in self.space]
        return [dict(zip(keys, values, strict=True)) for values in product(*(one.choices for one in self.space))]

    @property
    def budget(self) -> int:
        """The number of trials that are made."""
        return self.most if self.grid is None else len(self.grid)

    def ask(self) -> Trial | None:
        """The next trial; None where all are made, or are being made by other processes."""
        with self.lock("study"):
            self.give_up_dead()
            counted = [trial for trial in self.study.get_trials(deepcopy=False) if not is_dead(trial)]
            if len(counted) >= self.budget:
                return None
            number = len(self.study.get_trials(deepcopy=False))
            if self.grid is not None:
                tried = [trial.params for trial in counted]
                self.study.enqueue_trial(next(point for point in self.grid if point not in tried))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                seed = (self.seed * SEEDS + number) % 2**32
                self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            asked = self.study.ask({one.key: distribution(one) for one in self.space})
            self.held[asked.number] = asked, self.lock(str(asked.number))
            self.held[asked.number][1].acquire()
        return Trial(asked.number, self.written(asked.params))

    def tell(self, trial: Trial, outcome: Judgement | str) -> None:
        """Record the outcome of a trial: its judgement, or why it failed."""
        asked, lock = self.held.pop(trial.number)
        with self.lock("study"):
            if isinstance(outcome, str):
                asked.set_user_attr(REASON, outcome)
                self.study.tell(asked, state=TrialState.FAIL)
            else:
                asked.set_user_attr(JUDGEMENT, outcome.record)
                self.study.tell(asked, [outcome.forgetting, outcome.retention] if self.pareto else [outcome.score])
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)

    def give_up(self, trial: Trial) -> None:
        """Give a trial up that did not come to its end: it does not count, and is made again as another one."""
        asked, lock = self.held.pop(trial.number, (None, None))
        if asked is None or lock is None:
            return  # its outcome is recorded
        with self.lock("study"):
            self.study.tell(asked, state=TrialState.FAIL)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)

    def lock(self, name: str) -> FileLock:
        """A lock beside the journal: of the whole study, or of a trial that is being made."""
        return FileLock(self.file.with_name(f".{self.file.name}.{name}.lock"))

    def give_up_dead(self) -> None:
        """Mark the trials whose processes have died: nobody holds their locks."""
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if trial.number in self.held:
                continue
            lock = self.lock(str(trial.number))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            self.study.tell(trial.number, state=TrialState.FAIL)
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def written(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The settings of a trial."""
        return tuple(one.written(params[one.key]) for one in self.space)

    def done(self) -> list[Trial]:
        """The trials that have ended, those that failed included."""
        found = []
        for trial in self.study.get_trials(deepcopy=False):
            record, reason = trial.user_attrs.get(JUDGEMENT), trial.user_attrs.get(REASON, "")
            if trial.state.is_finished() and (record or reason):
                own = Judgement(**record) if record and trial.state == TrialState.COMPLETE else None
                found.append(Trial(trial.number, self.written(trial.params), own, reason))
        return found


def is_dead(trial: FrozenTrial) -> bool:
    """Whether the process of a trial died before it ended: only its end leaves a reason."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def distribution(one: Dimension) -> BaseDistribution:
    """A dimension as Optuna has it."""
    if one.choices:
        return CategoricalDistribution(one.choices)
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The trials than which none both forgets and retains better, the best at forgetting first."""
    made = [(trial, trial.judgement) for trial in trials if trial.judgement is not None]
    best = math.inf
    found = []
    for trial, own in sorted(made, key=lambda one: (one[1].forgetting, one[1].retention, one[0].number)):
        if own.retention < best:
            found.append(trial)
            best = own.retention
    return found
