"""The figures that a run draws where it is asked to, and heat maps of a sweep, by the numbers that they show."""

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group
from torch import nn

from tests.command_line import FAST, Done
from tests.finished import result, write_finished
from tests.predictions import ids, one_hot, synthetic, ten_samples
from unlearning.config.schema import FIGURES
from unlearning.data.datasets import Dataset
from unlearning.errors import UserError
from unlearning.metrics.base import Evidence
from unlearning.metrics.membership import MembershipInference
from unlearning.records import artefacts
from unlearning.records import embedding_figure as embeddings
from unlearning.records.gallery_figure import gallery_figure, kinds, shown_pixels
from unlearning.records.loss_figure import loss_figure
from unlearning.report.command import main
from unlearning.report.heat_map import heat_map
from unlearning.report.runs import collect

# Losses


@pytest.mark.filterwarnings("error")
def test_losses_are_fractions_of_each_set() -> None:
    model = synthetic(True)
    figure = loss_figure({"unlearned": model, "original": synthetic(False)})
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["original", "unlearned"]
    assert sum(bar.get_height() for bar in first.containers[0]) == pytest.approx(1)
    found = MembershipInference()(model)["mia/loss_auc"]
    assert second.texts[0].get_text().startswith(f"AUC {found:.2f}")
    collapsed = loss_figure({"unlearned": model.of(model.logits * torch.nan)})
    assert collapsed.axes[0].texts[0].get_text() == "nothing to compare"


# Embeddings


def test_features_that_differ_by_a_rotation_lie_in_the_same_place() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(30, 4))
    turned = 3 * first @ ortho_group.rvs(4, random_state=0) + 5
    one, other = embeddings.aligned([first, turned], retained=20)
    np.testing.assert_allclose(one, other, atol=1e-10)
    assert np.square(one[:20]).sum(1).mean() == pytest.approx(1)
    moved = turned.copy()
    moved[25] += 100  # a sample to forget decides neither centre nor turn
    np.testing.assert_allclose(embeddings.aligned([first, moved], 20)[1][:25], one[:25], atol=1e-10)


def test_features_are_what_enters_the_head() -> None:
    images = torch.rand(10, 2, 3, 3)
    row = replace(ten_samples(), images=lambda i: images[i])
    flat = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(18, 3))
    np.testing.assert_allclose(embeddings.features(replace(row, model=flat), ids(4, 1)), images[[4, 1]].flatten(1))
    maps = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = embeddings.features(replace(row, model=maps), ids(4, 1))
    np.testing.assert_allclose(found, images[[4, 1]].mean((2, 3)), rtol=1e-6)
    assert not maps[1]._forward_pre_hooks


def seen(evidence: Evidence) -> Evidence:
    """The evidence with images and a model, whose features are the images."""
    images = torch.rand(len(evidence.labels), 5, generator=torch.Generator().manual_seed(0))
    return replace(evidence, images=lambda i: images[i], model=nn.Sequential(nn.Linear(5, 3)))


def test_stars_are_to_be_forgotten_and_outlines_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "LAYOUTS", {"t-SNE": lambda values: values[:, :2]})
    row = seen(ten_samples())  # retain 0, 1, 3, 4 of which 4 is wrong; forget 2, 5 of which 5 is wrong
    figure = embeddings.embedding_figure({"unlearned": row, "original": row})
    assert figure is not None
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["original", "unlearned"]
    dots, wrong, stars, wrong_stars = first.collections[:4]
    assert [len(points.get_offsets()) for points in (dots, wrong, stars, wrong_stars)] == [3, 1, 1, 1]
    assert first.get_xlim() == second.get_xlim()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["cat", "dog", "ship", "to be forgotten", "classified wrongly"]
    assert embeddings.embedding_figure({"unlearned": ten_samples()}) is None  # no model


def test_of_many_classes_those_that_are_forgotten_have_a_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "LAYOUTS", {"t-SNE": lambda values: values[:, :2]})
    row = replace(seen(ten_samples()), classes=tuple(map(str, range(100))))
    assert list(embeddings.class_colours(row, many=True)) == [2]
    figure = embeddings.embedding_figure({"unlearned": row})
    assert figure is not None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["retained, of 100 classes", "2", "to be forgotten", "classified wrongly"]
    whole = replace(row, labels=torch.arange(10).repeat(2)[:20], split=replace(row.split, forget=torch.arange(20)))
    many = replace(whole, labels=torch.arange(20))
    assert len(set(embeddings.class_colours(whole, many=True).values())) == 10
    assert len(set(embeddings.class_colours(many, many=True).values())) == 1  # there are not as many colours


