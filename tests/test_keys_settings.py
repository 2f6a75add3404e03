"""The keys of runs follow settings and the content of files, and not where anything is."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import composed
from unlearning.engine.key import Key, key_of, numerics
from unlearning.errors import UserError
from unlearning.request import Request

SCRUB = ("method=scrub", "addon=[l1]", "scenario=random")


@functools.cache
def config_of(*words: str) -> dict[str, Any]:
    """The configuration of some words, composed once; not to be changed."""
    return composed(*words)[0]


def key(config: dict[str, Any]) -> Key:
    return Request(config, {}).key


# Parts and differences


def test_the_parts_that_differ_are_told_one_by_one() -> None:
    one = Key(
        {
            "setting": {"method.alpha": 10.0, "seed": 0, "method.lam": 1},
            "code": {"methods/base.py": "a", "types.py": "b"},
            "library": {"torch": "2.15.0"},
            "file": {"scenario.names": "c"},
        }
    )
    other = {
        "setting": {"method.alpha": 5.0, "seed": 0, "method.beta": 2},
        "code": {"methods/base.py": "z", "types.py": "b"},
        "library": {"torch": "2.14.0", "kronfluence": "1.0"},
        "data": {"samples": "d"},
    }
    assert one.differences(other) == [
        "setting: method.alpha",
        "setting: method.beta",
        "setting: method.lam",
        "code: methods/base.py",
        "library: kronfluence none",
        "library: torch 2.15.0",
        "file: scenario.names",
        "data: samples",
    ]
    assert one.differences(one.parts) == []
    assert one.differences(json.loads(json.dumps(one.parts))) == []


def test_the_difference_of_two_runs_is_a_setting() -> None:
    one, other = key(config_of("method=ssd")), key(config_of("method=ssd", "method.alpha=3"))
    assert other.differences(one.parts) == ["setting: method.alpha"]


def test_equal_settings_give_equal_keys_in_any_order() -> None:
    one = key_of({"method": {"a": 1, "b": (2, {"c": None})}}, [])
    same = key_of({"method": {"b": [2, {"c": None}], "a": 1}}, [])
    assert one.parts["setting"] == {"method.a": 1, "method.b.0": 2, "method.b.1.c": None}
    assert one.digest == same.digest
    assert one.digest != key_of({"method": {"b": [2, {"c": 0}], "a": 1}}, []).digest


@pytest.mark.parametrize("value", [{}, [], None, 0, False, ""])
def test_nothing_is_not_the_same_as_another_nothing(value: object) -> None:
    others = [other for other in ({}, [], None, 0, False, "", 0.5) if type(other) is not type(value)]
    digests = {key_of({"addon": other}, []).digest for other in others}
    assert key_of({"addon": value}, []).digest not in digests


# Settings that do not count


@pytest.mark.parametrize(
    "words",
    [
        ("tracking=none",),
        ("tracking.uri=https://example.org",),
        ("force=true",),
        ("verbose=true",),
        ("profile=true",),
        ("paths.store=/elsewhere", "paths.runs=/there", "paths.data=/data"),
        ("paths.root=/elsewhere",),
        ("trainer.accelerator=cpu",),
    ],
    ids=" ".join,
)
def test_places_and_records_decide_no_key(words: tuple[str, ...]) -> None:
    assert key(composed(*SCRUB, *words)[0]).digest == key(config_of(*SCRUB)).digest


def test_the_folder_of_the_command_decides_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [key(config_of(*words)).digest for words in (SCRUB, ("dataset=cifar10",))]
    (tmp_path / "digits").mkdir()  # the names of choices, as it happens
    (tmp_path / "retain").mkdir()
    monkeypatch.chdir(tmp_path)
    assert [key(composed(*words)[0]).digest for words in (SCRUB, ("dataset=cifar10",))] == expected
    assert key(composed("dataset=cifar10", root=tmp_path / "other")[0]).digest == expected[1]


def test_the_threads_decide_the_key_on_a_cpu_and_the_device_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)

    def with_threads(trainer: str, number: int) -> Key:
        return key(composed(*SCRUB, f"trainer={trainer}", f"trainer.threads={number}")[0])

    cpu, gpu = with_threads("cpu", 1), with_threads("gpu", 1)
    assert with_threads("cpu", 2).differences(cpu.parts) == ["setting: trainer.threads"]
    assert with_threads("gpu", 2).digest == gpu.digest == with_threads("ddp", 3).digest
    assert gpu.digest == cpu.digest


def test_where_a_trainer_runs_is_not_among_its_numerics() -> None:
    trainer = {"_target_": "lightning.Trainer", "accelerator": "cpu", "devices": 2, "precision": "bf16", "threads": 2}
    assert numerics(trainer) == {"precision": "bf16", "threads": 2}
    assert numerics(trainer | {"accelerator": "gpu", "strategy": "ddp"}) == {"precision": "bf16"}
    assert numerics(trainer | {"accelerator": "auto"}) == {"precision": "bf16", "threads": 2}  # which may be a CPU


def test_the_number_of_processes_is_among_the_numerics() -> None:
    trainer = {"accelerator": "gpu", "precision": "bf16"}
    found = [numerics(trainer | {"processes": number}) for number in (1, 2, 4)]
    assert found == [{"precision": "bf16"} | more for more in ({}, {"processes": 2}, {"processes": 4})]


DDP = ("trainer=ddp", "trainer.accelerator=cpu")


def started(monkeypatch: pytest.MonkeyPatch, per_machine: int, machines: int = 1) -> None:
    """Set the variables that torchrun sets."""
    for name, number in (("LOCAL_WORLD_SIZE", per_machine), ("GROUP_WORLD_SIZE", machines)):
        monkeypatch.setenv(name, str(number))
    monkeypatch.setenv("WORLD_SIZE", str(per_machine * machines))


def test_more_processes_make_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are spread over machines; one process of torchrun is a run like any other."""
    keys = []
    for machines, each in ((1, 1), (1, 2), (2, 1), (2, 2)):
        started(monkeypatch, each, machines)
        keys.append(key(composed(*SCRUB, *DDP)[0]))
    alone, two, also_two, four = keys
    assert alone.digest == key(config_of(*SCRUB)).digest
    assert two.differences(alone.parts) == four.differences(two.parts) == ["setting: trainer.processes"]
    assert two.digest == also_two.digest


