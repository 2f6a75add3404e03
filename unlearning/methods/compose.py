"""Composition of two models, one that forgets well and one that keeps the rest well (arXiv:2505.21872)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ..models.base import blocks_of
from ..models.checkpoints import load_checkpoint
from .base import Method
from .cf_k import CFk

Part = str | Callable[..., Method]
WEIGHTS = "unlearned.safetensors"  # of a run, in its folder


class Compose(CFk):
    """Put the head of a model that forgets well on a model that keeps the rest well, then train on the retain set.

    The head is the last block, as ``CFk`` counts them, and the training that of ``CFk``: of all blocks (k = -1), or of
    the head alone (k = 1). Each of the two models is either made now from the original, by a method of which the option
    holds the settings, and kept as any other model is; or it is taken from the folder of an earlier run, or a file of
    weights. What making them costs, and which data it sees, are the method's own cost and data access.

    Args:
        model: as in ``CFk``, like the other options.
        forget: makes or names the model whose head is taken.
        remain: makes or names the model that gets it.

    Raises ``UserError`` for a folder or a file whose weights do not fit.
    """

    replaces = True

    def __init__(self, model: nn.Module, forget: Part, remain: Part, **options: Any) -> None:
        named = {"forget": forget, "remain": remain}
        copies = {name: copy.deepcopy(model) for name in named}  # now: ``CFk`` freezes blocks
        super().__init__(model, **options)
        self.parts = {name: part(model=copies[name]) for name, part in named.items() if not isinstance(part, str)}
        for name, part in named.items():
            if isinstance(part, str):
                path = Path(part).expanduser()
                load_checkpoint(copies[name], str(path / WEIGHTS if path.is_dir() else path), f"method.{name}")
        self.sources = {name: self.parts[name].model if name in self.parts else copies[name] for name in named}
        self.knows_classes = any(part.knows_classes for part in self.parts.values())

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.resumed:
            return
        self.model.load_state_dict(self.sources["remain"].state_dict())
        blocks_of(self.model)[-1].load_state_dict(blocks_of(self.sources["forget"])[-1].state_dict())
