"""Machine unlearning: make a trained classifier forget chosen training data, and measure how well that went.

The functions of the Python API are loaded when they are first used, since they import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Evaluation, Unlearned, evaluate, retrain, train, unlearn
    from .errors import UserError

__version__ = "0.1.0"

__all__ = ["Evaluation", "Unlearned", "UserError", "evaluate", "retrain", "train", "unlearn"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".errors" if name == "UserError" else ".api", __name__), name)
