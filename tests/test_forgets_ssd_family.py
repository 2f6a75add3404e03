"""The SSD family on digits: with its settings for digits each method forgets a class, nearly as retraining does.

The settings depend on the importances. In shuffled batches the gradients of different classes cancel in the reference
but not in the forget set, which is one class. The ratios are therefore large, and the paper's alpha dampens far too
much, as the last test records. Nothing cancels in the importances of single samples, which most have here. SSD is
brittle on so small a network whatever its settings: see conf/table/ssd.yaml.
"""

from statistics import median
from typing import Any

import pytest

from tests.digits import rows

RARER = ("alfssd", "lfssd", "assd", "xlf", "assd_repair")


def often(method: str) -> Any:
    """A method that is tried each time, or else among the slow tests, because another takes the same steps."""
    return pytest.param(method, marks=pytest.mark.slow) if method in RARER else method


@pytest.mark.parametrize("method", map(often, ["ssd", "lfssd", "assd", "alfssd", "xlf", "potion", "assd_repair"]))
def test_forgets_a_class_and_keeps_the_others(method: str, places: list[str]) -> None:
    """The bounds hold for the median over three digits; of the 3s ASSD leaves most, and with the repair a quarter."""
    whole = ["method.rho=0"] if method == "potion" else []  # its default leaves a fifth
    found = [rows(places, f"method={method}", f"scenario.classes=[{digit}]", *whole) for digit in (0, 1, 3)]
    assert all(row["original"]["forget/acc"] == 1 for row in found)
    distance = {
        metric: median(row["unlearned"][metric] - row["retrained"][metric] for row in found)
        for metric in ("forget/acc", "test_forget/acc", "retain/acc", "test_retain/acc")
    }
    assert distance["forget/acc"] <= 0.02
    assert distance["test_forget/acc"] <= 0.02
    assert distance["retain/acc"] >= -0.02
    assert distance["test_retain/acc"] >= -0.1


def test_potion_leaves_what_rho_allows(places: list[str]) -> None:
    unlearned = rows(places, "method=potion")["unlearned"]  # rho is .2
    assert 0 < unlearned["forget/acc"] <= 0.2  # the original's is 1
    assert unlearned["retain/acc"] >= 0.98


def test_the_papers_alpha_collapses_in_shuffled_batches(places: list[str]) -> None:
    paper = ["method=ssd", "method.reference=train", "method.importance=batch", "method.order=shuffled"]
    unlearned = rows(places, *paper, "method.alpha=10.0")["unlearned"]
    assert unlearned["forget/acc"] == 0
    assert unlearned["retain/acc"] < 0.5
