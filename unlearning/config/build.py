"""Build objects from the configuration: the only place that calls ``hydra.utils.instantiate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ..errors import UserError
from .validation import check


@dataclass(frozen=True)
class Spec:
    """A node of the configuration: a ``_target_`` and its arguments, from which any number of objects can be built.

    Args:
        where: its key, such as ``method``, for messages and keys.
        node: plain dicts and lists.
    """

    where: str
    node: Mapping[str, Any]

    @property
    def target(self) -> str:
        """The full name of what it builds."""
        return str(self.node["_target_"])

    def build(self, **given: Any) -> Any:
        """A new object, after a check of keys and values; ``given`` are arguments that the program supplies.

        Raises ``UserError`` for a node that does not fit what it names.
        """
        check(self.node, self.where, given)
        try:
            return instantiate(dict(self.node), **given, _convert_="all")
        except InstantiationException as error:  # Hydra's wrapping of what the constructor raised
            from lightning.fabric.utilities.exceptions import MisconfigurationException  # here: it imports torch

            cause = error.__cause__ or error
            if isinstance(cause, ValueError | MisconfigurationException):
                raise UserError(f"{self.where}: {cause}", key=self.where) from None
            raise cause from None

    def without(self, *names: str) -> Spec:
        """The same without some arguments."""
        return replace(self, node={name: value for name, value in self.node.items() if name not in names})

    def having(self, **arguments: Any) -> Spec:
        """The same with other arguments."""
        return replace(self, node={**self.node, **arguments})


def specs(nodes: Mapping[str, Any], where: str) -> dict[str, Spec]:
    """A spec for each entry of a group of named nodes; entries set to null are left out."""
    return {name: Spec(f"{where}.{name}", node) for name, node in nodes.items() if node is not None}
