"""Methods that look at the data and then edit the weights, without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..addons.base import Addon
from ..data.feed import Feed
from ..errors import UserError
from ..types import Batch, Count, PartialFraction
from .base import Method, Stronger


class OneShot(Method):
    """A method that looks at its streams once, without training, and then edits the weights.

    ``observe`` is called with every batch and adds to ``self.observations``, tensors that depend on nothing but the
    model, the data and the options named in ``observes_with``: so they are cached, and a sweep over the other options
    looks at the data once; so do methods that inherit the same ``observe`` and set those options alike. ``edit`` then
    changes the weights from them; where it must try its edits out, ``look(stream)`` passes over one of the method's
    streams. A ``repair`` is another method that goes on from there.
    """

    # every sample once; None where a stream is exhausted
    feed = Feed(pairing="max_size", augment=False)
    observes_with: tuple[str, ...] = ()  # attributes that ``observations`` depend on, besides the feed
    stronger: Stronger = {}

    def __init__(
        self,
        model: nn.Module,
        batch_size: Count = 64,
        forget_batch_size: Count | None = None,
        addons: Sequence[Addon] = (),
        keep: PartialFraction | None = None,
    ) -> None:
        super().__init__(model, batch_size=batch_size, forget_batch_size=forget_batch_size, addons=addons, keep=keep)
        if self.addons:
            raise UserError(
                f"add-ons change the steps of first-order methods; {type(self).__name__} takes no steps",
                key="addon",
                kind="conflict",
            )
        self.feed = replace(self.feed, full_batches=False)  # BatchNorm is in eval mode
        self.automatic_optimization = False
        self.observations: dict[str, Tensor] = {}
        self.repair: Method | None = None  # trains the same ``model`` after ``edit``

    def sights(self) -> Iterator[tuple[str, bool]]:
        yield from super().sights()
        if self.repair is not None:
            yield from self.repair.sights()

    def observation_key(self) -> dict[str, Any]:
        """The settings, besides model, data and seed, that decide the observations."""
        sizes = {stream: self.feed.batch_sizes[stream] for stream in self.streams}
        feed = {
            "streams": list(self.streams),
            "batch_sizes": sizes,
            "order": self.feed.order,
            "retain_share": self.feed.retain_share,
        }
        return feed | {name: getattr(self, name) for name in self.observes_with}

    @classmethod
    def observer(cls) -> str:
        """The class, by its full name, whose ``observe`` this method has."""
        owner = next(c for c in cls.__mro__ if "observe" in vars(c))
        return f"{owner.__module__}.{owner.__qualname__}"

    def observe(self, stream: str, batch: Batch) -> None:
        """Add what one batch tells to ``self.observations``."""
        raise NotImplementedError

    def add(self, name: str, value: Tensor) -> None:
        """Add to the observation of that name, which starts at zero."""
        self.observations[name] = self.observations[name].add_(value) if name in self.observations else value

    def edit(self) -> None:
        """Change the weights of ``self.model`` from ``self.observations``; runs under ``no_grad``."""
        raise NotImplementedError

    def training_step(self, batch: dict[str, Batch | None], _: int) -> None:  # type: ignore[override]
        for stream, part in batch.items():
            if part is not None:
                self.observe(stream, part)

    def on_fit_start(self) -> None:
        self.count_passes()  # looking changes nothing: the guard begins with ``edit``

    def on_train_epoch_start(self) -> None:
        self.model.eval()

    def on_train_epoch_end(self) -> None:
        if self.trainer.world_size > 1:
            self.observations = {
                n: self.trainer.strategy.reduce(t, reduce_op="sum") for n, t in self.observations.items()
            }

    def configure_optimizers(self) -> None:
        return None
