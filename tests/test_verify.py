"""``python -m unlearning.verify``: what agrees, and that every number, label and logit that was changed is found.

The folders are written by the code that writes those of runs; their models' predictions are made up.
"""

import copy
import functools
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.conftest import composed
from unlearning.config.build import specs
from unlearning.data.datasets import Dataset
from unlearning.data.trigger import Attack
from unlearning.engine.evaluation import Model, Result, evaluate
from unlearning.errors import UserError
from unlearning.metrics.features import Features, looked_at
from unlearning.records import artefacts, summary_figure
from unlearning.records import folder as records
from unlearning.records.tracking import NoTracking
from unlearning.request import Request
from unlearning.runtime.digests import file_digest, state_digest
from unlearning.scenarios.base import Problem
from unlearning.types import Split
from unlearning.verify.command import main
from unlearning.verify.comparison import Verdict, compared
from unlearning.verify.files import read
from unlearning.verify.proof import checks as proof

N, CLASSES = 240, 4
MODELS = ("original", "retrained", "clean", "unlearned")
SETTINGS = (
    "evaluation=layers",
    "evaluation.transfer.limit=20",
    "evaluation.membership.fprs=[.01,.29]",
    "evaluation.svc_membership.limit=30",
    "evaluation.intervals.resamples=20",
    "evaluation.fitted_attacks.inputs=[loss,probability]",
    "method=ssd",
)
ALL_FEATURES = "evaluation.membership.features=[loss,entropy,confidence,modified_entropy,margin]"
BEYOND = ("cost/", "noise/", "transfer/")  # what the folder of a run does not give
LACKING = {
    "corrective": (),
    "random": ("svc_membership",),
    "few": (
        *("accuracy", "svc_membership", "matched_attack", "noise_curve", "zrf", "probes", "original_cka"),
        *("retrained_cka", "three_class", "intervals", "fitted_attacks", "original_layer_cka", "retrained_layer_cka"),
    ),
}


