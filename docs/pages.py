"""The reference pages of methods and metrics, from the docstrings of what the configuration names."""

import ast
import inspect
import re
from pathlib import Path

from unlearning.config.catalogue import evaluated, find, names_of, targets_of
from unlearning.config.legend import LEGEND
from unlearning.config.paths import CONF

METHODS = """\
# Methods and their sources

`method=NAME` chooses one, and `method.OPTION=VALUE` sets an option, such as those below each. What differs from
the authors' code on purpose is in [departures](../departures.md).
"""
METRICS = """\
# Metrics and their sources

`evaluation=NAME` chooses a set of metrics; each metric says below in which it is. {legend}.
"""


def write(folder: Path) -> None:
    """Write ``methods.md`` and ``metrics.md`` into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "methods.md").write_text(methods_page())
    (folder / "metrics.md").write_text(metrics_page())


def methods_page() -> str:
    """Every method: what it does, its source, and its options with their defaults."""
    parts = [METHODS]
    for file in sorted((CONF / "method").glob("*.yaml")):
        target = next((target for _, target in targets_of(file, CONF)), None)
        settings = file.read_text().strip()
        parts += [f"## {file.stem}", described(target), f"```yaml\n# conf/method/{file.name}\n{settings}\n```"]
    return "\n\n".join(parts) + "\n"


def metrics_page() -> str:
    """Every metric: its names and how they are read, what it is, and its source."""
    parts = [METRICS.format(legend=LEGEND)]
    for (key, target), evaluations in evaluated().items():
        names = [name.rpartition(" ") for name in names_of(target)]
        listed = "\n".join(f"* `{name}` {arrow}" for name, _, arrow in names)
        parts += [f"## {key}", f"With `evaluation=` {', '.join(evaluations)}.", listed, described(target)]
    return "\n\n".join(parts) + "\n"


def described(target: str | None) -> str:
    """The docstrings of a class and of its module as Markdown, without the list of arguments."""
    source = find(target) if target else None
    if source is None:
        return f"`{target}`"
    own = inspect.cleandoc(ast.get_docstring(source.node) or "")
    above = inspect.cleandoc(ast.get_docstring(source.module.tree) or "")
    own = re.split(r"\n\s*Args:\n", own)[0]
    return "\n\n".join(map(linked, (f"*{above.partition(chr(10) * 2)[0]}*", own)))


def linked(text: str) -> str:
    """The text with links to the papers that it names by their arXiv numbers."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
