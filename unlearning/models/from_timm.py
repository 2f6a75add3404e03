"""Any image classifier of the timm library, by its name."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from ..errors import UserError, nearest
from ..types import Count
from .base import image_shape, library_blocks


class TimmModel(nn.Module):
    """The timm model ``name`` with a new head, and optionally images resized inside the network.

    Args:
        input_shape: (C, H, W) of one image; timm adapts the first layer to its channels.
        num_classes: the outputs of the head.
        name: timm's name of the model, with or without a tag of pretrained weights.
        pretrained: whether to fetch timm's weights. Two constructions then differ in the head only.
        dropout: the probability with which a feature is dropped before the head, in training.
        resize: the side in pixels to which images are brought by bilinear interpolation. Without it they enter at their
            own size, and a transformer of fixed size is built for that size.

    ``blocks`` opens timm's containers of repeated blocks: ViT-B/16 has a stem, 12 blocks and a head. The stages of
    Swin, which do more than contain blocks, count as one block each.

    Raises ``UserError`` for a name that timm does not have, for weights that cannot be fetched, and for images that the
    network cannot take.

    Source: Wightman, "PyTorch image models", https://github.com/huggingface/pytorch-image-models.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        name: str,
        pretrained: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        resize: Count | None = None,
    ) -> None:
        import timm  # here, because the import takes seconds and the other networks do not need it

        super().__init__()
        channels, height, width = image_shape(input_shape, name)
        self.resize = resize
        if not (timm.is_model(name) and ("." not in name or name in timm.list_models(pretrained=True))):
            raise UserError(
                f"timm has no model named {name}: {nearest(name, similar(name))}", key="model.name", kind="choice"
            )
        known: Any = timm.get_pretrained_cfg(name)
        if pretrained and not known.has_weights:
            raise UserError(f"timm has no weights for {name}: set model.pretrained=false", key="model.pretrained")
        size = (height, width) if resize is None else (resize, resize)
        options: dict[str, Any] = {"img_size": size} if known.fixed_input_size else {}
        options |= {"drop_rate": dropout} if dropout else {}
        try:
            self.network = timm.create_model(
                name, pretrained=pretrained, num_classes=num_classes, in_chans=channels, **options
            )
            with torch.no_grad():  # a blank image shows whether the size works; eval mode keeps the buffers unchanged
                self.eval()(torch.zeros(1, *input_shape))
        except OSError as error:
            raise UserError(
                f"the weights of {name} could not be fetched: allow access to the network, or set "
                "model.pretrained=false",
                key="model.pretrained",
                kind="file",
            ) from error
        except Exception as error:  # timm's models fail in many ways where an image is too small for them
            raise UserError(
                f"{name} does not work with images of {size[0]}x{size[1]} pixels; set model.resize, for instance "
                f"to {known.input_size[-1]} ({' '.join(str(error).split())})",
                key="model.resize",
            ) from error
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        if self.resize is not None:
            images = F.interpolate(images, size=(self.resize, self.resize), mode="bilinear")
        logits: Tensor = self.network(images)
        return logits

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks (see :class:`~unlearning.models.base.Chain`); tokens and positions belong to the first."""
        return library_blocks(self.network)


def similar(name: str) -> list[str]:
    """Names that could be meant: those of the same family if there is one, since timm has over a thousand models."""
    import timm

    pretrained = "." in name  # only names of weights carry a tag
    return timm.list_models(f"{name[:3]}*", pretrained=pretrained) or timm.list_models(pretrained=pretrained)
