"""Influences with EK-FAC, a Kronecker-factored curvature, by the library kronfluence (an optional extra).

George et al., 2018, arXiv:1806.03884; for influences Grosse et al., 2023, arXiv:2308.03296.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from .cost import Meter
from .errors import UserError
from .sample_gradients import has_rule
from .types import Batch

BATCH_SIZE = 128  # the gradients of a layer by so many samples are held at a time


class Classification(Task):
    """Cross-entropy, summed over a batch, both as what was trained on and as what is influenced."""

    def __init__(self, layers: list[str]) -> None:
        self.layers = layers

    def compute_train_loss(self, batch: tuple[Tensor, Tensor], model: nn.Module, sample: bool = False) -> Tensor:
        images, labels = batch
        logits = model(images)
        if sample:  # labels that the model itself expects, for the true Fisher information
            labels = logits.detach().softmax(1).multinomial(1)[:, 0]
        return F.cross_entropy(logits, labels, reduction="sum")

    def compute_measurement(self, batch: tuple[Tensor, Tensor], model: nn.Module) -> Tensor:
        return self.compute_train_loss(batch, model)

    def get_influence_tracked_modules(self) -> list[str]:
        return self.layers


def ekfac_influences(model: nn.Module, samples: Iterable[Batch], queries: Sequence[Tensor], meter: Meter) -> Tensor:
    """(K, N) ``g_k^T H^-1 g_z`` of all N samples z; g_k is the summed gradient of those at positions ``queries[k]``.

    Gradients are of cross-entropy. H has a block for each linear and convolution layer, the EK-FAC approximation of its
    Fisher information over the samples, plus a tenth of the mean of its eigenvalues; the weights of other layers count
    as fixed. ``meter`` counts the passes: 2 + K over the samples, and one over the queries.

    Raises ``UserError`` for a model without a layer that EK-FAC can follow.
    """
    model = copy.deepcopy(model).float().eval()  # the library changes the layers
    meter.watch(model)
    data = in_memory(samples)
    device = next(model.parameters()).device
    task = Classification(followed(model, data[:3][0].to(device)))
    model = prepare_model(model, task)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():  # the folder is for factors and scores
        warnings.simplefilter("ignore", FutureWarning)  # the library's use of torch, which the user cannot mend
        on_cpu, level = device.type == "cpu", logging.WARNING
        analyzer = Analyzer("own", model, task, on_cpu, level, disable_tqdm=True, output_dir=folder)
        analyzer.fit_all_factors("own", data, BATCH_SIZE, factor_args=FactorArguments("ekfac"))
        # No damping factor means the library's own: a tenth of the mean.
        options = ScoreArguments(damping_factor=None, aggregate_query_gradients=True)
        rows = []
        for number, query in enumerate(queries):
            name, positions = str(number), query.tolist()
            analyzer.compute_pairwise_scores(
                name, "own", data, data, BATCH_SIZE, BATCH_SIZE, query_indices=positions, score_args=options
            )
            rows.append(analyzer.load_pairwise_scores(name)["all_modules"][0].to(device, copy=True))
    return torch.stack(rows)


def in_memory(batches: Iterable[Batch]) -> TensorDataset:
    """The images and labels of all batches, as the library wants them: it passes over them several times."""
    images, labels = zip(*((batch.images.float().cpu(), batch.labels.cpu()) for batch in batches), strict=True)
    return TensorDataset(torch.cat(images), torch.cat(labels))


def followed(model: nn.Module, images: Tensor) -> list[str]:
    """Names of the layers that the library has formulas for: called once in a pass, with one row for each sample."""
    rows: dict[str, list[int]] = defaultdict(list)
    hooks = [
        layer.register_forward_hook(lambda _, __, output, name=name: rows[name].append(len(output)))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and has_rule(layer) and getattr(layer, "groups", 1) == 1
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    if not (names := [name for name, found in rows.items() if found == [len(images)]]):
        raise UserError("EK-FAC finds no layer in the model that it can follow: set method.scores=diagonal")
    return names