@pytest.mark.parametrize("installed", [False, True])
def test_umap_is_a_second_row_where_it_is_installed(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stub:
        def __init__(self, n_neighbors: int, random_state: int, n_jobs: int) -> None:
            self.options = (n_neighbors, random_state, n_jobs)

        def fit_transform(self, values: np.ndarray) -> np.ndarray:
            assert self.options == (11, 0, 1)  # of 6 samples of two models
            return values[:, 1:3]

    module = ModuleType("umap")
    module.UMAP = Stub
    module.__spec__ = ModuleSpec("umap", None)
    monkeypatch.setitem(sys.modules, "umap", module if installed else None)
    monkeypatch.setitem(embeddings.LAYOUTS, "t-SNE", lambda values: values[:, :2])
    row = seen(ten_samples())
    figure = embeddings.embedding_figure({"unlearned": row, "original": row})
    assert figure is not None
    rows = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert rows == ["t-SNE", "UMAP"][: 1 + installed]
    assert len(figure.axes) == 2 * len(rows)


def test_the_layout_of_few_samples() -> None:
    assert embeddings.tsne(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)).shape == (4, 2)


# Galleries


def test_kinds_of_samples_by_hand() -> None:
    now = ten_samples()  # right on 0-3; retain 0, 1, 3, 4, forget 2, 5
    before, aim = (
        now.of(one_hot(0, 1, 2, 0, 1, 2, 0, 0, 1, 2)),
        now.of(one_hot(*[0] * 4, 1, *[0] * 5)),
    )  # right: all; 0, 3, 4
    rows = {"original": before, "retrained": aim, "unlearned": now}
    assert [part.tolist() for part in kinds(rows).values()] == [[5], [2], [4]]
    split = replace(now.split, forget=ids(0, 2, 4, 5), retain=ids(1, 3))
    more = {name: replace(row, split=split) for name, row in rows.items()}
    assert [part.tolist() for part in kinds(more).values()] == [[5], [2], [4]]  # the retrained model is right on 0, too
    more["original"] = more["unlearned"]  # which had 4 and 5 wrong already
    assert [part.tolist() for part in kinds(more).values()] == [[], [2], [4]]
    del rows["retrained"]
    assert [part.tolist() for part in kinds(rows).values()] == [[5], [2], [4]]
    rows["original"] = now  # which had 4 and 5 wrong already
    assert [part.tolist() for part in kinds(rows).values()] == [[], [2], []]


def test_a_gallery_shows_images_with_what_they_are_taken_for() -> None:
    row = ten_samples()
    inputs = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 2, 2, 1).contiguous() * 25
    nothing = ids()
    data = Dataset("made", inputs, row.labels, row.classes, row.split.train, nothing, row.split.test, (0.5,), (0.5,))
    figure = gallery_figure({"unlearned": row}, data)
    assert figure is not None
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == ["ship\n> dog", "ship\n> ship", "dog\n> cat"]
    assert [axes.images[0].get_array().max() for axes in drawn] == pytest.approx([125 / 255, 50 / 255, 100 / 255])
    floats = replace(data, inputs=torch.tensor([-3.0, 1.0]).view(1, 1, 1, 2).expand(10, 3, 2, 2), mean=(), std=())
    assert shown_pixels(floats, 0).tolist() == [[[0] * 3, [1] * 3]] * 2
    table = replace(data, inputs=torch.rand(10, 4), mean=(), std=())
    assert gallery_figure({"unlearned": row}, table) is None


# A run


@pytest.mark.slow
def test_a_run_draws_what_it_is_asked_for_and_a_finished_one_does_so_later(command: Callable[..., Done]) -> None:
    words = [*FAST, "evaluation.membership=null", "trial=40"]
    folder = command(*words).folder
    assert {path.name for path in folder.glob("*.png")} == {"summary.png"}
    asked = command(*words, "figures=[losses,gallery]")
    assert (asked.code, asked.folder) == (0, folder)
    assert {path.stem for path in folder.glob("*.png")} == {"summary", "losses", "gallery"}
    before = (folder / "DONE").stat().st_mtime_ns
    assert command(*words, "figures=[losses]").code == command(*words).code == 0
    assert (folder / "DONE").stat().st_mtime_ns == before  # it has all of them


