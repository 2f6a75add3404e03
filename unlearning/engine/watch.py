"""Evaluate a model while it unlearns: curves over its epochs, and the epoch that a rule finds best."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor

from ..errors import UserError
from ..methods.base import Method
from ..methods.guard import evaluating
from ..metrics.accuracy import Accuracy
from ..metrics.base import Evidence, mean_gap
from ..metrics.rules import measured, rule_for, without_test
from ..runtime.distributed import lead
from ..scenarios.base import Problem
from ..types import Split

log = logging.getLogger("unlearning")

SETS = ("forget", "retain", "validation")
EVERY, BEST_BY = "every", "best_by"  # settings of the evaluation, beside its metrics
CURVES = {"forget/acc": "forget_acc", "retain/acc": "retain_acc", "val/acc": "val_acc"}


@dataclass(frozen=True)
class Watch:
    """What is looked at while a method unlearns.

    Args:
        every: the epochs between two looks.
        best_by: the name of the rule by which the best epoch is kept; empty where the last one is.
        expected: what that rule expects.
    """

    every: int
    best_by: str = ""
    expected: Mapping[str, float] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the curves and the weights."""
        return {EVERY: self.every, BEST_BY: self.best_by, "expected": dict(self.expected)}


def metric_nodes(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of an evaluation, without what it says about epochs."""
    return {name: node for name, node in evaluation.items() if name not in (EVERY, BEST_BY)}


def check_watch(evaluation: Mapping[str, Any], split: Split, retrained: bool, keep: Any) -> None:
    """Raise ``UserError`` for values that ``evaluation.every`` and ``evaluation.best_by`` cannot have.

    ``retrained`` says whether there is a retrained model; ``keep`` is the method's, which decides about weights, too.
    """
    every, name = evaluation.get(EVERY), evaluation.get(BEST_BY)
    if every is not None and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
        raise UserError(f"evaluation.every={every} must be a number of epochs, or null", key="evaluation.every")
    if name is None:
        return
    rule_for(name, split, retrained, "evaluation.best_by")
    if keep is not None:
        raise UserError(
            f"evaluation.best_by={name} and method.keep={keep:g} would both choose the weights: set one to null",
            key="evaluation.best_by",
            kind="conflict",
        )


class Watcher(L.Callback):
    """Looks at a method's model before its first step and after its epochs, in eval mode and without augmentation.

    The curves ``forget_acc``, ``retain_acc`` and ``val_acc`` get points (epoch, accuracy). Looking changes neither the
    model nor a random stream, and is not counted as the method's cost. An edit of a one-shot method is an epoch.

    Args:
        watch: what is looked at.
        problem: the data.
    """

    def __init__(self, watch: Watch, problem: Problem) -> None:
        self.watch, self.problem = watch, problem
        self.epoch, self.seconds, self.passes = 0, 0.0, 0
        self.best: tuple[float, int, dict[str, Tensor]] | None = None

    def on_train_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        if self.epoch == 0:
            self.look(method)  # type: ignore[arg-type]

    def on_train_epoch_end(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        self.epoch += 1
        if self.epoch % self.watch.every == 0 or trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            self.look(method)  # type: ignore[arg-type]

    def look(self, method: Method) -> None:
        """Add a point to each curve, and keep the weights if they are the best so far; of equal ones the last."""
        with method.meter.paused():
            began = time.perf_counter()
            values = lead(lambda: self.values(method))
            self.seconds += time.perf_counter() - began
            self.passes += sum(len(self.problem.split.sets[name]) for name in SETS)
            for name, curve in CURVES.items():
                if name in values:
                    method.curves[curve].append(torch.tensor([self.epoch, values[name]]))
            if not self.watch.best_by:
                return
            score = mean_gap(values, self.watch.expected)
            method.curves["distance"].append(torch.tensor([self.epoch, score]))
            if self.best is None or score <= self.best[0]:
                state = {name: tensor.to("cpu", copy=True) for name, tensor in method.model.state_dict().items()}
                self.best = score, self.epoch, state

    @torch.no_grad()
    def values(self, method: Method) -> dict[str, float]:
        """The accuracies of the model as it is, and whatever else its rule looks at."""
        split, labels = self.problem.split, self.problem.data.labels
        logits = torch.zeros(len(labels), self.problem.task.num_classes)
        device = next(method.model.parameters()).device
        with evaluating(method.model):
            for name in SETS:
                for batch in method.data.batches(name, device):
                    images = batch.images.to(next(method.model.parameters()).dtype)
                    logits[batch.ids.cpu()] = method.model(images).float().cpu()
        if not logits.isfinite().all():
            raise UserError(f"the model's predictions are not finite after epoch {self.epoch}", kind="diverged")
        classes, true = self.problem.data.classes, self.problem.data.true_labels
        evidence = Evidence(logits, labels, split, classes, true_labels=true)
        return measured(evidence) if self.watch.best_by else Accuracy()(without_test(evidence))

    def finish(self, method: Method) -> dict[str, float]:
        """Put the best weights in place, if a rule keeps them; returns what looking cost."""
        if self.best is not None:
            score, epoch, state = self.best
            method.model.load_state_dict(state)
            method.curves["kept_epoch"].append(torch.tensor(float(epoch)))
            log.info("kept epoch %d of %d: %.3f from what %s expects", epoch, self.epoch, score, self.watch.best_by)
        return {"cost/evaluation_seconds": self.seconds, "cost/evaluation_passes": float(self.passes)}
