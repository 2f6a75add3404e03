"""The key of a run follows the settings (see test_cli), the code and the libraries that decide its result."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import composed
from unlearning.config import schema as config
from unlearning.config.schema import code_of, module_spec, run_key, source_files
from unlearning.errors import UserError


def names(target: str) -> set[str]:
    return {f"{file.parent.name}/{file.name}" for file in source_files(target)}


def test_the_code_of_a_run_is_all_that_the_pipeline_reaches() -> None:
    found = names("unlearning.pipeline.run")
    assert {"unlearning/pipeline.py", "unlearning/build.py", "unlearning/records.py", "data/datamodule.py"} <= found
    assert {"methods/base.py", "unlearning/cost.py", "metrics/figure.py"} <= found
    assert not {"methods/scrub.py", "unlearning/cli.py", "methods/jit.py"} & found  # what another run uses
    assert not any("site-packages" in str(file) for file in source_files("unlearning.pipeline.run"))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's own, outside of the package."""
    file = tmp_path / "own_method.py"
    file.write_text(
        "import unlearning.losses\nfrom unlearning.methods.scrub import Scrub\n\nclass Own(Scrub):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_method", raising=False)
    code_of.cache_clear()
    module_spec.cache_clear()  # it knows the module of the test before
    return file


def test_a_method_outside_of_the_package_is_followed_into_it(own: Path) -> None:
    found = names("own_method.Own")
    assert {f"{own.parent.name}/own_method.py", "methods/scrub.py", "methods/base.py", "unlearning/losses.py"} <= found


def test_code_decides_the_key_and_comments_do_not(own: Path) -> None:
    config = composed("method=scrub", "method._target_=own_method.Own")[0]

    def key() -> str:
        code_of.cache_clear()
        return run_key(config)

    first, text = key(), own.read_text()
    own.write_text(text + "\n# a remark\n")
    assert key() == first
    own.write_text(text.replace("pass", "epochs = 3"))
    assert key() != first


@pytest.mark.parametrize("line", ["import helping", "from helping import rate", "import helping.deeper"])
def test_a_users_other_modules_decide_the_key(own: Path, line: str) -> None:
    """However they are imported, and the ``__init__`` of their package too; nothing is run to find them."""
    package = own.with_name("helping")
    package.mkdir()
    (package / "__init__.py").write_text("rate = 1\nraise RuntimeError('imported')\n")
    (package / "deeper.py").write_text("")
    own.write_text(f"{line}\n{own.read_text()}")
    config = composed("method=scrub", "method._target_=own_method.Own")[0]
    first = run_key(config)
    (package / "__init__.py").write_text("rate = 2\n")
    code_of.cache_clear()
    assert run_key(config) != first


def test_an_import_from_above_the_top_is_left_to_who_imports_it(own: Path) -> None:
    own.write_text(f"from .. import nothing\n{own.read_text()}")
    assert "methods/scrub.py" in names("own_method.Own")


def test_finding_the_code_imports_nothing() -> None:
    program = (
        "import sys; from unlearning.config import source_files; before = set(sys.modules); "
        "found = source_files('unlearning.pipeline.run'); assert len(found) > 20; print(set(sys.modules) - before)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"


def test_versions_decide_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = composed()[0]
    first = run_key(plain)
    monkeypatch.setattr(config, "libraries", lambda: {"torch": "99.0"})
    assert run_key(plain) != first


def test_the_version_of_an_optional_library_decides_the_keys_of_runs_that_can_use_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def keys(versions: dict[str, str]) -> list[str]:
        def version(name: str) -> str:
            if name in versions:
                return versions[name]
            raise config.PackageNotFoundError(name)

        monkeypatch.setattr(config, "version", version)
        return [run_key(composed(f"method={method}")[0]) for method in ("influence_filter", "scrub")]

    config.libraries()  # cached: the versions of the others stay
    (without, scrub), (one, same), (two, _) = keys({}), keys({"kronfluence": "1.0.1"}), keys({"kronfluence": "1.0.2"})
    assert len({without, one, two}) == 3
    assert same == scrub


def test_code_that_cannot_be_read_is_named_with_its_line(own: Path) -> None:
    own.write_text("class Own:\n    def (\n")
    with pytest.raises(UserError, match=r"own_method\.py, line 2: "):
        source_files("own_method.Own")
