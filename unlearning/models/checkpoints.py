"""Weights from a user's own file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from ..errors import UserError
from ..runtime.digests import content_digest
from .checkpoint_files import read_state
from .guess import guessed
from .naming import AmbiguousError, Naming, core, matched, reduced

KEY = "pretrain.checkpoint"
SHOWN = 4  # names of each side in a message

log = logging.getLogger("unlearning")


def load_checkpoint(network: nn.Module, path: str, key: str = KEY) -> Naming:
    """Load a user's own weights from a file that ``checkpoint_files.read_state`` reads, and return how it names them.

    Weights of another precision are converted to that of the network, with a warning.

    Args:
        network: gets the weights.
        path: of the file.
        key: the setting that names it.

    Raises ``UserError`` for a file that is not one, that does not fit the network, that holds several copies of it, or
    that holds NaN or infinity.
    """
    file, own = Path(path).expanduser(), network.state_dict()
    state, inside = read_state(file, key)
    try:
        naming = matched(state, own) or aliased(network, state)
    except AmbiguousError as error:
        raise UserError(
            f"{key}={path} holds several copies of the network, below {error}, such as that of a teacher or an average "
            "of weights: save the one that is to be unlearned by itself",
            key=key,
            kind="conflict",
        ) from None
    if naming is None or naming.names is None:
        (theirs, many), (ours, more), (library, name) = lacking(state, own), lacking(own, state), guessed(state)
        raise UserError(
            f"{key}={path} does not fit the model: "
            + (f"the file has {theirs} ({many} in all) that the model lacks" if many else "")
            + (", and " if many and more else "")
            + (f"the model has {ours} ({more} in all) that the file lacks" if more else "")
            + ": "
            + (
                f"it looks like {name} of {library}: try model={library} model.name={name}"
                if name
                else "choose model= to match"
            ),
            key=key,
            kind="conflict",
        )
    for name, named in naming.names.items():
        if state[named].shape != own[name].shape:
            raise UserError(
                f"{key}={path} does not fit the model: {named} has shape {tuple(state[named].shape)}, the model wants "
                f"{tuple(own[name].shape)}: choose model= and dataset= to match, and for a head of more classes than "
                "there are folders dataset.classes",
                key=key,
                kind="conflict",
            )
        if state[named].is_floating_point() and not state[named].isfinite().all():
            raise UserError(f"{key}={path} contains NaN or infinite weights, in {named}", key=key, kind="diverged")
    for kind in reduced({name: state[name] for name in naming.names.values()}):
        log.warning("%s=%s holds weights of %s: they are converted to float32", key, path, str(kind).partition(".")[2])
    if naming.rest:
        log.warning("%s=%s: kept as they came, not unlearned: %s", key, path, ", ".join(sorted(naming.rest)))
    network.load_state_dict(own | {name: state[named] for name, named in naming.names.items()})
    return replace(naming, inside=inside, digest=content_digest(file))


def aliased(network: nn.Module, state: Mapping[str, Tensor]) -> Naming | None:
    """How a file names the tensors of a network whose library has other names in files, if it does."""
    aliases: Mapping[str, str] = getattr(network, "aliases", {})
    found = matched(state, aliases.values()) if aliases else None
    if found is None or found.names is None:
        return None
    own = {alias: name for name, alias in aliases.items()}
    names = {own[alias]: named for alias, named in found.names.items()}
    return replace(found, names=names, reads=getattr(network, "reads", ()))


def lacking(tensors: Mapping[str, Tensor], other: Iterable[str]) -> tuple[str, int]:
    """The first names, with their shapes, of the tensors that the other side lacks, and how many it lacks."""
    known, (_, names) = set(core(other)[1]), core(tensors)
    found = [(name, tensor) for name, tensor in zip(names, tensors.values(), strict=True) if name not in known]
    shapes = [f"{name} {tuple(tensor.shape)}" for name, tensor in found[:SHOWN]]
    return ", ".join(shapes), len(found)
