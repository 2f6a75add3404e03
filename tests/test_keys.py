"""The keys of runs, models and predictions follow the code and the libraries that decide results."""

import ast
import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.conftest import ROOT, composed
from tests.test_prose import FILES, TARGETS
from tests.test_prose import ROOT as PACKAGE_FOLDER
from unlearning.config import imports
from unlearning.config.imports import PACKAGE, Module, module_spec, read_module
from unlearning.config.prose import without_prose
from unlearning.engine import key as keys
from unlearning.engine import lab
from unlearning.engine.compute import Compute
from unlearning.engine.job import Job
from unlearning.engine.key import Key, code_of
from unlearning.errors import UserError
from unlearning.request import RUN, Request

SCRUB = ("method=scrub", "addon=[l1]", "scenario=random")


@functools.cache
def config_of(*words: str) -> dict[str, Any]:
    """The configuration of some words, composed once; not to be changed."""
    return composed(*words)[0]


def key(config: dict[str, Any]) -> Key:
    return Request(config, {}).key


@pytest.fixture
def fresh() -> Iterator[None]:
    """Modules are found and read again, now and afterwards."""
    for cached in (module_spec, read_module):
        cached.cache_clear()
    yield
    for cached in (module_spec, read_module):
        cached.cache_clear()


# The code of this package


def test_the_code_of_a_run_is_all_that_it_reaches() -> None:
    code = key(config_of(*SCRUB)).parts["code"]
    assert {"pipeline.py", "engine/lab.py", "engine/fitting.py", "engine/predict.py", "engine/evaluation.py"} < set(
        code
    )
    assert {"data/datamodule.py", "data/transform.py", "data/digits.py", "scenarios/forgetting.py"} < set(code)
    assert {"methods/base.py", "methods/step.py", "methods/scrub.py", "addons/l1.py", "addons/__init__.py"} < set(code)
    assert {"metrics/membership.py", "models/small_cnn.py", "runtime/cost.py", "types.py"} < set(code)
    assert not {"methods/jit.py", "addons/sam.py", "scenarios/poison.py", "models/vgg.py"} & set(code)


def test_what_records_reports_and_speaks_is_in_no_key() -> None:
    found = code_of([RUN, *lab.MAKING, lab.PREDICT, *TARGETS])[0]
    assert "methods/jit.py" in found
    folders = {name.partition("/")[0] for name in found}
    assert not folders & {
        "records",
        "report",
        "config",
        "cli.py",
        "sweeps.py",
        "request.py",
        "errors.py",
        "__init__.py",
    }
    assert not {"runtime/progress.py", "runtime/threads.py", "engine/store.py", "engine/key.py"} & set(found)


def test_models_do_not_depend_on_metrics_unless_they_are_watched() -> None:
    assert not any(name.startswith("metrics/") or name == "engine/watch.py" for name in code_of(lab.MAKING)[0])
    assert {"engine/watch.py", "metrics/rules.py"} < set(code_of([*lab.MAKING, lab.WATCHER])[0])


def test_each_module_is_in_some_key_or_left_out_on_purpose() -> None:
    found = code_of([RUN, *TARGETS])[0]
    outside = [name.removeprefix(f"{PACKAGE}.").replace(".", "/") for name in keys.OUTSIDE]
    rest = {file.relative_to(PACKAGE_FOLDER).as_posix() for file in FILES} - set(found) - {"__init__.py"}
    rest = {name for name in rest if not name.startswith(tuple(outside))}
    assert rest == {"data/own.py", "engine/outside.py", "models/initialise.py"}  # for the Python API alone


@pytest.mark.parametrize(
    ("module", "function", "words", "changed"),
    [
        ("engine.fitting", "edit", SCRUB, ("run", "train", "unlearn")),
        ("engine.networks", "Architecture.own_original", SCRUB, ("run", "train", "unlearn")),
        ("engine.predict", "Predictor.on_predict_end", SCRUB, ("run", "predict")),
        ("data.datamodule", "UnlearningData.plan", SCRUB, ("run", "train", "unlearn", "predict")),
        ("data.transform", "Transform.augmented", SCRUB, ("run", "train", "unlearn", "predict")),
        ("methods.step", "Stepper.split_gradients", SCRUB, ("run", "train", "unlearn")),
        ("methods.scrub", "Scrub.error", SCRUB, ("run", "unlearn")),
        ("addons.l1", "L1.weight_at", SCRUB, ("run", "unlearn")),
        ("metrics.membership", "aucs", SCRUB, ("run",)),
        ("scenarios.forgetting", "RandomForgetting.prepare", SCRUB, ("run",)),  # models follow the split itself
        ("models.small_cnn", "SmallCNN.__init__", SCRUB, ("run", "train", "unlearn", "predict")),
        ("gradients.importance", "dampened", ("method=ssd",), ("run", "unlearn")),
    ],
)
def test_a_number_in_a_function_decides_the_keys_of_what_uses_it(
    monkeypatch: pytest.MonkeyPatch, module: str, function: str, words: tuple[str, ...], changed: tuple[str, ...]
) -> None:
    before = keys_of(words)
    name = f"{PACKAGE}.{module}"
    other = altered(read_module(name), function)
    monkeypatch.setattr(imports, "read_module", lambda wanted: other if wanted == name else read_module(wanted))
    after = {what: one() for what, one in askers(words).items()}
    file = module.replace(".", "/")
    found = {what: after[what].differences(one.parts) for what, one in before.items()}
    assert found == {what: [f"code: {file}.py"] if what in changed else [] for what in before}
    assert {what for what in before if after[what].digest != before[what].digest} == set(changed)


