"""With a checkpoint of their own, users get everything forgotten that they ask for, or the run refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from tests.command_line import Done
from tests.conftest import composed
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.models.small_cnn import SmallCNN

EACH = 10  # images of each of three classes, in each part


@pytest.fixture
def pets(tmp_path: Path) -> Callable[..., list[str]]:
    """A function that makes a folder of images and the words of a command about a model of one's own."""

    def made(*parts: str) -> list[str]:
        for part in parts:
            for shade, name in enumerate(("cat", "dog", "owl")):
                (tmp_path / "pets" / part / name).mkdir(parents=True)
                for number in range(EACH):
                    image = Image.new("RGB", (8, 8), (80 * shade + number,) * 3)
                    image.save(tmp_path / "pets" / part / name / f"{number}.png")
        save_file(SmallCNN((3, 8, 8), 3).state_dict(), tmp_path / "own.safetensors")
        data = ["dataset=image_folder", f"dataset.root={tmp_path}/pets", "dataset.size=8", "model=small_cnn"]
        return [*data, f"pretrain.checkpoint={tmp_path}/own.safetensors", "method=original", "tracking=none"]

    return made


@pytest.fixture
def job(places: list[str]) -> Callable[..., Job]:
    return lambda *words: Job.of(composed(*places, *words)[0])


CATS = "scenario.classes=[cat]"


@pytest.mark.parametrize(
    ("parts", "words", "forgotten"),
    [
        ([""], [CATS], EACH),
        (["train", "test"], [CATS], EACH),
        ([""], [CATS, "scenario.fraction=0.5"], EACH // 2),
        (["train", "test"], ["scenario=random"], 3),  # a tenth of 30
        ([""], ["scenario=random", "scenario.count=7"], 7),
        ([""], ["scenario=subclass", "dataset.superclasses={pet:[cat,dog],bird:[owl]}", CATS], EACH),
    ],
)
def test_all_that_is_asked_for_is_forgotten(
    parts: list[str], words: list[str], forgotten: int, pets: Callable, job: Callable
) -> None:
    found = job(*pets(*parts), *words)
    split = found.problem.split
    assert (len(split.forget), found.requested) == (forgotten, forgotten)
    assert len(split.train) == 3 * EACH  # the whole folder, or the whole training part
    assert len(split.test) == (3 * EACH if "test" in parts else 0)
    assert len(split.validation) == 0


def test_without_a_model_of_ones_own_samples_are_held_out_as_ever(pets: Callable, job: Callable) -> None:
    found = job(*pets(""), CATS, "pretrain.checkpoint=null")
    sizes = [len(found.problem.split.sets[name]) for name in ("forget", "validation", "test")]
    assert sizes == [7, 3, 6]  # 30 - 6 test - 3 validation samples, by class
    assert found.requested is None


@pytest.mark.parametrize(
    ("words", "key", "counts"),
    [
        ([CATS, "split.validation=0.1"], "split.validation", "1 of the 10"),
        ([CATS, "split.test=0.2"], "split.test", "2 of the 10"),
        ([CATS, "split.test=0.2", "scenario.fraction=0.5"], "split.test", "1 of the 5"),
    ],
)
def test_a_run_that_would_leave_some_refuses(
    words: list[str], key: str, counts: str, pets: Callable, job: Callable
) -> None:
    with pytest.raises(UserError) as error:
        job(*pets(""), *words)
    assert (error.value.key, error.value.kind) == (key, "conflict")
    assert counts in str(error.value)


def test_a_model_of_ones_own_may_have_learned_all_samples(pets: Callable, job: Callable) -> None:
    with pytest.raises(UserError) as error:
        job(*pets(""), "scenario=random", "scenario.learned=0.5")
    assert (error.value.key, error.value.kind) == ("scenario.learned", "conflict")


def test_samples_of_any_kind_are_whole_beside_what_is_held_out(pets: Callable, job: Callable) -> None:
    found = job(*pets(""), CATS, "scenario.count=4", "split.validation=0.1", "split.test=0.2")
    assert (len(found.problem.split.forget), found.requested) == (4, 4)
    assert len(found.problem.split.validation) == 3


def test_the_screen_and_the_card_say_how_many_were_forgotten(pets: Callable, command: Callable[..., Done]) -> None:
    done = command(*pets("train", "test"), CATS, "retrained=false")
    assert (done.code, done.err) == (0, "")
    line = f"given to the method: {EACH} of {EACH} requested"
    assert line in done.out.splitlines()
    assert f"* {line}" in (done.folder / "MODEL_CARD.md").read_text().splitlines()
    assert done.results["requested"] == EACH


def test_a_trial_knows_that_it_forgets_a_part(pets: Callable, job: Callable) -> None:
    found = job(*pets(""), CATS, "trial=4")
    assert (len(found.problem.split.forget), found.requested) == (4, EACH)
