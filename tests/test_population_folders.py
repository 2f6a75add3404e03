"""Populations of hand-made runs: what their folders give, and the command over them."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.finished import result
from unlearning.populations.challenge import epsilons, forgetting_quality
from unlearning.populations.chance import chance
from unlearning.populations.command import main
from unlearning.populations.folders import populations
from unlearning.populations.klom import js_divergence, klom, ks_distance
from unlearning.populations.scores import chosen_samples, reading, scores
from unlearning.populations.table import show
from unlearning.populations.ulira import efficacy, privacy
from unlearning.records.folder import destination
from unlearning.records.tracked import TrackedRun
from unlearning.report import collect
from unlearning.report import main as report
from unlearning.report.populations import FILE

N = 40  # samples; the last ten are for validation
RANDOM = np.random.default_rng(3)


def write_run(root: Path, seed: int, margins: Mapping[str, np.ndarray], forget: np.ndarray, train: np.ndarray) -> None:
    """A finished run whose models have these margins: of label 0, with logits (margin, 0)."""
    folder = root / f"run{len(list(root.iterdir()))}"
    folder.mkdir()
    logits = {name: np.stack([m, 0 * m], 1).astype(np.float32) for name, m in margins.items()}
    labels = np.zeros(N, dtype=np.int64)
    save_file({"labels": labels, "logits": logits.pop("unlearned")}, folder / "predictions.safetensors")
    save_file({f"{name} logits": array for name, array in logits.items()}, folder / "references-0.safetensors")
    sets = {"forget": forget, "train": train, "retain": np.setdiff1d(train, forget), "validation": np.arange(30, N)}
    save_file({name: np.asarray(ids, dtype=np.int64) for name, ids in sets.items()}, folder / "split.safetensors")
    found = result(seed=seed)
    found["rows"]["unlearned"] |= {"retain/acc": 0.8, "test/acc": 0.6}
    found["rows"]["retrained"] |= {"retain/acc": 1.0, "test/acc": 0.8}
    (folder / "results.json").write_text(json.dumps(found))
    (folder / "DONE").touch()


def same_request(root: Path, models: int = 6) -> np.ndarray:
    """Runs that forget the samples 0 to 9; returns their (2, K, N) margins, unlearned and retrained."""
    margins = RANDOM.normal(size=(2, models, N)).astype(np.float32)
    for seed, (unlearned, retrained) in enumerate(margins.swapaxes(0, 1)):
        write_run(root, seed, {"unlearned": unlearned, "retrained": retrained}, np.arange(10), np.arange(30))
    return margins


def shadows(root: Path, runs: int = 24, learned: float = 0.5) -> dict[str, np.ndarray]:
    """Runs that learn and forget samples of their own; sample 0 is memorised. Returns the arrays."""
    state = RANDOM.random((runs, N))
    state[:, 30:] = 1
    found = {"forget": state < learned / 2, "train": state < learned}
    found |= {name: RANDOM.normal(size=(runs, N)).astype(np.float32) for name in ("unlearned", "retrained", "original")}
    found["original"][:, 0] += 9 * (state[:, 0] < learned) - 5
    for seed in range(runs):
        forget, train = (np.flatnonzero(found[name][seed]) for name in ("forget", "train"))
        write_run(root, seed, {n: found[n][seed] for n in ("unlearned", "retrained", "original")}, forget, train)
    return found


def test_a_population_is_compared_where_its_runs_forget_the_same(tmp_path: Path) -> None:
    unlearned, retrained = same_request(tmp_path).astype(float)
    (population,) = populations(tmp_path, collect(tmp_path))
    assert population.same_request
    found = scores(population)
    expected = klom(unlearned[:, :10], retrained[:, :10])
    assert found.values["klom/forget_mean"] == pytest.approx(expected.mean())
    assert found.values["klom/forget_p95"] == pytest.approx(np.percentile(expected, 95))
    assert found.values["klom/validation_mean"] == pytest.approx(klom(unlearned[:, 30:], retrained[:, 30:]).mean())
    other_way = scores(population, "retrained||unlearned").values["klom/retain_mean"]
    assert other_way == pytest.approx(klom(retrained[:, 10:30], unlearned[:, 10:30]).mean())
    quality = forgetting_quality(epsilons(unlearned[:, :10], retrained[:, :10]))
    assert found.values["challenge/score"] == pytest.approx(quality * 0.8 * 0.75)
    assert any("too few" in note for note in found.notes)  # six models for twenty bins
    assert found.floor.keys() == found.values.keys()


def test_every_score_has_its_level_by_chance() -> None:
    """That of a control whose models are of one distribution, of which the scores are those of ``chance``."""
    models, others = 40, 25
    control = RANDOM.normal(size=(models, 2000)), RANDOM.normal(size=(others, 2000))
    expected = chance(models, others)
    assert ks_distance(*control).mean() == pytest.approx(expected["ks/forget"], rel=0.03)
    assert js_divergence(*control).mean() == pytest.approx(expected["js/forget"], rel=0.03)
    assert klom(*control).mean() == pytest.approx(expected["klom/forget_mean"], rel=0.05)
    back = klom(*control, "retrained||unlearned").mean()  # of fewer models, so with more empty bins of Q
    assert back == pytest.approx(chance(models, others, "retrained||unlearned")["klom/forget_mean"], rel=0.05)
    assert abs(back - expected["klom/forget_mean"]) > 0.2 * back
    few = control[0][:, :200], control[1][:, :200]
    assert np.median(epsilons(*few)) == pytest.approx(expected["challenge/epsilon"], rel=0.1)
    assert forgetting_quality(epsilons(*few)) == pytest.approx(expected["challenge/f"], rel=0.3)
    # by the limit theorem of Kolmogorov and Smirnov the mean statistic is sqrt(pi / 2) ln 2 / sqrt(n m / (n + m))
    limit = np.sqrt(np.pi / 2) * np.log(2) / np.sqrt(models * others / (models + others))
    assert expected["ks/forget"] == pytest.approx(limit, rel=0.1)
    assert chance(8, 8)["ks/forget"] > expected["ks/forget"]


def test_a_class_on_several_splits_is_told_why_it_has_no_divergence(tmp_path: Path) -> None:
    """Each run forgets the samples 0 to 9, as far as they are in its training set."""
    for seed in range(4):
        train = np.flatnonzero(np.arange(N) % 4 != seed)
        margins = {"unlearned": RANDOM.normal(size=N), "retrained": RANDOM.normal(size=N)}
        write_run(tmp_path, seed, margins, train[train < 10], train)
    (population,) = populations(tmp_path, collect(tmp_path))
    found = scores(population)
    assert not any(name.startswith("klom") for name in found.values)
    assert any("one request" in note and "split.seed=0" in note for note in found.notes)


def test_each_method_has_its_own_level_by_chance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for method, models in (("ssd", 8), ("jit", 4)):
        (root := tmp_path / method).mkdir()
        same_request(root, models)
    found = {m: scores(next(populations(tmp_path / m, collect(tmp_path / m)))) for m in ("ssd", "jit")}
    show(list(found.values()), "unlearned||retrained")
    (line,) = (row.split() for row in capsys.readouterr().out.splitlines() if row.strip().startswith("ks/forget"))
    assert line[1] == "↓"
    assert [line[3], line[5]] == [f"{one.floor['ks/forget']:.3f}" for one in found.values()]
    assert line[3] != line[5]
    assert (reading("challenge/f"), reading("ulira/privacy_auc")) == ("up", "down")


def test_equal_models_count_once(tmp_path: Path) -> None:
    retrained = RANDOM.normal(size=(3, N))
    for seed in range(3):
        margins = {"unlearned": RANDOM.normal(size=N), "retrained": retrained[min(seed, 1)]}
        write_run(tmp_path, seed, margins, np.arange(10), np.arange(30))
    (population,) = populations(tmp_path, collect(tmp_path))
    assert scores(population).notes[0].startswith("3 unlearned and 2 retrained models")
    for file in tmp_path.glob("*/references-0.safetensors"):
        save_file({"retrained logits": np.zeros((N, 2), dtype=np.float32)}, file)
    (population,) = populations(tmp_path, collect(tmp_path))
    assert scores(population).values == {}


def test_a_population_is_attacked_where_its_runs_forget_others(tmp_path: Path) -> None:
    arrays = shadows(tmp_path)
    (population,) = populations(tmp_path, collect(tmp_path))
    assert not population.same_request
    found = scores(population)
    forget, retain = arrays["forget"], arrays["train"] & ~arrays["forget"]
    unlearned, retrained = arrays["unlearned"].astype(float), arrays["retrained"].astype(float)
    expected = efficacy(unlearned, retrained, forget, ~retain)
    assert found.values["ulira/efficacy_auc"] == pytest.approx(expected.auc.mean())
    unseen = ~arrays["train"]
    unseen[:, 30:] = False  # no run learns the samples for validation
    assert found.values["ulira/privacy_acc"] == pytest.approx(privacy(unlearned, forget, unseen).accuracy.mean())
    assert found.floor["ulira/privacy_acc"] == 0.5
    (_, everything), (_, memorised) = chosen_samples(population)
    assert everything.all()
    assert memorised[0]
    assert memorised.sum() == 3  # a tenth of the thirty samples that are learned
    judged = forget & memorised
    expected = efficacy(unlearned, retrained, judged, ~retain, pooled=True)
    assert found.values["ulira/memorised_efficacy_auc"] == pytest.approx(expected.auc.mean())


def test_without_unseen_samples_there_is_no_question_of_privacy(tmp_path: Path) -> None:
    state = RANDOM.random((8, 30)) < 0.5
    for seed in range(8):
        margins = {"unlearned": RANDOM.normal(size=N), "retrained": RANDOM.normal(size=N)}
        write_run(tmp_path, seed, margins, np.flatnonzero(state[seed]), np.arange(30))
    (population,) = populations(tmp_path, collect(tmp_path))
    found = scores(population)
    assert {name.rpartition("_")[0] for name in found.values} == {"ulira/efficacy"}
    assert any("privacy" in note for note in found.notes)
    assert any("different samples" in note for note in found.notes)  # the reason for no KLoM


def test_the_command_prints_and_writes_all_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root := tmp_path / "runs").mkdir()
    same_request(root)
    assert main([str(root), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "KL(unlearned||retrained)" in out
    assert "all seeds" in out
    with (tmp_path / "out" / FILE).open() as file:
        lines = {line["score"]: line for line in csv.DictReader(file)}
    assert lines["klom/forget_mean"]["runs"] == "6"
    assert {name: line["direction"] for name, line in lines.items()} == {
        name: "up" if name in ("challenge/f", "challenge/score") else "down" for name in lines
    }
    assert all(float(line["chance"]) >= 0 for line in lines.values())
    assert f"{float(lines['challenge/f']['value']):.3f}" in out


def test_runs_that_form_no_population_are_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root := tmp_path / "runs").mkdir()
    same_request(root, models=1)
    assert main([str(root)]) == 1
    assert capsys.readouterr().err.startswith(f"populations: no population in {root}")
    same_request(root, models=2)
    next(root.glob("run1/references-0.safetensors")).unlink()
    assert main([str(root)]) == 1
    assert "retrained" in capsys.readouterr().err


def test_the_report_shows_the_scores_of_populations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same_request(tmp_path)
    (tmp_path / "run0" / "results.json").rename(tmp_path / "kept")
    assert main([str(tmp_path)]) == 0
    (tmp_path / "kept").rename(tmp_path / "run0" / "results.json")
    assert report([str(tmp_path)]) == 0
    with (tmp_path / FILE).open() as file:
        line = next(line for line in csv.DictReader(file) if line["score"] == "ks/forget")
    value, chance_level = (f"{float(line[name]):.3f}" for name in ("value", "chance"))
    markdown = (tmp_path / "report.md").read_text()
    assert f"## Populations: {line['setting']}" in markdown
    assert f"{value} ({chance_level})" in markdown
    assert "there are 6 runs now" in markdown
    html = (tmp_path / "report.html").read_text()
    assert f"<td>{value}<small>({chance_level})</small></td>" in html
    assert "Populations: " in capsys.readouterr().out
    (tmp_path / FILE).write_text("score,value\nks/forget,high\n")
    assert report([str(tmp_path)]) == 1
    assert FILE in capsys.readouterr().err


class Recorder:
    """A tracker that keeps what it is given."""

    runs: ClassVar[list[TrackedRun]] = []

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def log_run(self, run: TrackedRun) -> str:
        self.runs.append(run)
        return "made"


def test_a_population_is_a_tracked_run_that_names_its_parts(tmp_path: Path) -> None:
    same_request(tmp_path, models=3)
    tracking = {"_target_": f"{__name__}.Recorder", "uri": "somewhere"}
    for number, file in enumerate(sorted(tmp_path.glob("*/results.json"))):
        found = json.loads(file.read_text())
        found["config"]["tracking"] = tracking
        file.write_text(json.dumps(found))
        if number < 2:
            (file.parent / "TRACKED").write_text(f"{destination(tracking)} id{number}\n")
    Recorder.runs.clear()
    assert main([str(tmp_path)]) == 0
    assert not Recorder.runs  # the third run was logged nowhere
    (tmp_path / "run2" / "TRACKED").write_text(f"{destination(tracking)} id2\n")
    for _ in range(2):  # the second time there is nothing new
        assert main([str(tmp_path)]) == 0
    (run,) = Recorder.runs
    assert run.name == "ssd, population of 3"
    assert run.tags["parts"] == "id0, id1, id2"
    assert run.params["method"] == "ssd"
    assert run.metrics["n"] == 3
    (one,) = populations(tmp_path, collect(tmp_path))
    found = scores(one)
    assert run.metrics.items() >= found.values.items()
    assert run.metrics["chance/ks/forget"] == found.floor["ks/forget"]