def altered(module: Module | None, function: str) -> Module:
    """The module with another number in a function, or without the first call that the function makes."""
    assert module
    tree = ast.parse(module.source)
    place: Any = tree
    for name in function.split("."):
        place = next(node for node in place.body if getattr(node, "name", "") == name)
    body = [inner for node in place.body for inner in ast.walk(node)]
    for node in body:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            node.value += 1
            break
    else:
        calls = (n for n in place.body if isinstance(n, ast.Expr | ast.Assign) and isinstance(n.value, ast.Call))
        place.body.remove(next(calls))
    return replace(module, code=without_prose(tree))


class AskedError(Exception):
    """Raised by a store that is asked for something: holds the key."""


class Asking:
    """A store that only tells what it is asked for."""

    def get_or_create(self, kind: str, asked: Key, *_: object) -> None:
        raise AskedError(asked)

    def note(self, dataset: object) -> None:
        pass


def asked(act: Callable[[], object]) -> Key:
    """The key that something asks a store for."""
    with pytest.raises(AskedError) as found:
        act()
    asked_for: Key = found.value.args[0]
    return asked_for


def askers(words: tuple[str, ...]) -> dict[str, Callable[[], Key]]:
    """Functions that return the keys of a run, and of the models and predictions in it."""
    job, network = job_of(*words)
    problem, room = job.problem, replace(job.lab, store=Asking())
    return {
        "run": lambda: key(config_of(*words)),
        "train": lambda: asked(lambda: room.train(problem, job.recipe, problem.split.train, 0)),
        "unlearn": lambda: asked(lambda: room.unlearn(problem, job.method, job.addons, network, 0)),
        "predict": lambda: asked(lambda: room.predict(problem, network)),
    }


@functools.cache
def job_of(*words: str) -> tuple[Job, nn.Module]:
    """A job, and a network for it."""
    job = Job.of(config_of(*words))
    return job, job.network()


@functools.cache
def keys_of(words: tuple[str, ...]) -> dict[str, Key]:
    """The keys of ``askers`` for the code as it is."""
    return {what: one() for what, one in askers(words).items()}


def test_the_number_of_processes_decides_every_key() -> None:
    """The statistics of BatchNorm differ with the number of processes, and so do all models and predictions."""
    config = config_of(*SCRUB)
    job, network = job_of(*SCRUB)
    problem, found = job.problem, {}
    for number in (1, 2):
        trainer = config["trainer"] | {"processes": number}
        room = replace(job.lab, store=Asking(), compute=Compute(trainer))
        found[number] = {
            "run": key(config | {"trainer": trainer}),
            "train": asked(lambda room=room: room.train(problem, job.recipe, problem.split.train, 0)),
            "unlearn": asked(lambda room=room: room.unlearn(problem, job.method, job.addons, network, 0)),
            "predict": asked(lambda room=room: room.predict(problem, network)),
        }
    for what, one in found[1].items():
        assert found[2][what].differences(one.parts) == ["setting: trainer.processes"], what


