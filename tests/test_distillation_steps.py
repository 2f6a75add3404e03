"""The distillation family, by hand on softmax regression with one weight a class; see ``test_steps``."""

import functools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from scipy.special import softmax
from torch import nn

from tests.conftest import Tiny, composed
from unlearning.config import build
from unlearning.data.datamodule import UnlearningData
from unlearning.data.noise import perturbed
from unlearning.errors import UserError
from unlearning.methods import jit
from unlearning.methods.amnesiac import Amnesiac
from unlearning.methods.bad_teacher import BadTeacher
from unlearning.methods.base import Method
from unlearning.methods.emmn import EMMN
from unlearning.methods.gkt import GKT, Generator, attention_maps
from unlearning.methods.jit import JiT
from unlearning.methods.scrub import Scrub
from unlearning.methods.scrub_joint import ScrubJoint
from unlearning.methods.unsir import UNSIR, learned_noise
from unlearning.models.resnet import ResNet
from unlearning.models.small_cnn import SmallCNN
from unlearning.types import Batch

W = np.array([0.5, -1.0])
FORGET = np.array([0.2, 1.0]), np.array([0, 1])
RETAIN = np.array([0.4, 0.8]), np.array([0, 1])
LR = 0.5
SGD = functools.partial(torch.optim.SGD, lr=LR)


