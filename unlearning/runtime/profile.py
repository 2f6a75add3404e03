"""Profile a run: the time spent in each function."""

from __future__ import annotations

import cProfile
import io
import pstats
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHOWN = 60  # functions, by the time spent in them and in what they call


@contextmanager
def profiled(folder: Path, wanted: bool) -> Iterator[None]:
    """Write ``profile.txt`` (a table) and ``profile.prof`` (for viewers) to ``folder``, if that is wanted."""
    if not wanted:
        yield
        return
    profile = cProfile.Profile()
    with profile:
        yield
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(SHOWN)
    (folder / "profile.txt").write_text(text.getvalue())
    profile.dump_stats(folder / "profile.prof")
