"""A network of the same architecture with new random weights."""

from __future__ import annotations

import copy
from itertools import chain

from torch import nn

from ..errors import UserError


def reinitialised(network: nn.Module) -> nn.Module:
    """A copy whose layers are all initialised anew, each by its own ``reset_parameters``.

    Raises ``UserError`` for a network with a layer that has weights or buffers of its own and no such method.
    """
    copied = copy.deepcopy(network)
    for name, module in copied.named_modules():
        if not any(True for _ in chain(module.parameters(recurse=False), module.buffers(recurse=False))):
            continue
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is None:
            raise UserError(
                f"the layer {name or type(module).__name__!r} cannot be initialised anew: pass fresh=FUNCTION, which "
                "makes a new network",
                key="fresh",
                kind="missing",
            )
        reset()
    return copied