def test_every_figure_that_can_be_asked_for_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "LAYOUTS", {"t-SNE": lambda values: values[:, :2]})
    row, pixels = ten_samples(), torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    data = Dataset("made", pixels, row.labels, row.classes, *[ids()] * 3, (0.5,), (1.0,))
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.Linear(2, 3))
    row = replace(row, images=lambda i: pixels[i].float() / 255 - 0.5, model=model)
    made: Any = SimpleNamespace(evidence={"unlearned": row}, rows={"unlearned": {}}, curves={}, dataset=data)
    drawn = {name: figure for name, figure in artefacts.figures(made, FIGURES) if figure is not None}
    assert list(drawn) == [f"{name}.png" for name in FIGURES]


@pytest.mark.parametrize("value", ["[loses]", "losses"])
def test_figures_that_there_are_not(value: str, refused: Callable[..., UserError]) -> None:
    assert refused(f"figures={value}").key == "figures"


# Heat maps


def test_a_heat_map_has_the_mean_over_seeds_in_each_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {(1, 10): (0.1, 0.3), (1, 20): (0.5,), (2, 10): (0.7,)}
    found = [
        result(value, seed, config={"method.alpha": alpha, "method.lam": lam})
        for (lam, alpha), each in values.items()
        for seed, value in enumerate(each)
    ]
    write_finished(tmp_path, *found, result(0.9, method="jit"))
    runs = collect(tmp_path)
    figure = heat_map(runs, ["method.lam", "method.alpha"], ["forget/acc", "gap/mean"])
    maps = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in maps] == ["forget/acc", "gap/mean"]
    cells = maps[0].images[0].get_array()
    np.testing.assert_allclose(np.ma.filled(cells, np.nan), [[0.2, 0.7], [0.5, np.nan]])
    assert [text.get_text() for text in maps[0].texts] == ["0.2", "0.7", "0.5"]
    assert main([str(tmp_path), "--heat", "method.lam,method.alpha", "--metrics", "forget/acc"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "heat.png")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_settings_that_differ_otherwise_have_a_map_each(tmp_path: Path) -> None:
    found = [
        result(0.1, method=method, config={"method.alpha": a, "method.lam": b})
        for method in ("ssd", "jit")
        for a in (1, 2)
        for b in (3, 4)
    ]
    runs = collect(write_finished(tmp_path, *found))
    titles = [axes.get_title() for axes in heat_map(runs, ["method.alpha", "method.lam"], ["forget/acc"]).axes]
    assert sorted(filter(None, titles)) == ["forget/acc\nmethod=jit", "forget/acc\nmethod=ssd"]


@pytest.mark.parametrize("keys", ["method.alpha", "method.alpha,method.alpha", "method.alpha,method.alhpa", "a,b,c"])
def test_keys_that_do_not_make_a_map_are_refused(keys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_finished(tmp_path, *(result(0.1, config={"method.alpha": alpha}) for alpha in (1, 2)))
    assert main([str(tmp_path), "--heat", keys]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main([str(tmp_path), "--heat", "method.alpha,dataset.name"]) == 1  # one value in all


def test_maps_of_a_metric_share_a_line_and_the_ends_of_its_colours(tmp_path: Path) -> None:
    found = [
        result(0.1 * (a + b) + where, method=method, config={"method.alpha": a, "method.lam": b})
        for where, method in ((0.0, "ssd"), (0.2, "jit"))
        for a in (1, 2)
        for b in (1, 2)
    ]
    runs = collect(write_finished(tmp_path, *found))
    figure = heat_map(runs, ["method.alpha", "method.lam"], ["forget/acc", "gap/mean"])
    maps = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title().split("\n")[0] for axes in maps] == ["forget/acc", "forget/acc", "gap/mean", "gap/mean"]
    assert [axes.get_subplotspec().rowspan.start for axes in maps] == [0, 0, 1, 1]
    assert [axes.images[0].get_clim() for axes in maps[:2]] == [pytest.approx((0.2, 0.6))] * 2
