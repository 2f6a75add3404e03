"""The common contract of all add-ons: options and bounds, state in checkpoints, and which method takes which."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from tests.conftest import Tiny, composed, compute, names
from tests.test_addons_holding import MOMENTUM, flat, wide
from tests.test_steps import SGD
from unlearning.addons.base import Addon
from unlearning.addons.bernoulli import Bernoulli
from unlearning.addons.focal import Focal
from unlearning.addons.focus import Focus
from unlearning.addons.focus_opt import FocusOpt
from unlearning.addons.l1 import L1
from unlearning.addons.label_smoothing import LabelSmoothing
from unlearning.addons.parameter_noise import ParameterNoise
from unlearning.addons.prob import Prob
from unlearning.addons.prune import Prune
from unlearning.addons.saliency import Saliency
from unlearning.addons.saliency_batch import BatchSaliency
from unlearning.addons.sam import SAM
from unlearning.config.build import Spec
from unlearning.config.validation import parameters, target_of
from unlearning.data.datamodule import UnlearningData
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.methods.neggrad_plus import NegGradPlus
from unlearning.methods.scrub import Scrub
from unlearning.runtime.common_random import CommonRandom

# Options


def node_of(name: str, **options: object) -> dict[str, Any]:
    """An add-on's part of the configuration, with some options set."""
    config, _ = composed(f"addon=[{name}]", *(f"addon.{name}.{option}={value}" for option, value in options.items()))
    return config["addon"][name]


@pytest.mark.parametrize("name", names("addon"))
def test_every_option_of_an_addon_is_in_its_configuration(name: str) -> None:
    node = node_of(name)
    taken, open_ended = parameters(target_of(node, f"addon.{name}"))
    assert not open_ended
    assert set(taken) == set(node) - {"_target_"}


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("focus", "rho", 1.0),
        ("focus", "rho", -0.1),
        ("focus", "rho_weighs", "both"),
        ("prob", "tau", 1.1),
        ("focal", "power", -1),
        ("bernoulli", "centred", "maybe"),
        ("opt", "scope", "layer"),
        ("focus_opt", "scope", "layer"),
        ("l1", "weight", -1),
        ("l1", "free", -1),
        ("l1", "free", 0.5),
        ("label_smoothing", "share", 0),
        ("label_smoothing", "share", 1),
        ("parameter_noise", "temperature", 0),
        ("sam", "rho", 0),
        ("saliency", "keep", 0),
        ("saliency", "hold", "momenta"),
        ("saliency_batch", "keep", 1.1),
        ("saliency_batch", "of", "retain"),
        ("prune", "score", "l2"),
        ("prune", "rate", 0),
        ("prune", "rate", 1),
        ("prune", "rounds", 0),
        ("prune_imp", "epochs", 0),
        ("prune_omp", "lr", 0),
        ("prune_omp", "rewind", "momentum"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_key(name: str, option: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        Spec(f"addon.{name}", node_of(name, **{option: value})).build()
    assert (caught.value.key, caught.value.kind) == (f"addon.{name}.{option}", "value")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("focus", "rho", 0),
        ("prob", "tau", 0),
        ("prob", "tau", 1),
        ("focal", "power", 0),
        ("l1", "weight", 0),
        ("saliency", "keep", 1),
    ],
)
def test_the_ends_of_bounds_that_make_sense_are_taken(name: str, option: str, value: object) -> None:
    assert getattr(Spec(f"addon.{name}", node_of(name, **{option: value})).build(), option) == value


# State


STACKS: dict[str, Callable[[], list[Addon]]] = {
    "focus": lambda: [Focus(), L1(1e-3)],
    "centred prob": lambda: [Prob(centred=True)],
    "focus_opt": lambda: [FocusOpt("tensor")],
    "bernoulli and noise": lambda: [Bernoulli(), ParameterNoise(1e-4)],
    "saliency": lambda: [Saliency(0.4)],
    "prune and sam": lambda: [Prune("random", 0.3), SAM(0.1)],
    "focal and batch saliency": lambda: [Focal(), BatchSaliency(0.6), LabelSmoothing()],
}


