"""The claims of the Langevin study, with expected values derived by hand."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.langevin.claims import claims, of_cells, of_composition, of_controls, of_parts
from experiments.langevin.statements import FAILS, HOLDS, OPEN, Claim, Statement, paired, select, table, value, verdict


def of_values(*values: float, low: float = -math.inf, high: float = math.inf) -> str:
    return Statement("x", dict(enumerate(values)), low=low, high=high).verdict


def test_a_statement_is_judged_by_its_interval() -> None:
    # The mean of .1, .2 and .3 is .2, and the half-width 4.303 * .1 / sqrt 3 = .248: from -.048 to .448.
    values = (0.1, 0.2, 0.3)
    assert of_values(*values, low=-0.05) == HOLDS
    assert of_values(*values, low=-0.04) == OPEN
    assert of_values(*values, high=0.45) == HOLDS
    assert of_values(*values, high=0.44) == OPEN
    assert of_values(*values, low=0.449) == FAILS
    assert of_values(*values, high=-0.049) == FAILS
    assert of_values(*values, low=-0.05, high=0.45) == HOLDS
    assert of_values(0.2, low=0.0) == OPEN  # one seed has no interval


def test_a_claim_holds_where_all_of_its_statements_do() -> None:
    good, bad, wide = (
        Statement("x", dict(enumerate(values)), low=0) for values in ((1.0, 1.1), (-1.0, -1.1), (1.0, -1.0))
    )
    assert [verdict(x) for x in ([good], [good, wide], [good, bad, wide], [])] == [HOLDS, OPEN, FAILS, OPEN]
    assert table([Claim("a", "b", [bad])])[2] == f"| a | b | {FAILS} | x -1.050 ±0.635 |"  # 12.706 * .0707 / sqrt 2


def run(seed: int, forget: float = 0.0, retain: float = 1.0, **settings: Any) -> Any:
    """A run with the accuracies that the claims read, and a curve of each kind."""
    config = {"seed": float(seed)} | {key.replace("__", "."): value for key, value in settings.items()}
    rows = {
        name: {"test_forget/acc": f, "test_retain/acc": r, "forget/acc": f, "retain/acc": r, "distance/retrain": f}
        for name, f, r in (("original", 1.0, 1.0), ("retrained", 0.0, 1.0), ("unlearned", forget, retain))
    }
    curves = {
        "unlearn/attack_success": [(0, forget), (1, forget)],
        "unlearn/forget_acc": [(0, 0.1), (1, 0.4 + 0.01 * seed), (2, 0.05)],
        "unlearn/retain_acc": [(0, 0.5), (1, 0.8), (2, 0.9 + 0.01 * seed)],
    }
    return SimpleNamespace(name=str(config), config=config, values=rows, result={"curves": curves}, lookup=config.get)


def test_runs_are_paired_by_seed() -> None:
    one, other = ({s: run(s, forget=f * s) for s in seeds} for f, seeds in ((0.3, (0, 1, 2)), (0.1, (1, 2, 3))))
    assert paired(one, other, value("forget/acc")) == pytest.approx({1: 0.2, 2: 0.4})
    assert paired(one, one, value("forget/acc", "original"), value("forget/acc"))[2] == pytest.approx(0.4)


def test_two_runs_of_a_seed_and_setting_are_refused() -> None:
    runs = [run(0, a=1.0), run(0, a=1.0, b=2.0), run(0, a=2.0)]
    assert select(runs, {"a": 1.0, "b": None}).keys() == {0}
    with pytest.raises(ValueError, match="both"):
        select(runs, {"a": 1.0})


def cells(policy: str, forget: dict[tuple[float, float], float]) -> list[Any]:
    """A grid of three seeds; gammas and lambdas as published. All differences are the same for every seed."""
    return [
        run(
            seed,
            forget=found + 0.01 * seed,
            retain=0.9 - found / 2 + 0.01 * seed,
            method__batch_norm=policy,
            method__attack__gamma=64 * gamma,
            method__attack__lam=64 * lam,
        )
        for (gamma, lam), found in forget.items()
        for seed in range(3)
    ]


def test_the_claims_on_gamma_and_lambda() -> None:
    grid = cells("eval", {(0, 0): 0.1, (1e-4, 0): 0.12, (0.1, 0): 0.5, (1, 0): 0.5, (0, 0.1): 0.3, (1, 0.1): 0.51})
    fgsm = [run(s, forget=0.1 + 0.01 * s, retain=0.7, method__batch_norm="eval") for s in range(3)]
    found = {(c.text.split()[0], c.where): verdict(c.statements) for c in of_cells(grid, [], fgsm, "d", "eval")}
    assert found["Boundary", "d, BatchNorm eval"] == FAILS  # as much is forgotten, and .15 less of the rest is kept
    assert found["Noise", "d, BatchNorm eval, gamma 0.0001"] == HOLDS  # .02 more, and .01 less of the rest
    assert found["Noise", "d, BatchNorm eval, gamma 0.1"] == FAILS  # .4 more
    assert found["Lambda", "d, BatchNorm eval, lambda 0.1"] == FAILS  # .2 more, but .1 less of the rest
    assert found["With", "d, BatchNorm eval"] == HOLDS  # .49, .48 and .47 are forgotten
    assert found["Noise", "d, gamma 0.1"] == FAILS  # success is as that of gamma 1, but not less than that of gamma 0


def test_what_noise_leaves_of_an_attack_cannot_be_told_where_it_changes_as_many_samples() -> None:
    grid = cells("eval", {(0, 0): 0.5, (0.1, 0): 0.5, (1, 0): 0.5})
    assert not [claim for claim in of_cells(grid, [], [], "d", "eval") if "direction" in claim.text]


def test_the_claims_on_a_rate_of_zero() -> None:
    runs = [
        run(s, forget=f, method__batch_norm=policy, method__optimizer__lr=rate)
        for s in range(3)
        for policy, rate, f in (("train", 0.0, 0.2), ("train", 1e-5, 0.2), ("eval", 0.0, 1.0), ("eval", 1e-5, 0.3))
    ]
    verdicts = [verdict(claim.statements) for claim in of_controls(runs, "d")]
    assert verdicts == [HOLDS, FAILS, FAILS, HOLDS, OPEN, OPEN]


def test_the_claims_on_parts_and_compositions() -> None:
    parts = [
        run(s, forget=f, method="finetune", scenario__fraction=share)
        for s in range(3)
        for share, f in ((0.1, 0.5), (None, 1.1))
    ]
    found = {claim.where: verdict(claim.statements) for claim in of_parts(parts, "d")}
    assert found["d, finetune, 0.1 of the class"] == HOLDS
    assert found["d, finetune, the class"] == FAILS
    composed = [run(s, method__k=-1.0) for s in range(3)]
    stays, returns, *_ = of_composition(composed, "d")
    assert [statement.values[0] for statement in stays.statements] == pytest.approx([0.4, -0.05])
    assert [verdict(stays.statements), verdict(returns.statements)] == [HOLDS, HOLDS]


def test_a_folder_without_runs_has_no_claims(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert claims(tmp_path) == []
