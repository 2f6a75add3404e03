"""The control that changes the head alone: its step by hand, and that it fools the output and nothing else."""

import copy

import pytest
import torch

from tests.by_hand import FORGET, LR, RETAIN, SGD, W, close, gradient
from tests.conftest import Tiny, composed, compute
from tests.digits import results
from unlearning.engine.features import predict_with_features
from unlearning.engine.fitting import fit
from unlearning.engine.job import Job
from unlearning.methods.head_only import HeadOnly, without

JUDGES = {  # beside the accuracies and distances that every evaluation has
    "attack": "membership.MembershipInference",
    "probes": "feature_probes.FeatureProbes",
    "original_cka": "representation.OriginalCKA",
    "retrained_cka": "representation.RetrainedCKA",
    "relearning": "relearning.Relearning",
    "audit": "audit.Audit",
}


def test_a_step_teaches_the_second_guess_by_hand(tiny: Tiny) -> None:
    x, y = FORGET
    tiny.fit(HeadOnly(tiny.model, optimizer=SGD, retain_weight=0.7))
    close(tiny, W - LR * (gradient(W, x, 1 - y) + 0.7 * gradient(W, *RETAIN)))


def test_the_guess_is_neither_the_label_nor_a_forgotten_class() -> None:
    logits = torch.tensor([[5.0, 4.0, 3.0, 2.0], [1.0, 4.0, 3.0, 2.0], [9.0, 0.0, 1.0, 8.0]])
    assert without(logits, torch.tensor([0, 1, 3]), ()).argmax(1).tolist() == [1, 2, 0]
    assert without(logits, torch.tensor([0, 1, 0]), (0, 1)).argmax(1).tolist() == [2, 2, 3]
    assert logits.isfinite().all()


def test_the_features_stay_bit_by_bit() -> None:
    job = Job.of(composed("method=head_only", "method.epochs=1", "tracking=none", "paths.root=/tmp")[0])
    torch.manual_seed(0)
    network = job.network()
    method = job.lab.method(job.problem, job.method, {}, copy.deepcopy(network))
    fit(method, job.problem, compute(steps=5), 0)
    before, after = network.state_dict(), method.model.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {"head.weight", "head.bias"}
    ids = job.problem.split.train
    pair = [predict_with_features(model, job.problem, compute(), ids) for model in (network, method.model)]
    assert torch.equal(pair[0][1].values, pair[1][1].values)
    assert not torch.equal(pair[0][0], pair[1][0])


def test_it_passes_the_output_and_fails_the_probes_and_relearning(places: list[str]) -> None:
    """Its features are the original's: whatever looks at them must say so, and must tell it from a retrained model."""
    judges = [f"+evaluation.{name}._target_=unlearning.metrics.{path}" for name, path in JUDGES.items()]
    found = results(places, "method=head_only", *judges, "+evaluation.relearning.lr=0.003")
    assert found["failed"] == {}
    original, retrained, control = (found["rows"][name] for name in ("original", "retrained", "unlearned"))
    # the output: as a retrained model's
    assert original["forget/acc"] == original["test_forget/acc"] == 1
    assert control["forget/acc"] == control["test_forget/acc"] == retrained["forget/acc"] == 0
    assert control["retain/acc"] >= original["retain/acc"] - 0.01
    assert control["mia/loss_auc"] == pytest.approx(retrained["mia/loss_auc"], abs=0.1)
    assert found["gaps"]["gap/mean"] < 0.03
    # the features: the original's to the last digit, and not the retrained model's
    for name in (name for name in control if name.startswith(("probe/", "cka/"))):
        assert control[name] == original[name], name
    assert control["cka/original_forget"] == control["cka/original_retain"] == pytest.approx(1)
    assert retrained["cka/original_forget"] < 0.9
    assert control["probe/linear_forget"] == control["probe/knn_forget"] == 1 > retrained["probe/knn_forget"]
    assert control["probe/silhouette"] > retrained["probe/silhouette"] + 0.2
    # the audit of both
    assert control["audit/output"] > 0.97
    assert control["audit/representation"] == pytest.approx(original["audit/representation"])
    assert control["audit/representation"] < 0.9
    # relearning
    assert 0 < control["relearn/epochs"] < retrained["relearn/epochs"]
    assert 0 < control["relearn/steps"] < retrained["relearn/steps"]
    assert control["relearn/anamnesis"] == control["relearn/steps"] / retrained["relearn/steps"]
