"""EK-FAC, a Kronecker-factored curvature, computed by the library kronfluence (an optional extra).

George et al., 2018, arXiv:1806.03884; for influences Grosse et al., 2023, arXiv:2308.03296.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments
from kronfluence.task import Task as KronfluenceTask
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from ..errors import UserError
from ..runtime.cost import Meter
from ..types import Batch
from .layer_rules import has_rule
from .vectors import Vectors

BATCH_SIZE = 128  # samples whose gradients of a layer are held at a time
DAMPING = 0.1  # of the mean eigenvalue, as in Grosse et al.
FACTORS = ("gradient_eigenvectors", "activation_eigenvectors", "lambda_matrix", "num_lambda_processed")


class Classification(KronfluenceTask):
    """Cross-entropy, summed over a batch: the loss of the original model's training."""

    def __init__(self, layers: list[str]) -> None:
        self.layers = layers

    def compute_train_loss(self, batch: tuple[Tensor, Tensor], model: nn.Module, sample: bool = False) -> Tensor:
        images, labels = batch
        logits = model(images)
        if sample:  # labels drawn from the model's own predictions, for the true Fisher information
            labels = logits.detach().softmax(1).multinomial(1)[:, 0]
        return F.cross_entropy(logits, labels, reduction="sum")

    def compute_measurement(self, batch: tuple[Tensor, Tensor], model: nn.Module) -> Tensor:  # the library requires it
        return self.compute_train_loss(batch, model)

    def get_influence_tracked_modules(self) -> list[str]:
        return self.layers


def inverse_ekfac(model: nn.Module, samples: Iterable[Batch], meter: Meter) -> Callable[[Vectors], Vectors]:
    """Return a function that maps vectors v to ``H^-1 v``.

    H has a block for each linear and convolution layer: the EK-FAC approximation of its Fisher information over the
    samples, plus a tenth of the mean of its eigenvalues. The weights of other layers count as fixed and are not in the
    result; neither are those of a dead layer, whose gradients are all zero, so that its curvature has no inverse and no
    sample has an influence through it. ``meter`` counts the two passes over the samples.

    Raises ``UserError`` for a model without a layer that EK-FAC can follow, and for one whose layers are all dead.
    """
    tracked = copy.deepcopy(model).float().eval()  # the library changes the layers
    meter.watch(tracked)
    data = in_memory(samples)
    device = next(tracked.parameters()).device
    names = followed(tracked, data[:3][0].to(device))
    task = Classification(names)
    tracked = prepare_model(tracked, task)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():  # the folder holds the factors
        warnings.simplefilter("ignore", FutureWarning)  # about the library's own use of torch
        on_cpu, level = device.type == "cpu", logging.WARNING
        analyzer = Analyzer("own", tracked, task, on_cpu, level, disable_tqdm=True, output_dir=folder)
        analyzer.fit_all_factors("own", data, BATCH_SIZE, factor_args=FactorArguments("ekfac"))
        factors = analyzer.load_all_factors("own")
    own = {name: {factor: factors[factor][name].to(device) for factor in FACTORS} for name in names}
    blocks = [Block(model.get_submodule(name), **own[name]) for name in names if own[name]["lambda_matrix"].any()]
    if not blocks:
        raise UserError(
            "EK-FAC: the original model fits all samples so well that every gradient is zero: train it with fewer "
            "pretrain.epochs",
            key="pretrain.epochs",
        )
    return lambda vectors: {weight: found for block in blocks for weight, found in block.inverse(vectors).items()}


class Block:
    """The curvature of one layer, whose weights are a matrix (outputs, inputs), the bias its last column.

    With ``S = Q_S . Q_S^T`` of the gradients of its outputs and ``A = Q_A . Q_A^T`` of its inputs, the curvature is
    diagonal in the basis of all ``q_S q_A^T`` (George et al., 2018, eq. 11). The diagonal holds the mean squares of the
    samples' gradients in that basis.

    Args:
        layer: the linear or convolution layer.
        gradient_eigenvectors: Q_S.
        activation_eigenvectors: Q_A.
        lambda_matrix: (outputs, inputs), the squares summed over samples.
        num_lambda_processed: the number of these samples.
    """

    def __init__(
        self,
        layer: nn.Module,
        gradient_eigenvectors: Tensor,
        activation_eigenvectors: Tensor,
        lambda_matrix: Tensor,
        num_lambda_processed: Tensor,
    ) -> None:
        self.weights = list(layer.parameters(recurse=False))  # the weight, and the bias if there is one
        self.outputs, self.inputs = gradient_eigenvectors, activation_eigenvectors
        eigenvalues = lambda_matrix / num_lambda_processed
        self.eigenvalues = eigenvalues + DAMPING * eigenvalues.mean()

    def inverse(self, vectors: Vectors) -> dict[Tensor, Tensor]:
        """``H^-1 v`` for each of the K vectors v."""
        parts = [vectors[weight].float() for weight in self.weights]
        matrices = torch.cat([part.reshape(*part.shape[:2], -1) for part in parts], 2)
        found = self.outputs @ (self.outputs.T @ matrices @ self.inputs / self.eigenvalues) @ self.inputs.T
        columns = found.split([weight[0].numel() for weight in self.weights], 2)
        return {w: part.reshape(-1, *w.shape).to(w) for w, part in zip(self.weights, columns, strict=True)}


def in_memory(batches: Iterable[Batch]) -> TensorDataset:
    """The images and labels of all batches in one data set, since the library passes over them several times."""
    images, labels = zip(*((batch.images.float().cpu(), batch.targets.cpu()) for batch in batches), strict=True)
    return TensorDataset(torch.cat(images), torch.cat(labels))


def followed(model: nn.Module, images: Tensor) -> list[str]:
    """Names of the layers that the library has formulas for: called once in a pass, with one row for each sample.

    Raises ``UserError`` if there is none.
    """
    rows: dict[str, list[int]] = defaultdict(list)

    def count(_: nn.Module, __: tuple[Tensor], output: Tensor, name: str) -> None:
        rows[name].append(len(output))

    hooks = [
        layer.register_forward_hook(partial(count, name=name))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        and has_rule(layer)
        and getattr(layer, "groups", 1) == 1
        and all(p.requires_grad for p in layer.parameters())
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    if not (names := [name for name, found in rows.items() if found == [len(images)]]):
        raise UserError(
            "EK-FAC finds no layer in the model that it can follow: set method.scores=diagonal", key="method.scores"
        )
    return names
