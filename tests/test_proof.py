"""The proof of a deletion: the verdict in words, and a user's checkpoint against the digests that results name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from unlearning.errors import UserError
from unlearning.models.checkpoints import load_checkpoint
from unlearning.models.small_cnn import SmallCNN
from unlearning.records.hardware import hardware
from unlearning.records.verdict import ALONE, ONE_RUN, verdict
from unlearning.verify.model import checks

SIZES = {"forget": 1200, "manipulated": 0}
ORIGINAL = {"forget/acc": 1.0, "retain/acc": 0.99}
OURS = {"forget/acc": 0.5, "retain/acc": 0.9}
RETRAINED = {"forget/acc": 0.75, "retain/acc": 1.0}


def results(**parts: Any) -> dict[str, Any]:
    rows = {"original": ORIGINAL, "unlearned": OURS}
    return {"rows": rows, "gaps": {}, "sizes": SIZES, "notes": [], "same_parameters": False} | parts


def test_the_verdict_without_a_retrained_model_proves_nothing() -> None:
    assert verdict(results()) == (
        "The model is right about 0.500 of the 1,200 samples that were to be forgotten (1.000 before), and about 0.900 "
        f"of the others that it learned (0.990 before). {ALONE}"
    )


def test_the_verdict_with_a_retrained_model_says_what_that_does() -> None:
    rows = {"original": ORIGINAL, "retrained": RETRAINED, "unlearned": OURS}
    said = verdict(results(rows=rows, gaps={"gap/mean": 0.175}, notes=["it was destroyed"]))
    assert said.startswith("Read the notes first. The model is right about 0.500")
    assert said.endswith(f"; a model trained without them is right about 0.750 and 1.000 (mean gap 0.175). {ONE_RUN}")
    corrective = verdict(results(rows=rows, sizes=SIZES | {"manipulated": 4000}))  # retraining is not the aim there
    assert "without them" not in corrective


def test_the_verdict_where_nothing_was_done_or_measured() -> None:
    assert "nothing was done" in verdict(results(same_parameters=True))
    assert "nothing is said" in verdict(results(rows={"unlearned": {"mia/loss_auc": 0.5}}))


def test_the_machine_is_named() -> None:
    found = hardware("cpu")
    assert found["accelerator"] == "cpu"
    assert found["cores"] >= 1
    assert found["processor"]


@pytest.mark.parametrize("form", ["float16", "with a loss", "in shards", "plain"])
def test_a_checkpoint_is_verified_in_the_form_that_it_came_in(form: str, tmp_path: Path) -> None:
    network = SmallCNN((3, 8, 8), 3)
    state = {f"model.{name}": tensor.clone() for name, tensor in network.state_dict().items()}
    if form == "float16":
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    if form == "with a loss":
        state["loss.weight"] = torch.ones(3, dtype=torch.float64)
    file = tmp_path / ("model.safetensors.index.json" if form == "in shards" else "own.ckpt")
    if form == "in shards":
        save_file(state, tmp_path / "a.safetensors")
        file.write_text(json.dumps({"weight_map": dict.fromkeys(state, "a.safetensors")}))
    elif form == "plain":
        torch.save(state, file)
    else:
        torch.save({"epoch": 1, "state_dict": state}, file)
    other = SmallCNN((3, 8, 8), 3)
    naming = load_checkpoint(other, str(file))
    stated = {"checkpoint": naming.about, "original_weights": naming.weights(other)}
    assert all(check.agrees for check in checks(stated, file))
    assert not any(check.agrees for check in checks(stated | {"original_weights": "0"}, file)[1:])
    renamed = {name: 2 * tensor for name, tensor in state.items()}
    if form == "in shards":
        save_file(renamed, tmp_path / "a.safetensors")
    else:
        torch.save(renamed if form == "plain" else {"state_dict": renamed}, file)
    assert [check.agrees for check in checks(stated, file)] == [False, False]


def test_a_run_without_a_checkpoint_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("weights")
    about = {"sha256": "", "inside": [], "besides": []}
    for stated, name in (({"checkpoint": None}, "text.pt"), ({"checkpoint": about}, "none.pt")):
        with pytest.raises(UserError):
            checks(stated, tmp_path / name)


def test_another_file_than_that_of_the_run_disagrees(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "other.pt")
    about = {"sha256": "0", "inside": ["state_dict"], "besides": []}
    found = checks({"checkpoint": about, "original_weights": "0"}, tmp_path / "other.pt")
    assert [(check.name, check.agrees) for check in found] == [
        ("checkpoint/sha256", False),
        ("original_weights", False),
    ]