@pytest.mark.parametrize("stack", STACKS)
def test_addons_take_the_same_steps_on_the_same_batches_after_a_checkpoint(stack: str, tmp_path: Path) -> None:
    """The seed after the checkpoint does not matter, since the generators of add-ons are in it.

    A batch is a whole set, so the order of samples does not matter either.
    """

    class Save(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, method: L.LightningModule) -> None:
            if trainer.current_epoch == 2:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    def fit(seed: int, save: bool) -> Tensor:
        tiny = wide()
        torch.manual_seed(seed)
        method = NegGradPlus(tiny.model, MOMENTUM, epochs=6, forget_weight=0.1, addons=STACKS[stack]()).double()
        trainer = compute(precision="64-true").trainer(6, [Save()] if save else [])
        problem = tiny.problem
        method.data = UnlearningData(problem.data, problem.split, problem.task)
        trainer.fit(method, datamodule=method.data, ckpt_path=None if save else tmp_path / "middle.ckpt")
        assert len(method.curves["forget_loss"]) == (6 if save else 3)
        return flat(tiny.model)

    whole = fit(seed=5, save=True)
    torch.testing.assert_close(fit(seed=6, save=False), whole, rtol=1e-9, atol=1e-12)


def test_a_restored_generator_goes_on_where_it_was_even_if_it_is_saved_before_its_first_use() -> None:
    def draw(random: CommonRandom) -> list[float]:
        return torch.rand(3, generator=random.on(torch.device("cpu"))).tolist()

    first, second, third = CommonRandom("a"), CommonRandom("a"), CommonRandom("a")
    assert first.state_dict() == {}
    begun = draw(first)
    second.load_state_dict(first.state_dict())
    third.load_state_dict(second.state_dict())
    gone_on = draw(first)
    assert gone_on != begun
    assert draw(third) == draw(second) == gone_on
    assert draw(CommonRandom("b")) != begun


# Which method takes which add-on


BOTH = [name for name in names("addon") if name in ("opt", "prob", "and", "focus", "focus_opt", "bernoulli", "focal")]


def refusal(places: list[str], *overrides: str) -> UserError:
    """The error by which a request is refused before anything is trained."""
    config, _ = composed(*overrides, *places)
    with pytest.raises(UserError) as caught:
        Job.of(config).checked()
    return caught.value


@pytest.mark.parametrize("method", ["finetune", "jit", "amnesiac", "scrub", "emmn", "retrain", "gradient_ascent"])
def test_addons_for_two_gradients_refuse_a_method_with_one(method: str, places: list[str]) -> None:
    assert len(BOTH) == 7
    config, _ = composed(f"method={method}", f"addon=[{','.join(BOTH)}]", *places)
    job = Job.of(config)
    network = job.network()
    for name, addon in job.addons.items():
        with pytest.raises(UserError) as caught:
            job.lab.method(job.problem, job.method, {name: addon}, network)
        assert (caught.value.key, caught.value.kind) == ("addon", "conflict")


@pytest.mark.parametrize(
    ("method", "addon"),
    [
        ("finetune", "saliency_batch"),  # has no forget batch
        ("scrub", "saliency_batch"),  # has one in some of its steps
        ("jit", "label_smoothing"),  # sees no labels
        ("gkt", "label_smoothing"),  # sees no labels
    ],
)
def test_an_addon_refuses_a_method_that_lacks_what_it_changes(method: str, addon: str, places: list[str]) -> None:
    error = refusal(places, f"method={method}", f"addon=[{addon}]")
    assert (error.key, error.kind) == ("addon", "conflict")


def test_a_refusal_names_what_the_addon_needs_and_what_the_method_draws(places: list[str]) -> None:
    assert str(refusal(places, "method=finetune", "addon=[opt]")) == (
        "the add-on Opt needs batches of forget and retain in every step, and FineTune has retain: choose a method "
        "such as neggrad_plus"
    )


def test_the_original_as_a_method_takes_no_addons(places: list[str]) -> None:
    error = refusal(places, "method=original", "addon=[l1]")
    assert (error.key, error.kind) == ("addon", "conflict")


@pytest.mark.parametrize("method", ["scrub", "scrub_joint"])
def test_label_smoothing_refuses_scrub_without_cross_entropy(method: str, places: list[str]) -> None:
    smoothed = [f"method={method}", "addon=[label_smoothing]"]
    config, _ = composed(*smoothed, "method.gamma=0.1", *places)
    assert Job.of(config).checked().smooths
    error = refusal(places, *smoothed, "method.gamma=0")
    assert (error.key, error.kind) == ("addon", "conflict")


def test_scrub_without_forget_passes_takes_no_forget_batch(tiny: Tiny) -> None:
    assert list(Scrub(tiny.model, optimizer=SGD, msteps=0).always_draws) == ["retain"]
