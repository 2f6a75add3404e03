"""Any image classifier of Hugging Face's transformers, from a local folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError
from ..types import Count
from .base import group, image_shape

CONFIG, FILES = "config.json", "*.safetensors"


class HuggingFaceModel(nn.Module):
    """The image classifier that a folder describes, as ``save_pretrained`` wrote it, without its weights.

    Nothing is fetched, and no code of the folder is run. The weights are those of ``pretrain.checkpoint``, such as the
    folder's ``model.safetensors``, or are random.

    Args:
        input_shape: (C, H, W) of one image; the one channel of grey images is repeated where the network takes three.
        num_classes: the outputs of the head.
        path: the folder, which has a ``config.json``.
        resize: the side in pixels to which images are brought by bilinear interpolation. Without it they enter at their
            own size.

    ``aliases`` are the names of tensors in files, by their names in the network, where the library renames them on
    their way; ``reads`` are the class that reads a file of such names, and its folder.

    Raises ``UserError`` where transformers is not installed, for a folder that does not describe an image classifier,
    and for images that the network cannot take.

    Source: https://huggingface.co/docs/transformers/model_doc/auto#transformers.AutoModelForImageClassification.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, path: str, resize: Count | None = None) -> None:
        super().__init__()
        try:
            import transformers  # here: it is optional, and takes seconds
        except ImportError:
            raise UserError(
                "model=huggingface needs the library transformers: pip install transformers",
                key="model",
                kind="missing",
            ) from None
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        channels, height, width = image_shape(input_shape, "this classifier")
        folder = Path(path).expanduser()
        if not (folder / CONFIG).is_file():
            raise UserError(
                f"model.path={path} must be a folder with a {CONFIG}, as save_pretrained writes it",
                key="model.path",
                kind="file",
            )
        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            config.num_labels = num_classes
            self.network: Any = transformers.AutoModelForImageClassification.from_config(config)
        except Exception as error:  # the library raises anything on what it does not know
            raise UserError(
                f"model.path={path} does not describe an image classifier that transformers knows "
                f"({' '.join(str(error).split())[:200]})",
                key="model.path",
                kind="file",
            ) from None
        self.resize, self.channels = resize, int(getattr(config, "num_channels", channels))
        self.aliases = {f"network.{name}": f"network.{other}" for name, other in renamed(self.network).items()}
        self.reads = (type(self.network).__name__, path)
        if channels not in (1, self.channels):
            raise UserError(
                f"the classifier of model.path takes images of {self.channels} channels, and these have {channels}: "
                "set dataset.channels",
                key="model.path",
                kind="conflict",
            )
        try:
            with torch.no_grad():  # a blank image shows whether the size works; eval mode keeps the buffers
                self.eval()(torch.zeros(1, *input_shape))
        except Exception as error:
            side = resize or f"{height}x{width}"
            raise UserError(
                f"the classifier of model.path does not work with images of {side} pixels; set model.resize, for "
                f"instance to {getattr(config, 'image_size', 224)} ({' '.join(str(error).split())})",
                key="model.resize",
            ) from error
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] != self.channels:
            images = images.expand(-1, self.channels, -1, -1)
        if self.resize is not None:
            images = F.interpolate(images, size=(self.resize, self.resize), mode="bilinear")
        logits: Tensor = self.network(pixel_values=images).logits
        return logits

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks (see :class:`~unlearning.models.base.Chain`); loose parameters belong to the first."""
        opened = list(inside(self.network))
        first, *rest = group(opened)
        held = {parameter for module in opened for parameter in module.parameters()}
        loose = nn.ParameterList(p for p in self.network.parameters() if p not in held)
        return [nn.ModuleList([loose, first]) if len(loose) else first, *rest]


def inside(module: nn.Module) -> Iterator[nn.Module]:
    """The children of a network; the base and whatever else holds lists of layers are replaced by their children."""
    for child in module.children():
        if any(holds_list(part) for part in (child, *child.children())):
            yield from inside(child)
        else:
            yield child


def holds_list(module: nn.Module) -> bool:
    """Whether a list of layers is among the children of a module."""
    return any(isinstance(child, nn.ModuleList) for child in module.children())


def renamed(network: Any) -> dict[str, str]:
    """The name that the library writes for each tensor of a network, by its name in the network.

    They are found by having it write a number for each. Empty where files have other tensors than the network.
    """
    names = list(network.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder, state_dict={name: torch.tensor([i]) for i, name in enumerate(names)})
        found = {name: tensor.tolist() for file in Path(folder).glob(FILES) for name, tensor in load_file(file).items()}
    pairs = {names[value[0]]: name for name, value in found.items() if len(value) == 1}
    return pairs if len(pairs) == len(names) else {}
