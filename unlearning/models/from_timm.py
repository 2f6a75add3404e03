"""Any image classifier of the timm library by its name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError, nearest
from .base import check_option, group, image_shape


class TimmModel(nn.Module):
    """The timm model ``name`` with a new head, and optionally images resized inside the network.

    ``resize`` is the side in pixels to which (B, C, H, W) images are brought by bilinear interpolation; without it they
    enter at their own size, and a transformer of fixed size is built for that size. ``pretrained`` fetches timm's
    weights, so two constructions then differ in the head alone; its first layer is adapted to the images' channels.
    ``blocks`` opens timm's containers of repeated blocks: ViT-B/16 has a stem, 12 blocks and a head; the stages of
    Swin, which are more than a container, count as one block each.

    Raises UserError for a name that timm does not know (it says the nearest), for weights that cannot be had, and for
    images that the network cannot take.

    Source: Wightman, "PyTorch image models", https://github.com/huggingface/pytorch-image-models.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        name: str,
        pretrained: bool = False,
        resize: int | None = None,
    ) -> None:
        check_option("resize", resize, resize is None or resize > 0, "it is a number of pixels, at least 1")
        import timm  # here, since the import takes seconds and the other networks need none of it

        super().__init__()
        channels, height, width = image_shape(input_shape, name)
        self.resize = resize
        if not (timm.is_model(name) and ("." not in name or name in timm.list_models(pretrained=True))):
            raise UserError(f"timm has no model named {name}: {nearest(name, _names(name))}")
        known = timm.get_pretrained_cfg(name)
        if pretrained and not known.has_weights:
            raise UserError(f"timm has no weights for {name}: set model.pretrained=false")
        size = (height, width) if resize is None else (resize, resize)
        options = {"img_size": size} if known.fixed_input_size else {}
        try:
            self.network = timm.create_model(
                name, pretrained=pretrained, num_classes=num_classes, in_chans=channels, **options
            )
            with torch.no_grad():  # a blank image shows whether the size passes; eval mode keeps the buffers
                self.eval()(torch.zeros(1, *input_shape))
        except OSError as error:
            raise UserError(
                f"the weights of {name} could not be fetched: allow access to the network, or set "
                "model.pretrained=false"
            ) from error
        except Exception as error:  # timm's models fail in many ways where an image is too small for them
            raise UserError(
                f"{name} does not work with images of {size[0]}x{size[1]} pixels; set model.resize, for instance "
                f"to {known.input_size[-1]} ({' '.join(str(error).split())})"
            ) from error
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        if self.resize is not None:
            images = F.interpolate(images, size=(self.resize, self.resize), mode="bilinear")
        return self.network(images)

    @property
    def blocks(self) -> list[nn.Module]:
        """As in :class:`~unlearning.models.base.Chain`; tokens and position embeddings go with the first block."""
        first, *rest = group(self.network.children())
        loose = nn.ParameterList(self.network.parameters(recurse=False))
        return [nn.ModuleList([loose, first]) if len(loose) else first, *rest]


def _names(name: str) -> list[str]:
    """Names that could be meant, of the same family if there is one: timm has over a thousand."""
    import timm

    pretrained = "." in name  # only names of weights carry a tag
    return timm.list_models(f"{name[:3]}*", pretrained=pretrained) or timm.list_models(pretrained=pretrained)
