"""A request that follows an earlier one: what that run left, and the problem of forgetting more from its model on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..data.datasets import Dataset
from ..errors import UserError
from ..models.checkpoints import load_checkpoint
from ..models.naming import Naming
from ..records.names import DONE, EARLIER, RESULTS, SPLIT, WEIGHTS
from ..runtime.digests import content_digest
from ..scenarios.base import Problem, Scenario
from ..scenarios.deletion_list import ListForgetting, names
from ..scenarios.saved import MalformedError, read_split
from ..types import Split
from .key import canonical, flat
from .lab import Lab, Trained

KEY = "after"
CHECKPOINT = "pretrain.checkpoint"
FRACTIONS = ("validation", "test")


@dataclass(frozen=True)
class Earlier:
    """The folder of a finished run, whose unlearned model a later request starts from.

    Args:
        folder: holds the unlearned weights, the split, and the results.
        results: the content of ``results.json``.
        split: the index sets of that run.
        before: ids of the samples that requests before that run had forgotten.
        data: the digest of its data.
    """

    folder: Path
    results: Mapping[str, Any]
    split: Split
    before: Tensor
    data: str

    @classmethod
    def read(cls, folder: Path) -> Earlier:
        """What a run left. Raises ``UserError`` where it is not finished, or something is missing."""
        if missing := [name for name in (DONE, RESULTS, SPLIT, WEIGHTS) if not (folder / name).is_file()]:
            raise UserError(
                f"the folder of {KEY}= lacks {', '.join(missing)}: name the folder of a finished run, with its weights",
                key=KEY,
                kind="file",
            )
        try:
            results = json.loads((folder / RESULTS).read_text())
            split, data = read_split(folder / SPLIT)
            following = (folder / EARLIER).is_file()
            before = load_file(folder / EARLIER)["earlier"] if following else split.forget[:0]
        except (OSError, ValueError, KeyError, MalformedError) as error:
            raise UserError(
                f"the folder of {KEY}= cannot be read ({error}): name the folder of a finished run",
                key=KEY,
                kind="file",
            ) from None
        return cls(folder, results, split, before, data)

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of that run."""
        found: Mapping[str, Any] = self.results["config"]
        return found

    @property
    def own(self) -> str | None:
        """The file of weights where the first request was about a model of the user's."""
        return None if self.results["checkpoint"] is None else str(self.folder / WEIGHTS)

    @cached_property
    def ids(self) -> Tensor:
        """The samples that were forgotten, in that run and before it."""
        return torch.cat([self.before, self.split.forget]).sort().values

    @property
    def about(self) -> dict[str, Any]:
        """Facts for records: the run's key, the digest of its weights, the earlier requests, and their samples."""
        requests = 1 + (self.results.get(KEY) or {"requests": 0})["requests"]
        facts = {"run_key": self.results["run_key"], "weights": self.results["weights"]}
        return {**facts, "requests": requests, "samples": len(self.ids)}

    def problem(self, scenario: Scenario, raw: Dataset) -> tuple[Problem, Dataset]:
        """The later request as a problem in which no index set has a sample of earlier ones, and the data for it.

        Training, validation and test samples are those of the earlier run, whatever ``split`` says. The digest of the
        data is the same all along, so that requests share reference models and predictions.

        Raises ``UserError`` for other data, and where a sample is requested again.
        """
        known = torch.cat([self.before, self.split.train]).sort().values
        parts = {"train": self.split.retain} | {name: self.split.sets[name] for name in FRACTIONS}
        whole = replace(
            raw,
            train=known,
            validation=self.split.validation,
            test=self.split.test,
            drawn_validation=False,
            drawn_test=False,
        )
        if whole.digest != self.data:
            raise UserError(
                f"the run of {KEY}= is on other data than {raw.name} as it is configured here, a trial, or one whose "
                "scenario changed the data: use dataset= and its options from that run",
                key=KEY,
                kind="conflict",
            )
        if isinstance(scenario, ListForgetting):
            listed = scenario.found(whole)[0].samples
            self.check_new(self.ids[listed[self.ids]], whole)
        left = replace(whole, train=parts["train"])
        problem = scenario.prepare(left)
        same = replace(problem.data, train=left.train, validation=left.validation, test=left.test)
        if same.digest != left.digest or len(problem.split.manipulated):
            raise UserError(
                f"the run of {KEY}= is followed by a scenario that changes the data that its model has learned",
                key=KEY,
                kind="conflict",
            )
        if changed := [name for name, ids in parts.items() if not torch.equal(problem.split.sets[name], ids)]:
            raise UserError(
                f"the run of {KEY}= left other samples than this scenario has in {', '.join(changed)}: a later request "
                "is over the training samples that the earlier ones left, and all of them",
                key=KEY,
                kind="conflict",
            )
        return replace(problem, data=whole), left

    def check_new(self, again: Tensor, data: Dataset) -> None:
        """Raise ``UserError`` where there are samples that earlier requests had forgotten."""
        if len(again):
            raise UserError(
                f"{len(again)} samples are requested again, and were forgotten by the run of {KEY}= or before it: "
                f"{names(data, again.tolist())}: take them off this request",
                key="scenario.file",
                kind="conflict",
            )

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise ``UserError`` where a configuration is about another model or another split."""
        if self.config["trial"] is not None:
            raise UserError(f"the run of {KEY}= is a trial, whose model is no result", key=KEY, kind="conflict")
        if canonical(self.config["model"]) != canonical(config["model"]):
            raise UserError(
                f"the run of {KEY}= is about model={self.config['choices']['model']} with other options than here: use "
                "model= and its options from that run",
                key=KEY,
                kind="conflict",
            )
        self.check_recipe(config)
        theirs, ours = self.config["split"], config["split"]
        drawn = any(theirs[name] or ours[name] for name in FRACTIONS)
        for name in (*FRACTIONS, "seed") if drawn else ():
            if theirs[name] != ours[name]:
                raise UserError(
                    f"the run of {KEY}= has another split: set split.{name}={theirs[name]}", key=KEY, kind="conflict"
                )
        own = config["pretrain"]["checkpoint"]
        if own and content_digest(Path(own).expanduser()) != self.results["inputs"].get(CHECKPOINT):
            raise UserError(
                f"the run of {KEY}= is not about the model of {CHECKPOINT}={own}: leave the latter out",
                key=KEY,
                kind="conflict",
            )

    def check_recipe(self, config: Mapping[str, Any]) -> None:
        """Raise ``UserError`` where the retrained model, or the shards of an ensemble, would be made in another way."""
        apart = ("checkpoint", "resume", *(["seed"] if self.own else []))  # the seed of what is not trained here
        ensembles = any(one["pretrain"].get("ensemble") for one in (self.config, config))
        if self.own and not config["retrained"] and not ensembles:
            return  # nothing is trained by a recipe
        theirs, ours = (
            {k: v for k, v in flat(one["pretrain"]).items() if k not in apart} for one in (self.config, config)
        )
        other = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        if other:
            set_here = [
                f"pretrain.{name}={theirs[name]}" for name in other if "_target_" not in name and name in theirs
            ]
            wanted = " ".join([f"pretrain={self.config['choices']['pretrain']}", *set_here])
            raise UserError(
                f"the run of {KEY}= has another recipe, so that its models and the later ones could not be compared: "
                f"set {wanted}",
                key=KEY,
                kind="conflict",
            )

    def start(self, lab: Lab, data: Dataset) -> Trained:
        """The unlearned model of the run. Raises ``UserError`` where its weights are not those that it wrote."""
        network = lab.architecture.network(data, pretrained=False)
        naming = load_checkpoint(network, str(self.folder / WEIGHTS), KEY)
        if naming.weights(network) != self.results["weights"]:
            raise UserError(
                f"the folder of {KEY}= holds other weights than those that its {RESULTS} names", key=KEY, kind="file"
            )
        return Trained(network, {}, {}, naming if self.own else Naming())
