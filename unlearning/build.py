"""From configuration to objects: the only place that calls ``hydra.utils.instantiate``.

Every node is checked first against the signature of what it names, so that a wrong key or type is one clear line.
"""

from __future__ import annotations

import inspect
import logging
import re
import typing
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn

from .addons.base import Addon
from .data.datasets import Dataset
from .data.scenarios import Scenario
from .errors import UserError, nearest
from .methods.base import Method
from .metrics.base import Metric
from .types import Split, Task

Config = Mapping[str, Any]


def build(node: Config, where: str, **given: Any) -> Any:
    """Instantiate a node, after a check of its keys and types; ``given`` are arguments that the code supplies."""
    check(node, where, given)
    try:
        return instantiate(dict(node), **given, _convert_="all")
    except InstantiationException as error:  # Hydra's wrapping of what the constructor raised
        cause = error.__cause__ or error
        if isinstance(cause, ValueError | MisconfigurationException):
            raise UserError(f"{where}: {cause}") from None
        if twice := re.search(r"multiple values for keyword argument '(\w+)'", str(cause)):
            raise UserError(f"{where}.{twice[1]}: {node['_target_']} sets it itself: leave it out") from None
        raise cause from None


def dataset(config: Config) -> Dataset:
    """The data set, in memory, with the errors that the scenario puts in it."""
    return scenario(config).manipulated(build(config["dataset"], "dataset"))


def scenario(config: Config) -> Scenario:
    """What is to be forgotten."""
    return build(config["scenario"], "scenario")


def split(config: Config, data: Dataset) -> Split:
    """The index sets of the scenario."""
    return scenario(config).split(data)


def model(config: Config, data: Dataset) -> nn.Module:
    """A freshly initialised network, in channels-last memory (the faster layout for small convolutions)."""
    network = build(config["model"], "model", input_shape=data.input_shape, num_classes=len(data.classes))
    return network.to(memory_format=torch.channels_last)


def task(config: Config, data: Dataset, parts: Split) -> Task:
    """The facts that methods may know."""
    low, high = data.bounds
    return Task(
        num_classes=len(data.classes),
        forget_classes=parts.forget_classes,
        named_classes=parts.named_classes,
        sizes={name: len(parts.sets[name]) for name in ("forget", "retain", "train")},
        input_shape=data.input_shape,
        low=low,
        high=high,
        augmented=bool(data.crop or data.flip or data.rotation),
        fresh_model=lambda: model({"model": without_published_weights(config["model"])}, data),
        starting_model=lambda: model(config, data),
        original_start=None if config["pretrain"]["checkpoint"] else lambda: original_start(config, data),
    )


def original_start(config: Config, data: Dataset) -> nn.Module:
    """The network with the weights that training the original began with."""
    with torch.random.fork_rng():
        torch.manual_seed(config["pretrain"]["seed"])
        return model(config, data)


def without_published_weights(node: Config) -> Config:
    """The same architecture, initialised at random."""
    return {name: False if name == "pretrained" else value for name, value in node.items()}


def pretraining(config: Config, network: nn.Module, stream: str) -> Method:
    """The recipe that makes the original (``stream="train"``) or the retrained model (``"retain"``)."""
    recipe = {name: value for name, value in config["pretrain"].items() if name not in ("seed", "checkpoint")}
    return build(recipe, "pretrain", model=network, stream=stream)


def method(config: Config, network: nn.Module) -> Method:
    """The unlearning method, around the network that it will change, with its add-ons."""
    addons: list[Addon] = [build(node, f"addon.{name}") for name, node in config["addon"].items()]
    method = build(config["method"], "method", model=network, **({"addons": addons} if addons else {}))
    for addon in method.addons:
        addon.check(method)
    check_steps(config["trainer"], method)
    return method


def check_steps(trainer: Config, method: Method) -> None:
    """Raise a ``UserError`` where Lightning cannot make a method's steps as the trainer's settings want them."""
    every = trainer.get("accumulate_grad_batches")
    if every is not None and not (isinstance(every, int) and every >= 1):
        raise UserError(f"trainer.accumulate_grad_batches={every} must be a whole number, at least 1")
    if method.automatic_optimization:
        return
    own = f"{'+'.join(type(part).__name__ for part in (method, *method.addons))} makes steps of its own"
    if trainer.get("precision") in ("16-mixed", "16", 16):
        raise UserError(f"trainer.precision=16-mixed scales one loss, and {own}: take bf16-mixed or 32-true")
    for name, nothing in (("gradient_clip_val", 0), ("accumulate_grad_batches", 1)):
        if trainer.get(name) not in (None, nothing):
            raise UserError(f"trainer.{name}={trainer[name]} is for Lightning's own steps, and {own}: leave it out")


def metrics(config: Config) -> dict[str, Metric]:
    """The metrics by name; one set to null is left out."""
    found = config["evaluation"]
    return {name: build(node, f"evaluation.{name}") for name, node in found.items() if node is not None}


