"""Training against bare loops: one epoch, whole methods, and the derivatives of each sample."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlearning.data.transform import Transform
from unlearning.gradients.fisher import exact_fisher
from unlearning.gradients.vectors import flatten
from unlearning.methods.ntk import jacobian_of

from .measure import Claim, paired_ratio
from .passes import Floor, recorded
from .setting import Bench

# Add-ons that need the gradients of both streams in every step, on neggrad_plus: their settings and the target. Opt
# sorts all coordinates in every step, and is therefore allowed 5 % more than an add-on that only goes over them.
ADDONS: dict[str, tuple[tuple[str, ...], float]] = {
    "focus": (("addon=[focus]",), 1.15),
    "opt": (("addon=[opt]",), 1.2),
    "opt-by-tensor": (("addon=[opt]", "addon.opt.scope=tensor"), 1.2),
}

# The methods, and the settings that make them short. Those that take derivatives of each sample are in DERIVATIVES.
METHODS: dict[str, tuple[str, ...]] = {
    "ssd": (),
    "jit": (),
    "scrub": ("method.epochs=1", "method.msteps=1"),
    "scrub+r": ("method.epochs=1", "method.msteps=1", "method.rewind=true"),
    "finetune": ("method.epochs=1",),
    "neggrad_plus": ("method.epochs=1",),
    "lfssd": ("method.importance=batch",),
    "assd": (),
    "alfssd": ("method.importance=batch",),
    "xlf": ("method.importance=batch",),
    "potion": ("method.tries=3",),
    "assd_repair": ("method.repair.epochs=1",),
    "bad_teacher": (),
    "amnesiac": ("method.epochs=1",),
    "unsir": ("method.copies=10",),
    "emmn": ("method.copies=4", "method.epochs=1"),
    "gkt": ("method.pseudo_batches=2",),
}

# Methods that take derivatives of each sample: how many samples, the derivatives, the target and a note.
DERIVATIVES: dict[str, tuple[int, Callable[..., object], float | None, str]] = {
    "fisher": (320, exact_fisher, 1.1, ""),
    "ntk": (40, jacobian_of, None, "the rest is its linear system"),
}


def pipeline(bench: Bench, pairs: int) -> Claim:
    """One epoch of fine-tuning by the library, against the loop that one would write by hand."""

    def lightning() -> None:
        bench.fit(bench.method("finetune", "method.epochs=1"))

    return Claim(
        "Lightning pipeline / hand-written loop, one epoch of finetune",
        paired_ratio(lightning, lambda: hand_written(bench), 3 * pairs),
        1.05,
    )


def hand_written(bench: Bench, batch_size: int = 128) -> nn.Module:
    """One epoch of ``finetune`` with the same data, augmentation, memory layout and optimiser; returns the network."""
    data, network = bench.problem.data, copy.deepcopy(bench.network).train()
    transform = Transform(data)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    retain = bench.problem.split.retain
    for rows in retain[torch.randperm(len(retain))].split(batch_size):
        images, labels = transform(data.inputs[rows], augment=True), data.labels[rows]
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def against_floor(bench: Bench, name: str, pairs: int) -> Claim:
    """A whole unlearning run of a method, against the same sample passes in a bare loop."""
    floor, forward, backward = floor_of(bench, name)
    ratio = paired_ratio(lambda: bench.fit(bench.method(name, *METHODS[name])), floor, pairs)
    return Claim(f"{name} / its sample passes alone", ratio, 1.1, note=f"{forward:,} forward, {backward:,} backward")


def with_addon(bench: Bench, addon: str, pairs: int) -> Claim:
    """NegGrad+ with an add-on, against the gradient passes of its two batches per step in a bare loop."""
    named, target = ADDONS[addon]
    changes = (*METHODS["neggrad_plus"], *named)
    floor, forward, backward = floor_of(bench, "neggrad_plus", changes)
    ratio = paired_ratio(lambda: bench.fit(bench.method("neggrad_plus", *changes)), floor, pairs)
    note = f"{forward:,} forward, {backward:,} backward"
    return Claim(f"neggrad_plus+{addon} / its two gradient passes a step alone", ratio, target, note=note)


def floor_of(bench: Bench, name: str, changes: tuple[str, ...] | None = None) -> tuple[Floor, int, int]:
    """The floor of a method, and the numbers of samples that its meter counted forward and backward."""
    method = bench.method(name, *(METHODS[name] if changes is None else changes))
    with recorded(method) as passes:
        bench.fit(method)
    return Floor(passes), method.meter.forward, method.meter.backward


def against_derivatives(name: str, pairs: int) -> list[Claim]:
    """A method that takes derivatives of each sample, against these derivatives in a bare loop."""
    samples, derivatives, target, note = DERIVATIVES[name]
    bench = Bench(samples, augmented=False)
    data, method, network = bench.problem.data, bench.method(name), bench.network.eval()
    transform = Transform(data)
    ids = [bench.problem.split.sets[stream].split(method.batch_size(stream)) for stream in method.streams]
    batches = [transform(data.inputs[rows]) for stream in ids for rows in stream]
    ratio = paired_ratio(
        lambda: bench.fit(bench.method(name)), lambda: [derivatives(network, images) for images in batches], pairs
    )
    return [Claim(f"{name} / the derivatives of its samples alone", ratio, target, note=note)]


def exact(pairs: int, samples: int = 16) -> list[Claim]:
    """The exact Fisher information and the Jacobian of the logits, against the same by a loop over samples."""
    bench = Bench(20)
    data, network = bench.problem.data, bench.network.eval()
    images = Transform(data)(data.inputs[:samples])
    works = {
        "exact Fisher": (partial(exact_fisher, network, images), partial(fisher_loop, network, images)),
        "Jacobian of ntk": (lambda: jacobian_of(network, images)[0], partial(jacobian_loop, network, images)),
    }
    claims = []
    for what, (ours, loop) in works.items():
        found, expected = flatten(ours()), flatten(loop())
        error = ((found - expected).norm() / expected.norm()).item()
        ratio, note = paired_ratio(loop, ours, pairs), f"{samples} samples, 10 classes"
        claims.append(Claim(f"per-sample loop / {what}", ratio, 1.7, at_least=True, note=note))
        claims.append(Claim(f"{what}, relative error to the per-sample loop", error, 1e-5, unit=""))
    return claims


def fisher_loop(network: nn.Module, images: Tensor) -> list[Tensor]:
    """``sum_x sum_y p(y|x) (d log p(y|x) / d w)^2``, in the shapes of the weights, from a pass per sample and class."""
    total = [torch.zeros_like(p) for p in network.parameters()]
    for image in images.split(1):
        log_p = network(image).log_softmax(-1)[0]
        for one, gradients in zip(log_p, gradients_of(network, log_p), strict=True):
            for sum_, gradient in zip(total, gradients, strict=True):
                sum_.addcmul_(gradient, gradient, value=one.exp().item())
    return total


def jacobian_loop(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The derivatives (P,) of each logit of each sample by the weights, from a backward pass for each."""
    return [flatten(g) for image in images.split(1) for g in gradients_of(network, network(image)[0])]


def gradients_of(network: nn.Module, outputs: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The gradients by the weights of each of the outputs (C,), in turn."""
    for one in outputs:
        yield torch.autograd.grad(one, list(network.parameters()), retain_graph=True)
