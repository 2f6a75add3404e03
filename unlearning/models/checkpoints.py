"""Weights from a user's own file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError

KEY = "pretrain.checkpoint"


def load_checkpoint(network: nn.Module, path: str, key: str = KEY) -> None:
    """Load a user's own weights: safetensors, or a plain state dict saved by ``torch.save``.

    ``key`` is the setting that names the file.

    Raises ``UserError`` for a file that is not one, that does not fit the network, or that holds NaN or infinity.
    """
    state = read_state(Path(path).expanduser(), key)
    own = network.state_dict()
    for missing, names in ((True, own.keys() - state.keys()), (False, state.keys() - own.keys())):
        if names:
            raise UserError(
                f"{key}={path} does not fit the model: it {'lacks' if missing else 'also has'} {min(names)!r} "
                f"({len(names)} such tensors): choose model= to match",
                key=key,
                kind="conflict",
            )
    for name, tensor in own.items():
        if state[name].shape != tensor.shape:
            raise UserError(
                f"{key}={path} does not fit the model: {name} has shape {tuple(state[name].shape)}, the model wants "
                f"{tuple(tensor.shape)}: choose model= and dataset= to match",
                key=key,
                kind="conflict",
            )
        if state[name].is_floating_point() and not state[name].isfinite().all():
            raise UserError(f"{key}={path} contains NaN or infinite weights, in {name}", key=key, kind="diverged")
    network.load_state_dict({name: state[name] for name in own})


def read_state(path: Path, key: str = KEY) -> dict[str, Tensor]:
    """The tensors of a checkpoint file; a pickled model is refused, because unpickling runs whatever code it holds."""
    if not path.is_file():
        raise UserError(f"{key}={path}: there is no such file", key=key, kind="file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on the pickle; the message below says what to do
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the readers raise anything on a file that is not a checkpoint
        state = None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(
            f"{key}={path} is not a plain state dict: save it as safetensors, or by torch.save(model.state_dict(), "
            "FILE); a pickled model is not loaded",
            key=key,
            kind="file",
        )
    return dict(state)