# Code of the user's


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None) -> Path:
    """A module of the user's own, outside of the package."""
    file = tmp_path / "own_method.py"
    file.write_text(
        "import unlearning.losses\nfrom unlearning.methods.scrub import Scrub\n\nclass Own(Scrub):\n    epochs = 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return file


def own_code() -> dict[str, str]:
    """The code of the user's module as it is now."""
    for cached in (module_spec, read_module):
        cached.cache_clear()
    return code_of(["own_method.Own"])[0]


@pytest.mark.parametrize("target", ["own_method.Own", "own_method.Own.make"])
def test_a_method_outside_of_the_package_is_followed_into_it(own: Path, target: str) -> None:
    found = code_of([target])[0]
    assert {"own_method", "methods/scrub.py", "methods/base.py", "losses.py"} <= set(found)


def test_a_users_code_decides_the_key_and_comments_do_not(own: Path) -> None:
    config = config_of(*SCRUB)
    config = config | {"method": config["method"] | {"_target_": "own_method.Own"}}
    first, text = key(config), own.read_text()
    own.write_text(f"{text}\n# a remark\n")
    read_module.cache_clear()
    assert key(config).digest == first.digest
    own.write_text(text.replace("2", "3"))
    read_module.cache_clear()
    assert key(config).differences(first.parts) == ["code: own_method"]


@pytest.mark.parametrize(
    "line", ["import helping", "from helping import rate", "import helping.deeper", "def f():\n    import helping\n"]
)
def test_a_users_other_modules_decide_the_key(own: Path, line: str) -> None:
    """They count however they are imported, with the ``__init__`` of their package; nothing is run to find them."""
    package = own.with_name("helping")
    package.mkdir()
    (package / "__init__.py").write_text("rate = 1\nraise RuntimeError('imported')\n")
    (package / "deeper.py").write_text("")
    own.write_text(f"{line}\n{own.read_text()}")
    first = own_code()
    assert {"own_method", "helping"} <= set(first)
    (package / "__init__.py").write_text("rate = 2\n")
    assert {name for name, digest in own_code().items() if digest != first[name]} == {"helping"}


def test_an_import_from_above_the_top_is_left_to_who_imports_it(own: Path) -> None:
    own.write_text(f"from .. import nothing\n{own.read_text()}")
    assert "methods/scrub.py" in own_code()


def test_code_that_cannot_be_read_is_named_with_its_line(own: Path) -> None:
    own.write_text("class Own:\n    def (\n")
    with pytest.raises(UserError) as refused:
        own_code()
    assert refused.value.kind == "file"
    assert str(refused.value).startswith(f"{own}, line 2: ")


def test_finding_the_code_imports_nothing() -> None:
    program = (
        "import sys; from unlearning.engine.key import code_of; before = set(sys.modules); "
        "found, _ = code_of(['unlearning.pipeline.run']); assert len(found) > 20; "
        "print(sorted(name for name in set(sys.modules) - before if name.startswith(('unlearning', 'torch', 'light'))))"
        "; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert found.stdout == "[]\nFalse\n", found.stderr


def test_an_installed_package_counts_its_own_code(tmp_path: Path) -> None:
    """The same key as from the working tree, although a wheel lies among the libraries."""
    installed = tmp_path / "site-packages"
    shutil.copytree(PACKAGE_FOLDER, installed / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        f"import json, sys; sys.path.insert(0, {str(installed)!r}); from unlearning.engine import key; "
        f"assert key.__file__.startswith({str(installed)!r}); "
        "print(json.dumps(key.code_of(['unlearning.pipeline.run'])))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(found.stdout) == list(code_of(["unlearning.pipeline.run"]))


# Libraries


def test_the_versions_of_libraries_decide_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(*SCRUB)
    first = key(config)
    deciding = {
        "torch",
        "torchvision",
        "timm",
        "lightning",
        "torchmetrics",
        "scikit-learn",
        "numpy",
        "pandas",
        "pillow",
    }
    assert set(first.parts["library"]) == deciding
    monkeypatch.setattr(keys, "version", lambda name: "99.0" if name == "torch" else first.parts["library"][name])
    keys.libraries.cache_clear()
    found = key(config).differences(first.parts)
    keys.libraries.cache_clear()
    assert found == ["library: torch 99.0"]


def test_the_version_of_an_optional_library_decides_the_keys_of_runs_that_can_use_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(versions: dict[str, str]) -> list[str]:
        def version(name: str) -> str:
            if name in versions:
                return versions[name]
            raise keys.PackageNotFoundError(name)

        monkeypatch.setattr(keys, "version", version)
        return [key(config_of(*words)).digest for words in (("method=influence_filter",), SCRUB)]

    keys.libraries()  # cached: the versions of the others stay
    without, scrub = found({})
    one, same = found({"kronfluence": "1.0.1"})
    two, _ = found({"kronfluence": "1.0.2"})
    assert len({without, one, two}) == 3
    assert same == scrub


def test_the_version_of_a_library_that_only_the_user_names_decides_the_key(own: Path) -> None:
    assert "rich" not in code_of(["own_method.Own"])[1]
    assert "rich" in code_of(["rich.console.Console"])[1]
    own.write_text(f"import rich\n{own.read_text()}")
    own_code()
    assert "rich" in code_of(["own_method.Own"])[1]
