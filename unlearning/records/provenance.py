"""The provenance of a run: enough to repeat it, and to name the parts in which it differs from a similar run."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.paths import CONF, PACKAGE
from ..runtime.secrets import without_secrets
from .hardware import hardware
from .names import DONE, PROVENANCE

if TYPE_CHECKING:
    from ..request import Request

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "hydra-core",
    "timm",
    "torchmetrics",
    "scikit-learn",
    "mlflow",
    "numpy",
)
LISTED = 5  # differences that are named in one line


def provenance(request: Request) -> dict[str, Any]:
    """Everything needed to make a run again, and to understand its key."""
    return {
        "run_key": request.key.digest,
        "command": request.command,
        "config": config_of(request),
        "settings": [dict(row) for row in request.rows],
        "inputs": dict(request.key.parts["file"]),
        "hardware": hardware(str(request.config["trainer"].get("accelerator", "cpu"))),
        "threads": request.config["trainer"]["threads"],
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "git": git_revision(),
        "started": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "differs": nearest(request),
        "key": request.key.parts,
    }


def config_of(request: Request) -> dict[str, Any]:
    """The configuration of a run with its choices, but without passwords."""
    tracking = without_secrets(request.config["tracking"])
    return {**request.config, "tracking": tracking, "choices": dict(request.choices)}


def nearest(request: Request) -> dict[str, Any] | None:
    """The finished run of the same name whose key differs in the fewest parts, and these; None where there is none."""
    found = ((request.key.differences(parts), name) for name, parts in namesakes(request.folder))
    parts, name = min(found, key=lambda pair: (len(pair[0]), pair[1]), default=([], ""))
    return {"from": name, "parts": parts} if name else None


def namesakes(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and key of the other finished runs whose folders have the same name but for the key's digest."""
    name = folder.name.rpartition("-")[0]
    for other in sorted(folder.parent.iterdir()) if folder.parent.is_dir() else ():
        if other != folder and other.name.rpartition("-")[0] == name and (other / DONE).exists():
            try:
                key = json.loads((other / PROVENANCE).read_text())["key"]
            except (OSError, ValueError, KeyError):  # a run that is just being removed
                continue
            yield other.name, key


def difference(differs: Mapping[str, Any]) -> str:
    """A line about the parts in which a run differs from the nearest one of the same name."""
    parts = differs["parts"]
    more = f", and {len(parts) - LISTED} more" if len(parts) > LISTED else ""
    return f"differs from {differs['from']} in {', '.join(parts[:LISTED])}{more}"


def git_revision() -> str | None:
    """The commit of the code, with ``+changes`` where the tree differs from it; None outside a checkout."""
    if CONF.parent == PACKAGE:  # installed; a repository around it is somebody else's
        return None
    ask = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
