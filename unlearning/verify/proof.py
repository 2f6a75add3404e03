"""What the other files of a run say beside its results, and the list of a request: are they of the same run?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..records.names import CARD, PROVENANCE
from .comparison import Check
from .files import file_digest

LIST = "scenario.file"


def checks(results: Mapping[str, Any], folder: Path, listing: Path | None) -> Iterator[Check]:
    """Whether card and provenance say what the results say, and the digest of the list if its file is given.

    Runs of earlier versions, whose results have no digest of their card, are not compared with it.

    Raises ``UserError`` for a list where the run had none.
    """
    if CARD in results["files"]:
        card = " ".join((folder / CARD).read_text().split())
        entries = results.get("selected", {}).get("entries")
        said = {"verdict": [f"**{results['verdict']}**"], "notes": [f"* Note: {note}" for note in results["notes"]]}
        if entries is not None:
            said["list"] = [f"List of {entries:,} entries: SHA-256 `{results['inputs'].get(LIST)}`"]
        for name, parts in said.items():
            yield Check(f"{name} as on the card", True, all(" ".join(part.split()) in card for part in parts))
        begun = json.loads((folder / PROVENANCE).read_text())
        same = all(results[name] == value for name, value in begun.items() if name in results)
        yield Check(f"facts as in {PROVENANCE}", True, same)
    if listing is not None:
        if LIST not in results["inputs"]:
            raise UserError("the request of the run was no list: leave --list out", kind="conflict")
        yield Check("list/sha256", results["inputs"][LIST], file_digest(listing))
