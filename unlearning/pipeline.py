"""One run, top to bottom: data, original and retrained model, unlearning, predictions, metrics, records."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from .config import build
from .config.schema import folder_name, libraries, numerics, run_key, source_digest
from .data.datamodule import Transform, UnlearningData
from .data.datasets import Dataset
from .data.trigger import Attack
from .engine.predict import predict
from .engine.store import Store
from .errors import UserError
from .methods.base import Method, OneShot
from .metrics.base import Evidence, directions_of, evaluate, gaps
from .records import folder as records
from .runtime.distributed import join, lead, leads, leave
from .runtime.progress import Progress
from .types import Split

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """A model of the table: its network, its logits by sample id, what making it cost, and ``Evidence.triggered``."""

    network: nn.Module
    logits: Tensor
    cost: dict[str, float]
    triggered: Tensor | None


def run(config: Config, choices: Mapping[str, str], command: str, sweep: str | None = None) -> Path:
    """The folder of a finished run: found by its key if it was done before, else made now.

    Raises ``UserError`` for what the user can mend; the folder of a run that began and failed holds ``FAILED`` and the
    reason.
    """
    join(config["trainer"])
    key = run_key(config)
    folder = Path(config["paths"]["runs"]) / folder_name(config, choices, key)
    started = time.time()
    tracking = build.build(config["tracking"], "tracking")
    about = records.about(config, choices, command, key)
    with ExitStack() as held:
        if lead(lambda: records.begin(folder, held, config["force"])):
            lead(lambda: records.catch_up(folder, tracking, sweep, config))
            leave()
            return folder
        lead(tracking.check)
        prepared = Run(config, folder)  # a mistake in the request shows here, and costs no earlier result
        lead(lambda: records.clear(folder, about))
        try:
            results, curves = prepared.results()
        except BaseException as error:
            if leads():
                records.fail(folder, about, error, tracking, sweep, started)
            raise
        lead(lambda: records.finish(folder, about | results, curves, tracking, sweep, started))
    leave()
    return folder


class Run:
    """The steps of one run; what they share are the data, the store and the folder."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.store = Store(Path(config["paths"]["store"]))
        self.data: Dataset = build.dataset(config)
        self.split: Split = build.split(config, self.data)
        self.task = build.task(config, self.data, self.split)
        self.metrics = build.metrics(config)
        needs_attack = any(metric.needs_attack for metric in self.metrics.values())
        self.attack: Attack | None = build.scenario(config).attack(self.data) if needs_attack else None
        self.method(build.model(config, self.data))  # what is wrong with it should show before hours of training

    def results(self) -> tuple[dict[str, Any], dict[str, list[tuple[int, float]]]]:
        """What goes to ``results.json``, and the curves of the unlearning."""
        models = {"original": self.reference("original")}
        if self.config["retrained"]:
            models["retrained"] = self.reference("retrained")
            if len(self.split.manipulated) > len(self.split.forget):
                models["clean"] = self.reference("clean")
        method = self.method(copy.deepcopy(models["original"].network))
        models["unlearned"] = self.unlearned(method, models["original"])

        logits = {name: model.logits for name, model in models.items()}
        parts = Evidence(
            logits=logits["original"],
            labels=self.data.labels,
            split=self.split,
            classes=self.data.classes,
            original=logits["original"],
            retrained=logits.get("retrained"),
            untrained=self.untrained() if any(m.needs_untrained for m in self.metrics.values()) else None,
            images=lambda ids: Transform(self.data)(self.data.inputs[ids], ids=ids),
            true_labels=self.data.true_labels,
            attack=self.attack,
        )
        evidence = {name: parts.of(model.logits, model.network, model.triggered) for name, model in models.items()}
        rows, failed = {}, {}
        for name, one in evidence.items():
            rows[name], errors = evaluate(self.metrics, one)
            failed |= {f"{name}: {metric}": why for metric, why in errors.items()}
        directions = directions_of(self.metrics, sorted({metric for row in rows.values() for metric in row}))
        found = gaps(self.metrics, rows["unlearned"], rows["retrained"]) if "retrained" in rows else {}
        for name, model in models.items():
            rows[name] |= {f"cost/{what}": model.cost[f"cost/{what}"] for what in ("seconds", "passes") if model.cost}
        results = {
            "rows": rows,
            "gaps": found,
            "cost": models["unlearned"].cost,
            "access": method.access,
            "directions": directions,
            "failed": failed,
            "sizes": {name: len(ids) for name, ids in self.split.sets.items()},
            "data": {"dataset": self.data.digest, "split": self.split.digest},
            "weights": records.state_digest(models["unlearned"].network.state_dict()),
        }
        lead(lambda: records.artefacts(self.folder, evidence, rows, self.data))
        return results, method_curves(method)

    # Models

    def method(self, network: nn.Module) -> Method:
        """The method around a network, if it can serve the request."""
        method = build.method(self.config, network)
        method.check(self.task)
        return method

    def reference(self, name: str) -> Model:
        """The original, retrained or clean model, made once for all runs that share data, recipe, seed and samples."""
        stream, split = {
            "original": ("train", self.split),
            "retrained": ("retain", self.split),
            "clean": ("retain", self.split.all_known),  # without any manipulated sample, known or not
        }[name]
        network = build.model(self.config, self.data)
        checkpoint = self.config["pretrain"]["checkpoint"]
        if name == "original" and checkpoint:
            build.load_checkpoint(network, checkpoint)
            wrong = f"pretrain.checkpoint={checkpoint} is no model of use"
            require_finite(network.state_dict(), wrong)
            return self.predicting(network, {}, wrong)
        recipe = {k: v for k, v in self.config["pretrain"].items() if k != "checkpoint"}
        wrong = f"training the {name} model diverged (try a smaller pretrain.optimizer.lr)"
        key = {
            "data": self.data.digest,
            "trained on": records.ids_digest(split.sets[stream]),
            "model": self.config["model"],
            "code": self.code(self.config["pretrain"]["_target_"]),
            "recipe": recipe,
            "trainer": numerics(self.config),
        }

        def train() -> tuple[dict[str, Tensor], dict[str, float]]:
            L.seed_everything(recipe["seed"], verbose=False)
            method = build.pretraining(self.config, copy.deepcopy(network), stream)
            method.check(self.task)
            self.fit(method, f"Training the {name} model", split)
            require_finite(method.model.state_dict(), wrong)
            return state_of(method.model), method.meter.metrics()

        entry = self.store.get_or_create("models", key, train)
        network.load_state_dict(entry.tensors)
        return self.predicting(network, dict(entry.facts), wrong)

    def untrained(self) -> Tensor:
        """The logits of a network with random weights, the same for all runs that share data, model and seed."""
        L.seed_everything(self.config["pretrain"]["seed"], verbose=False)
        network = self.task.fresh_model()
        wrong = "the model cannot be used untrained"
        return self.cached(self.prediction_key(network), lambda: self.predictions(network, wrong))

    def code(self, target: str) -> list[str]:
        """What of code and libraries decides what a target makes of this model and data."""
        own = (target, self.config["model"]["_target_"], "unlearning.data.datamodule.Rows")
        return [*map(source_digest, own), *libraries().values()]

    def unlearned(self, method: Method, original: Model) -> Model:
        """The model after the method; a one-shot method's look at the data is made once for all that share it."""
        L.seed_everything(self.config["seed"], verbose=False)
        cost = {}
        if isinstance(method, OneShot):
            key = {
                "data": self.data.digest,
                "split": self.split.digest,
                "model": records.state_digest(original.network.state_dict()),
                "seed": self.config["seed"],
                "observes": method.observation_key(),
                "trainer": numerics(self.config),
                "architecture": self.config["model"],
                "code": self.code(method.observer()),
            }

            def observe() -> tuple[dict[str, Tensor], dict[str, float]]:
                self.fit(method, "Observing")
                return method.observations, method.meter.metrics()

            entry = self.store.get_or_create("observations", key, observe)
            run_now = method.meter.forward + method.meter.backward
            method.meter = method.meter.resumed(entry.facts, "observe")
            L.seed_everything(self.config["seed"], verbose=False)  # the same from here on, whoever looked at the data
            self.edit(method, entry.tensors)
            if method.repair is not None:
                method.repair.meter, method.repair.curves = method.meter, method.curves  # one account of both
                self.fit(method.repair, "Repairing")
            cost = {"cost/passes_run": run_now + method.meter.metrics()["cost/passes"] - entry.facts["cost/passes"]}
        else:
            self.fit(method, "Unlearning")
        method.model.load_state_dict(lead(lambda: state_of(method.model)))  # BatchNorm's averages differ by process
        method.model.eval()
        wrong = f"{type(method).__name__} diverged"
        require_finite(method.model.state_dict(), wrong)
        logits, triggered = self.predictions(method.model, wrong), self.triggered(method.model, wrong)
        return Model(method.model, logits, method.meter.metrics() | cost, triggered)

    def edit(self, method: OneShot, observations: dict[str, Tensor]) -> None:
        """Let a one-shot method change its weights, on the device and in the precision of the trainer."""
        strategy = self.trainer().strategy
        device = strategy.root_device
        strategy.precision_plugin.convert_module(method).to(device).model.eval()
        method.observations = {name: tensor.to(device) for name, tensor in observations.items()}
        method.look = partial(self.datamodule().batches_for, method)
        method.count_passes()
        with method.meter.running(), torch.no_grad():
            method.edit()
        method.cpu()

    def fit(self, method: Method, title: str, split: Split | None = None) -> None:
        self.trainer(method.passes, [Progress(title)]).fit(method, datamodule=self.datamodule(split))

    def trainer(self, epochs: int = 0, callbacks: list[L.Callback] | None = None) -> L.Trainer:
        return build.trainer(self.config, epochs, callbacks or [])

    def datamodule(self, split: Split | None = None) -> UnlearningData:
        return UnlearningData(self.data, split or self.split, self.task)

    def predicting(self, network: nn.Module, cost: dict[str, float], wrong: str) -> Model:
        """A reference model with its predictions, which are made once for all runs that share model and data.

        Raises ``UserError`` where they are not finite; ``wrong`` says what is wrong then.
        """
        key = self.prediction_key(network)  # before any prediction, which may round the weights
        logits = self.cached(key, lambda: self.predictions(network, wrong))
        if self.attack is None:
            return Model(network, logits, cost, None)
        key |= {"with the trigger": records.ids_digest(self.split.test)}
        return Model(network, logits, cost, self.cached(key, lambda: self.triggered(network, wrong)))

    def cached(self, key: dict[str, Any], make: Callable[[], Tensor]) -> Tensor:
        """Logits from the store."""
        return self.store.get_or_create("predictions", key, lambda: ({"logits": make()}, {})).tensors["logits"]

    def prediction_key(self, network: nn.Module) -> dict[str, Any]:
        """What decides the predictions of a network."""
        return {
            "data": self.data.digest,
            "model": records.state_digest(network.state_dict()),
            "architecture": self.config["model"],
            "code": self.code("unlearning.engine.predict.predict"),
            "trainer": numerics(self.config),
        }

    def predictions(self, network: nn.Module, wrong: str) -> Tensor:
        """A network's logits on every sample."""
        logits = predict(network, self.trainer(), self.datamodule())
        require_finite({"its predictions": logits}, wrong)
        return logits

    def triggered(self, network: nn.Module, wrong: str) -> Tensor | None:
        """A network's logits on the test images with the trigger; None where the scenario plants none."""
        if self.attack is None:
            return None
        attacked = self.data.with_trigger(self.attack.trigger, self.split.test)
        data = UnlearningData(attacked, self.split, self.task, predicted=self.split.test)
        logits = predict(network, self.trainer(), data)
        require_finite({"its predictions with the trigger": logits}, wrong)
        return logits


def require_finite(tensors: Mapping[str, Tensor], wrong: str) -> None:
    """Raise ``UserError`` for the first tensor that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{wrong}: there are values that are not finite in {name}")


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """A network's parameters and buffers, detached and on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}


def method_curves(method: Method) -> dict[str, list[tuple[int, float]]]:
    """``unlearn/<name>``: (step, value) of what the method recorded at each step."""
    return {f"unlearn/{name}": list(enumerate(torch.stack(v).float().tolist())) for name, v in method.curves.items()}
