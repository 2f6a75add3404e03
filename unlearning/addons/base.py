"""What an add-on may change in a first-order method."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence

import lightning as L
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..importance import flatten, parts
from ..types import Batch

Gradients = dict[str, Tensor]  # of the loss of each stream: vectors over the trainable parameters, unweighted


class Addon(L.Callback):
    """Something that changes how any first-order method steps; add-ons stack in the order given.

    Besides the methods here an add-on is a Lightning callback: it may prepare in ``on_train_start`` and edit gradients
    in ``on_before_optimizer_step``; what it carries from step to step belongs into ``state_dict``. All processes of a
    run must come to the same decisions: gradients are averaged before an add-on gets them, and random numbers are drawn
    from ``CommonRandom``. What it declares to see of the data counts as the run's, with what the method declares.
    """

    looks: Sequence[str] = ()  # streams it looks at by itself; see ``look``
    sees_labels = False  # whether with their labels
    splits_gradients = False  # True: asks for the gradients by stream, and gets ``gradients`` and ``combine`` called
    needs: Sequence[str] = ()  # streams whose gradients it needs in every step
    holds = False  # True: its ``combine`` comes before and its ``after_step`` after those of all others
    moves = False  # True: it changes weights before the first step; of those that hold it is the first

    def check(self, method: L.LightningModule) -> None:
        """Raise a ``UserError`` if the method cannot carry this add-on."""
        if not set(self.needs) <= set(method.always_draws):
            wanted, drawn = (" and a ".join(f"{s} batch" for s in streams) for streams in (self.needs, method.streams))
            raise UserError(
                f"the add-on {type(self).__name__} needs a {wanted} in every step, and {type(method).__name__} "
                f"{'takes a ' + drawn if drawn else 'takes none'}: choose a method such as neggrad_plus"
            )

    def setup(self, trainer: L.Trainer, method: L.LightningModule, stage: str) -> None:
        self.check(method)

    def gradients(self, method: L.LightningModule, evaluate: Callable[[], Gradients]) -> Gradients:
        """The gradients of a step; ``evaluate`` computes them at the weights as they are when it is called."""
        return evaluate()

    def combine(self, method: L.LightningModule, combined: Tensor, gradients: Gradients) -> Tensor:
        """The step's gradient, a vector, from the one so far and the separate ones."""
        return combined

    def penalty(self, method: L.LightningModule) -> Tensor | float:
        """A term of the loss that depends on the weights alone; ``method.model`` holds them."""
        return 0.0

    def after_step(self, method: L.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """Change the weights after an optimiser step; runs under ``no_grad``."""

    def look(self, trainer: L.Trainer, stream: str, shuffle: torch.Generator | None = None) -> Iterator[Batch]:
        """One pass over a stream that the add-on declares, whatever the method may see.

        It is un-augmented and in order; or, given a generator to shuffle by, as the method trains on it.
        """
        method, look = trainer.lightning_module, trainer.datamodule.batches_for
        if shuffle is None:
            return look(method, stream, self)
        return look(method, stream, self, shuffle, augment=True, batch_size=method.batch_sizes[stream])


class Holder(Addon):
    """An add-on that holds coordinates: no step moves them, whatever momentum and weight decay would do.

    A subclass sets ``frozen``, bool, and ``values``, what the frozen weights are held at: vectors over the trainable
    parameters. A frozen coordinate has no gradient, its weight is put back after every optimiser step, and momentum
    that it has gathered (of weight decay) is cleared. Both survive checkpoints.
    """

    holds = True
    MOMENTA = ("momentum_buffer", "exp_avg")  # first moments, as torch's optimisers call them

    def __init__(self) -> None:
        self.frozen: Tensor | None = None
        self.values: Tensor | None = None

    def on_before_optimizer_step(self, trainer: L.Trainer, method: L.LightningModule, _: torch.optim.Optimizer) -> None:
        parameters = trainable(method.model)
        for parameter, frozen in zip(parameters, parts(self.frozen, parameters), strict=True):
            if parameter.grad is not None:
                parameter.grad.masked_fill_(frozen, 0.0)

    def combine(self, method: L.LightningModule, combined: Tensor, gradients: Gradients) -> Tensor:
        return combined.masked_fill(self.frozen, 0.0)

    def after_step(self, method: L.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        parameters = trainable(method.model)
        held = parts(self.frozen, parameters), parts(self.values, parameters)
        for parameter, frozen, value in zip(parameters, *held, strict=True):
            torch.where(frozen, value, parameter, out=parameter)
            for name in self.MOMENTA:
                if isinstance(moment := optimizer.state[parameter].get(name), Tensor):
                    moment.masked_fill_(frozen, 0.0)

    def state_dict(self) -> dict[str, Tensor | None]:
        return {"frozen": self.frozen, "values": self.values}

    def load_state_dict(self, state: dict[str, Tensor | None]) -> None:
        self.frozen, self.values = state["frozen"], state["values"]

    def on_train_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        """Prepare what is frozen, unless a checkpoint brought it."""
        if self.frozen is None:
            self.prepare(trainer, method)
        else:
            self.frozen, self.values = self.frozen.to(method.device), self.values.to(method.device)

    def prepare(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        """Set ``frozen`` and ``values``."""
        raise NotImplementedError


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a method steps on, in the order of every vector over them."""
    return [p for p in model.parameters() if p.requires_grad]


def weights_of(model: nn.Module) -> Tensor:
    """The trainable parameters as a vector: a copy."""
    return flatten(p.detach() for p in trainable(model))


def smallest(values: Tensor, count: int | Tensor) -> Tensor:
    """Which are the ``count`` smallest of a vector, of equal ones the first; (n,) bool. Nothing waits for a tensor."""
    order = values.argsort(stable=True)
    chosen = torch.arange(len(order), device=order.device) < count
    return torch.empty_like(order, dtype=torch.bool).scatter_(0, order, chosen)


class CommonRandom:
    """Random numbers that are the same in all processes of a run, go on after a checkpoint, and differ by ``name``.

    The global generators of the processes part ways, for each draws for its own samples.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Tensor | None = None  # of a checkpoint
        self.generator: torch.Generator | None = None

    def on(self, device: torch.device) -> torch.Generator:
        """The generator, seeded by the run's seed and the name when it is first used."""
        if self.generator is None:
            seed = (torch.initial_seed() + zlib.crc32(self.name.encode())) % 2**63
            self.generator = torch.Generator(device).manual_seed(seed)
            if self.state is not None:
                self.generator.set_state(self.state.cpu())
        return self.generator

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.generator is None else {"random": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.state = state.get("random")
