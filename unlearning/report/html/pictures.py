"""Figures of runs that a page holds itself, so that it shows them wherever it is sent."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress

from ..runs import Run

HELD = ("embeddings.png", "layers.png")  # what the page cannot draw from numbers
ROOM = 12 << 20  # bytes of pictures in a page; the others are links alone


class Pictures:
    """Reads the figures of runs, as long as there is room for them."""

    def __init__(self, room: int = ROOM) -> None:
        self.room = room

    def of(self, run: Run) -> dict[str, str]:
        """The figures of a run by the names of their files, as addresses that hold them."""
        found = {}
        for name in HELD:
            with suppress(OSError):  # the run has no such figure
                if 0 < (size := (run.folder / name).stat().st_size) <= self.room and run.folder.name:
                    content = b64encode((run.folder / name).read_bytes()).decode()
                    found[name] = f"data:image/png;base64,{content}"
                    self.room -= size
        return found
