"""Judge methods by many finished runs: attacks and distances between unlearned and retrained models.

Runs that differ only in seeds form a population. Where all of them forget the same samples (scenario.seed=0
split.seed=0), the unlearned models are compared with the retrained ones by KLoM, the score of the NeurIPS 2023
challenge, KS and JS. Where each run forgets others, U-LiRA attacks it with the other runs as shadow models: efficacy
asks whether an unlearned model of a sample can be told from a retrained one, privacy whether a forgotten sample can be
told from one that was never learned. Prints a table and writes populations.csv, which make report shows; runs that were
logged to a tracker get a run for their population there. Nothing is trained.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ..errors import UserError
from ..report.populations import FILE
from ..report.program import over_runs
from ..report.runs import collect
from ..report.selection import filtered
from .klom import Direction

EXAMPLES = """examples:
  python run.py -m experiment=klom seed='range(20)' && python -m unlearning.populations
  python -m unlearning.populations RUNS_DIR --filter method=ssd method=retrain
  python -m unlearning.populations --direction 'retrained||unlearned'

method=retrain is the control: what it has, no method can be expected to beat
exit code: 0 with a table, 1 where no runs form a population, 2 for wrong usage"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = over_runs("populations", __doc__, EXAMPLES)
    add = parser.add_argument
    add("--direction", choices=get_args(Direction), default=get_args(Direction)[0], help="of KLoM (%(default)s)")
    add("--out", metavar="DIR", type=Path, help=f"folder for {FILE} (RUNS_DIR)")
    args = parser.parse_args(argv)
    from .folders import populations  # here, since torch takes seconds
    from .scores import scores
    from .table import show, write
    from .tracked import track

    try:
        found = [scores(p, args.direction) for p in populations(args.runs, filtered(collect(args.runs), args.filter))]
        if not found:
            raise UserError(
                f"no population in {args.runs}: it takes two finished runs that differ only in seeds and have a "
                "retrained model, such as those of experiment=klom or experiment=ulira"
            )
        for setting in dict.fromkeys(one.population.setting for one in found):
            show([one for one in found if one.population.setting == setting], args.direction)
        write(found, args.out or args.runs)
        for one in found:
            track(one, args.runs)
    except UserError as error:
        print(f"populations: {error}", file=sys.stderr)
        return 1
    return 0