def problem(kind: str) -> Problem:
    """Samples 0-119 train, 120-139 validation, 140-239 test; half of the manipulated ones, 0-39, are known."""
    ids, labels = torch.arange(N), torch.arange(N) % CLASSES
    inputs = torch.randint(0, 256, (N, 2, 2, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    data = Dataset("made up", inputs, labels, tuple("abcd"), ids[:120], ids[120:140], ids[140:], (0.5,), (0.5,))
    size = {"corrective": 20, "random": 30, "few": 1}[kind]
    sets = (data.train, ids[:size], ids[size:120], data.validation, data.test, ids[:0], data.test)
    split = Split(*(part.clone() for part in sets))
    if kind != "corrective":
        return Problem.of(data, split)
    taught = labels.clone()
    taught[:40] = torch.arange(40) % 3  # some of them are right
    pair = (labels[140:] == 1) | (labels[140:] == 2)
    split = replace(split, test_forget=ids[140:][pair], test_retain=ids[140:][~pair], manipulated=ids[:40])
    attack: Any = Attack(None, 0)  # type: ignore[arg-type]
    return Problem.of(replace(data, labels=taught, clean_labels=labels), split, attack)


def result(kind: str, nodes: Mapping[str, Any]) -> Result:
    """The result of made-up models, which are right more or less often."""
    asked = problem(kind)
    generator = torch.Generator().manual_seed(0)
    models, ids = {}, looked_at(asked.split)
    for strength, name in enumerate(MODELS if kind != "random" else ("original", "unlearned")):
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, CLASSES))
        logits, triggered = (torch.randn(n, CLASSES, generator=generator) for n in (N, 100))
        logits[torch.arange(N), asked.data.labels] += strength
        cost = {"cost/seconds": 1.0, "cost/passes": 2.0}
        features = torch.randn(N, 3, generator=generator)
        features[torch.arange(N), asked.data.labels % 3] += strength
        known = Features(ids, features[ids], {"conv.1": features[ids].square(), "head": logits[ids]})
        models[name] = Model(network, logits, cost, triggered if kind == "corrective" else None, known)
    metrics = {name: spec.build() for name, spec in specs(nodes, "evaluation").items()}
    untrained = torch.randn(N, CLASSES, generator=generator)
    found = evaluate(asked, metrics, models, untrained if "zrf" in metrics else None)
    before, after = (state_digest(models[name].network.state_dict()) for name in ("original", "unlearned"))
    return Result(
        **found,
        cost=models["unlearned"].cost,
        access={},
        sizes={name: len(ids) for name, ids in asked.split.sets.items()},
        requested=None,
        data={"dataset": asked.data.digest, "split": asked.split.digest},
        weights=after,
        original_weights=before,
        unchanged=False,
        same_parameters=False,
        curves={},
        dataset=asked.data,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the folder of a finished run of that kind."""
    root = tmp_path_factory.mktemp("verify")
    config, choices = composed(*SETTINGS, ALL_FEATURES, "method=ssd", f"paths.root={root}")

    @functools.cache
    def folder(kind: str) -> Path:
        metrics = {name: node for name, node in config["evaluation"].items() if name not in LACKING[kind]}
        request = Request(config | {"evaluation": metrics}, choices)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(summary_figure, "noise_figure", lambda _: None)  # drawing takes longer than all else
            patch.setattr(artefacts, "layers_figure", lambda _: None)
            records.clear(request)
            records.finish(request, result(kind, metrics), NoTracking(), 1000.0)
        return request.folder

    return folder


@pytest.fixture
def run(finished: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the folder of a corrective run, to be changed."""
    return Path(shutil.copytree(finished("corrective"), tmp_path / "run"))


def numbers(results: dict[str, Any]) -> Iterator[tuple[str, dict[str, float], str]]:
    """The name that a check gives each number, and the place of the number; without costs and what needs images."""
    for model, row in results["rows"].items():
        yield from ((f"{model} {name}", row, name) for name in row if not name.startswith(BEYOND))
    yield from ((name, results["gaps"], name) for name in results["gaps"])
    yield from ((f"sizes/{name}", results["sizes"], name) for name in results["sizes"])


def disagreeing(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if not check.agrees}


# What agrees


@pytest.mark.parametrize("kind", LACKING)
def test_all_numbers_of_a_run_are_recomputed_and_agree(
    kind: str, finished: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished(kind)
    assert main([str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    table = {line[2:].rpartition("  ")[0].split("  ")[0]: line.split() for line in out.splitlines()[2:]}
    results = json.loads((folder / "results.json").read_text())
    for name, where, key in numbers(results):
        *_, stated, recomputed, difference = table[name]
        assert float(stated) == pytest.approx(where[key], rel=1e-8)
        assert float(recomputed) == pytest.approx(where[key], rel=1e-6, abs=1e-8)
        assert float(difference) < 1e-6
    assert "cannot be recomputed: cost/..." in out
    assert ("cannot be recomputed: noise/..." in out) == (kind != "few")
    assert re.search(r"all \d+ numbers agree\n$", out)


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "curves.json", "provenance.json"])
def test_what_a_signature_covers_is_in_the_digests(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / name).write_text((run / name).read_text() + "\n")
    assert main([str(run)]) == 1
    assert f"  {name} " in next(line for line in capsys.readouterr().out.splitlines() if "DISAGREES" in line)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"verdict": "All is well."}, "verdict as on the card"),
        ({"notes": ["all is well"]}, "notes as on the card"),
        ({"command": "another"}, "facts as in provenance.json"),
        ({"selected": {"entries": 3}}, "list as on the card"),
    ],
)
def test_results_that_were_edited_differ_from_the_card(change: dict[str, Any], name: str, run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    assert all(check.agrees for check in proof(results, run, None))
    assert [check.name for check in proof(results | change, run, None) if not check.agrees] == [name]


def test_the_list_of_a_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "delete.txt").write_text("cat/1.png")
    results = json.loads((run / "results.json").read_text())
    with pytest.raises(UserError):
        list(proof(results, run, tmp_path / "delete.txt"))
    digest = hashlib.sha256(b"cat/1.png").hexdigest()
    for stated, agrees in ((digest, True), ("0", False)):
        *_, last = proof(results | {"inputs": {"scenario.file": stated}}, run, tmp_path / "delete.txt")
        assert (last.name, last.agrees) == ("list/sha256", agrees)


