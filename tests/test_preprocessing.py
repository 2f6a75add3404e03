"""A user's own evaluation, written with torchvision's transforms, has the same logits as this, for each policy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import datasets
from torchvision.transforms import functional as F
from torchvision.transforms import v2

from tests.command_line import Done
from unlearning.config.schema import check_claim
from unlearning.data.class_order import class_order
from unlearning.data.image_folder import image_folder
from unlearning.data.transform import Transform
from unlearning.engine.claim import rounding
from unlearning.errors import UserError
from unlearning.models.small_cnn import SmallCNN
from unlearning.request import Request

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
SIZES = [(12, 20), (20, 12), (16, 16), (11, 25), (31, 14), (13, 13)]  # width and height
SIZE = 8


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth images of several shapes, one of which its camera has turned, one transparent, and one grey."""
    top, draws = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("dog", "cat"):
        (top / name).mkdir()
        for number, size in enumerate(SIZES):
            small = Image.fromarray(draws.integers(0, 256, (5, 4, 3), dtype=np.uint8))
            small.resize(size, Image.Resampling.BICUBIC).save(top / name / f"{number}.png")
    turned, exif = Image.open(top / "cat" / "0.png"), Image.Exif()
    exif[0x0112] = 6
    turned.save(top / "cat" / "0.jpg", exif=exif, quality=95)
    (top / "cat" / "0.png").unlink()
    clear = Image.open(top / "dog" / "1.png").convert("RGBA")
    clear.putalpha(100)
    clear.save(top / "dog" / "1.png")
    Image.open(top / "dog" / "2.png").convert("L").save(top / "dog" / "2.png")
    return top


def longest(image: Image.Image) -> Image.Image:
    """The longer side resized to SIZE, and black on either side."""
    share = SIZE / max(image.size)
    wide, high = (round(side * share) for side in image.size)
    image = F.resize(image, [high, wide])
    left, top = round((SIZE - wide) / 2), round((SIZE - high) / 2)
    return F.pad(image, [left, top, SIZE - wide - left, SIZE - high - top])


def largest(image: Image.Image) -> Image.Image:
    """The largest square at the centre."""
    wide, high = image.size
    side = min(image.size)
    box = ((wide - side) / 2, (high - side) / 2, (wide + side) / 2, (high + side) / 2)
    return image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box)


BICUBIC = v2.InterpolationMode.BICUBIC
POLICIES: dict[str, tuple[list[Callable[[Any], Any]], dict[str, Any]]] = {
    "shortest side, then the centre": (
        [v2.Resize(SIZE + 2), v2.CenterCrop(SIZE)],
        {"fit": "shortest", "shorter": SIZE + 2},
    ),
    "shortest side of the same size": ([v2.Resize(SIZE), v2.CenterCrop(SIZE)], {"fit": "shortest"}),
    "bicubic": (
        [v2.Resize(10, BICUBIC), v2.CenterCrop(SIZE)],
        {"fit": "shortest", "shorter": 10, "interpolation": "bicubic"},
    ),
    "stretch": ([v2.Resize((SIZE, SIZE))], {"fit": "stretch"}),
    "nearest": (
        [v2.Resize((SIZE, SIZE), v2.InterpolationMode.NEAREST)],
        {"fit": "stretch", "interpolation": "nearest"},
    ),
    "pad": ([longest], {"fit": "pad"}),
    "crop": ([largest], {"fit": "crop"}),
    "grey": ([v2.Grayscale(), v2.Resize((SIZE, SIZE))], {"fit": "stretch", "channels": 1}),
}


def evaluated(photos: Path, steps: list[Any], mean: list[float], std: list[float]) -> tuple[Tensor, Tensor]:
    """Inputs and labels of all images, as the user's code has them."""
    common = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    folder = datasets.ImageFolder(str(photos), v2.Compose([*steps, *common]))
    inputs, labels = zip(*folder, strict=True)
    return torch.stack(inputs), torch.tensor(labels)


def here(photos: Path, tmp_path: Path, **options: Any) -> tuple[Tensor, Tensor]:
    """Inputs and labels of all images here."""
    given = {"size": SIZE, "mean": MEAN, "std": STD, "validation": 0.0, "test": 0.0, "reader": "torchvision"}
    data = image_folder("photos", str(photos), str(tmp_path / "cache"), 0, **given | options)
    return Transform(data)(data.inputs), data.labels


@pytest.mark.parametrize("policy", POLICIES)
def test_logits_are_those_of_the_users_evaluation(policy: str, photos: Path, tmp_path: Path) -> None:
    steps, options = POLICIES[policy]
    channels = options.get("channels", 3)
    mean, std = MEAN[:channels], STD[:channels]
    theirs, labels = evaluated(photos, steps, mean, std)
    ours, same = here(photos, tmp_path, **options, mean=mean, std=std)
    torch.manual_seed(0)
    network = SmallCNN((channels, SIZE, SIZE), 2).eval()
    assert torch.equal(labels, same)
    assert torch.allclose(network(ours), network(theirs), atol=1e-5)
    assert theirs.std() > 0.3


def test_images_that_have_the_size_are_not_resized(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "same" / name).mkdir()
        Image.open(photos / name / "2.png").save(tmp_path / "same" / name / "2.png")
    theirs, _ = evaluated(tmp_path / "same", [], MEAN, STD)
    assert torch.allclose(here(tmp_path / "same", tmp_path, size=16, fit="none")[0], theirs, atol=1e-5)
    with pytest.raises(UserError) as caught:
        here(photos, tmp_path, size=16, fit="none")
    assert (caught.value.key, caught.value.kind) == ("dataset.fit", "conflict")


