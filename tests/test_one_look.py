"""Methods with the same importance share one look at the data, which is made once for a whole sweep."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.by_hand import ones
from tests.conftest import composed
from unlearning.engine import fitting
from unlearning.engine.compute import Compute
from unlearning.engine.job import Job
from unlearning.engine.store import Store
from unlearning.gradients.vectors import flatten
from unlearning.methods.alfssd import ALFSSD
from unlearning.methods.assd import ASSD
from unlearning.methods.assd_repair import ASSDRepair
from unlearning.methods.base import Method
from unlearning.methods.dampening import Dampening
from unlearning.methods.finetune import FineTune
from unlearning.methods.lfssd import LFSSD
from unlearning.methods.potion import Potion
from unlearning.methods.ssd import SSD
from unlearning.methods.xlf import XLF


def test_methods_of_equal_importance_share_observations() -> None:
    def key(kind: type[Dampening], **options: object) -> str:
        return repr(kind(ones(1), **options).observation_key())

    def repair(model: nn.Module) -> Method:
        return FineTune(model)

    squared = key(SSD, reference="retain")
    potion = key(Potion, measure="cross_entropy")
    assert squared == key(ASSD) == key(ASSDRepair, repair=repair) == potion == key(SSD, alpha=3, reference="retain")
    assert key(LFSSD, reference="retain") == key(ALFSSD) == key(Potion, measure="squared_norm")
    assert key(XLF) == key(Potion, rho=0.1)
    by_sample = {
        key(kind, importance="per_sample", batch_size=size, order=order, **options)
        for kind, options in [(SSD, {}), (SSD, {"reference": "retain"}), (ASSD, {})]
        for size in (1, 64)
        for order in ("shuffled", "by_class")
    }
    assert len(by_sample) == 1
    others = {key(ALFSSD), key(XLF), key(SSD), key(ASSD, batch_size=3), key(ASSD, order="by_class"), *by_sample}
    assert len(others | {squared}) == 7
    assert ASSD.observer() == SSD.observer() == "unlearning.methods.dampening.Dampening"


Fits = list[tuple[str, int, int]]  # title and sample passes, forward and backward, of every fit


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    """The fits that are run during a test."""
    noted: Fits = []
    fit = fitting.run

    def watched(method: Method, compute: Compute, title: str) -> None:
        fit(method, compute, title)
        noted.append((title, method.meter.forward, method.meter.backward))

    monkeypatch.setattr(fitting, "run", watched)
    return noted


class Watched:
    """A run's method with a store of its own, and the original model from the session's store."""

    def __init__(self, folder: Path, places: list[str], *overrides: str) -> None:
        self.job = Job.of(composed(*overrides, *places)[0])
        self.problem = self.job.problem
        original = self.job.lab.train(
            self.problem, self.job.recipe, self.problem.split.train, self.job.pretrain_seed, "original"
        )
        self.original = original.network
        self.lab = replace(self.job.lab, store=Store(folder))

    def edited(self, **options: object) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The weights and the cost of the method with these options, even if the store has them."""
        method = self.job.method.having(**options)
        found = self.lab.unlearn(self.problem, method, {}, self.original, self.job.seed, again=True)
        return flatten(found.network.parameters()).detach(), found.cost


@pytest.mark.slow
def test_a_sweep_of_fifty_settings_looks_at_the_data_once(places: list[str], tmp_path: Path, fits: Fits) -> None:
    alike = ["method.importance=batch", "method.order=shuffled"]  # whatever the presets
    ssd, assd, potion = (Watched(tmp_path, places, f"method={n}", *alike) for n in ("ssd", "assd", "potion"))
    fits.clear()  # of the original model
    sweep = [
        *[(ssd, {"reference": "retain", "alpha": alpha, "lam": 1.0}) for alpha in np.geomspace(1, 300, 14).tolist()],
        *[(ssd, {"reference": "retain", "alpha": 50.0, "lam": lam}) for lam in np.linspace(0.1, 5, 12).tolist()],
        *[(assd, {"percentile": percent}) for percent in np.linspace(90, 99.9, 12).tolist()],
        *[(potion, {"rho": rho}) for rho in np.linspace(0, 0.75, 12).tolist()],
    ]
    assert len(sweep) == 50
    weights, costs = zip(*(run.edited(**options) for run, options in sweep), strict=True)
    assert len(torch.stack(weights).unique(dim=0)) >= 40  # neighbouring settings of a search may end alike

    samples, forget = len(ssd.problem.split.train), len(ssd.problem.split.forget)
    assert fits == [("Observing", samples, samples)]  # each sample once
    run_now = [cost["cost/passes_run"] for cost in costs]
    assert run_now[:38] == [2 * samples] + 37 * [0]
    assert all(passes >= 2 * forget and passes % forget == 0 for passes in run_now[38:])  # only Potion's tries
    assert all(cost["cost/passes"] >= 2 * samples for cost in costs)  # the cost of each by itself


@pytest.mark.slow
def test_the_repair_goes_on_from_the_dampened_weights(places: list[str], tmp_path: Path, fits: Fits) -> None:
    assd, repair = (
        Watched(tmp_path, places, "method=assd", "method.keep=null"),
        Watched(tmp_path, places, "method=assd_repair"),
    )
    fits.clear()  # of the original model
    first, cost = repair.edited()
    again, cost_again = repair.edited()
    assert [title for title, *_ in fits] == ["Observing", "Repairing", "Repairing"]
    assert torch.equal(first, again)  # whether or not the data were looked at for it
    dampened, cost_of_dampening = assd.edited()
    assert not torch.equal(first, dampened)
    passes = 2 * 5 * len(repair.problem.split.retain)  # 5 epochs
    assert cost["cost/passes"] == cost_again["cost/passes"] == cost_of_dampening["cost/passes"] + passes
    assert cost_again["cost/passes_run"] == passes
    assert cost_of_dampening["cost/passes_run"] == 0  # the look was made for the repair

    still = {"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.0}}
    assert torch.equal(repair.edited(repair=repair.job.method.node["repair"] | still)[0], dampened)


def test_another_count_is_another_forget_set(places: list[str], tmp_path: Path) -> None:
    """A store that holds the look at twenty samples, and what came of it, serves no run that forgets thirty."""

    def edited(count: int, store: Path) -> torch.Tensor:
        asked = ["scenario=random", f"scenario.count={count}", "trial=30", "method=ssd", "method.alpha=1"]
        job = Job.of(composed(*asked, *places)[0])
        assert len(job.problem.split.forget) == count
        torch.manual_seed(0)
        lab = replace(job.lab, store=Store(store))
        return flatten(lab.unlearn(job.problem, job.method, {}, job.network(), 0).network.parameters()).detach()

    twenty, thirty = (edited(count, tmp_path / "shared") for count in (20, 30))
    assert torch.equal(thirty, edited(30, tmp_path / "empty"))
    assert not torch.equal(thirty, twenty)
