"""The catalogue over a small package and conf of its own, and over the real conf."""

import subprocess
import sys
import textwrap

import pytest

from unlearning.config.catalogue import CONF, attribute, find, listing, main, metrics, summary
from unlearning.config.groups import GROUPS
from unlearning.config.imports import module_spec, read_module
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

        def mute():
            return None
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
    "method/silent.yaml": "# A comment for a target without a docstring.\n_target_: fakepkg.sub.deep.factory\n",
    "method/mute.yaml": "_target_: fakepkg.base.mute\n",
    "method/shared.yaml": "# What both build.\ndefaults: [/base/common@_here_, _self_]\n",
    "base/common.yaml": "_target_: fakepkg.sub.deep.Renamed.make\n",
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
    for cached in (module_spec, read_module):
        cached.cache_clear()  # they know the package of the test before
    return tmp_path / "conf"


def test_each_choice_with_its_first_sentence(conf):
    assert listing("method", conf) == [
        ("empty", "-"),
        ("gone", "(nowhere.at.all)"),
        ("heir", "Heir (Doe et al. 2020) to the plain one"),  # shares its target with plain, which has no comment
        ("mute", "(fakepkg.base.mute)"),
        ("plain", FIRST),
        ("shared", "Makes one: with care"),
        ("silent", "A comment for a target without a docstring"),
    ]


def test_a_metric_with_its_names_inherited_directions_and_evaluations(conf):
    names = "forget/acc →\ncost ↓\nretain/acc ↑"
    assert metrics(conf) == [
        ("family", "default, full", names, FIRST),
        ("computed", "full", "-", "Numbers whose names are worked out"),
    ]


def test_a_target_is_found_through_re_exports_and_inside_classes(conf):
    assert find("fakepkg.sub.Exported").module.name == "fakepkg.sub.deep"
    assert summary("fakepkg.sub.deep.Renamed.make") == "Makes one: with care"
    assert find("fakepkg.sub.deep.Renamed.lacks") is None
    assert find("fakepkg.base.Lacks") is None
    assert attribute(find("fakepkg.sub.deep.factory"), "directions") is None
    assert attribute(find("fakepkg.base.Computed"), "directions") is None


def test_no_docstring_no_sentence(conf):
    assert summary("fakepkg.sub.deep.factory") == ""
    assert summary("fakepkg.gone") == ""
    assert summary(None) == ""


def test_the_command_prints_the_table(conf, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["methods", "--conf", str(conf)]) == 0
    assert any(line.split()[:2] == ["plain", "Forgets"] for line in capsys.readouterr().out.splitlines())
    assert main(["metrics", "--conf", str(conf)]) == 0
    assert "→ closer to the retrained model is better" in capsys.readouterr().out


def test_bad_conf_is_one_line(conf, capsys):
    assert main(["datasets", "--conf", str(conf)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"catalogue: no folder {conf / 'dataset'}: ")
    assert error.count("\n") == 1
    (conf / "method" / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(UserError, match=r"bad\.yaml") as caught:
        listing("method", conf)
    assert caught.value.kind == "file"


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_of_the_project_has_a_summary(group):
    rows = listing(group)
    assert [name for name, _ in rows] == sorted(file.stem for file in (CONF / group).glob("*.yaml"))
    assert not [name for name, text in rows if text == "-" or text.startswith("(unlearning.")]


def test_every_metric_of_the_project_has_a_summary_and_directions():
    for key, evaluations, names, text in metrics():
        assert evaluations, key
        assert names != "-", key
        assert not text.startswith("("), key


def test_torch_is_not_imported():
    code = (
        "import sys; from unlearning.config.catalogue import main; main(['models']); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