def test_a_careful_reader_turns_photos_and_lays_them_on_white(photos: Path, tmp_path: Path) -> None:
    ours, _ = here(photos, tmp_path, fit="stretch", reader="careful")
    theirs, _ = evaluated(photos, [v2.Resize((SIZE, SIZE))], MEAN, STD)
    differ = [not torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True)]
    assert differ == [True, *[False] * 5, False, True, *[False] * 4]  # cat/0.jpg and dog/1.png


@pytest.mark.parametrize("options", [{"shorter": 10}, {"fit": "shortest", "shorter": SIZE - 1}])
def test_a_shorter_side_that_cannot_be_is_refused(options: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        here(photos, tmp_path, **options)
    assert (caught.value.key, caught.value.kind) == ("dataset.shorter", "conflict")


# The order of the classes


def test_the_order_of_classes_is_a_list_or_a_file(tmp_path: Path) -> None:
    found, wanted = ["cat", "dog"], ("dog", "ant", "cat")
    forms: dict[str, str] = {
        "a.txt": "dog\nant\n\ncat\n",
        "a.json": json.dumps(wanted),
        "b.json": json.dumps({"cat": 2, "dog": 0, "ant": 1}),
        "c.json": json.dumps({"2": "cat", "0": "dog", "1": "ant"}),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        assert class_order(found, str(tmp_path / name)) == wanted, name
    assert class_order(found, wanted) == wanted
    assert class_order(["b", "B", "a"], None) == ("B", "a", "b")  # as torchvision sorts


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"cat": 1, "dog": 2}', "file"),
        ("[", "file"),
        ("3", "file"),
        ('["cat"]', "choice"),
        ('["cat", "dog", "cat"]', "value"),
    ],
)
def test_an_order_that_cannot_be_is_refused(text: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError) as caught:
        class_order(["cat", "dog"], str(tmp_path / "a.json"))
    assert (caught.value.key, caught.value.kind) == ("dataset.classes", kind)


# The comparison with a number of the user's


@pytest.mark.slow
def test_the_users_number_is_compared_and_what_was_assumed_is_said(
    photos: Path, tmp_path: Path, command: Callable[..., Done]
) -> None:
    torch.manual_seed(0)
    network: nn.Module = SmallCNN((3, SIZE, SIZE), 3)
    theirs, labels = evaluated(photos, POLICIES["bicubic"][0], MEAN, STD)
    network.train()(theirs)  # moves the statistics of BatchNorm
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    order = torch.tensor([2, 0])[labels]  # dog, ant, cat
    right = float((network.eval()(theirs).argmax(1) == order).float().mean())
    data = [
        "dataset=image_folder",
        f"dataset.root={photos}",
        f"dataset.size={SIZE}",
        "model=small_cnn",
        "tracking=none",
    ]
    own = [f"pretrain.checkpoint={tmp_path}/own.safetensors", "dataset.classes=[dog,ant,cat]", "dataset.crop=0"]
    how = ["dataset.fit=shortest", "dataset.shorter=10", "dataset.interpolation=bicubic", "dataset.reader=torchvision"]
    words = [*data, *own, *how, f"dataset.mean={MEAN}".replace(" ", ""), f"dataset.std={STD}".replace(" ", "")]
    done = command(*words, f"check={right:.3f}")
    assert (done.code, done.err) == (0, "")
    first, second, *_, last = done.out.splitlines()
    assert first.startswith("Assumed of your images: read as torchvision's ImageFolder does; the shorter side")
    assert "dog" in second
    assert last.startswith(f"agrees: your model is right about {right:.4f} of the train samples")
    assert "train" in command(*words, "check=true").out.splitlines()[-1]
    wrong = command(*words, f"check={right + 0.06:.2f}")
    assert wrong.code == 1
    assert len(wrong.err.splitlines()) == 1
    assert not (tmp_path / "multirun").exists()  # nothing was run


@pytest.mark.parametrize(
    ("claim", "checkpoint", "kind"),
    [(0.9, None, "missing"), (93, "own.pt", "value"), ("high", "own.pt", "value"), (False, "own.pt", "value")],
)
def test_a_check_that_cannot_be_is_refused(claim: object, checkpoint: str | None, kind: str) -> None:
    with pytest.raises(UserError) as caught:
        check_claim(claim, checkpoint)
    assert (caught.value.key, caught.value.kind) == ("check", kind)


@pytest.mark.parametrize(
    ("written", "allowed"), [("0.930", 0.0005), ("0.93", 0.005), ("1", 0.005), ("9.30e-1", 0.0005), ("0.93001", 5e-6)]
)
def test_a_number_is_taken_to_be_rounded_where_its_digits_end(written: str, allowed: float) -> None:
    assert rounding(written) == pytest.approx(allowed, abs=2e-9)
    request = Request({"check": float(written)}, {}, ("seed=1", f"check={written}"))
    assert request.claim == written


def test_a_check_of_many_models_is_refused(refused: Callable[..., UserError]) -> None:
    error = refused("-m", "check=0.9", "pretrain.checkpoint=own.pt")
    assert (error.key, error.kind) == ("check", "conflict")