def probabilities(w: np.ndarray, x: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    return softmax(np.outer(x, w) / temperature, axis=1)


def gradient(w: np.ndarray, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(2,) gradient of the mean cross-entropy to ``targets`` (B, 2) of softmax regression."""
    return ((probabilities(w, x) - targets) * x[:, None]).mean(0)


def onehot(labels: np.ndarray) -> np.ndarray:
    return np.eye(2)[labels]


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)


def forgets_class_0(tiny: Tiny) -> Tiny:
    task = tiny.task()
    tiny.task = lambda: replace(task, forget_classes=(0,), named_classes=(0,))
    return tiny


def fresh_weight(tiny: Tiny, seed: int) -> np.ndarray:
    """The weights of the first new network after seeding."""
    torch.manual_seed(seed)
    weight = tiny.task().fresh_model()[1].weight.detach().flatten().numpy()
    torch.manual_seed(seed)
    return weight


def test_bad_teacher_moves_forget_samples_towards_a_random_network(tiny: Tiny) -> None:
    fresh = fresh_weight(tiny, 5)
    method = BadTeacher(tiny.model, optimizer=SGD, temperature=2.0, retain_share=1.0)
    tiny.fit(method)
    x = FORGET[0]
    # d/dw T^2 KL(t || softmax(w x / T)) = T (softmax(w x / T) - t) x; 0 on retain data, where t is the student
    towards = 2.0 * (probabilities(W, x, 2.0) - probabilities(fresh, x, 2.0)) * x[:, None]
    close(tiny.weight, W - LR * towards.sum(0) / 4)


def test_bad_teacher_asks_for_each_sample_its_own_teacher_alone(tiny: Tiny) -> None:
    method = BadTeacher(tiny.model, optimizer=SGD, retain_share=0.5, epochs=2)
    tiny.fit(method)
    # two epochs of 2 forget samples and 1 of 2 retain samples; of the teachers one, and once
    assert (method.meter.forward, method.meter.backward) == (6 + 3, 6)
    assert len(method.incompetent.remembered) == 2
    assert len(method.competent.remembered) == 1


def test_bad_teacher_steps_are_those_of_its_part_of_the_retain_set(tiny: Tiny) -> None:
    method = BadTeacher(tiny.model, optimizer=SGD, retain_share=0.5, batch_size=1)
    tiny.fit(method)
    assert method.steps_per_epoch == len(method.curves["train_loss"]) == 3  # what a schedule is made for


def test_amnesiac_trains_on_wrong_labels(tiny: Tiny) -> None:
    tiny.fit(Amnesiac(tiny.model, optimizer=SGD))
    x = np.concatenate([FORGET[0], RETAIN[0]])
    labels = np.concatenate([1 - FORGET[1], RETAIN[1]])  # of two classes the other
    close(tiny.weight, W - LR * gradient(W, x, onehot(labels)))


def test_amnesiac_labels_are_wrong_stable_and_even(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Amnesiac, "task", SimpleNamespace(num_classes=5, forget_classes=(3,)))
    method = Amnesiac(nn.Identity())
    method.seed = 7
    drawn = [method.wrong_label(i, 1) for i in range(3000)]
    counts = np.bincount(drawn, minlength=5)
    assert counts[1] == counts[3] == 0
    assert (abs(counts[[0, 2, 4]] - 1000) < 4 * np.sqrt(3000 * 2 / 9)).all()  # four standard deviations
    assert drawn == [method.wrong_label(i, 1) for i in range(3000)]
    method.seed = 8
    assert drawn != [method.wrong_label(i, 1) for i in range(3000)]


@pytest.mark.parametrize("maximise", [True, False])
def test_noise_steps_up_or_down_the_error(tiny: Tiny, maximise: bool) -> None:
    labels = torch.zeros(3, dtype=torch.long)
    torch.manual_seed(2)
    start = torch.randn(3, 1, 1, 1).flatten().numpy()
    torch.manual_seed(2)
    noise = learned_noise(tiny.model, labels, (1, 1, 1), steps=1, maximise=maximise, rate=0.1)
    # dCE/dx = sum_c (p_c - y_c) w_c; both terms are means over 3; the first step of Adam is the rate times the sign
    error = (probabilities(W, start) - [1, 0]) @ W
    slope = (-error if maximise else error) + 0.2 * start
    assert abs(slope).min() > 1e-2
    close(noise.flatten(), start - 0.1 * np.sign(slope))


def test_noise_settles_where_error_and_size_balance(tiny: Tiny) -> None:
    noise = learned_noise(tiny.model, torch.tensor([0]), (1, 1, 1), steps=1000, maximise=False, rate=0.01)
    x = noise.flatten().numpy()
    assert ((probabilities(W, x) - [1, 0]) @ W + 0.2 * x).item() == pytest.approx(0, abs=1e-4)


def test_unsir_impairs_with_noise_and_repairs_without(tiny: Tiny) -> None:
    momentum = functools.partial(torch.optim.SGD, lr=LR, momentum=0.9)
    options = {"noise_images": 2, "noise_steps": 3, "copies": 1, "samples_per_class": 2, "batch_size": 4}
    method = UNSIR(tiny.model, optimizer=momentum, **options)
    forgets_class_0(tiny).fit(method)
    noise = method.noise.flatten().numpy()
    impaired = W - LR * gradient(W, np.append(RETAIN[0], noise), onehot(np.append(RETAIN[1], [0, 0])))
    repaired = impaired - LR * gradient(impaired, RETAIN[0], onehot(RETAIN[1]))  # without the momentum of impairing
    close(tiny.weight, repaired)
    # noise: 3 steps of 2; impair: 2 + 2; repair: 2
    assert (method.meter.forward, method.meter.backward) == (12, 12)
    assert "cost/seconds_noise" in method.meter.metrics()


def batches_of_unsir(tiny: Tiny, **options: int) -> tuple[UNSIR, list[list[float]]]:
    """A finished run, and the images of its last batches: those of impairing and repairing."""
    method = UNSIR(tiny.model, optimizer=SGD, noise_steps=2, copies=1, batch_size=4, **options)
    seen = []
    method.model.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].flatten().tolist()))
    forgets_class_0(tiny).fit(method)
    return method, seen[2:]


def test_unsir_takes_as_many_samples_as_it_is_told(tiny: Tiny) -> None:
    # 1 retained class times 1 sample is half of the retain set; noise is 3 of 3 + 1, so 3 of a batch of 4
    method, (impair, repair) = batches_of_unsir(tiny, noise_images=3, samples_per_class=1)
    assert impair[:1] == repair  # the same retain sample in both phases
    assert sorted(impair[1:]) == sorted(method.noise.flatten().tolist())


def test_unsir_shows_every_copy_of_the_noise_once(tiny: Tiny) -> None:
    # noise is 5 of 5 + 2, so 1 retain sample of a batch of 4 (1.14 rounded): two steps, with the 5 images 2 and 3
    method, (first, second, repair) = batches_of_unsir(tiny, noise_images=5, samples_per_class=2)
    noise = method.noise.flatten().tolist()
    assert (first[1:], second[1:]) == (noise[:2], noise[2:])
    assert len(repair) == 2


def test_unsir_takes_the_super_class_of_a_fine_class_for_its_noise() -> None:
    fast = ("method.copies=1", "method.noise_steps=2")
    config, _ = composed("method=unsir", "scenario=subclass", "scenario.classes=[zero,seven]", *fast)
    data = build.dataset(config)
    split = build.split(config, data)
    assert [data.classes[n] for n in split.named_classes] == ["looped", "straight"]
    assert split.forget_classes == ()  # neither is forgotten whole
    method = build.method(config, build.model(config, data))
    build.trainer(config, 1, []).fit(method, datamodule=UnlearningData(data, split, build.task(config, data, split)))
    assert method.noise_labels.tolist() == [data.class_number("looped"), data.class_number("straight")] * 32


def test_unsir_needs_a_class_that_the_request_names(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="use scenario=class or subclass"):
        UNSIR(tiny.model, optimizer=SGD).check(tiny.task())


def test_emmn_descends_on_noise_alone(tiny: Tiny) -> None:
    method = EMMN(tiny.model, optimizer=SGD, noise_images=3, copies=1, batch_size=6, maximise_steps=20)
    seen, train_loss = [], method.train_loss
    method.train_loss = lambda batch: seen.append(batch) or train_loss(batch)
    forgets_class_0(tiny).fit(method)
    (batch,) = seen  # 1 copy of 3 images of 2 classes is one batch of 6
    x, labels = batch.images.flatten().numpy(), batch.labels.numpy()
    close(tiny.weight, W - LR * gradient(W, x, onehot(labels)))
    noise = method.noise.flatten().numpy()
    assert set(x.tolist()) <= set(noise.tolist())
    assert (batch.forget.numpy() == (labels == 0)).all()
    right = probabilities(W, noise)[range(6), [0, 0, 0, 1, 1, 1]]
    assert right[:3].max() < 0.5 < right[3:].min()  # errs on the forgotten class's, not on the other's


def test_gkt_gate_shuts_out_what_looks_like_a_forgotten_class(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    method = GKT(tiny.model, threshold=0.1)
    method.forgotten = torch.tensor([0, 2])
    likely = torch.tensor([[0.2, 0.8, 0.0], [0.05, 0.9, 0.05], [0.0, 0.5, 0.5]])
    assert method.gate((likely + 1e-9).log()).tolist() == [False, True, False]


def test_gkt_student_descends_from_random_weights_on_fakes(tiny: Tiny) -> None:
    forgets_class_0(tiny)
    fresh = fresh_weight(tiny, 5)
    options = {"pseudo_batches": 1, "generator_steps": 1, "student_steps": 2, "threshold": 1.0, "batch_size": 6}
    method = GKT(tiny.model, optimizer=SGD, generator_rate=0.1, **options)
    seen, student_loss = [], method.student_loss
    method.student_loss = lambda *given: seen.append(given[0]) or student_loss(*given)
    tiny.fit(method)
    x = seen[0].flatten().numpy()
    assert x.mean() == pytest.approx(0, abs=1e-5)  # the last normalisation has no shift and no scale
    first = fresh - LR * gradient(fresh, x, probabilities(W, x))  # the gradient of KL(teacher || student)
    close(tiny.weight, first - LR * gradient(first, x, probabilities(W, x)))
    # the generator's step: itself, student and teacher, there and back; the student's two: generator and teacher once
    assert (method.meter.forward, method.meter.backward) == (18 + 12 + 12, 18 + 12)


def test_gkt_generator_raises_the_divergence(tiny: Tiny) -> None:
    options = {"pseudo_batches": 30, "generator_steps": 1, "student_steps": 1, "threshold": 1.0, "batch_size": 64}
    still = functools.partial(torch.optim.SGD, lr=0.0)
    method = GKT(tiny.model, optimizer=still, generator_rate=1e-2, **options)
    torch.manual_seed(0)
    forgets_class_0(tiny).fit(method)
    losses = torch.stack(method.curves["generator_loss"])
    assert losses[-10:].mean() < losses[:10].mean() < 0


def test_gkt_tells_the_share_that_passes_the_gate(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = iter([3, 1, 0])  # of four images; one alone is not learned from
    gates = (torch.arange(4) < next(passed) for _ in range(3))
    monkeypatch.setattr(GKT, "generator_loss", lambda self, images: None)
    monkeypatch.setattr(GKT, "gate", lambda self, logits: next(gates))
    method = GKT(tiny.model, optimizer=SGD, pseudo_batches=3, student_steps=2, batch_size=4)
    forgets_class_0(tiny).fit(method)
    assert torch.stack(method.curves["gate_share"]).tolist() == [0.75, 0.25, 0.0]
    assert len(method.curves["train_loss"]) == 2  # the student's steps on the first


def test_gkt_ends_where_nothing_passes_the_gate(tiny: Tiny) -> None:
    # A softmax over two classes of x in a few units is never as sure as that.
    method = GKT(tiny.model, optimizer=SGD, pseudo_batches=2, batch_size=4, threshold=1e-30)
    with pytest.raises(UserError, match=r"gkt learned nothing: .* method\.threshold=1e-30"):
        forgets_class_0(tiny).fit(method)


def test_attention_is_the_mean_square_over_channels_at_norm_1() -> None:
    class Shown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps, self.pool, self.head = nn.Identity(), nn.Flatten(), nn.Linear(4, 2)
            self.blocks = [self.maps, self.head]

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.pool(self.maps(images)))

    image = torch.tensor([[[[1.0, 2.0]], [[-1.0, 0.0]]]])  # two channels, 1 x 2 pixels: squares sum to 2 and 4
    network = Shown()
    with attention_maps(network) as maps:
        network(image)
    torch.testing.assert_close(maps, [torch.tensor([[2.0, 4.0]]) / 20**0.5])
    network(image)
    assert len(maps) == 1  # it listens only inside


@pytest.mark.parametrize(
    ("network", "pixels"),
    [(SmallCNN((1, 8, 8), 10), [64, 64, 16]), (ResNet((1, 8, 8), 10, [1, 1], width=4), [64, 64, 16])],
)
def test_attention_maps_of_our_networks(network: nn.Module, pixels: list[int]) -> None:
    with attention_maps(network) as maps:
        network(torch.rand(2, 1, 8, 8))
    assert [m.shape for m in maps] == [(2, count) for count in pixels]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 30, 33)])
def test_generator_makes_images_of_any_size(shape: tuple[int, int, int]) -> None:
    images = Generator(5, shape)(torch.randn(4, 5))
    assert images.shape == (4, *shape)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(shape[0]), atol=1e-4, rtol=0)


def rewinding(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, errors: list[float], reference: float) -> list[torch.Tensor]:
    """The weights of the epochs of a run whose errors are made up."""
    made_up = iter([*errors, reference])
    monkeypatch.setattr(Scrub, "error", lambda self, batches: torch.tensor(next(made_up)))
    method = Scrub(tiny.model, optimizer=SGD, msteps=2, epochs=3, rewind=True)
    tiny.fit(method)
    assert next(made_up, None) is None
    return [state["1.weight"].flatten() for state in method.states]


@pytest.mark.parametrize(
    ("reference", "epoch"),
    [(0.0, 0), (0.4, 2), (0.9, 3)],  # 0.4 is as near to epoch 1 as to epoch 2: the later one
)
def test_rewind_takes_the_epoch_with_the_nearest_forget_error(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, reference: float, epoch: int
) -> None:
    weights = rewinding(tiny, monkeypatch, [0.0, 0.5, 0.5, 1.0], reference)
    assert len({tuple(w.tolist()) for w in weights}) == 4  # epoch 0 and three more, all different
    close(weights[0], W)
    close(tiny.weight, weights[epoch].numpy())


def test_rewind_goes_back_to_before_the_checkpoint_that_a_run_goes_on_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fit(tiny: Tiny, errors: list[float], checkpoint: Path | None) -> Tiny:
        made_up = iter(errors)
        monkeypatch.setattr(Scrub, "error", lambda self, batches: torch.tensor(next(made_up)))
        method = Scrub(tiny.model, optimizer=SGD, msteps=2, epochs=3, rewind=True)
        save = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=method.passes,
            callbacks=[save],
            logger=False,
            enable_progress_bar=False,
            reload_dataloaders_every_n_epochs=1,
        )
        data = UnlearningData(tiny.data, tiny.split, tiny.task())
        trainer.fit(method, datamodule=data, ckpt_path=checkpoint)
        assert next(made_up, None) is None
        return tiny

    fit(Tiny(), [0.0, 0.5, 0.5, 1.0, 0.9], None)  # of epochs 0 to 3, and the reference
    again = fit(Tiny((3.0, 4.0)), [0.5, 1.0, 0.1], tmp_path / "epoch=1.ckpt")  # after the two passes of epoch 1
    assert again.weight.tolist() == W.tolist()


def test_rewind_compares_with_validation_samples_of_the_forgotten_classes(tiny: Tiny) -> None:
    # Weights that hardly move say class 0 of everything. Forget sample 1 alone, of class 1; of the validation samples
    # 2 (class 0) and 3 (class 1) the one of class 1 counts: its error is 1, that of both together 1/2.
    tiny.split = replace(tiny.split, forget=torch.tensor([1]), validation=torch.tensor([2, 3]))
    method = Scrub(tiny.model, optimizer=functools.partial(torch.optim.SGD, lr=1e-6), epochs=1, rewind=True)
    errors, error = [], method.error
    method.error = lambda batches: errors.append(error(batches)) or errors[-1]
    tiny.fit(method)
    assert torch.stack(errors).tolist() == [1, 1, 1]  # of forget at epochs 0 and 1, of validation
    batches = method.trainer.datamodule.batches
    assert error(batches("validation", torch.device("cpu"))) == 0.5


def test_rewind_needs_validation_samples(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"raise split\.validation"):
        tiny.fit(Scrub(tiny.model, optimizer=SGD, rewind=True))


def test_without_rewind_scrub_sees_no_validation_sample(tiny: Tiny) -> None:
    method = Scrub(tiny.model, optimizer=SGD)
    tiny.fit(method)
    with pytest.raises(ValueError, match="asks for 'validation'"):
        next(method.trainer.datamodule.batches_for(method, "validation"))


def images(count: int) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.rand(count, 1, 2, 2), None, torch.arange(count), torch.ones(count, dtype=torch.bool))


def test_noise_is_as_large_as_it_says_and_stays_in_the_range() -> None:
    grey = torch.full((1, 1, 100, 100), 0.5)
    grey[0, 0, 0, :2] = torch.tensor([0.0, 1.0])  # the range of the batch
    gaussian = perturbed(grey, 0.1, "gaussian") - grey
    assert gaussian.std().item() == pytest.approx(0.1, rel=0.05)
    uniform = perturbed(grey, 0.3, "uniform") - grey
    assert uniform.std().item() == pytest.approx(0.3 / 3**0.5, rel=0.05)
    assert uniform.abs().max() <= 0.3
    salted = perturbed(grey, 0.2, "salt_and_pepper")
    assert salted.unique().tolist() == [0.0, 0.5, 1.0]
    assert (salted == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert (salted == 1).float().mean().item() == pytest.approx(0.1, abs=0.02)
    wide = perturbed(grey, 50.0)
    assert (wide.min(), wide.max()) == (0, 1)


@pytest.mark.parametrize("stack", [1, 12, 1000])
def test_jit_stacks_decide_the_memory_and_not_the_result(monkeypatch: pytest.MonkeyPatch, stack: int) -> None:
    monkeypatch.setattr(jit, "STACK", stack)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    nn.init.orthogonal_(model[1].weight, gain=3.0)  # |f(x) - f(x')| = 3 |x - x'| for any x'
    sizes = []
    model.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    loss = JiT(model, copies=7).forget_loss(images(5))
    assert loss.item() == pytest.approx(15, rel=1e-4)
    assert sum(sizes) == 5 + 7 * 5
    assert max(sizes) == {1: 5, 12: 10, 1000: 35}[stack]


@pytest.mark.parametrize("training", [False, True])
def test_jit_counts_a_copy_without_noise_as_nothing(training: bool) -> None:
    """In other batches, and under BatchNorm, equal images have unequal logits: over a distance of 0 they explode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))
    loss = JiT(model.train(training), noise="salt_and_pepper", sigma=1e-9, copies=30).forget_loss(images(3))
    loss.backward()
    assert loss == 0  # no pixel of the 360 was hit
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_jit_keeps_gradients_by_momentum_1(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches of one image each: the second step is along the sum of both gradients."""
    seen = []
    forget_loss = JiT.forget_loss

    def noted(self: JiT, batch: Batch) -> torch.Tensor:
        loss = forget_loss(self, batch)
        seen.append(torch.autograd.grad(loss, self.model[1].weight, retain_graph=True)[0].flatten().clone())
        return loss

    monkeypatch.setattr(JiT, "forget_loss", noted)
    before = tiny.weight
    sgd = functools.partial(torch.optim.SGD, lr=0.01, momentum=1.0)
    tiny.fit(JiT(tiny.model, noise="uniform", sigma=0.5, optimizer=sgd, batch_size=1))
    assert len(seen) == 2
    torch.testing.assert_close(tiny.weight, before - 0.01 * (2 * seen[0] + seen[1]))


def test_jit_refuses_a_share_of_pixels_above_one() -> None:
    with pytest.raises(UserError, match="at most 1 for salt_and_pepper"):
        JiT(nn.Identity(), sigma=1.5, noise="salt_and_pepper")


# Senseless options

LEAST = {
    UNSIR: {
        "noise_images": 1,
        "noise_steps": 1,
        "copies": 1,
        "samples_per_class": 1,
        "impair_epochs": 1,
        "repair_epochs": 0,
        "batch_size": 2,
        "repair_batch_size": 1,
    },
    EMMN: {"noise_images": 1, "maximise_steps": 1, "minimise_steps": 1, "copies": 1},
    GKT: {
        "z": 1,
        "pseudo_batches": 1,
        "generator_steps": 1,
        "student_steps": 1,
        "batch_size": 2,
        "attention_weight": 0,
    },
    ScrubJoint: {"alpha": 0, "gamma": 0, "forget_weight": 0, "retain_weight": 0},
}


@pytest.mark.parametrize(
    ("kind", "name", "least"), [(kind, name, least) for kind, own in LEAST.items() for name, least in own.items()]
)
def test_options_below_their_least_are_refused(tiny: Tiny, kind: type[Method], name: str, least: int) -> None:
    kind(tiny.model, **{name: least})
    with pytest.raises(UserError, match=rf"^method\.{name}={least - 1} must be at least {least}$"):
        kind(tiny.model, **{name: least - 1})


@pytest.mark.parametrize("wrong", [{"generator_rate": 0.0}, {"threshold": 0.0}, {"threshold": 1.5}])
def test_gkt_refuses_a_rate_of_zero_and_a_threshold_that_is_no_probability(tiny: Tiny, wrong: dict) -> None:
    with pytest.raises(UserError, match=r"the rate must be above 0, and the threshold, a probability, in \(0, 1\]"):
        GKT(tiny.model, **wrong)
