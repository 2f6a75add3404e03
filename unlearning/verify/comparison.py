"""Every number of a run's results beside the one that is recomputed from its files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from . import TOLERANCE
from .files import Files
from .formulas import FORMULAS
from .representations import audit
from .view import Numbers, View

METRICS = f"{__package__.partition('.')[0]}.metrics."  # where the metrics of this package are
IMAGES = {  # metrics that pass images through the networks, by the names of their numbers
    "noise/": METRICS + "noise_curve.EntropyAgainstNoise",
    "relearn/": METRICS + "relearning.Relearning",
    "quantised/": METRICS + "compression.Quantisation",
    "pruned/": METRICS + "compression.Pruning",
    "transfer/": METRICS + "transfer.Transfer",
}
TRAINED = METRICS + "accuracy.Accuracy"
MEAN_OF = {"forget/acc": TRAINED, "retain/acc": TRAINED, "test/acc": TRAINED}
AVERAGES = {  # the metrics in each average of absolute gaps, with the class that measures them
    "gap/mean": MEAN_OF | {"mia/loss_auc": METRICS + "membership.MembershipInference"},
    "gap/mean_svc": MEAN_OF | {"mia/svc_entropy_nonmember": METRICS + "membership_classifiers.SVCMembership"},
    "gap/mean_val": dict.fromkeys(("forget/acc", "retain/acc", "val/acc"), TRAINED)
    | {"val/loss_auc": METRICS + "membership.ValidationMembership"},
}
NO_GAP = (
    "audit/",
    "cka/retrained_",
    "layer_cka/retrained_",
    "cmia/",
    "distance/",
    "forget/rua",
)  # distances to the retrained model themselves

Value = float | str | bool | None


@dataclass(frozen=True)
class Check:
    """One number of ``results.json`` and its recomputed value; None where there is none."""

    name: str
    stated: Value
    found: Value

    @property
    def difference(self) -> float | None:
        """Of two numbers; None for digests."""
        if is_number(self.stated) and is_number(self.found):
            return abs(self.stated - self.found)
        return None

    @property
    def agrees(self) -> bool:
        """Whether the two are the same, up to rounding."""
        return self.stated == self.found if self.difference is None else self.difference <= TOLERANCE


@dataclass(frozen=True)
class Verdict:
    """What was found about a run: the checks, and why other numbers cannot be recomputed, by name."""

    checks: list[Check]
    beyond: dict[str, str]

    @property
    def agrees(self) -> bool:
        """Whether all that can be recomputed agrees."""
        return all(check.agrees for check in self.checks)


def is_number(value: Value) -> TypeGuard[float]:
    """Whether a value is a number; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def compared(files: Files) -> Verdict:
    """Compare all numbers of a run with those that its files give."""
    checks: list[Check] = []
    beyond = {
        "cost/...": "time, memory and passes are measured while a run is made",
        "original_weights": "the digest of weights that are not in the folder: the store has them, or the command of "
        "the run makes them again",
        "data/dataset": "the digest of samples that are not in the folder; the split names the same data",
    }
    beyond |= {name: "it showed images, and was purged" for name in files.results["files"] if name not in files.digests}
    rows = files.results["rows"]
    known = {model: recomputed(files, model) for model in rows}
    given: dict[str, Numbers] = {model: {} for model in rows}  # what cannot be recomputed
    if "retrained" in known and any(node["_target_"] == METRICS + "audit.Audit" for node in evaluation(files).values()):
        seen = {
            model: known[model] | {n: v for n, v in row.items() if n == "transfer/knn"} for model, row in rows.items()
        }
        known = {model: numbers | audit(seen[model], seen["retrained"]) for model, numbers in known.items()}
    for model, row in rows.items():
        measured = {name: value for name, value in row.items() if not name.startswith("cost/")}
        for name in dict.fromkeys([*measured, *known[model]]):
            if name not in known[model] and (why := out_of_reach(files, name)):
                beyond[pattern(name)] = why
                given[model][name] = measured[name]
            else:
                checks.append(Check(f"{model} {name}", measured.get(name), known[model].get(name)))
    beyond |= {name: f"failed in the run: {why}" for name, why in files.results["failed"].items()}
    stated, expected = files.results["gaps"], {}
    if "retrained" in known:
        expected = gaps_of(files, known) | {n: v for n, v in differences(given).items() if n in stated}
    checks += [Check(name, stated.get(name), expected.get(name)) for name in dict.fromkeys([*stated, *expected])]
    return Verdict([*checks, *facts(files)], beyond)


