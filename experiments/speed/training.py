"""Training: the pipeline and a hand-written loop, methods and their floors, derivatives of each sample and a loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlearning.data.datamodule import Transform
from unlearning.gradients.fisher import exact_fisher
from unlearning.methods.ntk import jacobian_of

from .measure import Claim, paired_ratio
from .passes import Floor, Recorder
from .setting import Bench, synthetic

# Add-ons that take two gradients a step, on neggrad_plus: how they are named, and the target. Opt sorts all coordinates
# in every step: it may take a twentieth of the two passes more than what only goes over the coordinates.
ADDONS: dict[str, tuple[tuple[str, ...], float]] = {
    "focus": (("addon=[focus]",), 1.15),
    "opt": (("addon=[opt]",), 1.2),
    "opt-by-tensor": (("addon=[opt]", "addon.opt.scope=tensor"), 1.2),
}

# A line each: the method, and what makes it short. Not here: those in DERIVATIVES.
METHODS: dict[str, tuple[str, ...]] = {
    "ssd": (),
    "jit": (),
    "scrub": ("method.epochs=1", "method.msteps=1"),
    "scrub+r": ("method.epochs=1", "method.msteps=1", "method.rewind=true"),
    "finetune": ("method.epochs=1",),
    "neggrad_plus": ("method.epochs=1",),
    "lfssd": (),
    "assd": (),
    "alfssd": (),
    "xlf": (),
    "potion": ("method.tries=3",),
    "assd_repair": ("method.repair.epochs=1",),
    "bad_teacher": (),
    "amnesiac": ("method.epochs=1",),
    "unsir": ("method.copies=10",),
    "emmn": ("method.copies=4", "method.epochs=1"),
    "gkt": ("method.pseudo_batches=2",),
}


# Those that go through each sample: how many samples, the derivatives, and the target.
DERIVATIVES: dict[str, tuple[int, Callable[..., object], float | None, str]] = {
    "fisher": (320, exact_fisher, 1.1, ""),
    "ntk": (40, jacobian_of, None, "the rest is its linear system"),
}


def pipeline(bench: Bench, pairs: int) -> Claim:
    """One epoch of fine-tuning by Lightning, and by a loop as one would write it by hand."""

    def lightning() -> None:
        bench.fit(bench.method("finetune", "method.epochs=1"))

    return Claim(
        "Lightning pipeline / hand-written loop, one epoch of finetune",
        paired_ratio(lightning, lambda: hand_written(bench), 3 * pairs),
        1.05,
    )


def hand_written(bench: Bench, batch_size: int = 128) -> nn.Module:
    """One epoch of ``finetune``: the same data, augmentation, layout and optimiser."""
    data, network = bench.data, copy.deepcopy(bench.network).train()
    transform = Transform(data)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    retain = bench.split.retain
    for rows in retain[torch.randperm(len(retain))].split(batch_size):
        images, labels = transform(data.inputs[rows], augment=True), data.labels[rows]
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def against_floor(bench: Bench, name: str, pairs: int) -> Claim:
    """A whole unlearning against the same sample passes in a bare loop."""
    floor, forward, backward = floor_of(bench, name)
    ratio = paired_ratio(lambda: bench.fit(bench.method(name, *METHODS[name])), floor, pairs)
    return Claim(f"{name} / its sample passes alone", ratio, 1.1, note=f"{forward:,} forward, {backward:,} backward")


def with_addon(bench: Bench, addon: str, pairs: int) -> Claim:
    """Unlearning by NegGrad+ with an add-on against the gradient passes of its two batches a step, in a bare loop."""
    named, target = ADDONS[addon]
    changes = (*METHODS["neggrad_plus"], *named)
    floor, forward, backward = floor_of(bench, "neggrad_plus", changes)
    ratio = paired_ratio(lambda: bench.fit(bench.method("neggrad_plus", *changes)), floor, pairs)
    note = f"{forward:,} forward, {backward:,} backward"
    return Claim(f"neggrad_plus+{addon} / its two gradient passes a step alone", ratio, target, note=note)


def floor_of(bench: Bench, name: str, changes: tuple[str, ...] | None = None) -> tuple[Floor, int, int]:
    """The floor of a method, and how many samples its meter saw pass forward and backward."""
    method = bench.method(name, *(METHODS[name] if changes is None else changes))
    method.meter = Recorder()
    bench.fit(method)
    return Floor(method.meter.passes), method.meter.forward, method.meter.backward


def against_derivatives(name: str, pairs: int) -> list[Claim]:
    """A method that takes the derivatives of each sample, against these derivatives in a bare loop."""
    samples, taken, target, note = DERIVATIVES[name]
    bench = Bench(synthetic(samples, augmented=False))
    method, network, transform = bench.method(name), bench.network.eval(), Transform(bench.data)
    ids = [bench.split.sets[stream].split(method.batch_sizes[stream]) for stream in method.streams]
    batches = [transform(bench.data.inputs[rows]) for stream in ids for rows in stream]
    ratio = paired_ratio(
        lambda: bench.fit(bench.method(name)), lambda: [taken(network, images) for images in batches], pairs
    )
    return [Claim(f"{name} / the derivatives of its samples alone", ratio, target, note=note)]


def exact(pairs: int, samples: int = 16) -> list[Claim]:
    """What ``fisher`` and ``ntk`` take the derivatives of each sample for, and the same by a loop over samples."""
    bench = Bench(synthetic(20))
    network = bench.network.eval()
    images = Transform(bench.data)(bench.data.inputs[:samples])
    works = {
        "exact Fisher": (partial(exact_fisher, network, images), partial(fisher_loop, network, images)),
        "Jacobian of ntk": (lambda: jacobian_of(network, images)[0], partial(jacobian_loop, network, images)),
    }
    claims = []
    for what, (ours, loop) in works.items():
        found, expected = flat(ours()), flat(loop())
        error = ((found - expected).norm() / expected.norm()).item()
        ratio, note = paired_ratio(loop, ours, pairs), f"{samples} samples, 10 classes"
        claims.append(Claim(f"per-sample loop / {what}", ratio, 1.7, at_least=True, note=note))
        claims.append(Claim(f"{what}, relative error to the per-sample loop", error, 1e-5, unit=""))
    return claims


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All numbers as one vector."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def fisher_loop(network: nn.Module, images: Tensor) -> list[Tensor]:
    """``sum_x sum_y p(y|x) (d log p(y|x) / d w)^2`` from one backward pass for each sample and class."""
    total = [torch.zeros_like(p) for p in network.parameters()]
    for image in images.split(1):
        log_p = network(image).log_softmax(-1)[0]
        for one, gradients in zip(log_p, gradients_of(network, log_p), strict=True):
            for sum_, gradient in zip(total, gradients, strict=True):
                sum_.addcmul_(gradient, gradient, value=one.exp().item())
    return total


def jacobian_loop(network: nn.Module, images: Tensor) -> list[Tensor]:
    """(P,) for each sample and logit: the logit's derivatives by the weights, from a backward pass of its own."""
    return [flat(g) for image in images.split(1) for g in gradients_of(network, network(image)[0])]


def gradients_of(network: nn.Module, outputs: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The gradient of each of the outputs (C,) by the weights."""
    for one in outputs:
        yield torch.autograd.grad(one, list(network.parameters()), retain_graph=True)