def test_the_made_up_runs_have_every_metric_and_every_average(finished: Callable[[str], Path]) -> None:
    results = read(finished("corrective")).results
    found = {name.partition("/")[0] for name in results["rows"]["clean"]}
    assert found == {
        *(
            "attack",
            "audit",
            "layer_cka",
            "transfer",
            "backdoor",
            "cka",
            "class_acc",
            "corrective",
            "cost",
            "distance",
            "forget",
            "mia",
            "noise",
            "probe",
        ),
        *("retain", "tcmia", "test", "test_forget", "test_retain", "val", "zrf"),
    }
    assert {"gap/mean", "gap/mean_svc", "gap/mean_val"} <= results["gaps"].keys()
    assert "corrective/poison_healed" in results["rows"]["clean"]
    assert results["failed"] == {}
    few = read(finished("few")).results
    assert len(few["failed"]) == 2 * len(few["rows"])  # the two attacks need two members
    assert "gap/mean" not in few["gaps"]


def test_metrics_that_failed_in_the_run_are_told(finished: Callable[[str], Path]) -> None:
    verdict = compared(read(finished("few")))
    assert {f"{model}: membership" for model in MODELS} <= verdict.beyond.keys()
    assert not any("mia/loss" in check.name for check in verdict.checks)


def test_a_metric_from_elsewhere_is_told_and_its_gap_checked_where_there_is_one(
    finished: Callable[[str], Path],
) -> None:
    files = read(finished("corrective"))
    results = copy.deepcopy(dict(files.results))
    results["config"]["evaluation"]["mine"] = {"_target_": "mine.Metric"}
    for row in results["rows"].values():
        row["mine/x"] = row["mine/y"] = 0.5  # y needs the retrained model, so it has no gap
    for gap, wrong in ((0.0, set()), (0.1, {"gap/mine/x"})):
        results["gaps"]["gap/mine/x"] = gap
        verdict = compared(replace(files, results=results))
        assert disagreeing(verdict) == wrong
        assert "outside" in verdict.beyond["mine/..."]


# What was changed


def test_every_number_that_is_changed_is_found(finished: Callable[[str], Path]) -> None:
    files = read(finished("corrective"))
    results = copy.deepcopy(dict(files.results))
    for _, where, key in numbers(results):
        where[key] += 1e-5 if isinstance(where[key], float) else 1
    assert {name for name, *_ in numbers(results)} == disagreeing(compared(replace(files, results=results)))


def test_numbers_that_are_removed_or_invented_are_found(finished: Callable[[str], Path]) -> None:
    files = read(finished("random"))
    results = copy.deepcopy(dict(files.results))
    del results["rows"]["unlearned"]["forget/acc"], results["sizes"]["test"]
    results["rows"]["original"]["forget/success"] = 1.0
    results["gaps"]["gap/forget/acc"] = 0.0
    results["unchanged"] = True
    found = disagreeing(compared(replace(files, results=results)))
    assert found == {*("unlearned forget/acc", "sizes/test", "original forget/success", "gap/forget/acc", "unchanged")}


