"""The commands, examples and links of the README, the help text, the pages and the notes for contributors."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from hydra_plugins.unlearning.alternatives import jobs_of
from tests.conftest import ROOT, composed
from unlearning.config.arguments import read
from unlearning.config.guide import guide
from unlearning.config.schema import register
from unlearning.engine.job import Job
from unlearning.types import Batch

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README, *_ = TEXTS = [page.read_text().replace("\\\n", " ") for page in PAGES]
WRITTEN = re.compile(r"^ *(?:python run\.py|unlearn|make run ARGS=)( .*=.*)$", re.MULTILINE)
HELP = re.sub(r"(=\S+)  +\w.*", r"\1", guide())  # without the remark behind each command
COMMANDS = sorted({line for text in (*TEXTS, HELP) for line in WRITTEN.findall(text)})
FOR_READERS = ("my_method", "--config-dir", "launcher=joblib")  # what a reader is to write, or install, first


def words(command: str) -> list[str]:
    """The arguments of a command."""
    return [word.replace("$HOME", "/home/me") for word in shlex.split(command, comments=True)]


COMPOSED = [command for command in COMMANDS if not any(part in command for part in FOR_READERS)]


@pytest.mark.parametrize("command", COMPOSED)
def test_a_command_composes(command: str) -> None:
    arguments = read(words(command))
    register()
    jobs = jobs_of(arguments.settings) if arguments.sweep else [arguments.settings]
    for settings in (jobs[0], jobs[-1]):
        composed(*settings)


def test_there_are_commands() -> None:
    assert len(COMPOSED) >= 10
    assert any(read(words(command)).sweep for command in COMPOSED)


def test_the_example_of_a_method_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n# unlearning/methods/my_method.py\n(.*?)```", README, re.DOTALL)
    (settings,) = re.findall(r"```yaml\n# conf/method/my_method.yaml\n(.*?)```", README, re.DOTALL)
    outside = code.replace("from ..", "from unlearning.").replace("from .", "from unlearning.methods.")
    (tmp_path / "my_method.py").write_text(outside)
    (tmp_path / "method").mkdir()
    yaml = settings.replace("unlearning.methods.my_method", "my_method")
    (tmp_path / "method" / "my_method.yaml").write_text(yaml)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = read(["method=my_method", "addon=[saliency]", "--config-dir", str(tmp_path)])
    config, choices = composed(*arguments.settings, *arguments.search)
    assert (choices["method"], choices["addon"]) == ("my_method", "saliency")
    job = Job.of(config)
    method = job.checked()
    assert method.access == {"forget": "inputs and labels", "retain": "inputs and labels"}
    method.model.eval()
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, None, torch.arange(5), torch.ones(5, dtype=torch.bool))
    expected = -method.model(images).softmax(-1).log().mean()
    assert method.forget_loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)


LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "experiments").glob("*/*.md"))], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """The pages in docs/reference are built; ``make docs`` checks the links to them."""
    for name, anchor in LINK.findall(page.read_text()):
        target = page.parent / name if name else page
        assert name.startswith("reference/") or target.exists(), name
        if anchor:
            assert anchor in anchors(target), (name, anchor)


def anchors(page: Path) -> set[str]:
    """The names that a page's headings have in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
