"""Search SSD's alpha for every draw and gamma: `python -m experiments.corrective.searched RUNS_DIR`.

The benchmark (Goel et al., 2024) searches a method's settings anew for every model, scenario and gamma. Here the best
run of a draw is chosen in two ways: by the mean of the accuracy on the known samples (with their correct labels) and on
validation samples, which is all that a user can see; and by the mean of Acc_corr and Acc_retain, which no user can see.
A star marks the first and the last alpha of the grid, where a wider grid might hold a better one.
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
TITLE = """# Searched for every draw

Printed by `python -m experiments.corrective.searched RUNS_DIR`; ± as in the other tables.
"""
SHOWN = ("corrective/acc_seen", "corrective/acc_retain")


def best(runs: Sequence[Run], metrics: Sequence[str]) -> Run:
    """The run with the largest mean of the metrics; ties go to the first."""
    return max(runs, key=lambda run: fmean(run.values["unlearned"][metric] for metric in metrics))


def tables(runs: Sequence[Run]) -> str:
    """A Markdown table for each setting, with a row for each gamma and each way to choose among the runs of SSD."""
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
    """A row of the table, with means over the draws."""
    cells = [plus_minus([v[metric] for v in values]) for metric in SHOWN]
    return f"| {gamma:.2g} | {name} | {' | '.join(cells)} | {alphas} |"


if __name__ == "__main__":
    try:
        page = tables(collect(Path(*sys.argv[1:2])))
    except UserError as error:
        sys.exit(f"searched: {error}")
    print(TITLE, page, sep="\n")