def test_a_changed_number_is_shown_and_decides_the_exit_code(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = json.loads((run / "results.json").read_text())
    results["rows"]["unlearned"]["forget/acc"] += 0.25
    (run / "results.json").write_text(json.dumps(results))
    assert main([str(run)]) == 1
    out, _ = capsys.readouterr()
    (line,) = [line for line in out.splitlines() if line.endswith("DISAGREES")]
    assert line.split()[:2] == ["unlearned", "forget/acc"]
    assert line.split()[-2] == "2.5e-01"
    assert re.search(r"  1 of \d+ numbers DISAGREE\n$", out)


@pytest.mark.parametrize("file", ["predictions", "references-*", "unlearned"])
def test_the_smallest_change_of_a_logit_or_weight_is_found(file: str, run: Path) -> None:
    (path,) = run.glob(f"{file}.safetensors")
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    flat = tensors[name].view(-1)
    flat[0] = torch.nextafter(flat[0], torch.tensor(9.0))
    save_file(tensors, path, {"classes": '["a", "b", "c", "d"]', "target": "0"})
    assert path.name in disagreeing(compared(read(run)))


@pytest.mark.parametrize(
    ("tensor", "wrong"),
    [
        ("logits", {"unlearned forget/acc", "gap/forget/acc", "unlearned distance/js_forget"}),
        pytest.param("triggered", {"unlearned backdoor/attack"}, marks=pytest.mark.slow),
        ("labels", {"original forget/acc", "retrained forget/acc"}),
        pytest.param("true_labels", {"original corrective/acc_seen"}, marks=pytest.mark.slow),
        ("original logits", {"original forget/acc", "unlearned corrective/acc_drop"}),
        pytest.param(
            "retrained logits", {"gap/forget/acc", "unlearned distance/fidelity_forget"}, marks=pytest.mark.slow
        ),
        pytest.param("untrained logits", {"unlearned zrf/forget"}, marks=pytest.mark.slow),
        ("features", {"unlearned probe/silhouette", "unlearned cka/retrained_retain"}),
        pytest.param(
            "original features", {"original probe/silhouette", "unlearned cka/original_forget"}, marks=pytest.mark.slow
        ),
    ],
)
def test_predictions_of_other_samples_are_found_even_if_the_digests_fit(
    tensor: str, wrong: set[str], run: Path
) -> None:
    """All rows move up by one, so that each sample has what belongs to the next."""
    (path,) = run.glob("references-*" if " " in tensor else "predictions.safetensors")
    tensors = load_file(path)
    tensors[tensor] = tensors[tensor].roll(-1, 0)
    save_file(tensors, path, {"classes": '["a", "b", "c", "d"]', "target": "0"})
    results = json.loads((run / "results.json").read_text())
    results["files"][path.name] = file_digest(path)
    (run / "results.json").write_text(json.dumps(results))
    found = disagreeing(compared(read(run)))
    assert wrong <= found
    assert path.name not in found


# Bad input


def spoiled(run: Path, how: str) -> None:
    """Make a folder that cannot be verified."""
    results = json.loads((run / "results.json").read_text())
    predictions = run / "predictions.safetensors"
    match how:
        case "no folder":
            shutil.rmtree(run)
        case "no JSON":
            (run / "results.json").write_text("{")
        case "a list":
            (run / "results.json").write_text("[]")
        case "other results":
            (run / "results.json").write_text(json.dumps(results | {"rows": 3}))
        case "an earlier version":
            del results["files"]
            (run / "results.json").write_text(json.dumps(results))
        case "no predictions":
            predictions.unlink()
        case "half of the predictions":
            predictions.write_bytes(predictions.read_bytes()[:1000])
        case "no weights":
            (run / "unlearned.safetensors").unlink()
        case "fewer samples":
            tensors = load_file(predictions)
            tensors["logits"] = tensors["logits"][:9].clone()
            save_file(tensors, predictions, {"classes": '["a", "b", "c", "d"]', "target": "0"})
        case "other facts":
            save_file(load_file(predictions), predictions)


@pytest.mark.parametrize(
    "how",
    [
        *("no folder", "no JSON", "a list", "other results", "an earlier version", "no predictions"),
        *("half of the predictions", "no weights", "fewer samples", "other facts"),
    ],
)
def test_a_folder_that_cannot_be_verified_is_one_line(
    how: str, run: Path, finished: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled(run, how)
    assert main([str(run), str(finished("few"))]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("verify: ")
    assert err.count("\n") == 1
    assert str(run) in err
    assert out.startswith(f"{finished('few')}\n")  # the others are verified


def test_help_and_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in ((["--help"], 0), ([], 2)):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == code
    assert "exit code" in capsys.readouterr().out