@pytest.mark.parametrize(("words", "number"), [((), 2), (DDP, 3), ((*DDP, "trainer.devices=1"), 2)])
def test_other_processes_than_the_trainer_asks_for_are_refused(
    words: tuple[str, ...], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would train by itself, on the whole of the data."""
    started(monkeypatch, 2)
    monkeypatch.setenv("WORLD_SIZE", str(number))
    with pytest.raises(UserError) as refused:
        composed(*SCRUB, *words)
    assert (refused.value.key, refused.value.kind) == ("trainer.devices", "conflict")


@pytest.mark.parametrize(
    ("word", "key_of_it"),
    [
        ("+trainer.processes=2", "trainer.processes"),
        ("trainer.devices=0", "trainer.devices"),
        ("trainer.devices=-2", "trainer.devices"),
        ("+trainer.num_nodes=0", "trainer.num_nodes"),
        ("+trainer.num_nodes=two", "trainer.num_nodes"),
    ],
)
def test_a_number_of_processes_that_cannot_be_is_refused(word: str, key_of_it: str) -> None:
    with pytest.raises(UserError) as refused:
        composed(*SCRUB, word)
    assert refused.value.key == key_of_it


# Files, behind any argument of a class of the user's


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module of the user's own; one for all tests, so that the package is parsed once."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_parts.py").write_text("class Own:\n    def __init__(self, **options):\n        pass\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


def with_own(group: str, **options: object) -> dict[str, Any]:
    """A configuration in which a class of the user's serves as scenario, data set or metric."""
    node = {"_target_": "own_parts.Own", **options}
    return config_of(*SCRUB) | {group: {"own": node} if group == "evaluation" else node}


@pytest.mark.parametrize(("group", "prefix"), [("scenario", ""), ("dataset", ""), ("evaluation", "own.")])
@pytest.mark.parametrize("name", ["names", "words", "root", "x"])
def test_a_changed_file_behind_any_argument_changes_the_key(
    tmp_path: Path, own: None, group: str, prefix: str, name: str
) -> None:
    file = tmp_path / "names.txt"
    file.write_text("ant")
    config = with_own(group, **{name: str(file)})
    first = key(config)
    assert first.parts["file"].keys() == {f"{group}.{prefix}{name}"}
    file.write_text("bee")
    assert key(config).differences(first.parts) == [f"file: {group}.{prefix}{name}"]
    moved = tmp_path / "elsewhere" / "other_name.csv"
    moved.parent.mkdir()
    moved.write_text("ant")
    assert key(with_own(group, **{name: str(moved)})).digest == first.digest


@pytest.mark.parametrize(
    "value",
    ["{0}", ["{0}"], ["{1}", "{0}"], ["dog", "{0}", 3], {"by": {"class": "{0}"}}, [{"file": "{0}"}, {"file": "{1}"}]],
    ids=str,
)
@pytest.mark.parametrize("place", ["{folder}", ".", "..", "~", "sub"])
def test_files_are_found_in_lists_below_keys_and_by_relative_paths(
    tmp_path: Path, own: None, monkeypatch: pytest.MonkeyPatch, value: Any, place: str
) -> None:
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = {"{folder}": tmp_path, "..": tmp_path, "~": tmp_path / "home", "sub": here / "sub"}.get(place, here)
    folder.mkdir(exist_ok=True)
    for number, word in enumerate(("ant", "bee")):
        (folder / f"{number}.txt").write_text(word)
    prefix = str(tmp_path) if place == "{folder}" else place
    text = json.dumps(value).replace("{0}", f"{prefix}/0.txt").replace("{1}", f"{prefix}/1.txt")
    config = with_own("scenario", words=json.loads(text))
    first = key(config)
    assert prefix not in json.dumps(first.parts["setting"]).replace("own_parts.Own", "") or place in (".", "..")
    (folder / "0.txt").write_text("ANT")
    (difference,) = key(config).differences(first.parts)
    assert difference.startswith("file: scenario.words")
    (folder / "0.txt").write_text("ant")
    assert key(config).digest == first.digest
    monkeypatch.chdir(tmp_path / "home" if (tmp_path / "home").is_dir() else "/")
    absolute = text.replace(f"{prefix}/", f"{folder}/")
    assert key(with_own("scenario", words=json.loads(absolute))).digest == first.digest


def test_the_order_of_files_and_of_what_stands_beside_them_counts(tmp_path: Path, own: None) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_text("ant")
    two.write_text("bee")
    values = [[one, two], [two, one], [one], [one, "dog"], ["dog", one], [one, "cat"], [one, None], [None, one]]
    found = {key(with_own("scenario", x=[v if v is None else str(v) for v in value])).digest for value in values}
    assert len(found) == len(values)


def test_a_folder_counts_by_the_files_in_it(tmp_path: Path, own: None) -> None:
    folder = tmp_path / "pictures"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "1.png").write_bytes(b"1")
    for name in ("root", "pictures"):
        first = key(with_own("dataset", **{name: str(folder)}))
        (folder / "cats" / "2.png").write_bytes(b"2")
        assert key(with_own("dataset", **{name: str(folder)})).differences(first.parts) == [f"file: dataset.{name}"]
        (folder / "cats" / "2.png").unlink()


