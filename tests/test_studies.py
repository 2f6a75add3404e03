"""The studies' own scripts, with expected values derived by hand."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.corrective.searched import CHOSEN_BY, best, tables
from experiments.drawing import canvas, legend_below
from experiments.feasible_updates.tradeoff import crossing, main, table
from unlearning.errors import UserError


def run(rua: float, retain: float, original: tuple[float, float] = (0.4, 1.0)) -> SimpleNamespace:
    """A run with the metrics that the price of an add-on needs."""
    others = {"test/acc": 0.5, "distance/fidelity_forget": 0.5, "mia/svc_entropy_nonmember": 0.5}
    first = {"forget/rua": original[0], "retain/acc": original[1]} | others
    return SimpleNamespace(values={"original": first, "unlearned": {"forget/rua": rua, "retain/acc": retain} | others})


def test_the_price_of_forgetting_is_interpolated_between_the_neighbouring_rates() -> None:
    rates = {2e-3: run(-0.3, 0.5), 1e-3: run(0.1, 0.9), 4e-3: run(0.2, 0.1)}
    assert crossing(rates)["retain/acc"] == pytest.approx(0.9 - 0.25 * 0.4)  # a quarter of the way from .1 to -.3
    assert crossing({1e-3: run(-0.4, 0.8)})["retain/acc"] == pytest.approx(0.9)  # halfway from the original model
    assert crossing({1e-3: run(0.1, 0.9)}) is None


def test_an_add_on_is_compared_with_the_plain_objective_seed_by_seed() -> None:
    plain = {0: {1e-3: run(-0.4, 0.8)}, 1: {1e-3: run(-0.4, 0.4)}}  # at rUA = 0: .9 and .7
    focus = {0: {1e-3: run(-0.4, 1.0)}, 1: {1e-3: run(-0.4, 0.6)}}  # 1 and .8
    *_, first, second = table({"plain": plain, "focus": focus})
    assert [cell.split(" ±")[0] for cell in first.strip("| ").split(" | ")[:3]] == ["focus", "0.900", "0.100"]
    assert [cell.split(" ±")[0] for cell in second.strip("| ").split(" | ")[:3]] == ["plain", "0.800", "-"]


def test_what_cannot_be_compared_is_shown_as_such() -> None:
    never, once = {0: {1e-3: run(0.1, 0.9)}}, {0: {1e-3: run(-0.4, 0.8)}, 1: {1e-3: run(0.1, 0.9)}}
    *_, focus, plain = (row.strip("| ").split(" | ") for row in table({"plain": never, "focus": once}))
    assert plain == ["plain", "-", "-", "-", "-", "-", "0 of 1"]
    assert focus == ["focus", "0.900", "-", "0.500", "0.500", "0.500", "1 of 2, 1 below the lowest rate"]
    *_, plain, focus = (row.strip("| ").split(" | ") for row in table({"plain": {0: once[0]}, "focus": once}))
    assert plain[:3] == ["plain", "0.900", "-"]
    assert focus[:3] == ["focus", "0.900", "0.000"]  # seed 0 alone is common


def test_a_folder_without_runs_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        main(tmp_path)
    assert error.value.kind == "file"


def test_a_setting_is_chosen_by_what_a_user_can_see_or_by_what_is_true() -> None:
    seen, true = CHOSEN_BY.values()
    names = [*seen, *true]
    good_on_known = SimpleNamespace(values={"unlearned": dict(zip(names, (1.0, 0.9, 0.2, 0.9), strict=True))})
    good = SimpleNamespace(values={"unlearned": dict(zip(names, (0.9, 0.9, 0.8, 0.9), strict=True))})
    assert best([good_on_known, good], seen) is good_on_known
    assert best([good_on_known, good], true) is good


def searched(seed: int, gamma: float, alpha: float, known: float, seen: float) -> SimpleNamespace:
    """A run with what the table of searches needs: accuracies on the known and on all manipulated samples."""
    found = {"corrective/acc_known": known, "val/acc": 0.9, "corrective/acc_seen": seen, "corrective/acc_retain": 0.8}
    return SimpleNamespace(
        state="done",
        choices={"dataset": "digits", "model": "mlp", "scenario": "poison"},
        result={"sizes": {"forget": round(100 * gamma), "manipulated": 100}},
        method="ssd",
        config={"seed": seed, "method.alpha": alpha},
        values={
            "original": {"corrective/acc_seen": 0.1 * seed, "corrective/acc_retain": 0.9},
            "retrained": {"corrective/acc_seen": 0.2 * seed + 0.1 * gamma, "corrective/acc_retain": 0.7},
            "unlearned": found,
        },
    )


def test_a_search_is_one_of_each_draw_and_gamma() -> None:
    by_user, by_bound = CHOSEN_BY
    runs = [
        searched(1, 1.0, 1.0, known=0.7, seen=0.9),
        searched(1, 1.0, 10.0, known=0.2, seen=0.1),
        searched(1, 0.5, 1.0, known=0.1, seen=0.8),
        searched(1, 0.5, 10.0, known=0.3, seen=0.6),
        searched(0, 0.5, 1.0, known=0.9, seen=0.2),
        searched(0, 0.5, 10.0, known=0.5, seen=0.4),
        searched(0, 1.0, 1.0, known=0.4, seen=0.3),
        searched(0, 1.0, 10.0, known=0.6, seen=0.5),
    ]
    title, _, head, _, *rows, _ = tables(runs).split("\n")
    assert (title, head) == (
        "## digits · mlp · poison · m=100",
        "| gamma | | corrective/acc_seen | corrective/acc_retain | alpha of each draw |",
    )
    cells = [[cell.strip().split(" ±")[0] for cell in row.strip("|").split("|")] for row in rows]
    assert cells == [
        ["0.5", "*original*", "0.050", "0.900", ""],
        ["0.5", "*retrained*", "0.150", "0.700", ""],  # .05 and .25
        ["0.5", by_user, "0.400", "0.800", "1*, 10*"],  # .2 of seed 0, .6 of seed 1
        ["0.5", by_bound, "0.600", "0.800", "10*, 1*"],  # .4 and .8
        ["1", "*original*", "0.050", "0.900", ""],
        ["1", "*retrained*", "0.200", "0.700", ""],  # .1 and .3
        ["1", by_user, "0.700", "0.800", "10*, 1*"],  # .5 and .9
        ["1", by_bound, "0.700", "0.800", "10*, 1*"],
    ]


def test_a_legend_has_as_many_columns_as_fit_below_the_panels() -> None:
    figure, panels = canvas(1, 1)
    for number in range(12):
        panels[0][0].plot([0, 1], label=f"a long name of line {number}")
    legend_below(figure, columns=5)
    figure.canvas.draw()
    (legend,) = figure.legends
    extent = legend.get_window_extent()
    assert 0 <= extent.x0 < extent.x1 <= figure.bbox.width
    assert 0 <= extent.y0 < extent.y1 < panels[0][0].get_window_extent().y0
    assert panels[0][0].get_window_extent().height > 2 * figure.dpi  # the figure is higher for it
