"""The corrective figures over hand-made results: where the lines and cells are is worked out here."""

import json
import os
from pathlib import Path

import pytest

from experiments.corrective.figures import dampening_figure, examples_figure, gamma_figure, main
from unlearning import pipeline
from unlearning.config.compose import composed
from unlearning.errors import UserError
from unlearning.report import collect
from unlearning.request import Request

SCENARIO = "digits · small_cnn · poison · m=100"


@pytest.fixture
def write(tmp_path: Path):
    """Writes a finished run of a method at a seed, with ``known`` of 100 manipulated samples known."""
    root = tmp_path / "runs"
    root.mkdir()

    def one(method: str, known: int, seed: int, value: float, retrained: float = 0.3, **settings: float) -> Path:
        folder = root / f"run{len(list(root.iterdir()))}"
        folder.mkdir()
        choices = {"dataset": "digits", "model": "small_cnn", "scenario": "poison", "method": method, "addon": ""}
        groups = {"dataset": {}, "model": {}, "pretrain": {}, "addon": {}, "evaluation": {}, "trainer": {}}
        config = groups | {"seed": seed, "choices": choices, "method": settings, "paths": {"data": "/data"}}
        rows = {"original": 0.1, "retrained": retrained, "unlearned": value}
        found = {
            "config": config | {"scenario": {"known": known / 100, "seed": seed}},
            "rows": {row: {"corrective/acc_seen": v, "corrective/acc_retain": 0.9} for row, v in rows.items()},
            "sizes": {"forget": known, "manipulated": 100},
            "directions": {},
            "cost": {},
            "gaps": {},
            "failed": {},
        }
        (folder / "results.json").write_text(json.dumps(found))
        (folder / "DONE").touch()
        os.utime(folder / "DONE", (1000, 1000))
        return root

    return one


def lines(axes) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): [tuple(map(float, xy)) for xy in line.get_xydata()] for line in axes.lines}


def test_a_line_for_each_method_and_its_band_over_seeds(write) -> None:
    for seed, value in enumerate((0.2, 0.3, 0.7)):
        write("ssd", 10, seed, value, retrained=0.2)
        root = write("ssd", 100, seed, 0.9, retrained=(0.3, 0.3, 0.6)[seed])
    write("scrub", 100, 0, 0.5)  # beside the same retrained model as ssd's
    seen, unseen, retain = gamma_figure(collect(root)).axes
    assert seen.get_ylabel().split("\n") == SCENARIO.split(" · ")
    assert lines(seen) == {
        "original": [(0.1, pytest.approx(0.1)), (1.0, pytest.approx(0.1))],
        "retrained": [
            (0.1, pytest.approx(0.2)),
            (1.0, pytest.approx(0.4)),
        ],  # of three seeds, of which one serves two methods
        "scrub": [(1.0, 0.5)],
        "ssd": [(0.1, pytest.approx(0.4)), (1.0, pytest.approx(0.9))],
    }
    band = seen.collections[-1].get_paths()[0].vertices  # of ssd, the last drawn
    at_a_tenth = sorted({round(y, 6) for x, y in band.tolist() if abs(x - 0.1) < 1e-9})
    assert (at_a_tenth[0], at_a_tenth[-1]) == (0.2, 0.7)
    assert not lines(unseen)
    assert unseen.texts[0].get_text() == "not defined"
    assert lines(retain)["ssd"][0] == (0.1, pytest.approx(0.9))


def test_cells_of_the_heat_map_are_means_over_seeds(write) -> None:
    for seed, value in enumerate((0.2, 0.4)):
        write("ssd", 10, seed, value, alpha=1.0, lam=0.5)
    write("ssd", 10, 0, 0.8, alpha=10.0, lam=0.5)
    root = write("ssd", 10, 0, 0.6, alpha=10.0, lam=1.0)
    seen = dampening_figure(collect(root)).axes[0]
    grid = seen.images[0].get_array()
    assert grid[0].tolist() == pytest.approx([0.3, 0.8])
    assert grid[1].tolist()[1] == pytest.approx(0.6)
    assert grid.mask[1, 0] or grid[1, 0] != grid[1, 0]  # no such run
    assert [t.get_text() for t in seen.get_xticklabels()] == ["1", "10"]
    assert [t.get_text() for t in seen.get_yticklabels()] == ["0.5", "1"]


def test_two_settings_of_a_method_are_not_mixed(write, tmp_path: Path) -> None:
    write("ssd", 10, 0, 0.2, alpha=1.0)
    root = write("ssd", 10, 0, 0.8, alpha=2.0)
    with pytest.raises(UserError) as caught:
        gamma_figure(collect(root))
    assert (caught.value.key, caught.value.kind) == ("--filter", "conflict")
    assert main([str(root), "--out", str(tmp_path / "figures"), "--filter", "method.alpha=2"]) == 0
    assert (tmp_path / "figures" / "gamma.png").is_file()


def test_what_cannot_be_drawn_is_explained(write, capsys) -> None:
    write("scrub", 10, 0, 0.2)
    for alpha in (1.0, 2.0):
        root = write("ssd", 10, 0, 0.2, alpha=alpha, lam=1.0)  # one lambda is not a map
    with pytest.raises(UserError) as caught:
        dampening_figure(collect(root))
    assert caught.value.key == "method.alpha"
    assert main([str(root), "--figure", "dampening"]) == 1
    assert capsys.readouterr().err.startswith("figures: the figure dampening needs a method that was run with several")
    runs = collect(root)
    for run in runs:
        run.result["sizes"]["manipulated"] = 0
    with pytest.raises(UserError) as caught:
        gamma_figure(runs)
    assert caught.value.key == "scenario"


def test_figures_of_real_runs(places: list[str], tmp_path: Path, capsys) -> None:
    words = ["scenario=confusion", "method=original", "retrained=false", "pretrain.epochs=1", "tracking=none"]
    folder = pipeline.run(Request(*composed(*words, *places)))
    assert main([str(folder.parent), "--out", str(tmp_path), "--figure", "gamma", "examples"]) == 0
    assert {"gamma.png", "examples.png"} <= {file.name for file in tmp_path.iterdir()}
    titles = {axes.get_title() for axes in examples_figure(collect(folder.parent)).axes}
    assert titles == {"given: three\nright: five", "given: five\nright: three"}