def trainer(config: Config, epochs: int, callbacks: list[L.Callback]) -> L.Trainer:
    """A trainer that writes nothing by itself and asks the datamodule for its loaders before every pass."""
    return build(
        config["trainer"],
        "trainer",
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
    )


def load_checkpoint(network: nn.Module, path: str) -> None:
    """Load a user's own weights: safetensors, or a plain state dict saved by ``torch.save``."""
    state = read_state(Path(path).expanduser())
    own = network.state_dict()
    for what, names in (("lacks", own.keys() - state.keys()), ("also has", state.keys() - own.keys())):
        if names:
            raise UserError(
                f"pretrain.checkpoint={path} does not fit the model: it {what} {min(names)!r} "
                f"({len(names)} such tensors): choose model= to match"
            )
    for name, tensor in own.items():
        if state[name].shape != tensor.shape:
            raise UserError(
                f"pretrain.checkpoint={path} does not fit the model: {name} has shape {tuple(state[name].shape)}, "
                f"the model wants {tuple(tensor.shape)}: choose model= and dataset= to match"
            )
    network.load_state_dict({name: state[name] for name in own})


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file; a pickled model is refused, for unpickling runs whatever code it holds."""
    if not path.is_file():
        raise UserError(f"pretrain.checkpoint={path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on the pickle; we say what to do
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the readers raise on what is no checkpoint
        state = type(error).__name__
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(
            f"pretrain.checkpoint={path} is no plain state dict: save it as safetensors, or by "
            "torch.save(model.state_dict(), FILE); a pickled model is not loaded"
        )
    return dict(state)


# The check of a node against the signature of its target


def check(node: Config, where: str, given: Mapping[str, Any]) -> None:
    """Raise a ``UserError`` for the first key or value of a node that its ``_target_`` does not take."""
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it would print a failed import, too
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{where}={node} has no _target_: name the class or function that it builds, or leave it out")
    try:
        target = get_object(node["_target_"])
    except Exception as error:  # an import may fail in any way; the reason is shown
        raise UserError(f"{where}._target_={node['_target_']} cannot be imported: {error}") from None
    accepted, open_ended = parameters(target)
    for key, value in node.items():
        if key.startswith("_") and key.endswith("_"):
            continue
        if key in given:
            raise UserError(f"{where}.{key}={value} would do nothing, for the program sets it: leave it out")
        if key not in accepted and not open_ended:
            own = [name for name in accepted if name not in ("self", *given)]
            raise UserError(f"{where}.{key}: {node['_target_']} has no option {key!r}: {nearest(key, own)}")
        if isinstance(value, Mapping) and "_target_" in value:
            check(value, f"{where}.{key}", {})
        elif key in accepted:
            check_value(value, accepted[key], f"{where}.{key}")
    if not node.get("_partial_"):
        for key, (_, default) in accepted.items():
            if default is inspect.Parameter.empty and key not in node and key not in given:
                raise UserError(f"{where}.{key} must be given")


def parameters(target: Any) -> tuple[dict[str, tuple[Any, Any]], bool]:
    """(name: (type hint, default)) of what a class or function takes, through ``**options`` up to its bases.

    The second value tells whether it takes any further keyword.
    """
    found: dict[str, tuple[Any, Any]] = {}
    open_ended = False
    bases = target.__mro__ if inspect.isclass(target) else (target,)
    for base in bases:
        function = vars(base).get("__init__") if inspect.isclass(base) else base
        if function is None or base is object:
            continue
        try:
            hints = typing.get_type_hints(function)
        except (NameError, TypeError):  # a hint that only a type checker can resolve
            hints = {}
        signature = inspect.signature(function).parameters
        for name, parameter in signature.items():
            if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.setdefault(name, (hints.get(name, Any), parameter.default))
        open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.values())
        if not open_ended:
            break
    return found, open_ended


def check_value(value: Any, expected: tuple[Any, Any], where: str) -> None:
    """Raise a ``UserError`` unless a value fits a (type hint, default)."""
    hint, default = expected
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except (PydanticSchemaGenerationError, PydanticUserError):
        adapter = None
    wrong = None
    if adapter is not None:
        try:
            adapter.validate_python(value, strict=isinstance(value, float | int | str))
        except ValidationError as error:
            wrong = error.errors()[0]["msg"][:1].lower() + error.errors()[0]["msg"][1:]
    elif isinstance(value, str) and isinstance(default, int | float):  # a library's argument without a usable hint
        wrong = f"input should be like its default, {default}"
    if isinstance(value, bool) and hint in (int, float):
        wrong = f"input should be a valid {hint.__name__}"
    if wrong:
        if "Sequence" in str(hint) and not isinstance(value, list | tuple):
            wrong = f"input should be a list: write [{value}]"
        raise UserError(f"{where}={value}: {wrong}")