def recomputed(files: Files, model: str) -> Numbers:
    """All numbers of a model that its files give; none of a metric that failed in the run, or fails here."""
    found: Numbers = {}
    available = {"retrained": "retrained" in files.logits, "untrained": "untrained" in files.logits, "": True}
    available |= {"manipulated": len(files.sets["manipulated"]) > 0, "target": files.target is not None}
    available["validation"] = len(files.sets["validation"]) > 0
    available["original"] = "original" in files.logits
    available["earlier"] = len(files.earlier) > 0
    available["features"] = model in files.features
    for name in ("original", "retrained"):
        available[f"features of {name}"] = name in files.features
        available[f"layers of {name}"] = name in files.layers and model in files.layers
    available["class"] = available["retrained"] and bool(files.forget_classes)
    for name, node in evaluation(files).items():
        formula, needs = FORMULAS.get(node["_target_"].removeprefix(METRICS), (None, ""))
        if formula is None or not available[needs] or f"{model}: {name}" in files.results["failed"]:
            continue
        options = {option: value for option, value in node.items() if option != "_target_"}
        try:
            numbers = formula(View(files, model), **options)
        except ValueError:  # too few samples
            continue
        if all(map(math.isfinite, numbers.values())):
            found |= numbers
    return found


def evaluation(files: Files) -> Mapping[str, Mapping[str, Any]]:
    """The metrics of the run, by name."""
    return {name: node for name, node in files.results["config"]["evaluation"].items() if isinstance(node, Mapping)}


def out_of_reach(files: Files, name: str) -> str:
    """Why a number cannot be recomputed; empty where no metric of the run gives it."""
    targets = {node["_target_"] for node in evaluation(files).values()}
    if any(name.startswith(family) and target in targets for family, target in IMAGES.items()):
        return "images pass through the networks, and the folder holds neither images nor all networks"
    if any(not target.startswith(METRICS) for target in targets):
        return "a metric from outside this package"
    return ""


def pattern(name: str) -> str:
    """The family of a metric that cannot be recomputed."""
    return name.partition("/")[0] + "/..." if "/" in name else name


def gaps_of(files: Files, known: Mapping[str, Numbers]) -> Numbers:
    """The gaps to the retrained model, and their averages."""
    found = differences(known)
    targets = {node["_target_"] for node in evaluation(files).values()}
    for average, over in AVERAGES.items():
        wanted = [f"gap/{name}" for name, target in over.items() if target in targets]
        asked = wanted if average == "gap/mean" else f"gap/{list(over)[-1]}" in wanted
        if asked and all(name in found for name in wanted):
            found[average] = sum(abs(found[name]) for name in wanted) / len(wanted)
    return found


def differences(known: Mapping[str, Numbers]) -> Numbers:
    """The signed gap of each number that is not a distance to the retrained model itself."""
    ours, theirs = known["unlearned"], known["retrained"]
    return {f"gap/{n}": ours[n] - theirs[n] for n in ours if n in theirs and not n.startswith(NO_GAP)}


def facts(files: Files) -> Iterator[Check]:
    """The sizes of the sets, the digests, and what follows from them."""
    stated, digests = files.results, files.digests
    for name in dict.fromkeys([*stated["sizes"], *files.sets]):
        yield Check(f"sizes/{name}", stated["sizes"].get(name), len(files.sets[name]) if name in files.sets else None)
    yield Check("data/split", stated["data"]["split"], digests["data/split"])
    yield Check("data/dataset", stated["data"]["dataset"], files.data)
    yield Check("weights", stated["weights"], digests["weights"])
    if after := stated.get("after"):
        yield Check("after/samples", after["samples"], len(files.earlier))
        yield Check("after/weights", after["weights"], stated["original_weights"])  # what one run left, the next found
    yield Check("unchanged", stated["unchanged"], digests["weights"] == stated["original_weights"])
    for name, digest in stated["files"].items():
        if name in digests:
            yield Check(name, digest, digests[name])
