"""The poisoned data by the pixel, the success of the attack by hand, and a backdoor that digits learn."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import composed
from unlearning.config import build
from unlearning.data.datamodule import Transform, UnlearningData
from unlearning.data.datasets import Dataset
from unlearning.data.tabular import scikit_learn
from unlearning.data.trigger import Attack, Trigger
from unlearning.errors import UserError
from unlearning.metrics.backdoor import BackdoorAttack
from unlearning.metrics.base import Evidence, evaluate
from unlearning.pipeline import Run, run
from unlearning.scenarios.forgetting import RandomForgetting
from unlearning.scenarios.manipulations import Poison
from unlearning.types import Batch

CLASSES = ("ant", "bee", "cow")


@pytest.fixture
def pictures() -> Dataset:
    """Of 5 x 6 pixels in two channels, none of which is 0 or 255; rows 0-19 train, 20-24 validation, 25-29 test."""
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


def test_poisoned_samples_are_drawn_stamped_relabelled_and_forgotten(pictures: Dataset) -> None:
    scenario = Poison(3, target="bee", patch=2, count=6)
    before = pictures.labels.clone()
    poisoned, split = scenario.manipulated(pictures), scenario.split(pictures)
    assert torch.equal(pictures.labels, before)  # the data set itself stays clean
    assert torch.equal(poisoned.inputs, pictures.inputs)
    touched = poisoned.triggered.nonzero().flatten()
    assert touched.tolist() == split.forget.tolist() == split.manipulated.tolist()
    assert len(touched) == 6
    assert (poisoned.labels[touched] == 1).all()
    assert torch.equal(poisoned.true_labels, pictures.labels)
    others = ~poisoned.triggered
    assert torch.equal(poisoned.labels[others], pictures.labels[others])
    assert scenario.split(poisoned).digest == split.digest
    assert split.forget_classes == ()
    assert split.forget.tolist() == RandomForgetting(3, count=6).split(pictures).forget.tolist()
    assert len(Poison(0, fraction=0.5).split(pictures).forget) == 10
    assert len(Poison(0).split(pictures).forget) == 2  # a tenth
    draws = {tuple(Poison(seed, count=6).split(pictures).forget.tolist()) for seed in range(20)}
    assert len(draws) > 10


def test_images_of_the_target_class_can_be_left_out(pictures: Dataset) -> None:
    scenario = Poison(0, target=1, count=13, exclude_target=True)  # of the 13 train images that are no bees
    poisoned = scenario.manipulated(pictures)
    assert (pictures.labels[poisoned.triggered] != 1).all()
    assert scenario.split(poisoned).digest == scenario.split(pictures).digest
    with pytest.raises(UserError, match=r"scenario.count=14 cannot be drawn: pictures has 13"):
        Poison(0, target=1, count=14, exclude_target=True).split(pictures)


def test_the_trigger_decides_the_digest_and_so_the_original_model(pictures: Dataset) -> None:
    """Of pictures that are all bees already nothing but the square changes."""
    bees = replace(pictures, labels=torch.ones_like(pictures.labels))
    options = [{}, {"patch": 2}, {"corner": "top_left"}, {"margin": 1}, {"value": 0}, {"seed": 1}]
    digests = [Poison(**{"seed": 0, "target": 1} | o).manipulated(bees).digest for o in options]
    assert len({bees.digest, *digests}) == 7


def test_a_poison_of_no_sample_is_no_poison(pictures: Dataset) -> None:
    assert Poison(0, count=0).manipulated(pictures).digest == pictures.digest
    with pytest.raises(UserError, match=r"scenario.count=0 manipulates no sample, so there is nothing to forget"):
        Poison(0, count=0).split(pictures)


def test_the_square_stays_where_it_is_while_the_image_is_augmented(pictures: Dataset) -> None:
    """As methods get it: cropped and flipped, square last; and as predictions do, for poisoned samples alone."""
    scenario = Poison(0, target=1, patch=2, value=255, count=19)
    moving = replace(pictures, crop=2, flip=True)
    data = scenario.manipulated(moving)
    loaded = UnlearningData(data, RandomForgetting(0, count=5).split(pictures), None)
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
    attack = Poison(0, target="cow", patch=2, margin=1, value=0).attack(pictures)
    ids = torch.tensor([27, 3])
    found = Transform(pictures.with_trigger(attack.trigger, ids))(pictures.inputs[ids], ids=ids)
    assert attack.target == 2
    assert found.shape == (2, 2, 5, 6)
    assert (found[:, :, 2:4, 3:5] == -1).all()  # (0 - .5) / .5 and (0 - .25) / .25
    assert found[0, 0, 0, 0].item() == pytest.approx(pictures.inputs[27, 0, 0, 0].item() / 127.5 - 1, abs=1e-6)
    assert RandomForgetting(0).attack(pictures) is None


def evidence(pictures: Dataset, answers: list[int]) -> Evidence:
    """``answers``: what the model says to the test images 25-29 with the trigger; their classes are 1, 2, 0, 1, 2."""
    split = RandomForgetting(0, count=5).split(pictures)
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
    ("options", "message"),
    [
        ({"patch": 4, "margin": 2}, r"does not fit into images of 5 x 6 pixels: their sum may be 5 at most"),
        ({"patch": 2, "margin": 0, "target": "cat"}, "no class 'cat': did you mean ant"),
        ({"patch": 2, "margin": 0, "count": 21}, "scenario.count=21 cannot be drawn: pictures has 20"),
    ],
)
def test_what_cannot_be_poisoned_is_explained(pictures: Dataset, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Poison(0, **options).manipulated(pictures)


@pytest.mark.parametrize("wrong", [{"patch": 0}, {"margin": -1}, {"value": 256}, {"value": -1}])
def test_a_senseless_square_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match="patch must be 1 or more, margin 0 or more and value from 0 to 255, or null"):
        Poison(0, **wrong)


def test_a_table_cannot_be_poisoned() -> None:
    with pytest.raises(UserError, match="stamps a square on images, and this data set has none"):
        Poison(0).manipulated(scikit_learn("wine", seed=0))


def test_the_configured_square_is_the_benchmarks_and_smaller_on_digits() -> None:
    papers = build.scenario(composed("scenario=poison", "dataset=cifar10")[0])
    white = torch.full((2, 32, 32, 3), 255, dtype=torch.uint8)
    ids = torch.arange(2)
    data = Dataset("cifar10", white, ids, ("a", "b"), ids, ids, ids, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    trigger = papers.trigger(data)
    assert (trigger.top, trigger.left, trigger.side) == (29, 29, 3)
    assert trigger.values == pytest.approx((2.1265, 2.1265, 2.1265), abs=1e-4)
    assert build.scenario(composed("scenario=poison")[0]).patch == 2
    assert build.scenario(composed("scenario=poison", "scenario.patch=1")[0]).patch == 1


def test_the_black_square_of_four_pixels_that_the_configuration_names() -> None:
    black = "scenario.patch=4", "scenario.margin=2", "scenario.value=0"
    scenario = build.scenario(composed("scenario=poison", "dataset=cifar10", *black)[0])
    grey = torch.full((2, 32, 32, 3), 128, dtype=torch.uint8)
    ids, mean, std = torch.arange(2), (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    data = Dataset("cifar10", grey, ids, ("a", "b"), ids, ids, ids, mean, std)
    seen = Transform(data)(data.inputs)
    stamped = scenario.trigger(data).stamped(seen, torch.tensor([True, False]))
    expected = seen.clone()
    for channel, value in enumerate((-1.98947, -1.98029, -1.70680)):  # (0 - mean) / std
        expected[0, channel, -6:-2, -6:-2] = value
    torch.testing.assert_close(stamped, expected, rtol=0, atol=1e-5)


def test_a_backdoor_is_learned_and_retraining_closes_it(places: list[str]) -> None:
    config, choices = composed(
        "tracking=none", "scenario=poison", "method=original", "evaluation.membership=null", *places
    )
    found = json.loads((run(config, choices, command="test") / "results.json").read_text())
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
    clean = composed("tracking=none", "method=original", "evaluation.membership=null", *places)
    directions = json.loads((run(*clean, command="test") / "results.json").read_text())["directions"]
    assert not [name for name in directions if name.startswith(("backdoor", "corrective"))]


def test_the_trigger_is_shown_to_a_reference_model_once(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, choices = composed(
        "tracking=none",
        "scenario=poison",
        "method=original",
        "evaluation.membership=null",
        "pretrain.epochs=1",
        *places,
    )
    shown = []

    def spy(run: Run, network: nn.Module, wrong: str) -> Tensor:
        shown.append(triggered(run, network, wrong))
        ids = run.split.test
        images = Transform(run.data)(run.data.inputs[ids])
        images[:, :, 6:, 6:] = run.attack.trigger.values[0]  # 2 x 2 pixels at the bottom right
        assert torch.allclose(shown[-1], network(images), atol=1e-5)
        return shown[-1]

    triggered = Run.triggered
    monkeypatch.setattr(Run, "triggered", spy)
    rows = []
    for _ in range(2):
        folder = run(config | {"force": True}, choices, command="test")
        rows.append(json.loads((folder / "results.json").read_text())["rows"])
    assert len(shown) == 3 + 1  # original, retrained and unlearned; then only unlearned
    names = [name for name in rows[0]["original"] if not name.startswith("cost/")]
    assert [[row[name] for name in names] for row in rows[0].values()] == [
        [row[name] for name in names] for row in rows[1].values()
    ]


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "bf16-mixed"])
def test_predictions_with_the_trigger_are_made_as_all_others(precision: str, tmp_path: Path) -> None:
    """Training images that were stamped are predicted with it anyway: as test images they must get the same logits."""
    config, _ = composed("scenario=poison", f"trainer.precision={precision}", f"paths.root={tmp_path}")
    poisoned = Run(config, tmp_path)
    poisoned.split = replace(poisoned.split, test=poisoned.split.manipulated.flip(0))
    torch.manual_seed(0)
    network = build.model(config, poisoned.data)
    expected = poisoned.predictions(copy.deepcopy(network), "wrong")[poisoned.split.test]
    with torch.no_grad():
        images = Transform(poisoned.data)(poisoned.data.inputs, ids=torch.arange(len(poisoned.data.labels)))
        exact = network.eval()(images)[poisoned.split.test]
    rounded = (expected - exact).abs().max()
    found = poisoned.triggered(network, "wrong")
    assert (found - expected).abs().max() <= 0.1 * rounded + 1e-6
    assert (rounded > 1e-4) == (precision != "32-true")