def test_a_bare_word_is_a_folder_only_where_folders_are_expected(
    tmp_path: Path, own: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_own("dataset", name="cats", root="cats")
    first = key(config)
    assert first.parts["file"] == {}
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(b"1")
    second = key(config)
    assert second.parts["file"].keys() == {"dataset.root"}
    assert second.parts["setting"]["dataset.name"] == "cats"


def test_a_bare_word_that_is_a_file_counts_by_itself_and_by_its_content(
    tmp_path: Path, own: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two choices must not look alike because files happen to have their names."""
    monkeypatch.chdir(tmp_path)
    for name in ("cats", "dogs"):
        (tmp_path / name).write_text("")
    assert key(with_own("dataset", name="cats")).digest != key(with_own("dataset", name="dogs")).digest
    first = key(with_own("dataset", names="cats"))
    (tmp_path / "cats").write_text("Tom")
    assert key(with_own("dataset", names="cats")).differences(first.parts) == ["file: dataset.names"]


@pytest.mark.parametrize(
    "value", ["", "x" * 5000, "a\0b", "nowhere/at/all", "~nosuchuser/file", ".", "..", "/", "~", 3, None, True]
)
def test_values_that_name_no_file_are_settings(tmp_path: Path, own: None, value: object) -> None:
    found = key(with_own("scenario", size=value))
    assert found.parts["setting"]["scenario.size"] == value
    assert found.parts["file"] == {}


def test_the_cache_of_decoded_images_decides_nothing_and_a_users_option_of_that_name_does(
    tmp_path: Path, own: None
) -> None:
    pictures = config_of("dataset=image_folder", f"dataset.root={tmp_path}")
    elsewhere = pictures | {"dataset": pictures["dataset"] | {"cache": str(tmp_path / "elsewhere")}}
    assert key(elsewhere).digest == key(pictures).digest
    assert key(with_own("dataset", cache=1)).digest != key(with_own("dataset", cache=2)).digest
