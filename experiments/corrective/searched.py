"""What a search of its own for every draw and gamma finds: `python -m experiments.corrective.searched RUNS_DIR`.

The benchmark (Goel et al., 2024) searches a method's settings anew for every model, scenario and gamma. Two choices
among the runs of one draw: by the mean of the accuracy on the known samples (their right labels) and on validation
samples, which is all that a user can see; and by the mean of Acc_corr and Acc_retain, a bound that no user reaches.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from unlearning.report.figures import by_setting, known_part
from unlearning.report.groups import spread
from unlearning.report.runs import Run, collect

CHOSEN_BY = {
    "chosen by what is known": ("corrective/acc_known", "val/acc"),
    "the best there is": ("corrective/acc_seen", "corrective/acc_retain"),
}
SHOWN = ("corrective/acc_seen", "corrective/acc_retain")


def best(runs: Sequence[Run], metrics: Sequence[str]) -> Run:
    """The run with the largest mean of the metrics; of equal ones the first."""
    return max(runs, key=lambda run: fmean(run.values["unlearned"][metric] for metric in metrics))


def cell(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval over draws, as in the tables of the report."""
    mean, _, half = spread(values)
    return f"{mean:.3f} ±{half:.3f}"


def tables(runs: Sequence[Run]) -> str:
    """For every setting a Markdown table with a row for each gamma and choice."""
    texts = []
    for setting, found in by_setting(runs).items():
        texts += [f"## {setting}", "", f"| method | gamma | | {' | '.join(SHOWN)} | alpha |", "| --- " * 6 + "|"]
        draws = defaultdict(lambda: defaultdict(list))
        for run in found:
            draws[run.method, known_part(run)][run.config["seed"]].append(run)
        for (method, gamma), by_seed in sorted(draws.items()):
            first = [runs[0].values for _, runs in sorted(by_seed.items())]
            rows = {f"*{row}*": [values[row] for values in first] for row in ("original", "retrained")}
            alphas = {}
            for name, metrics in CHOSEN_BY.items():
                chosen = [best(runs, metrics) for _, runs in sorted(by_seed.items())]
                rows[name] = [run.values["unlearned"] for run in chosen]
                alphas[name] = ", ".join(f"{run.config['method.alpha']:g}" for run in chosen)
            for name, values in rows.items():
                cells = [cell([v[metric] for v in values]) for metric in SHOWN]
                texts.append(f"| {method} | {gamma:.2g} | {name} | {' | '.join(cells)} | {alphas.get(name, '')} |")
        texts.append("")
    return "\n".join(texts)


if __name__ == "__main__":
    print("# Searched for every draw\n\nOf `python -m experiments.corrective.searched`; ± as in the other tables.\n")
    print(tables(collect(sys.argv[1] if len(sys.argv) > 1 else Path("multirun"))))
