"""What a search of its own for every draw and gamma finds: `python -m experiments.corrective.searched RUNS_DIR`.

The benchmark (Goel et al., 2024) searches a method's settings anew for every model, scenario and gamma. Two choices
among the runs of one draw: by the mean of the accuracy on the known samples (their right labels) and on validation
samples, which is all that a user can see; and by the mean of Acc_corr and Acc_retain, which no user can. A star marks
the first and the last alpha of the grid: a wider one might hold a better.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from experiments.cells import plus_minus
from experiments.corrective.figures import by_setting, known_part
from unlearning.errors import UserError
from unlearning.report.runs import Run, collect

CHOSEN_BY = {
    "chosen by what is known": ("corrective/acc_known", "val/acc"),
    "the best of the grid": ("corrective/acc_seen", "corrective/acc_retain"),
}
TITLE = "# Searched for every draw\n\nOf `python -m experiments.corrective.searched`; ± as in the other tables.\n"
SHOWN = ("corrective/acc_seen", "corrective/acc_retain")


def best(runs: Sequence[Run], metrics: Sequence[str]) -> Run:
    """The run with the largest mean of the metrics; of equal ones the first."""
    return max(runs, key=lambda run: fmean(run.values["unlearned"][metric] for metric in metrics))


def tables(runs: Sequence[Run]) -> str:
    """For every setting a Markdown table with a row for each gamma and choice among the runs of SSD."""
    texts = []
    for setting, found in by_setting([run for run in runs if run.state == "done" and run.method == "ssd"]).items():
        texts += [f"## {setting}", "", f"| gamma | | {' | '.join(SHOWN)} | alpha of each draw |", "| --- " * 5 + "|"]
        draws: dict[float, dict[int, list[Run]]] = defaultdict(lambda: defaultdict(list))
        for run in found:
            draws[known_part(run)][run.config["seed"]].append(run)
        grid = sorted({run.config["method.alpha"] for run in found})
        for gamma, by_seed in sorted(draws.items()):
            each = [candidates for _, candidates in sorted(by_seed.items())]
            for row in ("original", "retrained"):
                texts.append(line(gamma, f"*{row}*", [candidates[0].values[row] for candidates in each]))
            for name, metrics in CHOSEN_BY.items():
                chosen = [best(candidates, metrics) for candidates in each]
                alphas = [run.config["method.alpha"] for run in chosen]
                stars = [f"{alpha:g}" + "*" * (alpha in (grid[0], grid[-1])) for alpha in alphas]
                texts.append(line(gamma, name, [run.values["unlearned"] for run in chosen], ", ".join(stars)))
        texts.append("")
    return "\n".join(texts)


def line(gamma: float, name: str, values: Sequence[Mapping[str, float]], alphas: str = "") -> str:
    """A row of the table: means over the draws."""
    cells = [plus_minus([v[metric] for v in values]) for metric in SHOWN]
    return f"| {gamma:.2g} | {name} | {' | '.join(cells)} | {alphas} |"


if __name__ == "__main__":
    try:
        page = tables(collect(Path(*sys.argv[1:2])))
    except UserError as error:
        sys.exit(f"searched: {error}")
    print(TITLE, page, sep="\n")
