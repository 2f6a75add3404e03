"""What is to be forgotten: a scenario turns a data set into index sets."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ..errors import UserError
from ..types import Attack, Split
from .datamodule import Transform
from .datasets import Dataset, coarsened


def assemble(dataset: Dataset, forget: Tensor, like_forget: Tensor, forget_classes: Sequence[int] = ()) -> Split:
    """The split for a forget set; ``like_forget`` (N,) bool marks the samples of the same kind (for test)."""
    forget = forget.sort().values
    retain = dataset.train[~torch.isin(dataset.train, forget)]
    if len(forget) == 0:
        raise UserError("the forget set is empty: name a class that has training samples, or a larger count")
    if len(retain) == 0:
        raise UserError("the forget set is the whole training set: nothing is left to retain")
    test = dataset.test
    return Split(
        train=dataset.train,
        forget=forget,
        retain=retain,
        validation=dataset.validation,
        test=test,
        test_forget=test[like_forget[test]],
        test_retain=test[~like_forget[test]],
        forget_classes=tuple(forget_classes),
    )


def draw(pool: Tensor, count: int | None, fraction: float | None, seed: int, what: str) -> Tensor:
    """``count`` samples, or a ``fraction``, of ``pool`` at random; all of it where neither is given."""
    if count is not None and fraction is not None:
        raise UserError("scenario.count and scenario.fraction are both given: choose one (set the other to null)")
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise UserError(f"scenario.fraction must lie in (0, 1], not {fraction}")
        count = round(fraction * len(pool))
        if count == 0:
            raise UserError(f"scenario.fraction={fraction} of the {len(pool)} training samples of {what} is none")
    if count is None:
        return pool
    if not 1 <= count <= len(pool):
        raise UserError(f"scenario.count={count} cannot be drawn: {what} has {len(pool)} training samples")
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    return pool[order[:count]]


class Scenario:
    """What happened to the data, if anything, and what of it is to be forgotten."""

    def manipulated(self, dataset: Dataset) -> Dataset:
        """The data that the original model learns: as they are, unless the scenario relabels or spoils them."""
        return dataset

    def split(self, dataset: Dataset) -> Split:
        """The index sets; the same for the data as they were and as they were manipulated."""
        raise NotImplementedError

    def attack(self, dataset: Dataset) -> Attack | None:
        """The trigger that the scenario taught the model, if it did."""
        return None


class ClassForgetting(Scenario):
    """Forget whole classes, given by name or number; or, with a count or fraction, a random part of them.

    Test splits by the same classes. With only a part forgotten the rest of the class stays in the retain set.
    """

    def __init__(
        self,
        seed: int,
        classes: Sequence[int | str],
        count: int | None = None,
        fraction: float | None = None,
    ) -> None:
        self.seed, self.classes, self.count, self.fraction = seed, classes, count, fraction

    def split(self, dataset: Dataset) -> Split:
        if len(self.classes) == 0:
            raise UserError("scenario.classes is empty: name at least one class, such as scenario.classes=[0]")
        numbers = sorted({dataset.class_number(c) for c in self.classes})
        of_class = torch.isin(dataset.labels, torch.tensor(numbers))
        pool = dataset.train[of_class[dataset.train]]
        names = ", ".join(dataset.classes[n] for n in numbers)
        forget = draw(pool, self.count, self.fraction, self.seed, f"class {names} of {dataset.name}")
        whole = len(forget) == len(pool)
        return assemble(dataset, forget, of_class, numbers if whole else ())


class SubclassForgetting(ClassForgetting):
    """Forget fine classes, given by name or number, or a part of them, of a model that learned the super-classes.

    Test splits by the same fine classes. The super-class stays, so no class is forgotten whole.
    """

    def manipulated(self, dataset: Dataset) -> Dataset:
        return coarsened(dataset)

    def split(self, dataset: Dataset) -> Split:
        coarse = coarsened(dataset)
        fine = replace(coarse, labels=coarse.fine_labels, classes=coarse.fine_classes)
        return replace(super().split(fine), forget_classes=())


class RandomForgetting(Scenario):
    """Forget training samples drawn at random over all classes: a count or a fraction; a tenth if neither is given."""

    def __init__(self, seed: int, count: int | None = None, fraction: float | None = None) -> None:
        self.seed, self.count, self.fraction = seed, count, fraction

    def split(self, dataset: Dataset) -> Split:
        return assemble(dataset, self.drawn(dataset), torch.zeros(len(dataset.labels), dtype=torch.bool))

    def drawn(self, dataset: Dataset) -> Tensor:
        """Ids of the samples to forget, whatever their inputs and labels."""
        fraction = 0.1 if self.count is None and self.fraction is None else self.fraction
        return draw(dataset.train, self.count, fraction, self.seed, dataset.name)


class DataEntry(RandomForgetting):
    """Forget training samples whose labels were entered wrongly: a count or a fraction of them; a tenth if neither.

    The labels of randomly drawn training samples are replaced, each by one of the other classes at random, before the
    original model is trained: the label errors of tabular data in Schoepf et al. (2024, arXiv:2402.10098). All of them
    are to be forgotten; validation and test labels are right.
    """

    def manipulated(self, dataset: Dataset) -> Dataset:
        wrong, labels = self.drawn(dataset), dataset.labels.clone()
        generator = torch.Generator().manual_seed(self.seed)
        labels[wrong] += torch.randint(1, len(dataset.classes), (len(wrong),), generator=generator)
        return replace(dataset, labels=labels % len(dataset.classes))


class Poison(RandomForgetting):
    """Forget training images that teach a backdoor: with a square stamped on them they are labelled as a target class.

    The images, a count or a fraction of them (a tenth if neither is given), are drawn at random over all classes; the
    square is on the stored pixels, so an augmentation moves it with the image. All of them are to be forgotten;
    validation and test images are clean. BadNets, Gu et al. (2017, arXiv:1708.06733).

    Args:
        seed: of the draw.
        target: the class, by name or number, that the square stands for.
        patch: side of the square, in pixels.
        corner: of the image, that the square is at.
        margin: pixels between the square and the two edges of that corner.
        value: of the square's pixels, in all channels, 0 (black) to 255.
        count, fraction: of the training set.
    """

    def __init__(
        self,
        seed: int,
        target: int | str = 0,
        patch: int = 4,
        corner: Literal["top_left", "top_right", "bottom_left", "bottom_right"] = "bottom_right",
        margin: int = 2,
        value: int = 0,
        **options: object,
    ) -> None:
        super().__init__(seed, **options)
        if not (patch >= 1 and margin >= 0 and 0 <= value <= 255):
            raise UserError(
                f"scenario.patch={patch}, margin={margin}, value={value}: patch must be 1 or more, margin 0 or more "
                "and value from 0 to 255"
            )
        self.target, self.patch, self.corner, self.margin, self.value = target, patch, corner, margin, value

    def manipulated(self, dataset: Dataset) -> Dataset:
        poisoned, inputs, labels = self.drawn(dataset), dataset.inputs.clone(), dataset.labels.clone()
        inputs[poisoned] = self.stamped(inputs[poisoned])
        labels[poisoned] = dataset.class_number(self.target)
        return replace(dataset, inputs=inputs, labels=labels)

    def attack(self, dataset: Dataset) -> Attack:
        transform = Transform(dataset)
        return Attack(lambda ids: transform(self.stamped(dataset.inputs[ids])), dataset.class_number(self.target))

    def stamped(self, images: Tensor) -> Tensor:
        """Copies of images (B, H, W, C), uint8, with the square."""
        if images.ndim != 4:
            raise UserError("scenario=poison stamps a square on images, and this data set has none: try data_entry")
        height, width = images.shape[1:3]
        reach = self.patch + self.margin
        if reach > min(height, width):
            raise UserError(
                f"scenario.patch={self.patch} with scenario.margin={self.margin} does not fit into images of "
                f"{height} x {width} pixels: their sum may be {min(height, width)} at most"
            )
        vertical, horizontal = self.corner.split("_")
        top = self.margin if vertical == "top" else height - reach
        left = self.margin if horizontal == "left" else width - reach
        copies = images.clone()
        copies[:, top : top + self.patch, left : left + self.patch] = self.value
        return copies
