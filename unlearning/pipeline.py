"""One run, top to bottom: data, original and retrained model, unlearning, predictions, metrics, records."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from .config.build import Spec
from .engine.evaluation import Result, evaluate
from .engine.job import Job
from .records import folder as records
from .records.log import writing
from .records.tracking import Tracker
from .request import Request
from .runtime.digests import same_parameters
from .runtime.distributed import join, leads, leave, led
from .runtime.memory import enough_memory
from .runtime.profile import profiled

begin, catch_up = led(records.begin), led(records.catch_up)
clear, finish = led(records.clear), led(records.finish)


def run(request: Request) -> Path:
    """The folder of a finished run: found by its key if it was done before, else made now.

    Raises ``UserError`` for errors that the user can correct; the folder of a failed run holds the reason.
    """
    join(request.config["trainer"])
    started = time.time()
    tracker: Tracker = Spec("tracking", request.config["tracking"]).build()
    with ExitStack() as held:
        if begin(request, held):
            catch_up(request, tracker)
            leave()
            return request.folder
        led(tracker.check)()
        job = Job.of(request.config)
        access = job.access  # a mistake in the request shows here, and costs no earlier result
        clear(request)
        try:
            with writing(request.folder, request.verbose), profiled(request.folder, request.profile), enough_memory():
                finish(request, results(job, access), tracker, started)
        except BaseException as error:
            if leads():
                records.fail(request, error, tracker, started)
            raise
    leave()
    return request.folder


def results(job: Job, access: Mapping[str, str]) -> Result:
    """Train, unlearn, predict and evaluate; ``access`` names the data that the method may see."""
    problem, lab, split = job.problem, job.lab, job.problem.split
    made = job.given()
    for name, ids in job.taught().items():
        made[name] = lab.train(problem, job.recipe, ids, job.pretrain_seed, name)
    own, start, watch = made["original"].naming, made["original"].network, job.watch(made)
    made["unlearned"] = unlearned = lab.unlearn(problem, job.method, job.addons, start, job.seed, job.again, watch)
    models = {name: job.model(trained) for name, trained in made.items()}
    weights, original = own.weights(unlearned.network), own.weights(start)
    found = evaluate(problem, job.metrics, models, job.untrained(), job.earlier.ids if job.earlier else None)
    return Result(
        **found,
        cost=unlearned.cost,
        access=access,
        sizes={name: len(ids) for name, ids in split.sets.items()},
        requested=job.requested,
        data={"dataset": problem.data.digest, "split": split.digest},
        weights=weights,
        original_weights=original,
        unchanged=weights == original,
        same_parameters=same_parameters(unlearned.network, start),
        curves=unlearned.curves,
        dataset=problem.data,
        naming=own,
        after=job.earlier.about if job.earlier else None,
    )
