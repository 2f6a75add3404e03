"""The catalogue over a small package and conf of its own, and over the real conf."""

import ast
import subprocess
import sys
import textwrap

import pytest

from unlearning.config.catalogue import CONF, GROUPS, directions, find, listing, main, metrics, summary
from unlearning.errors import UserError

PACKAGE = {
    "fakepkg/__init__.py": "raise RuntimeError('nothing may be imported')",
    "fakepkg/sub/__init__.py": "from .deep import Renamed as Exported\n",
    "fakepkg/sub/deep.py": '''
        from fakepkg.base import Family

        class Renamed(Family):
            """Forgets ``much`` (Foster et al. 2024), e.g. a class, over
            two lines. A second sentence.

            A second paragraph.
            """

            @classmethod
            def make(cls):
                """Makes one: with care"""

        def factory():
            return None
    ''',
    "fakepkg/base.py": '''
        class Family:
            """Numbers."""

            directions: dict = {"forget/acc": "to-retrained", "cost": "down", "retain/acc": "up"}

        class Computed:
            """Numbers whose names are worked out."""

            directions = {name: "up" for name in "ab"}
    ''',
}
CONFIGS = {
    "method/plain.yaml": "_target_: fakepkg.sub.deep.Renamed\nalpha: 1\nschedule:\n  _target_: fakepkg.base.Family\n",
    "method/heir.yaml": """
        # Heir (Doe et al. 2020) to the
        # plain one. More.
        # @package method
        defaults: [plain, _self_]
    """,
    "method/silent.yaml": "# Its target is its own, so its docstring speaks.\n_target_: fakepkg.sub.deep.factory\n",
    "method/gone.yaml": "_target_: nowhere.at.all\n",
    "method/empty.yaml": "",
    "evaluation/default.yaml": "family:\n  _target_: fakepkg.sub.Exported\n  part: {_target_: fakepkg.base.Family}\n",
    "evaluation/full.yaml": "defaults: [default, _self_]\ncomputed:\n  _target_: fakepkg.base.Computed\n",
}
FIRST = "Forgets much (Foster et al. 2024), e.g. a class, over two lines"


@pytest.fixture
def conf(tmp_path, monkeypatch):
    for name, text in (PACKAGE | {f"conf/{name}": text for name, text in CONFIGS.items()}).items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip())
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "conf"


def test_each_choice_with_its_first_sentence(conf):
    assert listing("methods", conf) == [
        ("empty", "-"),
        ("gone", "(nowhere.at.all)"),
        ("heir", "Heir (Doe et al. 2020) to the plain one"),  # shares its target with plain, which has no comment
        ("plain", FIRST),
        ("silent", "(fakepkg.sub.deep.factory)"),
    ]


def test_a_metric_with_its_names_inherited_directions_and_evaluations(conf):
    names = "forget/acc →\ncost ↓\nretain/acc ↑"
    assert metrics(conf) == [
        ("family", "default, full", names, FIRST),
        ("computed", "full", "-", "Numbers whose names are worked out"),
    ]


def test_a_target_is_found_through_re_exports_and_inside_classes(conf):
    assert find("fakepkg.sub.Exported").module == "fakepkg.sub.deep"
    assert summary(find("fakepkg.sub.deep.Renamed.make").node) == "Makes one: with care"
    assert find("fakepkg.sub.deep.Renamed.lacks") is None
    assert find("fakepkg.base.Lacks") is None
    assert directions(find("fakepkg.sub.deep.factory")) == {}


def test_no_docstring_no_sentence():
    assert summary(ast.parse("def f(): pass").body[0]) == ""


def test_the_command_prints_the_table(conf, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["methods", "--conf", str(conf)]) == 0
    assert any(line.split()[:2] == ["plain", "Forgets"] for line in capsys.readouterr().out.splitlines())
    assert main(["metrics", "--conf", str(conf)]) == 0
    assert "→ the nearer to the retrained model" in capsys.readouterr().out


def test_bad_conf_is_one_line(conf, capsys):
    assert main(["datasets", "--conf", str(conf)]) == 1
    error = capsys.readouterr().err
    assert (
        error == f"catalogue: no folder {conf / 'dataset'}: --conf must name the folder that holds the config groups\n"
    )
    (conf / "method" / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(UserError, match=r"bad\.yaml is not YAML"):
        listing("methods", conf)


@pytest.mark.parametrize("kind", GROUPS)
def test_every_target_of_the_project_has_a_docstring(kind):
    if not (CONF / GROUPS[kind]).is_dir():
        pytest.skip(f"conf/{GROUPS[kind]} does not exist")
    rows = metrics() if kind == "metrics" else listing(kind)
    assert rows
    bare = [row[0] for row in rows if row[-1].startswith("(unlearning.")]
    assert not bare, f"no docstring: {bare}"


def test_torch_is_not_imported():
    code = "import sys; from unlearning.catalogue import main; main(['models']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
