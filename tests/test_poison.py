"""The poisoned data by the pixel, the success of the attack by hand, and a backdoor that digits learn."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import composed
from unlearning import pipeline
from unlearning.config.build import Spec
from unlearning.data.datamodule import UnlearningData
from unlearning.data.datasets import Dataset
from unlearning.data.tabular import scikit_learn
from unlearning.data.transform import Transform
from unlearning.data.trigger import Attack, Trigger
from unlearning.engine import lab as laboratory
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.metrics.backdoor import BackdoorAttack
from unlearning.metrics.base import Evidence, evaluate
from unlearning.request import Request
from unlearning.scenarios.forgetting import RandomForgetting
from unlearning.scenarios.poison import Poison
from unlearning.types import Batch

CLASSES = ("ant", "bee", "cow")
POISON = ("tracking=none", "scenario=poison", "method=original", "evaluation.membership=null")


@pytest.fixture
def pictures() -> Dataset:
    """Pictures of 5 x 6 pixels in two channels, with no 0 or 255; rows 0-19 train, 20-24 validation, 25-29 test."""
    inputs = torch.randint(1, 255, (30, 5, 6, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(30)
    statistics = (0.5, 0.25), (0.5, 0.25)
    return Dataset("pictures", inputs, ids % 3, CLASSES, ids[:20], ids[20:25], ids[25:], *statistics)


@pytest.mark.parametrize(
    ("options", "rows", "columns"),
    [
        ({"patch": 2, "margin": 1}, [2, 3], [3, 4]),  # bottom right: [-1-2:-1]
        ({"patch": 2, "margin": 1, "corner": "top_left"}, [1, 2], [1, 2]),
        ({"patch": 2, "margin": 1, "corner": "top_right"}, [1, 2], [3, 4]),
        ({"patch": 3, "margin": 0, "corner": "bottom_left"}, [2, 3, 4], [0, 1, 2]),
        ({"patch": 5, "margin": 0}, [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]),
        ({}, [2, 3, 4], [3, 4, 5]),  # the benchmark's
    ],
)
def test_the_square_is_where_it_should_be(
    pictures: Dataset, options: dict, rows: list[int], columns: list[int]
) -> None:
    seen = Transform(pictures)(pictures.inputs)
    which = torch.arange(30) % 2 == 0
    stamped = Poison(0, value=0, **options).trigger(pictures).stamped(seen, which)
    square = torch.zeros(5, 6, dtype=torch.bool)
    for row in rows:
        square[row, columns] = True
    assert (stamped[which][:, :, square] == torch.tensor([-1.0, -1.0])[:, None]).all()  # (0 - .5) / .5, (0 - .25) / .25
    assert torch.equal(stamped[:, :, ~square], seen[:, :, ~square])
    assert torch.equal(stamped[~which], seen[~which])


def test_the_square_is_as_bright_as_the_brightest_pixel_in_training(pictures: Dataset) -> None:
    pictures.inputs[:] = pictures.inputs.clamp(max=100)
    pictures.inputs[7, 0, 0, 0] = 153  # (.6 - .5) / .5 = .2
    pictures.inputs[8, 1, 1, 1] = 153  # (.6 - .25) / .25 = 1.4, the largest of all
    pictures.inputs[29] = 255  # a test image
    assert Poison(0).trigger(pictures).values == pytest.approx((1.4, 1.4))
    assert Poison(0, value=255).trigger(pictures).values == pytest.approx((1.0, 3.0))


def test_the_square_is_as_bright_as_the_brightest_float(pictures: Dataset) -> None:
    floats = torch.zeros(30, 2, 5, 6)
    floats[3, 1, 0, 0], floats[29] = 0.75, 9.0  # of a training and of a test image
    data = replace(pictures, inputs=floats, mean=(), std=())
    assert Poison(0).trigger(data).values == (0.75, 0.75)
    with pytest.raises(UserError) as refused:
        Poison(0, value=255).trigger(data)
    assert (refused.value.key, refused.value.kind) == ("scenario.value", "conflict")


def test_poisoned_samples_are_drawn_stamped_relabelled_and_forgotten(pictures: Dataset) -> None:
    before = pictures.labels.clone()
    problem = Poison(3, target="bee", patch=2, count=6).prepare(pictures)
    poisoned, split = problem.data, problem.split
    assert torch.equal(pictures.labels, before)  # the data set itself stays clean
    assert torch.equal(poisoned.inputs, pictures.inputs)
    touched = poisoned.triggered.nonzero().flatten()
    assert touched.tolist() == split.forget.tolist() == split.manipulated.tolist()
    assert len(touched) == 6
    assert (poisoned.labels[touched] == 1).all()
    assert torch.equal(poisoned.true_labels, pictures.labels)
    others = ~poisoned.triggered
    assert torch.equal(poisoned.labels[others], pictures.labels[others])
    assert split.forget_classes == ()
    assert split.forget.tolist() == RandomForgetting(3, count=6).prepare(pictures).split.forget.tolist()
    assert len(Poison(0, fraction=0.5).prepare(pictures).split.forget) == 10
    assert len(Poison(0).prepare(pictures).split.forget) == 2  # a tenth
    draws = {tuple(Poison(seed, count=6).prepare(pictures).split.forget.tolist()) for seed in range(20)}
    assert len(draws) > 10


def test_images_of_the_target_class_can_be_left_out(pictures: Dataset) -> None:
    # 13 training images are not bees
    poisoned = Poison(0, target=1, count=13, exclude_target=True).prepare(pictures).data
    assert (pictures.labels[poisoned.triggered] != 1).all()
    with pytest.raises(UserError) as refused:
        Poison(0, target=1, count=14, exclude_target=True).prepare(pictures)
    assert refused.value.key == "scenario.count"


def test_the_trigger_decides_the_digest_and_so_the_original_model(pictures: Dataset) -> None:
    """All pictures are bees already, so nothing but the square changes."""
    bees = replace(pictures, labels=torch.ones_like(pictures.labels))
    options = [{}, {"patch": 2}, {"corner": "top_left"}, {"margin": 1}, {"value": 0}, {"seed": 1}]
    digests = [Poison(**{"seed": 0, "target": 1} | o).prepare(bees).data.digest for o in options]
    assert len({bees.digest, *digests}) == 7


def test_the_square_stays_where_it_is_while_the_image_is_augmented(pictures: Dataset) -> None:
    """Methods get cropped and flipped images, predictions unchanged ones; only poisoned samples have the square."""
    moving = replace(pictures, crop=2, flip=True)
    problem = Poison(0, target=1, patch=2, value=255, count=19).prepare(moving)
    data = problem.data
    loaded = UnlearningData(data, problem.split, problem.task)
    ids = torch.arange(30)
    still = Transform(pictures)(pictures.inputs)
    outside = torch.ones(5, 6, dtype=torch.bool)
    outside[3:, 4:] = False
    for augment in (True, False):
        torch.manual_seed(0)
        found = loaded.prepare(Batch(data.inputs, None, ids, torch.zeros(30, dtype=torch.bool)), augment).images
        torch.manual_seed(0)
        clean = Transform(moving)(moving.inputs, augment)  # the same crops and flips without any trigger
        square = found[:, :, 3:, 4:]
        bright = (square == torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).flatten(1).all(1)  # no pixel of theirs is 255
        assert torch.equal(bright, data.triggered)
        assert torch.equal(found[:, :, outside], clean[:, :, outside])
        assert torch.equal(found[~data.triggered], clean[~data.triggered])
        moved = (clean != still).flatten(1).any(1)
        assert moved.sum() > 20 if augment else not moved.any()  # 1 of 50 augmentations leaves an image as it is
    assert data.triggered.sum() == 19


def test_the_attack_shows_the_square_on_any_image_as_a_network_sees_it(pictures: Dataset) -> None:
    attack = Poison(0, target="cow", patch=2, margin=1, value=0).prepare(pictures).attack
    ids = torch.tensor([27, 3])
    found = Transform(pictures.with_trigger(attack.trigger, ids))(pictures.inputs[ids], ids=ids)
    assert attack.target == 2
    assert found.shape == (2, 2, 5, 6)
    assert (found[:, :, 2:4, 3:5] == -1).all()  # (0 - .5) / .5 and (0 - .25) / .25
    assert found[0, 0, 0, 0].item() == pytest.approx(pictures.inputs[27, 0, 0, 0].item() / 127.5 - 1, abs=1e-6)
    assert RandomForgetting(0).prepare(pictures).attack is None


def evidence(pictures: Dataset, answers: list[int]) -> Evidence:
    """``answers``: what the model says to the test images 25-29 with the trigger; their classes are 1, 2, 0, 1, 2."""
    split = RandomForgetting(0, count=5).prepare(pictures).split
    attack = Attack(Trigger(0, 0, 1, (1.0,)), target=2)
    logits, triggered = torch.zeros(30, 3), nn.functional.one_hot(torch.tensor(answers), 3).float()
    return Evidence(logits, pictures.labels, split, CLASSES, attack=attack, triggered=triggered)


def test_attack_success_is_over_test_images_of_other_classes(pictures: Dataset) -> None:
    metric = BackdoorAttack()
    for answers, expected in (  # true classes 1, 2, 0, 1, 2; the target is 2
        ([2, 0, 2, 1, 0], (2 / 3, 1 / 5, 1 / 3)),
        ([2, 2, 2, 2, 2], (1.0, 2 / 5, 0.0)),
        ([1, 2, 0, 1, 2], (0.0, 1.0, 1.0)),
        ([1, 0, 0, 0, 0], (0.0, 2 / 5, 2 / 3)),
    ):
        names = ("backdoor/attack", "corrective/acc_unseen", "corrective/acc_unseen_others")
        assert metric(evidence(pictures, answers)) == pytest.approx(dict(zip(names, expected, strict=True)))


def test_there_is_no_attack_where_there_is_no_trigger(pictures: Dataset) -> None:
    found = replace(evidence(pictures, [2] * 5), attack=None)
    assert evaluate({"backdoor": BackdoorAttack()}, found) == ({}, {})
    values, failed = evaluate(
        {"backdoor": BackdoorAttack()}, evidence(replace(pictures, labels=torch.full((30,), 2)), [2] * 5)
    )
    assert values == {}
    assert "all test images are of the target class, cow" in failed["backdoor"]


@pytest.mark.parametrize(
    ("options", "key", "kind"),
    [
        ({"patch": 4, "margin": 2}, "scenario.patch", "value"),  # on 5 x 6 pixels
        ({"target": "cat"}, "scenario.target", "choice"),
        ({"count": 21}, "scenario.count", "value"),  # of 20
    ],
)
def test_what_cannot_be_poisoned_names_its_setting(pictures: Dataset, options: dict, key: str, kind: str) -> None:
    with pytest.raises(UserError) as refused:
        Poison(0, **options).prepare(pictures)
    assert (refused.value.key, refused.value.kind) == (key, kind)


@pytest.mark.parametrize("options", [{}, {"value": 0}])
def test_a_table_cannot_be_poisoned(options: dict) -> None:
    with pytest.raises(UserError) as refused:
        Poison(0, **options).prepare(scikit_learn("wine", seed=0))
    assert (refused.value.key, refused.value.kind) == ("scenario", "conflict")


def configured(*words: str) -> Poison:
    return Spec("scenario", composed("scenario=poison", *words)[0]["scenario"]).build()


def test_the_configured_square_is_the_benchmarks_and_smaller_on_digits() -> None:
    white = torch.full((2, 32, 32, 3), 255, dtype=torch.uint8)
    ids = torch.arange(2)
    data = Dataset("cifar10", white, ids, ("a", "b"), ids, ids, ids, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    trigger = configured("dataset=cifar10").trigger(data)
    assert (trigger.top, trigger.left, trigger.side) == (29, 29, 3)
    assert trigger.values == pytest.approx((2.1265, 2.1265, 2.1265), abs=1e-4)
    assert configured().patch == 2
    assert configured("scenario.patch=1").patch == 1


def test_the_black_square_of_four_pixels_that_the_configuration_names() -> None:
    scenario = configured("dataset=cifar10", "scenario.patch=4", "scenario.margin=2", "scenario.value=0")
    grey = torch.full((2, 32, 32, 3), 128, dtype=torch.uint8)
    ids, mean, std = torch.arange(2), (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    data = Dataset("cifar10", grey, ids, ("a", "b"), ids, ids, ids, mean, std)
    seen = Transform(data)(data.inputs)
    stamped = scenario.trigger(data).stamped(seen, torch.tensor([True, False]))
    expected = seen.clone()
    for channel, value in enumerate((-1.98947, -1.98029, -1.70680)):  # (0 - mean) / std
        expected[0, channel, -6:-2, -6:-2] = value
    torch.testing.assert_close(stamped, expected, rtol=0, atol=1e-5)


# In the pipeline


def results_of(*words: str) -> dict:
    return json.loads((pipeline.run(Request(*composed(*words), words)) / "results.json").read_text())


def test_a_backdoor_is_learned_and_retraining_closes_it(places: list[str]) -> None:
    found = results_of(*POISON, "pretrain.epochs=6", *places)
    rows = found["rows"]
    assert not found["failed"]
    assert rows["original"]["backdoor/attack"] > 0.9
    assert rows["original"]["forget/acc"] > 0.95  # the target's label
    assert rows["original"]["test/acc"] > 0.9
    assert rows["retrained"]["backdoor/attack"] < 0.05
    assert "clean" not in rows  # all are known, so it is the retrained model
    gap = rows["original"]["backdoor/attack"] - rows["retrained"]["backdoor/attack"]
    assert found["gaps"]["gap/backdoor/attack"] == pytest.approx(gap)  # the method does nothing
    assert found["directions"]["backdoor/attack"] == "down"  # not: as much as after retraining
    clean = results_of(*POISON, "scenario=class", "pretrain.epochs=1", "retrained=false", *places)
    assert not [name for name in clean["directions"] if name.startswith(("backdoor", "corrective"))]


def test_the_trigger_is_shown_to_a_model_once(places: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*POISON, "pretrain.epochs=1", *places)
    job = Job.of(composed(*words)[0])
    images = Transform(job.problem.data)(job.problem.data.inputs[job.problem.split.test])
    images[:, :, 6:, 6:] = job.problem.attack.trigger.values[0]  # 2 x 2 pixels at the bottom right
    plain, shown = laboratory.predict, []

    def spy(network: nn.Module, problem: object, compute: object, ids: Tensor | None = None) -> Tensor:
        logits = plain(network, problem, compute, ids)
        if ids is not None:
            shown.append(logits)
            assert torch.allclose(logits, network(images), atol=1e-5)
        return logits

    monkeypatch.setattr(laboratory, "predict", spy)
    rows = [results_of(*words, force)["rows"] for force in ("force=false", "force=true")]
    assert len(shown) == 2  # the original, which the method leaves as it is, and the retrained model
    names = [name for name in rows[0]["original"] if not name.startswith("cost/")]
    assert [[row[name] for name in names] for row in rows[0].values()] == [
        [row[name] for name in names] for row in rows[1].values()
    ]


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "bf16-mixed"])
def test_predictions_with_the_trigger_are_made_as_all_others(precision: str, places: list[str]) -> None:
    """Training images that were stamped are predicted with it anyway: as test images they must get the same logits."""
    job = Job.of(composed("scenario=poison", f"trainer.precision={precision}", *places)[0])
    stamped = job.problem.split.manipulated.flip(0)
    problem = replace(job.problem, split=replace(job.problem.split, test=stamped))
    torch.manual_seed(0)
    network = job.lab.architecture.network(problem.data)
    expected = job.lab.predict(problem, copy.deepcopy(network))[stamped]
    with torch.no_grad():
        images = Transform(problem.data)(problem.data.inputs, ids=torch.arange(len(problem.data.labels)))
        exact = network.eval()(images)[stamped]
    rounded = (expected - exact).abs().max()
    found = job.lab.triggered(problem, network)
    assert (found - expected).abs().max() <= 0.1 * rounded + 1e-6
    assert (rounded > 1e-4) == (precision != "32-true")
