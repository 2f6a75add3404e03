"""Default settings on data that no table has a row for: `python -m experiments.safe_defaults.study --out OUT`.

Every method forgets a class and a random tenth of five data sets, at its defaults. A run is safe if its weights are
finite and its retain accuracy is at least .8 of the original's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from experiments.digits28 import digits_at_28_pixels
from unlearning.config.compose import composed
from unlearning.config.guide import choices
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.pipeline import results
from unlearning.records.log import quiet
from unlearning.request import Request

LEFT_OUT = {"original", "retrain", "gkt"}  # no change, from nothing, 44,000 steps from nothing
SAFE = 0.8  # of the original's retain accuracy
SCENARIOS = {"class": (), "random": ("scenario.fraction=0.1",)}
FOLDER = ("dataset=image_folder", "dataset.crop=0", "pretrain=cifar10_folder")  # one cycle learns small sets well
PHOTOS = {"photos3": ("cat", "ship", "frog"), "photos5": ("airplane", "automobile", "bird", "deer", "truck")}
DATA = {  # the classes from which the seed draws the one to forget, and the settings
    "digits28": (
        10,
        (*FOLDER, "dataset.flip=false", "dataset.size=28", "dataset.limit=40", "model=resnet20", "model.width=8"),
    ),
    "wine": (3, ("dataset=wine",)),
    "breast_cancer": (2, ("dataset=wine", "dataset.name=breast_cancer")),
    "photos3": (3, (*FOLDER, "dataset.limit=100", "model=resnet18", "model.width=4")),
    "photos5": (5, (*FOLDER, "dataset.limit=100", "model=resnet9", "model.width=16")),
}


def folders(out: Path, photos: Path | None) -> dict[str, Path]:
    """The image folders, made below ``out`` where they are missing; those of photos only where there are any."""
    made = {"digits28": out / "digits28"}
    if not made["digits28"].exists():
        digits_at_28_pixels(made["digits28"])
    for name, classes in PHOTOS.items() if photos else ():
        made[name] = out / name
        for part in ("train", "test"):
            for one in classes:
                if not (made[name] / part / one).exists():
                    shutil.copytree(photos / part / one, made[name] / part / one)
    return made


def measured(request: Request) -> dict[str, Any]:
    """The numbers of one run, or the kind of its error and the reason."""
    try:
        job = Job.of(request.config)
        metrics = {name: job.metrics[name] for name in ("accuracy", "membership")}
        job.checked()
        found = results(Job(**{**vars(job), "metrics": metrics}), access={})
    except UserError as error:
        return {"error": error.kind, "why": str(error)}
    rows = found.rows
    return {
        "kept": rows["unlearned"]["retain/acc"] / rows["original"]["retain/acc"],
        "retain": rows["unlearned"]["retain/acc"],
        "forget": rows["unlearned"]["forget/acc"],
        "retrained": rows["retrained"]["forget/acc"],
        "gap": found.gaps["gap/mean"],
        "seconds": found.cost["cost/seconds"],
        "way": found.curves.get("unlearn/way", [(0, 1.0)])[-1][1],
    }


def runs(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each run that was asked for, read from ``out`` where it was made before."""
    places = folders(asked.out, asked.photos)
    for seed, data, scenario, method in product(range(asked.seeds), asked.data, SCENARIOS, asked.method):
        classes, settings = DATA[data]
        if "dataset=image_folder" in settings:
            if data not in places:
                continue
            settings = (*settings, f"dataset.root={places[data]}", f"dataset.name={data}")
        draw = SCENARIOS[scenario] or (f"scenario.classes=[{seed % classes}]",)
        what = {"data": data, "scenario": scenario, "method": method, "seed": seed}
        choice = (f"method={method}", f"scenario={scenario}", f"seed={seed}")
        request = Request(*composed(*choice, *draw, *settings, "tracking=none", f"paths.root={asked.out}"))
        file = (
            asked.out / "runs" / f"{request.folder.name}.json"
        )  # named by the key: other settings or code make another run
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(measured(request)))
        yield what | json.loads(file.read_text())


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown rows: for each method and scenario the least retain accuracy that it keeps by data set, and means.

    Runs that ended in an error are counted in the last column, by kind, as ``diverged 1``.
    """
    data = [name for name in DATA if any(run["data"] == name for run in found)]
    yield f"| method | scenario | runs | {' | '.join(data)} | forget | retrained | gap | held back | failed |"
    yield f"|---|---|---:|{'---:|' * (len(data) + 4)}---|"
    for method, scenario in sorted({(run["method"], run["scenario"]) for run in found}):
        asked = [run for run in found if (run["method"], run["scenario"]) == (method, scenario)]
        mine = [run for run in asked if "kept" in run]
        errors = Counter(run["error"] for run in asked if "error" in run)
        least = [min((run["kept"] for run in mine if run["data"] == name), default=None) for name in data]
        kept = ["-" if x is None else f"{x:.2f}" if x >= SAFE else f"**{x:.2f}**" for x in least]
        means = [f"{mean(run[what] for run in mine):.2f}" if mine else "-" for what in ("forget", "retrained", "gap")]
        held, failed = sum(run["way"] < 1 for run in mine), ", ".join(f"{kind} {n}" for kind, n in errors.items())
        yield f"| {' | '.join([f'`{method}`', scenario, str(len(mine)), *kept, *means, str(held), failed or '-'])} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for images, models and results")
    parser.add_argument("--photos", type=Path, help="CIFAR-10 as train/<class>/ and test/<class>/")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--method", nargs="+", default=sorted({*choices("method")} - LEFT_OUT))
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    quiet()
    torch.set_num_threads(1)
    found = []
    for run in runs(asked):
        found.append(run)
        print(*(f"{key}={value}" for key, value in run.items()), file=sys.stderr, flush=True)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
