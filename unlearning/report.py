"""Many finished runs -> one table a setting: mean and 95 % interval over seeds, and what the interval is over.

``python -m unlearning.report`` prints the tables and writes them as ``report.md`` and, in long form with every metric,
``report.csv``. Runs that differ only in seeds are one group; anything else that decides a result separates groups. What
failed, was cut short or cannot be read is listed below the tables, and nothing is imputed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import UserError, nearest

if TYPE_CHECKING:  # imported where they are used: --help answers at once
    import pandas as pd
    from rich.table import Table

RUNS = Path(__file__).parents[1] / "multirun"  # as paths.runs in conf/config.yaml
AVERAGED = ("forget/acc", "retain/acc", "test/acc", "mia/loss_auc")  # what gap/mean is the mean of
COLUMNS = (*AVERAGED, "gap/mean", "cost/seconds")
REFERENCES = ("original", "retrained")
ROWS = (*REFERENCES, "unlearned")
SETTING = ("dataset", "model", "scenario")  # one table for each combination
METHOD = ("method", "addon")  # what the reference models do not depend on, as they do not on the unlearning seed
IGNORED = ("choices", "paths", "trainer", "tracking", "launch", "experiment", "force", "retrained")  # decide no result
SEEDS = {"seed": "unlearning", "split.seed": "split", "scenario.seed": "scenario", "pretrain.seed": "pretraining"}
ARROWS = {"up": "↑", "down": "↓", "to-retrained": "→retrained"}
LEGEND = "↑ more is better · ↓ less is better · → the nearer to the retrained model (gap: to zero) the better"


# --- one run ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One run directory. Only a ``done`` run has a ``result``; the others say ``why`` not."""

    name: str
    state: Literal["done", "failed", "unfinished", "unreadable"]
    why: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    finished: float = 0.0  # when, in seconds since the epoch

    @cached_property
    def choices(self) -> dict[str, str]:
        return self.result["config"].get("choices", {})

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config as dotted leaves, without nulls, the parts under ``paths`` cut off."""
        paths = [str(path) for path in self.result["config"].get("paths", {}).values() if path]
        return {key: _relative(value, paths) for key, value in _leaves(self.result["config"]) if value is not None}

    @cached_property
    def seeds(self) -> dict[str, Any]:
        return {key: value for key, value in self.config.items() if _is_seed(key)}

    @cached_property
    def decisive(self) -> dict[str, Any]:
        """The leaves that decide the result, seeds apart."""
        return {k: v for k, v in self.config.items() if not _is_seed(k) and _group(k) not in IGNORED}

    @cached_property
    def values(self) -> dict[str, dict[str, float]]:
        """Finite values by row and metric; the unlearned row holds the gaps and the cost, too."""
        rows = {row: self.result["rows"][row] for row in ROWS if row in self.result["rows"]}
        rows["unlearned"] = rows["unlearned"] | self.result.get("gaps", {}) | self.result.get("cost", {})
        return {row: {m: float(v) for m, v in found.items() if _finite(v)} for row, found in rows.items()}

    @cached_property
    def failed(self) -> dict[str, dict[str, str]]:
        """By row, why a metric or a family of metrics has no value."""
        rows = self.result["rows"]
        found = {row: {m: "not finite" for m, v in rows[row].items() if not _finite(v)} for row in self.values}
        for key, why in self.result.get("failed", {}).items():
            row, _, name = key.rpartition(": ")  # "unlearned: membership"; without a row it is the unlearned model's
            found.setdefault(row or "unlearned", {})[name] = str(why)
        return found

    @cached_property
    def method(self) -> str:
        """Method and add-ons, as in ``scrub + l1``."""
        addons = str(self.choices.get("addon") or "").strip("[]").replace("'", "").split(",")
        return " + ".join([str(self.choices["method"]), *(a.strip() for a in addons if a.strip() not in ("", "none"))])

    @cached_property
    def place(self) -> str:
        """Data set, model and scenario in words, with the arguments that say what is forgotten."""
        words = [str(self.choices[group]) for group in SETTING]
        what = [_override(k, v) for k, v in self.decisive.items() if _group(k) == "scenario" and "_target_" not in k]
        return " · ".join(words) + (f" ({', '.join(what)})" if what else "")

    def lookup(self, key: str) -> Any:
        """A config group's choice or a leaf of the config; None where there is none."""
        return self.choices.get(key, self.config.get(key))


