"""Keep passwords, tokens and queries of URIs out of what is written and said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"
URI = re.compile(r"\b[A-Za-z][\w+.\-]*:///?[^\s'\"]*")  # a password may hold any sign but space and quotes
SHORTEST = 3  # letters of a part of a password that is looked for by itself


def masked(uri: str) -> str:
    """A URI without user name, password and query: ``https://***@host/path?***``.

    Whatever stands before the last ``@`` is taken for a password, which may hold slashes.
    """
    scheme, slashes, rest = uri.partition("://")
    if not slashes:
        return uri
    login, at, place = ("", "", rest) if scheme.startswith("sqlite") else rest.rpartition("@")
    place, asks, _ = place.partition("?")
    return f"{scheme}://{HIDDEN if login else ''}{at}{place}" + (f"?{HIDDEN}" if asks else "")


def redacted(text: str, uri: str = "") -> str:
    """A text in which all URIs are :func:`masked`, and so are the parts of what is secret in this ``uri``."""
    text = URI.sub(lambda found: masked(found[0]), text.replace(uri, masked(uri)) if uri else text)
    for part in sorted(parts_of(uri), key=len, reverse=True):
        text = text.replace(part, HIDDEN)
    return text


def parts_of(uri: str) -> set[str]:
    """The words of a URI's user name, password and query, as they are written and as they are meant."""
    scheme, _, rest = uri.partition("://")
    if scheme.startswith("sqlite"):
        return set()
    before, at, after = rest.rpartition("@")
    secret = f"{before if at else ''} {(after if at else rest).partition('?')[2]}"
    words = {*re.split(r"[\s:@/?&=#]+", secret), *re.split(r"[\s:@/?&=#]+", unquote(secret))}
    return {word for word in words | {unquote(word) for word in words} if len(word) >= SHORTEST}


def without_secrets(node: Any) -> Any:
    """A node of a configuration in which all texts are :func:`redacted`."""
    if isinstance(node, Mapping):
        return {name: without_secrets(value) for name, value in node.items()}
    if isinstance(node, list):
        return [without_secrets(value) for value in node]
    return redacted(node) if isinstance(node, str) else node
