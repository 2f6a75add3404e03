"""The names of tensors: a network's own, and those of the same tensors in a user's file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.digests import state_digest

COMPILED = re.compile(r"(^|\.)_orig_mod\.")  # which torch.compile puts before the names of what it compiled
WITHIN = "network."  # which this package's wrappers of other libraries put before the names of the network in them
COUNTER = "num_batches_tracked"  # of BatchNorm: files of old versions of torch lack it, and it decides nothing here


@dataclass(frozen=True)
class Naming:
    """How a file names the tensors of a network; by itself, the network's own names.

    Args:
        names: the name in the file of each tensor that is there, by the network's own name.
        prefix: what stands before the network's names in the file, such as ``model.``.
        rest: tensors of the file that are not the network's, such as a loss's weights.
        inside: the entries of the file that lead to the tensors, as in ``checkpoint_files.Stored``.
        digest: of the file.
        reads: the class of the network's library that reads such a file, and the folder of its configuration, where the
            library renames the tensors.
    """

    names: Mapping[str, str] | None = None
    prefix: str = ""
    rest: Mapping[str, Tensor] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    digest: str = ""
    reads: tuple[str, ...] = ()

    def written(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state of the network as the file has it: its names, and what else was in it."""
        if self.names is None:
            return dict(state)
        return {name: state[own] for own, name in self.names.items()} | dict(self.rest)

    def weights(self, network: nn.Module) -> str:
        """The digest of a network's tensors under these names."""
        return state_digest(self.written(network.state_dict()))

    @property
    def about(self) -> dict[str, Any] | None:
        """Facts about the file for records; None where there is none."""
        if self.names is None:
            return None
        named: dict[str, Any] = {"tensors": len(self.names), "prefix": self.prefix, "inside": list(self.inside)}
        named |= {"reads": list(self.reads)} if self.reads else {}
        return {"sha256": self.digest, **named, "besides": sorted(self.rest)}


class AmbiguousError(Exception):
    """A file that holds several copies of a network, and what stands before the names of each."""


def core(own: Iterable[str]) -> tuple[str, list[str]]:
    """What a wrapper of this package puts before the names of a network, and the names without it."""
    names = list(own)
    before = WITHIN if all(name.startswith(WITHIN) for name in names) else ""
    return before, [name.removeprefix(before) for name in names]


def matched(state: Mapping[str, Tensor], own: Iterable[str]) -> Naming | None:
    """How a file names the tensors ``own`` of a network; None where it does not have all of them, or others among them.

    The file's names may have anything before them, as long as it is one and the same: what a wrapper or a module of the
    user's adds (``module.``, ``model.``, ``backbone.``). What is compiled is found wherever ``_orig_mod.`` is.

    Raises ``AmbiguousError`` where several such parts of the file have all names.
    """
    before, wanted = core(own)
    plain = {COMPILED.sub(r"\1", name): name for name in state}
    needed = [name for name in wanted if not name.endswith(COUNTER)]
    if not needed:
        return None
    anchor = max(needed, key=len)
    prefixes = {name[: -len(anchor)] for name in plain if f".{name}".endswith(f".{anchor}")}
    whole = sorted(prefix for prefix in prefixes if all(prefix + name in plain for name in needed))
    if len(whole) > 1:
        raise AmbiguousError(", ".join(repr(prefix) for prefix in whole))
    for prefix in whole:
        inside = {name.removeprefix(prefix) for name in plain if name.startswith(prefix)}
        if inside <= set(wanted):
            names = {before + name: plain[prefix + name] for name in wanted if prefix + name in plain}
            used = set(names.values())
            return Naming(names, prefix, {name: tensor for name, tensor in state.items() if name not in used})
    return None


def reduced(state: Mapping[str, Tensor]) -> Iterable[torch.dtype]:
    """The types of floating-point tensors that are not float32, each once."""
    kinds = (tensor.dtype for tensor in state.values() if tensor.is_floating_point())
    return [kind for kind in dict.fromkeys(kinds) if kind != torch.float32]
