"""One run, top to bottom: data, original and retrained model, unlearning, predictions, metrics, records."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from .config.build import Spec
from .engine.evaluation import Model, Result, evaluate
from .engine.job import Job
from .records import folder as records
from .records.log import writing
from .request import Request
from .runtime.digests import state_digest
from .runtime.distributed import join, lead, leads, leave
from .runtime.profile import profiled


def run(request: Request) -> Path:
    """The folder of a finished run: found by its key if it was done before, else made now.

    Raises ``UserError`` for what the user can correct; the folder of a run that began and failed holds ``FAILED`` and
    the reason.
    """
    join(request.config["trainer"])
    started = time.time()
    tracker = Spec("tracking", request.config["tracking"]).build()
    with ExitStack() as held:
        if lead(lambda: records.begin(request, held)):
            lead(lambda: records.catch_up(request, tracker))
            leave()
            return request.folder
        lead(tracker.check)
        job = Job.of(request.config)
        access = job.checked().access  # a mistake in the request shows here, and costs no earlier result
        lead(lambda: records.clear(request))
        try:
            with (
                writing(request.folder, request.config["verbose"]),
                profiled(request.folder, request.config["profile"]),
            ):
                result = results(job, access)
                lead(lambda: records.finish(request, result, tracker, started))
        except BaseException as error:
            if leads():
                records.fail(request, error, tracker, started)
            raise
    leave()
    return request.folder


def results(job: Job, access: Mapping[str, str]) -> Result:
    """What a job finds; ``access`` is what its method may see."""
    problem, lab, split = job.problem, job.lab, job.problem.split
    taught = {"original": split.train} if lab.checkpoint is None else {}
    if job.retrained:
        taught["retrained"] = split.retain
        if len(split.manipulated) > len(split.forget):
            taught["clean"] = split.all_known.retain  # without any manipulated sample, known or not
    made = {} if lab.checkpoint is None else {"original": lab.own_model(problem)}
    made |= {name: lab.train(problem, job.recipe, ids, job.pretrain_seed, name) for name, ids in taught.items()}
    start = made["original"].network
    made["unlearned"] = unlearned = lab.unlearn(problem, job.method, job.addons, start, job.seed, job.again)
    triggered = job.needs("attack")
    models = {
        name: Model(
            one.network,
            lab.predict(problem, one.network),
            one.cost,
            lab.triggered(problem, one.network) if triggered else None,
        )
        for name, one in made.items()
    }
    untrained = lab.untrained(problem) if job.needs("untrained") else None
    return Result(
        **evaluate(problem, job.metrics, models, untrained),
        cost=unlearned.cost,
        access=access,
        sizes={name: len(ids) for name, ids in split.sets.items()},
        data={"dataset": problem.data.digest, "split": split.digest},
        weights=state_digest(unlearned.network.state_dict()),
        notes=[],
        curves=unlearned.curves,
        dataset=problem.data,
    )