def collect(root: str | Path) -> list[Run]:
    """Every run directory under ``root``, by name.

    Raises:
        UserError: ``root`` is missing or holds no run directory.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"no folder {root}: give the folder that holds the runs, or make some with python run.py")
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if not folders:
        raise UserError(f"no runs in {root}: give the folder that holds the runs, or make some with python run.py")
    return [_read(folder) for folder in folders]


def _read(folder: Path) -> Run:
    done, failed = folder / "DONE", folder / "FAILED"
    if not done.exists():
        if not failed.exists():
            return Run(folder.name, "unfinished")
        return Run(folder.name, "failed", " ".join(failed.read_text(errors="replace").split()) or "no reason given")
    try:
        result = json.loads((folder / "results.json").read_text())
        run = Run(folder.name, "done", result=result, finished=done.stat().st_mtime)
        _ = run.values, run.failed, run.method, run.place, run.decisive  # read whatever the tables will need
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Run(folder.name, "unreadable", f"results.json: {type(error).__name__}: {error}")
    return run


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)  # what cannot be measured on a machine, such as memory, is null


def _leaves(node: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(node, list) and any(isinstance(item, dict) for item in node):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, float(node) if type(node) is int else node  # 10 and 10.0 are the same setting


def _relative(value: Any, paths: Sequence[str]) -> Any:
    """The same data on another machine is the same data."""
    within = [path for path in paths if isinstance(value, str) and value.startswith(path)]
    return value[len(max(within, key=len)) :] if within else value


def _is_seed(key: str) -> bool:
    leaf = key.rpartition(".")[2]
    return leaf == "seed" or leaf.endswith("_seed")


def _group(key: str) -> str:
    return key.partition(".")[0]


def _show(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return "[" + ",".join(map(_show, value)) + "]" if isinstance(value, list) else str(value)


def _override(key: str, value: Any) -> str:
    """``method.alpha`` is alpha to a reader, ``addon.l1.weight`` l1.weight; other keys keep their group's name."""
    group, _, rest = key.partition(".")
    return f"{rest if group in (*METHOD, *SETTING) and rest else key}={_show(value)}"


# --- groups of runs ---------------------------------------------------------------------------------------------------


@dataclass
class Group:
    """Runs that differ only in seeds, as one row of a table."""

    row: str  # one of ROWS
    base: str  # the label without what tells it from others
    decisive: dict[str, Any]
    choices: dict[str, str]
    runs: list[Run]
    setting: str = ""
    label: str = ""


def group_runs(runs: Iterable[Run], by: Sequence[str] = ()) -> tuple[list[Group], int]:
    """Groups with their labels, and how many runs were left out as repeats.

    Of runs with the same configuration and seeds one counts: the last finished, before any without a retrained model. A
    reference model counts once however
    many methods started from it. ``by`` names further keys, seeds included, whose values are groups of their own.
    """
    groups: dict[tuple, Group] = {}
    counted: set[tuple] = set()
    repeats = 0
    for run in sorted((r for r in runs if r.state == "done"), key=_worth, reverse=True):
        for row in run.values:
            reference = row in REFERENCES
            keep = _decides_reference if reference else _always
            decisive = {k: v for k, v in run.decisive.items() if keep(k)}
            decisive |= {k: run.lookup(k) for k in by if run.lookup(k) is not None and keep(k)}
            seeds = {k: v for k, v in run.seeds.items() if keep(k)}
            key = (row, "" if reference else run.method, *(run.choices[g] for g in SETTING), _frozen(decisive))
            if (key, _frozen(seeds)) in counted:
                repeats += not reference
                continue
            counted.add((key, _frozen(seeds)))
            group = groups.setdefault(
                key, Group(row, row if reference else run.method, decisive, run.choices, [], run.place)
            )
            group.runs.append(run)
    found = list(groups.values())
    _name(found)
    return found, repeats


