"""Which samples the entries of a list mean: by file, by id, or by what a column of the metadata says of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.datasets import Dataset
from ..data.metadata import NONE, SEVERAL, Metadata, positions
from ..errors import UserError, listed
from .entries import KEY, Entry

FILE, ID = "file", "id"
BY = "scenario.by"
WILD = re.compile(r"(\*\*/?|\*|\?)")  # brackets stand in names of files: "photo[2].png"

Matcher = Callable[[Entry], Sequence[int]]  # the ids of the samples that an entry means; none where it is unknown


def matcher(data: Dataset, by: str | None) -> Matcher:
    """What finds the samples of an entry; ``by`` is as in ``ListForgetting``.

    Raises ``UserError`` for a column that the data do not have.
    """
    facts = data.metadata
    if by == ID:
        return partial(by_id, len(data.labels))
    if facts is not None and facts.folder is not None and by in (None, FILE):
        return by_file(facts, facts.folder, len(data.labels), strict=by == FILE)
    if by is None:
        return partial(by_id, len(data.labels))
    if facts is None or by not in facts.columns:
        raise UserError(
            f"{BY}={by}: {data.name} has no such column: {listed([ID, *(facts.columns if facts else {})])}",
            key=BY,
            kind="choice",
        )
    return by_column(facts.columns[by])


def by_id(samples: int, entry: Entry) -> Sequence[int]:
    """The sample of an id, a whole number."""
    number = int(entry) if isinstance(entry, int) or (entry.isascii() and entry.isdigit()) else -1
    return [number] if 0 <= number < samples else []


def by_column(values: np.ndarray) -> Matcher:
    """The samples that have an entry in a column."""
    places: dict[object, list[int]] = defaultdict(list)
    words = values.dtype == object
    for number, value in enumerate(values.tolist()):
        if value is not None:
            places[value].append(number)

    def find(entry: Entry) -> Sequence[int]:
        if words:
            return places.get(str(entry), [])
        try:
            return places.get(float(entry), [])
        except ValueError:
            return []

    return find


def empty(data: Dataset, by: str | None) -> Tensor:
    """(N,) bool: the samples whose cell in the column ``by`` is empty, so that no entry can name them."""
    columns = data.metadata.columns if data.metadata else {}
    if by is None or by not in columns:
        return torch.zeros(len(data.labels), dtype=torch.bool)
    return torch.from_numpy(pd.isna(columns[by]))


def by_file(facts: Metadata, folder: Path, samples: int, strict: bool) -> Matcher:
    """The images that a path means; whole numbers, which text does not have, mean ids unless this is ``strict``.

    A path is one below the data set's folder, or an end of it that no other image has, with or without the suffix; or
    it leads through that folder. In one with wildcards, ``*`` and ``?`` do not stand for ``/``, and ``**`` does.

    The matcher raises ``UserError`` for an entry that several images could be meant by.
    """
    names = [str(name) for name in facts.columns[FILE]]
    places, whole = positions(names), {name: number for number, name in enumerate(names)}

    def find(entry: Entry) -> Sequence[int]:
        if isinstance(entry, int) and not strict:
            return by_id(samples, entry)
        path = PurePosixPath(str(entry)).as_posix()
        place = places.get(path, NONE)
        if place == SEVERAL:
            raise UserError(
                f"{KEY}: {entry} could be any of {', '.join(ending(names, path))}: write the path below the folder",
                key=KEY,
                kind="conflict",
            )
        if place != NONE:
            return [place]
        rests = [path, *below(folder, path)]
        found = [whole[rest] for rest in rests if rest in whole]
        if found or not WILD.search(path):
            return found[:1]
        wanted = [re.compile(pattern(rest, anywhere=rest is path)) for rest in rests]
        return [number for number, name in enumerate(names) if any(one.fullmatch(name) for one in wanted)]

    return find


def ending(names: Sequence[str], path: str) -> list[str]:
    """The names that end as a path does, with or without their suffix."""
    ends = {name: (f"/{name}", f"/{PurePosixPath(name).with_suffix('')}") for name in names}
    return [name for name, own in ends.items() if any(end.endswith(f"/{path}") for end in own)]


def below(folder: Path, path: str) -> Iterator[str]:
    """What remains of a path that begins with the folder, or with an end of the folder's own path."""
    parts = PurePosixPath(path).parts
    for top in dict.fromkeys([folder.absolute().parts, folder.resolve().parts]):
        for count in range(1, min(len(top), len(parts) - 1) + 1):
            if parts[:count] == top[-count:]:
                yield "/".join(parts[count:])


def pattern(glob: str, anywhere: bool) -> str:
    """The regular expression of a path with wildcards, for whole paths; ``anywhere`` for any end of them, too."""
    said = {"*": "[^/]*", "?": "[^/]", "**": ".*", "**/": "(?:.*/)?"}
    parts = (said.get(part) or re.escape(part) for part in WILD.split(glob))
    return ("(?:.*/)?" if anywhere else "") + "".join(parts)
