"""The search for presets: its score is on validation samples, and its grids begin with the presets for a class."""

from pathlib import Path

import pytest

from experiments.presets_by_scenario.search import GRIDS, LR, score
from unlearning.config.compose import composed


def test_the_score_is_the_gap_on_validation_samples(shared: Path) -> None:
    found = score(("scenario=class", "method=original", "pretrain.epochs=1"), shared)
    assert found["gap/test/acc"] == found["gap/val/acc"] != 0
    parts = [found[f"gap/{name}"] for name in ("forget/acc", "retain/acc", "val/acc", "mia/loss_auc")]
    assert found["gap/mean"] == pytest.approx(sum(map(abs, parts)) / 4)


@pytest.mark.parametrize("method", [name for name, grid in GRIDS.items() if grid])
def test_each_grid_begins_with_the_preset_for_a_class(method: str) -> None:
    preset = composed(f"method={method}")[0]["method"]
    preset |= {LR: preset.get("optimizer", {}).get("lr")}
    assert {name: values[0] for name, values in GRIDS[method].items()}.items() <= preset.items()
