"""Score how hard training samples are to forget, by finished runs, and save the scores for scenario=difficulty.

Scores come from models, and a scenario decides what is forgotten before any model is trained. So this is a step of its
own: it reads the predictions of the original and retrained models in the folders of finished runs, and writes a file.
Every run that names the file forgets by the same scores, whatever its method.

loss, el2n      means over the original models that learned a sample
memorisation    the mean probability of the label over the models that learned a sample, less that over those that did
                not (Feldman and Zhang, 2020, arXiv:2008.03703): any runs that forget different samples of one split
worst_case      with --worst: which samples unlearning by random labels leaves most recognisable, by bi-level selection
                (Fan et al., 2024, arXiv:2403.07362), for a forget set of that size and the first original
distance        with --features: in the originals' features, from the centre of the training set; high is far
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..report.program import over_runs
from ..report.runs import collect
from ..report.selection import filtered
from .scores import Array, entanglement

if TYPE_CHECKING:
    from .runs import Models

FILE = "difficulty.safetensors"
TENTH = 0.1
EXAMPLES = """examples:
  python run.py -m method=original scenario=random scenario.fraction=0.3 split.seed=0 seed='range(16)'
  python -m unlearning.difficulty && python run.py scenario=difficulty scenario.file=multirun/difficulty.safetensors
  python run.py -m method=original pretrain.epochs=2 retrained=false split.seed=0 seed='range(10)'
  python -m unlearning.difficulty --filter pretrain.epochs=2 --out early.safetensors
  python -m unlearning.difficulty --worst 0.1
  python run.py -m method=ssd,scrub scenario=difficulty scenario.file=multirun/difficulty.safetensors \\
      scenario.by=worst_case
  python run.py -m scenario=difficulty scenario.file=early.safetensors scenario.by=el2n scenario.end=lowest,highest

exit code: 0 with a file, 1 where the runs do not give one, 2 for wrong usage"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = over_runs("difficulty", __doc__, EXAMPLES)
    add = parser.add_argument
    add("--features", action="store_true", help="also the distance: one pass of each original model over the data")
    add("--worst", metavar="FRACTION", type=float, help="also the worst case of so large a forget set; some minutes")
    add("--out", metavar="FILE", type=Path, help=f"the file with the scores (RUNS_DIR/{FILE})")
    args = parser.parse_args(argv)
    from ..records.log import quiet  # here, since torch takes seconds
    from .runs import Models
    from .worst_case import WorstCase

    quiet()
    try:
        if args.worst is not None and not 0 < args.worst < 1:
            raise UserError(f"--worst {args.worst:g}: give the fraction that is forgotten, such as 0.1", key="--worst")
        done = filtered(collect(args.runs), args.filter)
        runs = [run for run in done if run.result["config"].get("trial") is None and "original" in run.values]
        if not runs:
            raise UserError(f"no finished run in {args.runs} has an original model: make some with python run.py")
        models = Models.of(args.runs, runs)
        scores = models.scores() | ({"distance": models.distances()} if args.features else {})
        print(*account(models, len(runs)), sep="\n")
        if args.worst is not None:
            scores["worst_case"], left = models.worst_case(WorstCase(args.worst))
            print("loss after unlearning: " + ", ".join(f"{name} {value:.3f}" for name, value in left.items()))
        for name, values in scores.items():
            print(f"{name}: {ends(values)}{overlap(models, values) if args.features else ''}")
        write(args.out or args.runs / FILE, models.file(scores).content())
    except UserError as error:
        print(f"difficulty: {error}", file=sys.stderr)
        return 1
    return 0


def account(models: Models, runs: int) -> list[str]:
    """What the scores are over."""
    kinds = [model.kind for model in models.models]
    train, learned = models.train, np.stack([model.learned for model in models.models])
    known = learned.sum(0)[train]
    counted = f"{kinds.count('original')} original and {kinds.count('retrained')} retrained models"
    lines = [f"{runs} runs: {counted}, {len(train)} training samples"]
    few = int((known == len(kinds)).sum())
    if few == len(train):
        return [*lines, "no memorisation: all models learned all samples; let runs forget different samples"]
    medians = np.median(known), np.median(len(kinds) - known)
    lines.append("memorisation: a sample was learned by {:g} models, and not by {:g} (medians)".format(*medians))
    return [*lines, f"{few} samples have none, since all models learned them"] if few else lines


def tenths(values: Array) -> dict[str, Array]:
    """The ids of the tenth of the samples at each end of a score, as ``scenario=difficulty`` takes them."""
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    count = max(1, round(TENTH * len(order)))
    middle = (len(order) - count) // 2
    return {"lowest": order[:count], "middle": order[middle : middle + count], "highest": order[-count:]}


def ends(values: Array) -> str:
    """The mean score of the tenth at each end."""
    found = tenths(values)
    return ", ".join(f"{end} tenth {values[ids].mean():.3f}" for end, ids in found.items())


def overlap(models: Models, values: Array) -> str:
    """How much the tenth at each end overlaps with the rest, in the features of the first original model."""
    ids, features = next(models.features())
    found = {end: entanglement(features, np.isin(ids, chosen)) for end, chosen in tenths(values).items()}
    return "; entanglement " + ", ".join(f"{value:.1f}" for value in found.values())


def write(path: Path, content: bytes) -> None:
    """Write the file, and print where it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; name another file with --out", key="--out", kind="storage"
        ) from None
    print(path)
