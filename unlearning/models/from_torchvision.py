"""Any image classifier of the torchvision library, by its name."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError, nearest
from ..types import Count
from .base import image_shape, library_blocks

CHANNELS = 3  # which the library's classifiers take
SQUARE = "image_size"  # the option of those that are built for one size


class TorchvisionModel(nn.Module):
    """The torchvision classifier ``name``, and optionally images resized inside the network.

    Args:
        input_shape: (C, H, W) of one image; the one channel of grey images is given to the network three times.
        num_classes: the outputs of the head.
        name: torchvision's name of the model.
        resize: the side in pixels to which images are brought by bilinear interpolation. Without it they enter at their
            own size, and a transformer of fixed size is built for that size.

    Auxiliary classifiers of GoogLeNet and Inception are there, as their weights have them, and their outputs are not
    used. ``blocks`` opens containers of repeated blocks, as those of ``TimmModel`` do.

    Raises ``UserError`` for a name that torchvision does not have, and for images that the network cannot take.

    Source: https://pytorch.org/vision/stable/models.html#classification.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, name: str, resize: Count | None = None) -> None:
        import torchvision  # here, because the import takes time and the other networks do not need it

        super().__init__()
        channels, height, width = image_shape(input_shape, name)
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise UserError(
                f"torchvision has no classifier named {name}: {nearest(name, known)}", key="model.name", kind="choice"
            )
        if channels not in (1, CHANNELS):
            raise UserError(
                f"{name} of torchvision takes images with three channels, or grey ones, and these have {channels}: use "
                "model=timm",
                key="model.name",
                kind="conflict",
            )
        self.resize = resize
        size = (height, width) if resize is None else (resize, resize)
        failed: Exception | None = None
        for options in ({}, {SQUARE: size[0]}):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # two networks say that their initialisation will change
                    self.network = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
                with torch.no_grad():  # a blank image shows whether the size works; eval mode keeps the buffers
                    self.eval()(torch.zeros(1, *input_shape))
            except Exception as error:  # networks fail in many ways where an image is too small for them
                failed = failed or error
            else:
                break
        else:
            raise UserError(
                f"{name} does not work with images of {size[0]}x{size[1]} pixels; set model.resize, for instance to "
                f"224 ({' '.join(str(failed).split())})",
                key="model.resize",
            ) from failed
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] != CHANNELS:
            images = images.expand(-1, CHANNELS, -1, -1)
        if self.resize is not None:
            images = F.interpolate(images, size=(self.resize, self.resize), mode="bilinear")
        outputs: Any = self.network(images)
        logits: Tensor = outputs if isinstance(outputs, Tensor) else outputs.logits  # of those with auxiliary ones
        return logits

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks (see :class:`~unlearning.models.base.Chain`); tokens and positions belong to the first."""
        return library_blocks(self.network)
