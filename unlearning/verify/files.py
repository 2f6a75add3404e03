"""The files of a run as arrays: read here with numpy alone, whatever wrote them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open

from ..errors import UserError
from ..records.names import EARLIER, GALLERY, PREDICTIONS, REFERENCES, RESULTS, SPLIT, WEIGHTS

Array = np.ndarray[Any, Any]
SETS = ("train", "forget", "retain", "validation", "test", "test_forget", "test_retain", "manipulated")
TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "U8": "uint8", "BOOL": "bool"}
TYPES |= {f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Files:
    """What is in the folder of a run.

    Args:
        results: the content of ``results.json``.
        logits: (N, C) float64 by sample id, for each model of the table, and for the ``untrained`` one.
        triggered: (N_test, C) logits of the test images with the trigger, by model, where there is one.
        features: (M, D) float64 features of the samples ``feature_ids``, by model, where metrics needed them.
        layers: (M, D') the outputs of all blocks side by side, likewise; and ``widths`` of each block by its name.
        labels, true_labels: (N,) as taught, and correct.
        sets: the index sets by name.
        forget_classes: the classes that are forgotten whole.
        classes: the names of the classes.
        target: the class that the trigger stands for.
        digests: of each file that ``results.json`` has a digest of, and of the content of weights and split.
        data: the digest of the data that the split belongs to.
        earlier: ids of the samples that earlier requests had forgotten, where there were any.
    """

    results: Mapping[str, Any]
    logits: Mapping[str, Array]
    triggered: Mapping[str, Array]
    features: Mapping[str, Array]
    layers: Mapping[str, Array]
    widths: Mapping[str, int]
    feature_ids: Array
    labels: Array
    true_labels: Array
    sets: Mapping[str, Array]
    forget_classes: list[int]
    classes: list[str]
    target: int | None
    digests: Mapping[str, str]
    data: str
    earlier: Array


def read(folder: Path) -> Files:
    """The files of a finished run. Raises ``UserError`` where one is missing or cannot be read."""
    results = results_of(folder)
    files = results.get("files")
    if files is None or "original_weights" not in results:
        raise UserError(
            f"{folder} was made by an earlier version, which left too little to recompute its numbers: make the run "
            "again with force=true",
            kind="file",
        )
    (references,) = (name for name in files if name.startswith(REFERENCES))
    own, about = tensors(folder / PREDICTIONS)
    found = own | tensors(folder / references)[0]
    sets, facts = tensors(folder / SPLIT)
    named = {name if " " in name else f"unlearned {name}": array.astype(np.float64) for name, array in found.items()}
    by_kind = {
        kind: {name.removesuffix(f" {kind}"): array for name, array in named.items() if name.endswith(f" {kind}")}
        for kind in ("logits", "triggered", "features", "layers")
    }
    left = [name for name in files if name != GALLERY or (folder / name).exists()]  # it may have been purged
    digests = {name: file_digest(folder / name) for name in left}
    digests |= {"weights": weights_digest(folder / WEIGHTS), "data/split": split_digest(sets, facts)}
    return Files(
        results=results,
        **by_kind,
        widths=json.loads(about.get("layers", "{}")),
        feature_ids=found.get("feature_ids", np.empty(0, dtype=np.int64)),
        labels=found["labels"],
        true_labels=found.get("true_labels", found["labels"]),
        sets=sets,
        forget_classes=json.loads(facts["forget_classes"]),
        classes=json.loads(about["classes"]),
        target=json.loads(about["target"]),
        digests=digests,
        data=facts["data"],
        earlier=tensors(folder / EARLIER)[0]["earlier"] if EARLIER in files else np.empty(0, dtype=np.int64),
    )


def results_of(folder: Path) -> dict[str, Any]:
    """The content of a run's ``results.json``."""
    try:
        found = json.loads((folder / RESULTS).read_text())
    except OSError as error:
        raise UserError(
            f"{folder / RESULTS} cannot be read ({error.strerror}): name the folder of a finished run", kind="file"
        ) from None
    except ValueError as error:
        raise UserError(f"{folder / RESULTS} is not JSON: {error}", kind="file") from None
    if not isinstance(found, dict):
        raise UserError(f"{folder / RESULTS} does not hold the results of a run", kind="file")
    return found


def tensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays in a safetensors file, by name, and the facts about them."""
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}", kind="file") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", kind="file") from None


def weights_digest(path: Path) -> str:
    """SHA-256 over the name, type, shape and bytes of each tensor in the order of their names, as the card has it."""
    digest = hashlib.sha256()
    try:
        found = dict(deserialize(path.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}", kind="file") from None
    for name, tensor in sorted(found.items()):
        digest.update(f"{name} torch.{TYPES[tensor['dtype']]} {tuple(tensor['shape'])}".encode())
        digest.update(tensor["data"])
    return digest.hexdigest()


def split_digest(sets: Mapping[str, Array], facts: Mapping[str, str]) -> str:
    """SHA-256 over the classes of the request, and the name and int64 ids of each set."""
    classes = tuple(tuple(json.loads(facts[name])) for name in ("forget_classes", "named_classes"))
    digest = hashlib.sha256(repr(classes).encode())
    for name in SETS:
        digest.update(name.encode() + sets[name].astype(np.int64).tobytes())
    return digest.hexdigest()
