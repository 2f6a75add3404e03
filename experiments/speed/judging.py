"""The judge's own speed: metrics against a pass over the data, an attack on shadow models, a report on many runs."""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.fabricated import runs_of
from unlearning.engine.evaluation import Model, evaluate
from unlearning.engine.store import Store
from unlearning.metrics.features import looked_at
from unlearning.populations.ulira import efficacy, margins
from unlearning.report import main as report

from .measure import Claim, cpu_seconds, paired_ratio
from .reading import forward_pass
from .setting import Bench

FITTING = (  # modules of metrics that fit a classifier or pass images once more
    *("fitted_attacks", "membership_classifiers", "class_membership", "matched_attack", "three_class"),
    *("feature_probes", "noise_curve", "transfer", "zrf"),
)


def metrics(pairs: int) -> Claim:
    """All metrics of a run that fit nothing, those of every block included, on a ResNet-18 of the usual width."""
    bench = Bench(500, 100, True, "model.width=64", "evaluation=layers")
    chosen = {n: m for n, m in bench.job.metrics.items() if type(m).__module__.rpartition(".")[2] not in FITTING}
    networks = {name: copy.deepcopy(bench.network) for name in ("original", "retrained")} | {"unlearned": bench.network}
    with torch.no_grad():
        for parameter in networks["retrained"].parameters():
            parameter.mul_(0.99)
    seen = looked_at(bench.problem.split)
    with tempfile.TemporaryDirectory() as root:
        lab, values = replace(bench.lab, store=Store(Path(root))), {}

        def judge() -> None:
            with torch.no_grad():
                next(bench.network.parameters()).mul_(1.001)
            models = {}
            for name, network in networks.items():
                logits, features = lab.predict_with_features(bench.problem, network, seen, layers=True)
                models[name] = Model(network, logits, {}, None, features)
            found = evaluate(bench.problem, chosen, models)
            assert not found["failed"], found["failed"]
            values.update(found["rows"]["unlearned"])

        judge()  # fills the store with the reference models' predictions
        ratio = paired_ratio(judge, lambda: forward_pass(bench), pairs)
    count = len(bench.problem.data.labels)
    note = f"ResNet-18, {count:,} images, 3 models, {len(values)} numbers each"
    return Claim("all metrics that fit nothing / one forward pass", ratio, 1.25, note=note)


def attack(shadows: int = 64, samples: int = 50_000, classes: int = 10) -> Claim:
    """U-LiRA from the logits of all models."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, samples)
    logits = [generator.standard_normal((shadows, samples, classes), dtype=np.float32) for _ in range(2)]
    learned = generator.random((shadows, samples)) < 0.5
    forget = learned & (generator.random((shadows, samples)) < 0.2)
    retain = learned & ~forget

    def run() -> None:
        unlearned, retrained = (np.stack([margins(one, labels) for one in array]) for array in logits)
        efficacy(unlearned, retrained, forget, ~retain)

    return Claim(
        "U-LiRA", cpu_seconds(run), 10, unit="s", note=f"{shadows} x {samples:,} x {classes} logits of both kinds"
    )


def many_runs() -> Claim:
    """The report over 300 runs, with its page."""
    with tempfile.TemporaryDirectory() as root:
        runs_of(Path(root), methods=25, seeds=3, settings=4, samples=2000)
        with contextlib.redirect_stdout(io.StringIO()):
            seconds = cpu_seconds(lambda: report([root, "--margin", "0.05"]))
    return Claim("report", seconds, 5, unit="s", note="300 runs: tables, Markdown, LaTeX, CSV, HTML")