def _worth(run: Run) -> tuple[bool, float]:
    return "retrained" in run.values, run.finished


def _always(_: str) -> bool:
    return True


def _decides_reference(key: str) -> bool:
    if key == "seed" or _group(key) in METHOD:
        return False
    return not (_is_seed(key) and _group(key) == "evaluation")  # which follows the unlearning seed


def _frozen(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _name(groups: list[Group]) -> None:
    """Give every group its setting and its label, with just the parameters that tell it from the others."""
    for alike in _split(groups, lambda g: g.setting):
        for group, words in zip(alike, _differences(alike, lambda k: _group(k) in SETTING), strict=True):
            group.setting = " · ".join([group.setting, *words])
    for setting in _split(groups, lambda g: g.setting):
        for row in (REFERENCES, ("unlearned",)):  # what surrounds the method, told apart over the whole table ...
            there = [g for g in setting if g.row in row]
            around = _differences(there, lambda k: _group(k) not in (*METHOD, *SETTING))
            for group, words in zip(there, around, strict=True):
                group.label = " ".join(words)
        for alike in _split(setting, lambda g: (g.row, g.base)):  # ... its parameters among its like
            for group, words in zip(alike, _differences(alike, lambda k: _group(k) in METHOD), strict=True):
                group.label = " ".join(word for word in (group.base, *words, group.label) if word)


def _split(groups: Iterable[Group], key: Callable[[Group], Any]) -> list[list[Group]]:
    parts: dict[Any, list[Group]] = defaultdict(list)
    for group in groups:
        parts[key(group)].append(group)
    return list(parts.values())


def _differences(groups: list[Group], part: Callable[[str], bool]) -> list[list[str]]:
    """For each group the overrides among the keys of ``part`` that not all share.

    Where the choice of a config group says all that its leaves say, the choice alone is named: ``pretrain=long``.
    """
    keys = sorted({k for g in groups for k in g.decisive if part(k)})
    keys = [k for k in keys if len({_show(g.decisive.get(k)) for g in groups}) > 1]
    words: list[list[str]] = [[] for _ in groups]
    for name in dict.fromkeys(map(_group, keys)):
        leaves = [k for k in keys if _group(k) == name]
        told = {(g.choices.get(name), _frozen({k: g.decisive.get(k) for k in leaves})) for g in groups}
        if name in leaves or len({choice for choice, _ in told}) < len(told):
            for group, found in zip(groups, words, strict=True):
                found += [_override(k, group.decisive[k]) for k in leaves if k in group.decisive]
        else:
            for group, found in zip(groups, words, strict=True):
                found.append(f"{name}={group.choices[name]}")
    return words


def varied(runs: Sequence[Run], row: str) -> str:
    """Over what the interval is: which seeds took more than one value among the runs."""
    if len(runs) < 2:
        return "one run"
    keep = _decides_reference if row in REFERENCES else _always
    present = [k for k in sorted({k for run in runs for k in run.seeds}) if keep(k)]
    named = [seed for seed in SEEDS if seed in present]
    own = [k for k in present if k not in named and not any(_follows(k, seed, runs) for seed in named)]
    relevant = named + own
    moved = [k for k in relevant if len({run.seeds.get(k) for run in runs}) > 1]
    if moved == relevant:
        return "all seeds"
    if moved == ["seed"]:
        return "unlearning seed only; same original"
    *most, last = [SEEDS.get(k, k.removesuffix("seed").rstrip("._")) for k in moved]
    return f"{', '.join(most)} and {last} seeds" if most else f"{last} seed only"


def _follows(key: str, seed: str, runs: Iterable[Run]) -> bool:
    return all(run.seeds.get(key) == run.seeds.get(seed) for run in runs)


def aggregate(runs: Iterable[Run], metrics: Sequence[str], by: Sequence[str] = ()) -> pd.DataFrame:
    """One record for each setting, row of its table and metric, in the tables' order.

    Columns: setting, method (the row's label), row (original, retrained or unlearned), metric, mean, std (n-1), ci95
    (half-width of Student's t interval of the mean), n (runs with a value), varied (what ``std`` and ``ci95`` are
    over), failed (runs in which the metric failed). ``std`` and ``ci95`` are NaN for n = 1. References come first,
    then the methods by \\|gap/mean\\|.
    """
    import numpy as np
    import pandas as pd
    from scipy.special import stdtrit

    groups, _ = group_runs(runs, by)
    reported = _reported(groups)
    records = []
    for group in groups:
        gaps = [run.values[group.row]["gap/mean"] for run in group.runs if "gap/mean" in run.values[group.row]]
        gap = abs(float(np.mean(gaps))) if gaps else math.nan
        order = (group.setting, ROWS.index(group.row), gap, group.label)
        for metric in metrics:
            having = [run for run in group.runs if metric in run.values[group.row]]
            failed = [run for run in group.runs if _failed(run, group.row, metric, reported)]
            values = np.array([run.values[group.row][metric] for run in having])
            n = len(values)
            if not n and not failed:
                continue
            std = float(values.std(ddof=1)) if n > 1 else math.nan
            half = float(stdtrit(n - 1, 0.975)) * std / math.sqrt(n) if n > 1 else math.nan
            mean = float(values.mean()) if n else math.nan
            over = varied(having, group.row) if n else ""
            head = (*order, group.setting, group.label, group.row, metric)
            records.append((*head, mean, std, half, n, over, len(failed)))
    columns = ["setting", "method", "row", "metric", "mean", "std", "ci95", "n", "varied", "failed"]
    frame = pd.DataFrame(records, columns=["_setting", "_row", "_gap", "_label", *columns])
    return frame.sort_values(["_setting", "_row", "_gap", "_label"], kind="stable")[columns].reset_index(drop=True)


def _reported(groups: Iterable[Group]) -> dict[str, set[str]]:
    """The metrics that runs with the same evaluation report: what a run with failures might have had."""
    reported: dict[str, set[str]] = defaultdict(set)
    for run in (run for group in groups for run in group.runs):
        reported[_evaluation(run)] |= {metric for row in run.values.values() for metric in row}
    return reported


def _evaluation(run: Run) -> str:
    asked = {k: v for k, v in run.decisive.items() if _group(k) == "evaluation"}
    return _frozen(asked | {"retrained": "retrained" in run.values})


def _failed(run: Run, row: str, metric: str, reported: Mapping[str, set[str]]) -> bool:
    """A run names what failed by metric or by family; a family's metrics are those that its like report."""
    if row not in run.values or metric in run.values[row] or metric.startswith("cost/"):
        return False
    if metric.startswith("gap/"):  # a gap needs both rows, their mean needs one of the gaps
        parts = AVERAGED if metric == "gap/mean" else (metric.removeprefix("gap/"),)
        needed = ("unlearned", "retrained") if row == "unlearned" and "retrained" in run.values else ()
        return any(_failed(run, needs, part, reported) for needs in needed for part in parts)
    failed = run.failed.get(row, {})
    return bool({metric, metric.partition("/")[0]} & failed.keys() or (failed and metric in reported[_evaluation(run)]))


def directions(runs: Iterable[Run]) -> dict[str, str]:
    """An arrow for every metric whose good side is known."""
    arrows = {}
    for run in runs:
        arrows |= {m: ARROWS[d] for m, d in run.result.get("directions", {}).items() if d in ARROWS}
        arrows |= dict.fromkeys(run.result.get("cost", {}), "↓")
        arrows |= dict.fromkeys(run.result.get("gaps", {}), "→0")
    return arrows | {"gap/mean": "↓"}


# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass
class Line:
    """One row of a table: for each column the mean and the interval as text, either of them possibly empty."""

    label: str
    reference: bool
    n: int
    cells: dict[str, tuple[str, str]]


def lines(table: pd.DataFrame, columns: Sequence[str]) -> list[Line]:
    """The rows of one setting's table, from its part of ``aggregate``."""
    found = []
    for (label, row), part in table.groupby(["method", "row"], sort=False):
        n = int((part.n + part.failed).max())
        cells = {record.metric: _cell(record, n) for record in part.itertuples()}
        mean, half = cells.get("gap/mean", ("failed", ""))
        if mean != "failed" and part[part.failed > 0].metric.str.removeprefix("gap/").isin(AVERAGED).any():
            cells["gap/mean"] = (mean + "†", half)
        found.append(Line(label, row in REFERENCES, n, {c: cells.get(c, ("-", "")) for c in columns}))
    return found


def _cell(record: Any, n: int) -> tuple[str, str]:
    if not record.n:
        return "failed", ""
    style = _style(record.mean)
    mean = format(record.mean, style) + ("*" if record.n < n else "")
    return mean, "" if math.isnan(record.ci95) else f"±{record.ci95:{style}}"


def _style(mean: float) -> str:
    """Three decimals for rates; fewer for large numbers, and none lost for tiny ones."""
    size = abs(mean)
    return ".1e" if 0 < size < 0.001 else ".3f" if size < 10 else ",.1f" if size < 1000 else ",.0f"


def notes(table: pd.DataFrame, found: list[Line], groups: Sequence[Group]) -> list[str]:
    """What the reader of one table must know besides its numbers."""
    over: dict[str, list[str]] = defaultdict(list)
    main = table.sort_values("n", ascending=False, kind="stable").drop_duplicates(["method", "row"])
    for record in main[main.n > 0].itertuples():
        over[f"n={record.n}" + (f" ({record.varied})" if record.n > 1 else "")].append(record.method)
    texts = []
    if (main.n > 1).any():
        texts.append("± half the 95 % interval of the mean over n runs (Student t); n=1 has none.")
    texts += [text if len(over) == 1 else f"{text}: {', '.join(labels)}" for text, labels in over.items()]
    marks = {mean[-1:] for line in found for mean, _ in line.cells.values()}
    if "*" in marks:
        texts.append("* not in all n runs: over those that have a value.")
    if "†" in marks:
        texts.append("† over the metrics that did not fail: not comparable with the other rows.")
    failures = ((g.label, item) for g in groups for run in g.runs for item in run.failed[g.row].items())
    reasons = Counter((label, metric, why) for label, (metric, why) in failures)
    for (label, metric, why), count in reasons.items():
        texts.append(f"failed: {label}: {metric}: {' '.join(why.split())} ({_count(count, 'run')})")
    made_by = {run.result.get("git") or "unknown" for group in groups for run in group.runs}
    if len(made_by) > 1:
        revisions = {commit[:8] + plus + changes for commit, plus, changes in (git.partition("+") for git in made_by)}
        texts.append(f"made by different code: revisions {', '.join(sorted(revisions))}.")
    return texts


def layout(found: list[Line], columns: Sequence[str], arrows: Mapping[str, str], title: str, width: int) -> Table:
    """The table for a screen of ``width``: intervals beside or, where that is too wide, below their means.

    Columns that fit neither way are left out, the last first, and named in the caption.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    longest = max(len(line.label) for line in found)
    counts = max(len(str(line.n)) for line in found)
    shown, beside = list(columns), True
    texts: dict[str, list[str]] = {}
    while True:
        texts = {c: _column(c, [line.cells[c] for line in found], arrows.get(c, ""), beside) for c in shown}
        widths = [max(len(part) for text in texts[c] for part in text.split("\n")) for c in shown]
        room = width - sum(w + 2 for w in widths) - counts - 2
        if room >= min(longest, 24 if beside else 18) or len(shown) == 1:
            break
        beside, shown = False, shown if beside else shown[:-1]
    left_out = [c for c in columns if c not in shown]
    named = ", ".join(left_out[:6]) + (f" and {len(left_out) - 6} more" if len(left_out) > 6 else "")
    caption = f"too narrow for {named}: see report.md" if left_out else None
    table = Table(box=box.SIMPLE_HEAD, title=Text(title, "bold"), caption=caption, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    lowest = "\n" * texts[shown[0]][0].count("\n")
    table.add_column(lowest + "method", overflow="fold", max_width=max(room, 8))
    for column in shown:
        table.add_column(Text(texts[column][0]), justify="right", no_wrap=True)
    table.add_column(lowest + "n", justify="right", no_wrap=True)
    for i, line in enumerate(found, start=1):
        cells = [Text(texts[c][i], "red" if texts[c][i].strip() == "failed" else "") for c in shown]
        last = line.reference and i < len(found) and not found[i].reference
        table.add_row(Text(line.label), *cells, str(line.n), style="cyan" if line.reference else "", end_section=last)
    return table


def _column(name: str, cells: list[tuple[str, str]], arrow: str, beside: bool) -> list[str]:
    """Header and cells of one column; means and intervals each stand flush under one another."""
    if not beside:
        return ["/\n".join(name.rsplit("/", 1)) + "\n" + arrow[:1], *("\n".join(filter(None, c)) for c in cells)]
    left, right = (max(len(part) for part in parts) for parts in zip(*cells, strict=True))
    joined = [f"{mean:>{left}} {half:>{right}}" if right else f"{mean:>{left}}" for mean, half in cells]
    return [f"{name}\n{arrow}", *joined]


def markdown(title: str, found: list[Line], columns: Sequence[str], arrows: Mapping[str, str], below: list[str]) -> str:
    """One setting's table as Markdown, all columns, its notes below."""

    def row(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    head = [row(["method", *(f"{c} {arrows.get(c, '')}".strip() for c in columns), "n"])]
    head.append(row(["---", *("---:" for _ in columns), "---:"]))
    body = []
    for line in found:
        label = f"*{line.label}*" if line.reference else line.label
        body.append(row([label, *(" ".join(filter(None, line.cells[c])) for c in columns), str(line.n)]))
    listed = [f"- {text}".replace("*", "\\*") for text in below]
    return "\n".join([f"## {title}", "", *head, *body, "", *listed, ""])


# --- the command ------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unlearning.report",
        description=__doc__,
        epilog="""examples:
  python -m unlearning.report                                  all runs of the default folder
  python -m unlearning.report --filter dataset=digits 'method=s*' method=jit
                                                               keys must all hold, values of one key are alternatives
  python -m unlearning.report --filter method.alpha=10         any key of the resolved config
  python -m unlearning.report --metrics 'forget/*,gap/*' --out tables
  python -m unlearning.report --by split.seed                  a row for each split, the interval over the other seeds

exit code: 0 with a table, 1 where there is no finished run (or none that passes --filter), 2 for wrong usage""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("runs", metavar="RUNS_DIR", nargs="?", type=Path, default=RUNS, help="folder of the runs (multirun)")
    add("--metrics", metavar="A,B", default="", help=f"columns of the tables, globs allowed ({','.join(COLUMNS)})")
    add("--by", metavar="KEY,KEY", default="", help="config keys, seeds included, to give rows of their own")
    add("--filter", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="only these runs; globs allowed")
    add("--out", metavar="DIR", type=Path, help="where report.csv and report.md go (RUNS_DIR)")
    return parser


def _filtered(runs: list[Run], filters: Iterable[str]) -> list[Run]:
    wanted: dict[str, list[str]] = defaultdict(list)
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--filter {text}: write key=value, such as method=ssd or split.seed=0")
        wanted[_known_key(runs, key)].append(value)
    kept = [r for r in runs if all(any(_matches(r.lookup(k), v) for v in vs) for k, vs in wanted.items())]
    if not kept:
        raise UserError(f"no finished run passes --filter {' '.join(filters)}")
    return kept


def _matches(value: Any, pattern: str) -> bool:
    if isinstance(value, float):
        try:
            return value == float(pattern)  # 1e-3 is .001
        except ValueError:
            pass
    return fnmatchcase(_show(value), pattern) or _show(value) == pattern


def _known_key(runs: Iterable[Run], key: str) -> str:
    known = {k for run in runs for k in (*run.choices, *run.config)}
    if key not in known:
        raise UserError(f"no run has the config key {key}: {nearest(key, known)}")
    return key


def _columns(patterns: str, known: Sequence[str]) -> list[str]:
    """The metrics that ``--metrics`` names; by default those of ``COLUMNS`` that exist."""
    if not patterns:
        return [c for c in COLUMNS if c in known] or list(known)[: len(COLUMNS)]
    columns: list[str] = []
    for pattern in filter(None, (p.strip() for p in patterns.split(","))):
        found = [metric for metric in known if fnmatchcase(metric, pattern)]
        if not found:
            raise UserError(f"no run has a metric {pattern}: {nearest(pattern, known)}")
        columns += [metric for metric in found if metric not in columns]
    return columns


def _others(runs: Iterable[Run], repeats: int) -> list[str]:
    """What is in no table, and why."""
    texts = []
    for state in ("failed", "unreadable", "unfinished"):
        there = [f"  {run.name}" + (f": {run.why}" if run.why else "") for run in runs if run.state == state]
        if there:
            texts += [f"{_count(len(there), f'{state} run')}:", *there]
    if repeats:
        texts.append(f"{_count(repeats, 'run')} left out: each repeats the configuration and seeds of another")
    return texts


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _report(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    runs = collect(args.runs)
    console = Console(highlight=False)
    done = [run for run in runs if run.state == "done"]
    if not done:
        console.print("\n".join([f"no finished run in {args.runs}", *_others(runs, 0)]), markup=False, soft_wrap=True)
        return 1
    done = _filtered(done, args.filter)
    by = [_known_key(done, key) for key in args.by.split(",") if key]
    reported = {metric for run in done for row in run.values.values() for metric in row}
    failed = {name for run in done for names in run.failed.values() for name in names if "/" in name}
    known = sorted(reported | failed)
    columns = _columns(args.metrics, known)
    groups, repeats = group_runs(done, by)
    frame, arrows = aggregate(done, known, by), directions(done)
    pages = []
    for setting, table in frame.groupby("setting", sort=False):
        there = [c for c in columns if c in set(table.metric)]
        found = lines(table, there)
        below = notes(table[table.metric.isin(there)], found, [g for g in groups if g.setting == setting])
        console.print(layout(found, there, arrows, setting, console.width))
        for text in below:
            console.print(Padding(Text(text), (0, 0, 0, 1), expand=False))
        console.print()
        pages.append(markdown(setting, found, there, arrows, below))
    console.print(LEGEND, style="dim")
    others = _others(runs, repeats)
    if others:
        console.print("\n" + "\n".join(others), markup=False, soft_wrap=True)
        listed = [f"  - {text.strip()}" if text.startswith(" ") else f"- {text}" for text in others]
        pages.append("\n".join(["## Not in a table", "", *listed, ""]))
    out = args.out or args.runs
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.md").write_text("\n".join(["# Report", "", LEGEND + ".", "", *pages]), encoding="utf-8")
        frame.to_csv(out / "report.csv", index=False)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error
    console.print(f"\n{out / 'report.md'}\n{out / 'report.csv'}", soft_wrap=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        return _report(args)
    except UserError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
