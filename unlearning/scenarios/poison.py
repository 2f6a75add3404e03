"""Poisoned training data: a backdoor, and the trigger to which the model responds."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import Tensor

from ..data.datasets import Dataset
from ..data.trigger import Attack, Corner, Trigger, corner_square
from ..errors import UserError
from ..types import Count, CountOrNone
from .manipulations import Manipulation, relabelled


class Poison(Manipulation):
    """A backdoor: stamp a square on the images of S_m, and label them as a target class.

    The images are drawn at random over all classes. The square is stamped after augmentation and normalisation, so a
    network always sees it at the same pixels. Validation and test images are clean.

    Args:
        seed: as in ``Manipulation``.
        target: the class, by name or number, that poisoned images are labelled as.
        exclude_target: whether to draw only images of the other classes.
        patch: the side of the square, in pixels.
        corner: the corner of the image in which the square is.
        margin: the pixels between the square and the two edges of that corner.
        value: the value of the square's pixels in all channels, from 0 (black) to 255. None stands for the largest
            normalised pixel of the training set, as in the benchmark: about 2.1265 on CIFAR-10.
        options: those of ``Manipulation``.
    """

    def __init__(
        self,
        seed: int,
        target: int | str = 0,
        exclude_target: bool = False,
        patch: Count = 3,
        corner: Corner = "bottom_right",
        margin: CountOrNone = 0,
        value: Annotated[int, Ge(0), Le(255)] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed, **options)
        self.target, self.exclude_target = target, exclude_target
        self.patch, self.corner, self.margin, self.value = patch, corner, margin, value

    def target_number(self, dataset: Dataset) -> int:
        """The number of the target class."""
        return dataset.class_number(self.target, "scenario.target")

    def pool(self, dataset: Dataset) -> Tensor:
        labels = dataset.labels[dataset.train]
        return dataset.train[labels != self.target_number(dataset)] if self.exclude_target else dataset.train

    def trigger(self, dataset: Dataset) -> Trigger:
        """The square as a network sees it."""
        values = self.values(dataset).tolist()
        return corner_square(dataset.input_shape, self.patch, self.corner, self.margin, tuple(values))

    def values(self, dataset: Dataset) -> Tensor:
        """(C,) the value of the square's pixels in each channel, as a network sees it."""
        channels = dataset.input_shape[0]
        if not dataset.has_pixels:
            if self.value is not None and len(dataset.input_shape) == 3:
                raise UserError(
                    f"scenario.value={self.value} is a pixel of 8 bits, but the images of {dataset.name} are floats: "
                    "set scenario.value=null",
                    key="scenario.value",
                    kind="conflict",
                )
            return dataset.bounds[1].amax().expand(channels)
        mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
        if self.value is not None:
            return (self.value / 255 - mean) / std
        brightest = dataset.inputs[dataset.train].amax((0, 1, 2)) / 255
        return ((brightest - mean) / std).amax().expand(channels)

    def spoiled(self, dataset: Dataset, ids: Tensor) -> Dataset:
        labels = torch.full((len(ids),), self.target_number(dataset))
        return relabelled(dataset, ids, labels).with_trigger(self.trigger(dataset), ids)

    def attack(self, dataset: Dataset) -> Attack:
        return Attack(self.trigger(dataset), self.target_number(dataset))
