"""Mistakes in a command line: each raises one error with the key that it is about. Nothing is built here."""

from pathlib import Path

import pytest

from tests.conftest import composed
from unlearning.config.arguments import read
from unlearning.errors import UserError, nearest


@pytest.mark.parametrize(
    ("words", "key", "kind"),
    [
        # what is not a setting
        (["foo"], "", "key"),
        (["=3"], "", "key"),
        (["+=3"], "", "key"),
        (["method.epochs"], "", "key"),
        # values that the grammar of overrides does not take
        (["dataset.root=~/pets"], "dataset.root", "value"),
        (["method.epochs=[1"], "method.epochs", "value"),
        # keys
        (["metod=ssd"], "metod", "key"),
        (["+forget_weight=3"], "forget_weight", "key"),
        (["method.epoch=3"], "method.epoch", "key"),
        (["method.epochs.x=3"], "method.epochs.x", "key"),
        (["paths.rout=/x"], "paths.rout", "key"),
        (["split.validate=0.1"], "split.validate", "key"),
        (["hydra.jobs=3"], "hydra.jobs", "key"),
        (["+method.batch_norm=eval"], "method.batch_norm", "key"),
        (["+method=ssd"], "method", "key"),
        (["~method.epoch"], "method.epoch", "key"),
        # choices
        (["method=scrubb"], "method", "choice"),
        (["method="], "method", "choice"),
        (["addon=[l2]"], "addon", "choice"),
        (["debug=quick"], "debug", "choice"),
        (["hydra/launcher=nobody"], "hydra/launcher", "choice"),
        (["optimizer@method=lion"], "optimizer", "choice"),
        (["method=null"], "method", "choice"),
        (["addon=null"], "addon", "choice"),
        (["addon=[l1, null]"], "addon", "choice"),
        (["experiment=3"], "experiment", "choice"),
        (["scenario=[class,random]"], "scenario", "choice"),
        (["optimizer@method=null"], "optimizer", "choice"),
        (["dataset=../dataset/digits"], "dataset", "choice"),
        (["method=/etc/ssd"], "method", "choice"),
        (["addon=[l1,./l1]"], "addon", "choice"),
        (["optimizer@method=../optimizer/adam"], "optimizer", "choice"),
        # several values where there is no sweep
        (["method=ssd,jit"], "method", "value"),
        (["seed=range(0,3)"], "seed", "value"),
        # what is missing
        (["dataset=image_folder"], "dataset.root", "missing"),
        (["method.epochs=???"], "method.epochs", "missing"),
        (["~method"], "method", "missing"),
        (["paths.root=${oc.env:NO_SUCH_VARIABLE}"], "paths.root", "missing"),
        # types and bounds at the top level
        (["seed=zero"], "seed", "value"),
        (["seed=null"], "seed", "value"),
        (["seed=-1"], "seed", "value"),
        (["scenario.seed=1.5"], "scenario.seed", "value"),
        (["retrained=maybe"], "retrained", "value"),
        (["split.validation=much"], "split.validation", "value"),
        (["split=3"], "split", "value"),
        (["trial=0"], "trial", "value"),
        (["trainer.threads=0"], "trainer.threads", "value"),
        (["trainer.threads=many"], "trainer.threads", "value"),
        (["pretrain.checkpoint=3"], "pretrain.checkpoint", "value"),
        (["paths.root="], "paths.root", "value"),
        (["paths.root=${nowhere}"], "paths.root", "value"),
    ],
)
def test_a_mistake_is_found_with_its_key(words: list[str], key: str, kind: str) -> None:
    with pytest.raises(UserError) as error:
        composed(*words)
    assert (error.value.key, error.value.kind) == (key, kind)
    message = str(error.value)
    assert key in message or key.rpartition(".")[2] in message
    assert "\n" not in message
    assert "$VALUE" not in message  # a template of OmegaConf's


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["foo"], "'foo' is not a setting; write KEY=VALUE, for example method=ssd"),
        (["method=scrubb"], "there is no method named 'scrubb': did you mean scrub, scrub_joint?"),
        (["addon=[l2]"], "there is no addon named 'l2': did you mean l1?"),
        (["+epochs=3"], "there is no key 'epochs': did you mean pretrain.epochs, method.epochs?"),
        (
            ["method.lr=3"],
            "there is no key 'method.lr': did you mean pretrain.optimizer.lr, method.optimizer.lr?",
        ),
        (["+method.epochs=3"], "+method.epochs=3: method.epochs exists, so write method.epochs=3"),
        (["seed=0,1"], "seed=0,1 has several values: add -m for a sweep, or write a list"),
        (["dataset=image_folder"], "dataset.root must be given"),
        (["seed=zero"], "seed: Value 'zero' of type 'str' could not be converted to Integer"),
        (["paths.root=${oc.env:NO_SUCH}"], "paths.root: Environment variable 'NO_SUCH' not found"),
        (
            ["dataset=image_folder", "dataset.root=~/pets"],
            "dataset.root=~/pets cannot be read: quote the value, as in dataset.root='\"VALUE\"', or write $HOME for ~",
        ),
        (
            ["tracking=null"],
            (
                "tracking=null: a group takes the name of a choice, and addon a list of names; to disable add-ons or "
                "tracking, use addon=[] or tracking=none"
            ),
        ),
    ],
)
def test_what_is_said(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        composed(*words)
    assert str(error.value) == message


def test_what_hydra_can_read_is_not_a_mistake() -> None:
    config, choices = composed("method='ssd'", "addon=['l1',\"sam\"]", "method={alpha: 3}", "~addon.l1", "seed='7'")
    assert (config["method"]["alpha"], config["seed"]) == (3, 7)
    assert (choices["method"], choices["addon"]) == ("ssd", "sam")


def test_an_addon_that_is_switched_off_is_not_named() -> None:
    assert composed("addon=[l1,sam]", "addon.l1=null")[1]["addon"] == "sam"


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("a: [1\nb: 2\n")
    with pytest.raises(UserError) as error:
        composed("method=mine", *read(["--config-dir", str(tmp_path)]).search)
    assert error.value.kind == "file"
    assert str(tmp_path / "method" / "mine.yaml") in str(error.value)


def test_a_long_list_of_choices_is_cut() -> None:
    letters = [first + second for first in "abc" for second in "abcdefgh"]
    assert nearest("1", letters) == "choose from " + ", ".join(sorted(letters)[:20]) + ", ... (24 in all)"
    assert nearest("1", letters[:20]).endswith(", cd")
    assert nearest("1", ["a.b", "c", "b"]) == "choose from b, c, a.b"


# Flags and settings


@pytest.mark.parametrize(
    ("words", "settings", "flags"),
    [
        (["seed=0", "-m", "method=a,b"], ["seed=0", "method=a,b"], ["--multirun"]),
        (["-v", "seed=0"], ["seed=0", "verbose=true"], []),
        (["-vm", "seed=0"], ["seed=0", "verbose=true"], ["--multirun"]),
        (["a=1", "--cfg", "job", "b=2", "-p", "x"], ["a=1", "b=2"], ["--cfg", "job", "--package", "x"]),
        (["seed=-1", "~method.epochs", "+a=1"], ["seed=-1", "~method.epochs", "+a=1"], []),
        (["--info"], [], ["--info", "all"]),
        (["-sc", "install=bash"], ["install=bash"], ["--shell-completion"]),
    ],
)
def test_flags_and_settings_come_in_any_order(words: list[str], settings: list[str], flags: list[str]) -> None:
    found = read(words)
    assert (found.settings, found.flags) == (settings, flags)
    assert found.sweep == ("--multirun" in flags)


@pytest.mark.parametrize("words", [["--force"], ["-x", "seed=1"], ["--cfg"], ["--cfg", "all_of_it"], ["--multi"]])
def test_a_flag_that_does_not_exist_or_lacks_its_value(words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        read(words)
    assert error.value.kind == "key"
    assert str(error.value).endswith("; --help lists the options")


def test_a_folder_of_configuration_must_exist(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    found = read(["seed=1", "--config-dir", f"{tmp_path}/a b"])
    assert found.flags == ["--config-dir", f"{tmp_path}/a b"]
    assert found.search == [f"hydra.searchpath=['file://{tmp_path}/a b']"]
    with pytest.raises(UserError) as error:
        read(["-cd", f"{tmp_path}/nowhere"])
    assert error.value.kind == "file"
