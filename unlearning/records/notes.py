"""Warnings that a run's numbers do not show, or that are easily read as success."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from ..config.tables import value_at
from ..config.validation import target_of
from ..metrics.directions import taught_wrong

if TYPE_CHECKING:
    from ..engine.evaluation import Result
    from ..request import Request

HALF = 0.5  # of the original's retain accuracy, or of the retrained model's on the forget set: below it is far off
GUESS = 0.5  # the AUC of an attack that only guesses
SHARES = ("forget/acc", "mia/entropy_logistic")  # of the forget set
OPPOSITE = {"larger": "smaller", "smaller": "larger"}


def notes(request: Request, result: Result) -> list[str]:
    """Sentences about a run.

    They are on a trial, what a request by facts left out, no change, a model that was destroyed or kept from it, an
    epoch that was chosen, and too much forgetting.
    """
    found = []
    if (samples := request.config["trial"]) is not None:
        found.append(f"this is a trial on at most {samples} samples of each set; its numbers are not results")
    found += left_out(result.selected)
    way = result.curves.get("unlearn/way")
    if way is not None:
        kept = f"{way[-1][1]:.3g} of its change was kept" if way[-1][1] else "nothing of its change was kept"
        found.append(
            f"{request.label} was held back from destroying the model (method.keep): {kept}"
            f"{numbers(result)}{advice(request, more=False)}"
        )
    elif result.same_parameters:
        changed = "nothing was forgotten" if result.unchanged else "only the statistics of BatchNorm moved"
        found.append(
            f"{request.label} left the weights bit-equal to the original's: {changed}"
            f"{numbers(result)}{advice(request, more=True)}"
        )
    if epochs := result.curves.get("unlearn/kept_epoch"):
        last, rule = result.curves["unlearn/distance"][-1][0], request.config["evaluation"]["best_by"]
        oracle = ", compared with the retrained model" if "retrained" in result.access else ""
        found.append(
            f"epoch {epochs[-1][1]:g} of {last} was kept, the best by the rule {rule} (evaluation.best_by){oracle}"
        )
    return [*found, *remarks(request, result), *destroyed(request, result), *forgot_too_much(request, result)]


def remarks(request: Request, result: Result) -> Iterator[str]:
    """What the method itself has to say; see ``methods.course.Course``."""
    method = request.config["method"]
    said: Callable[..., Iterator[str]] | None = getattr(target_of(method, "method"), "remarks", None)
    last = {name.removeprefix("unlearn/"): points[-1][1] for name, points in result.curves.items() if points}
    return said(last, method, result.sizes) if said else iter(())


def left_out(selected: Mapping[str, int]) -> Iterator[str]:
    """A sentence for everything that a request by facts did not reach; ``selected`` is that of a problem."""
    of = {name: f"{count:,}" for name, count in selected.items()}
    if selected.get("surplus"):
        yield f"scenario.cap keeps {of['surplus']} of the {of['training']} selected training samples in the retain set"
    if selected.get("held_out"):
        yield (
            f"{of['held_out']} selected samples are in the validation or test set: the model has not learned them, so "
            "they are not forgotten"
        )
    if selected.get("unknown"):
        yield (
            f"{of['unknown']} training samples lack what the scenario selects by, a cell or a score: they are not "
            "selected, and stay in the retain set"
        )
    if selected.get("samples_without_row"):
        yield f"{of['samples_without_row']} images have no row in dataset.metadata: they are not selected by it"
    if selected.get("rows_without_sample"):
        rows = (
            "row of dataset.metadata names" if selected["rows_without_sample"] == 1 else "rows of dataset.metadata name"
        )
        yield f"{of['rows_without_sample']} {rows} no image of the data set"
    if selected.get("duplicates"):
        yield f"{of['duplicates']} of the {of['entries']} entries of the list name again what others do: counted once"
    if selected.get("unknown_entries"):
        yield (
            f"{of['unknown_entries']} of the {of['entries']} entries of the list name no sample (scenario.unknown="
            "ignore): nothing was forgotten for them"
        )
    if selected.get("copies"):
        yield (
            f"{of['copies']} samples that are not listed are equal to listed ones: what the copies teach is not "
            "forgotten; list them, too"
        )
    if selected.get("moved"):
        yield (
            f"{of['moved']} listed samples were moved to the training set, since validation or test would have drawn "
            "them"
        )


def destroyed(request: Request, result: Result) -> Iterator[str]:
    """One sentence where less than half of the retain accuracy is left, or no more than a constant guess has."""
    before, after = (result.rows[row].get("retain/acc") for row in ("original", "unlearned"))
    if before is None or after is None:
        return
    guess = constant_guess(result)
    if before <= guess and after < HALF * before:
        yield (
            f"the original model had learned nothing that {request.label} could destroy: its accuracy on the "
            f"retain set is {before:.3f}, and a constant guess is right for {guess:.3f} of the training samples"
        )
    elif before > guess and (after < HALF * before or after <= guess):
        yield (
            f"{request.label} destroyed the model: its accuracy on the retain set is {after:.3f}, and was "
            f"{before:.3f}; a constant guess is right for {guess:.3f} of the training samples"
            f"{numbers(result)}{advice(request, more=False)}"
        )


def constant_guess(result: Result) -> float:
    """The share of the largest class in the training set."""
    labels = result.dataset.labels[result.evidence["unlearned"].split.train]
    return labels.bincount().max().item() / len(labels)


def numbers(result: Result) -> str:
    """The number of steps, and the last value of each curve, in brackets: what a method has to say about itself.

    The inner products that add-ons record are left out; their masks' shares are not.
    """
    last = {name.removeprefix("unlearn/"): points for name, points in result.curves.items()}
    steps = max((len(points) for name, points in last.items() if name.endswith("_loss")), default=0)
    said = [f"steps {steps}"] if steps else []
    said += [f"{n} {p[-1][1]:.3g}" for n, p in last.items() if "/" not in n or n.endswith("/mask_ratio")]
    return f" ({', '.join(said)})" if said else ""


def advice(request: Request, more: bool) -> str:
    """What to set for more or less change, as the method declares it; nothing where it declares nothing."""
    stronger = getattr(target_of(request.config["method"], "method"), "stronger", {})
    said = []
    for option, direction in stronger.items():
        value = value_at(request.config["method"], option)
        now = "" if value is None else f" (now {value:g})"
        said.append(f"a {direction if more else OPPOSITE[direction]} method.{option}{now}")
    return f"; try {' or '.join(said)}" if said else ""


def deviation(metric: str, sizes: Mapping[str, int]) -> float:
    """The standard deviation of a metric of the forget set by the choice of samples, at its largest.

    That of a share of 1/2; and of the AUC of an attack that only guesses (Mann and Whitney, 1947).
    """
    members, others = sizes["forget"], sizes["test_forget"] or sizes["test"]
    if metric in SHARES:
        return math.sqrt(1 / (4 * members))
    return math.sqrt((members + others + 1) / (12 * members * others))


def forgot_too_much(request: Request, result: Result) -> Iterator[str]:
    """One sentence where the forget set became far *less* familiar than to the retrained model: it stands out again.

    Without a retrained model, the AUC of an attack is compared with that of a guess. Nothing is said where manipulated
    samples are left in the retain set: there a model is right to depart from the retrained one.
    """
    if taught_wrong(result.sizes):
        return
    ours, original = (result.rows.get(row, {}) for row in ("unlearned", "original"))
    expected = result.rows.get("retrained") or {name: GUESS for name in ours if is_auc(name)}
    names = [name for name in ours if name in original and name in expected and (name in SHARES or is_auc(name))]
    below = {
        name: expected[name] - ours[name]
        for name in sorted(names)
        if ours[name] < min(original[name], HALF * expected[name])
        and expected[name] - ours[name] > 2 * deviation(name, result.sizes)
    }
    if below:
        worst = max(below, key=below.__getitem__)
        models = ("retraining does", "that of the retrained model")
        without = ("a model does that never saw the forget set", "that of an attack that guesses")
        more_than, whose = models if "retrained" in result.rows else without
        yield (
            f"{request.label} forgot more than {more_than}: {worst} is {ours[worst]:.3f}, far below "
            f"{expected[worst]:.3f}, {whose}, so the forget set stands out; lower is not better here"
        )


def is_auc(metric: str) -> bool:
    """Whether a metric is the AUC of a membership attack."""
    return metric.startswith("mia/") and metric.endswith("_auc")
