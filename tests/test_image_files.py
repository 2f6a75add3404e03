"""Image files of every kind: what their pixels become, which files are refused, and what is left out with a warning."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unlearning.data import decoding, pixels
from unlearning.data.datasets import Dataset
from unlearning.data.image_folder import image_folder
from unlearning.errors import UserError

SIDE = 4
ORIENTATION = 0x0112  # EXIF's tag


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Two classes, each with four grey images, whose pixels are 10 and 20."""
    for label, value in (("cat", 10), ("dog", 20)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (SIDE, SIDE), (value,) * 3).save(tmp_path / "pets" / label / f"{number}.png")
    return tmp_path / "pets"


def load(top: Path, **options: Any) -> Dataset:
    given = {"seed": 0, "size": SIDE, "mean": [0.5] * 3, "std": [0.25] * 3, "validation": 0.0, "test": 0.5}
    return image_folder("pets", str(top), str(top.parent / "cache"), **given | options)


def pixels_of(top: Path, image: Image.Image, name: str, **options: Any) -> np.ndarray:
    """(SIDE, SIDE, 3) what an image becomes that is saved as ``name`` among the cats, as the first of them."""
    file = top / "cat" / f"+{name}"
    image.save(file, **options)
    data = load(top)
    assert data.classes[data.labels[0]] == "cat"
    file.unlink()
    return data.inputs[0].numpy()


def grid(low: float, high: float, kind: type) -> np.ndarray:
    """(SIDE, SIDE) numbers from ``low`` to ``high``."""
    return np.linspace(low, high, SIDE * SIDE).reshape(SIDE, SIDE).astype(kind)


def refused(top: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        load(top)
    assert (caught.value.key, caught.value.kind) == ("dataset.root", "file")
    assert "\n" not in str(caught.value)
    return caught.value


# Levels


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_16_bits_are_scaled_to_8(top: Path, name: str) -> None:
    values = np.array([0, 128, 129, 257, 257 * 7 + 128, 257 * 7 + 129, 65534, 65535] * 2, np.uint16)  # 257 / 2 = 128.5
    image = Image.fromarray(values.reshape(SIDE, SIDE))
    if name.endswith("pgm"):  # which is written by hand, since Pillow writes no other bytes than these
        (top / "cat" / f"+{name}").write_bytes(b"P5 4 4 65535\n" + values.astype(">u2").tobytes())
        found = load(top).inputs[0].numpy()
    else:
        found = pixels_of(top, image, name)
    assert found[..., 0].ravel().tolist() == [0, 0, 1, 1, 7, 8, 255, 255] * 2
    assert (found == found[..., :1]).all()


def test_16_bits_whose_zero_is_white(top: Path) -> None:
    values = np.array([0, 257, 65535, 65278] * 4, np.uint16).reshape(SIDE, SIDE)
    found = pixels_of(top, Image.fromarray(values), "x.tif", tiffinfo={pixels.PHOTOMETRIC: 0})
    assert found[0, :, 0].tolist() == [255, 254, 0, 1]


def test_a_pixmap_tells_its_largest_number(top: Path) -> None:
    (top / "cat" / "+x.pgm").write_bytes(b"P5 4 4 1000\n" + np.array([0, 500, 1000, 4] * 4, ">u2").tobytes())
    assert load(top).inputs[0, 0, :, 0].tolist() == [0, 128, 255, 1]  # 500 of 1000 is 127.5


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_32_bits_up_to_1_and_up_to_255(top: Path, kind: type) -> None:
    units = np.array([0, 0, 1, 1] * 4).reshape(SIDE, SIDE).astype(kind)
    assert pixels_of(top, Image.fromarray(units), "x.tif")[0, :, 2].tolist() == [0, 0, 255, 255]
    bytes_ = np.array([0, 1, 200, 255] * 4).reshape(SIDE, SIDE).astype(kind)
    assert pixels_of(top, Image.fromarray(bytes_), "x.tiff")[0, :, 1].tolist() == [0, 1, 200, 255]


def test_floats_between_0_and_1(top: Path) -> None:
    values = np.array([0.0, 0.25, 0.5, 1.0] * 4, np.float32).reshape(SIDE, SIDE)
    assert pixels_of(top, Image.fromarray(values), "x.tif")[0, :, 0].tolist() == [0, 64, 128, 255]  # 63.75, 127.5


def test_the_range_is_that_of_all_images_and_not_of_each(top: Path) -> None:
    """A dark image of levels up to 255 stays dark."""
    for name, high in (("+0.tif", 1.0), ("+1.tif", 255.0)):
        Image.fromarray(np.full((SIDE, SIDE), high, np.float32)).save(top / "cat" / name)
    assert load(top).inputs[:2, 0, 0, 0].tolist() == [1, 255]


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0, 1.02, np.float32),  # an overshoot of [0, 1], or a black image of [0, 255]
        (0, 16, np.float32),
        (0, 127, np.int32),
        (0, 256, np.float32),
        (0, 4095, np.int32),
        (-0.01, 1, np.float32),
        (-1, 255, np.int32),
        (0, np.nan, np.float32),
        (0, np.inf, np.float32),
    ],
)
def test_a_range_that_cannot_be_known_is_refused_by_name(top: Path, low: float, high: float, kind: type) -> None:
    values = np.zeros((SIDE, SIDE), kind)
    values[0, 0], values[0, 1] = low, high
    Image.fromarray(values).save(top / "cat" / "x.tif")
    Image.fromarray(np.zeros((SIDE, SIDE), kind)).save(top / "cat" / "y.tif")
    assert str(top / "cat" / "x.tif") in str(refused(top))


@pytest.mark.parametrize(("high", "warned"), [(4095, True), (4096, False)])
def test_16_bits_that_hold_12_are_told(top: Path, high: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    for name, value in (("x.png", 3), ("y.png", high)):
        Image.fromarray(np.full((SIDE, SIDE), value, np.uint16)).save(top / "cat" / name)
    load(top)
    assert [str(high) in record.message and "2 images" in record.message for record in caplog.records] == [
        True
    ] * warned


# Colours


def test_a_palette_is_looked_up(top: Path) -> None:
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert pixels_of(top, image, "x.png")[0, 0].tolist() == [200, 100, 50]


def with_clear_pixel(mode: str) -> tuple[Image.Image, dict[str, Any]]:
    """An image whose first pixel is transparent, and what it is saved with; the other pixels are opaque and dark."""
    if mode in ("P", "L", "RGB"):
        image = Image.new("L" if mode == "P" else mode, (SIDE, SIDE), 30 if mode != "RGB" else (30, 30, 30))
        image.putpixel((0, 0), 90 if mode != "RGB" else (90, 9, 9))
        return (image.convert("P") if mode == "P" else image), {"transparency": 90 if mode != "RGB" else (90, 9, 9)}
    colour = (30, 255) if mode == "LA" else (30, 30, 30, 255)
    image = Image.new(mode, (SIDE, SIDE), colour)
    image.putpixel((0, 0), (*colour[:-1], 0))
    return image, {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "RGB", "P"])
def test_what_is_transparent_lies_on_white(top: Path, mode: str) -> None:
    image, options = with_clear_pixel(mode)
    found = pixels_of(top, image, "x.png", **options)
    assert found[0, 0].tolist() == [255] * 3
    assert found[0, 1].tolist() == [30] * 3


def test_half_transparent_is_half_white(top: Path) -> None:
    assert abs(int(pixels_of(top, Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 128)), "x.png")[0, 0, 0]) - 127) <= 1


def test_a_transparent_level_of_16_bits(top: Path) -> None:
    values = np.array([257, 514, 65535, 0] * 4, np.uint16).reshape(SIDE, SIDE)
    assert pixels_of(top, Image.fromarray(values), "x.png", transparency=514)[0, :, 0].tolist() == [1, 255, 255, 0]


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 77), ("CMYK", (178, 178, 178, 0)), ("1", 1), ("LAB", (77, 128, 128))]
)
def test_other_modes_become_rgb(top: Path, mode: str, colour: Any) -> None:
    found = pixels_of(top, Image.new(mode, (SIDE, SIDE), colour), "x.tif")
    expected = {"1": 255, "LAB": 71}.get(mode, 77)  # a lightness of 100 * 77 / 255 is a luminance of .0634, 71 in sRGB
    assert np.abs(found.astype(int) - expected).max() <= (mode == "LAB")


# Orientation

UPRIGHT = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) * 16
STORED = {  # what a file holds, by the orientation that it notes, of an image that is UPRIGHT
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),  # is to be turned clockwise
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.webp"])
def test_photographs_stand_upright(top: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    options = {"lossless": True} if name.endswith("webp") else {}
    found = pixels_of(top, image, name, exif=exif, **options)
    assert np.array_equal(found[..., 0], UPRIGHT)


def test_orientation_is_applied_before_cropping(top: Path) -> None:
    """A wide photograph of 8 x 4 that was taken with a turned camera: the middle of the upright image is kept."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    tall = np.arange(32, dtype=np.uint8).reshape(8, 4) * 8
    found = pixels_of(top, Image.fromarray(np.ascontiguousarray(np.rot90(tall))), "x.png", exif=exif)
    assert np.array_equal(found[..., 0], tall[2:6])


def test_16_bits_are_turned_too(top: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    wide = np.ascontiguousarray(STORED[3]).astype(np.uint16) * 257
    assert np.array_equal(pixels_of(top, Image.fromarray(wide), "x.png", exif=exif)[..., 0], UPRIGHT)


# Files that are read, left out, or refused


def test_the_first_frame_of_an_animation_is_read(top: Path) -> None:
    frames = [Image.new("L", (SIDE, SIDE), value) for value in (50, 150, 250)]
    for name in ("x.gif", "x.webp", "x.tif"):
        options = {"lossless": True} if name == "x.webp" else {}
        found = pixels_of(top, frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert np.unique(found).tolist() == [50], name


def test_files_that_are_no_images_are_counted(top: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.HEIC", "b.heic", "c.txt", "Thumbs.db", "none"):
        (top / "cat" / name).write_bytes(b"")
    (top / "stray.png").write_bytes(b"")
    (top / "notes").mkdir()
    (top / "notes" / "d.txt").write_bytes(b"")
    data = load(top)
    assert data.classes == ("cat", "dog")
    assert len(data.labels) == 8
    files, folders = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert files == f"Left out below {top}, as no image of a class: .heic (2), .txt (2), .db, none, .png"
    assert folders == f"No class below {top}, as without images: notes"


def test_folders_beside_those_of_training_and_test_are_told(top: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train", "test", "val", ".git"):
        (top / name).mkdir()
    for label in ("cat", "dog"):
        (top / label).rename(top / "train" / label)
        (top / "test" / label).mkdir()
        (top / "train" / label / "0.png").rename(top / "test" / label / "0.png")
    assert [len(ids) for ids in (load(top).train, load(top).test)] == [6, 2]
    expected = f"{top} holds train and test; all else is left out: val"
    assert {record.message for record in caplog.records} == {expected}


def test_what_is_hidden_is_neither_class_nor_image(top: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = load(top).digest
    (top / ".thumbnails").mkdir()
    (top / "cat" / ".cache").mkdir()
    for place in (top / ".thumbnails", top / "cat" / ".cache", top / "cat", top):
        Image.new("L", (SIDE, SIDE)).save(place / ".x.png")
    (top / "cat" / "._0.png").write_bytes(b"of another system")
    assert load(top).classes == ("cat", "dog")
    assert load(top).digest == expected
    assert not caplog.records


def test_classes_and_images_may_be_links(top: Path, tmp_path: Path) -> None:
    (top / "dog").rename(tmp_path / "dogs")
    (top / "dog").symlink_to(tmp_path / "dogs")
    (top / "cat" / "more").symlink_to(top / "cat")  # a loop: the class has its images once
    (tmp_path / "more").mkdir()
    Image.new("L", (SIDE, SIDE), 99).save(tmp_path / "more" / "y.png")
    (top / "dog" / "x").symlink_to(tmp_path / "more")
    (top / "dog" / "z.png").symlink_to(tmp_path / "more" / "y.png")
    data = load(top)
    assert data.labels.tolist() == [0] * 4 + [1] * 6
    assert data.inputs[8:, 0, 0, 0].tolist() == [99, 99]


def test_a_link_to_nothing_is_named(top: Path) -> None:
    (top / "cat" / "x.png").symlink_to(top / "nowhere.png")
    assert str(top / "cat" / "x.png") in str(refused(top))


@pytest.mark.parametrize("content", [b"", b"text", "half", "wrong checksum", "bomb"])
def test_what_is_broken_is_named(top: Path, content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = top / "cat" / "x.png"
    Image.effect_noise((64, 64), 50).save(file)
    whole = file.read_bytes()
    if content == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    changed = {"half": whole[: len(whole) // 2], "wrong checksum": whole[:20] + b"\1" + whole[21:], "bomb": whole}
    file.write_bytes(changed.get(content, content))
    assert str(file) in str(refused(top))


@pytest.mark.parametrize("suffix", ["bmp", "gif", "jpg", "pgm", "png", "ppm", "tif", "webp"])
def test_half_an_image_of_any_format_is_named(top: Path, suffix: str) -> None:
    file = top / "cat" / f"x.{suffix}"
    Image.effect_noise((64, 64), 50).convert("L" if suffix == "pgm" else "RGB").save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert str(file) in str(refused(top))


def test_all_that_is_broken_is_named_at_once(top: Path) -> None:
    broken = [top / "cat" / "x.png", top / "dog" / "y.jpg"]
    for file in broken:
        file.write_bytes(b"no image")
    message = str(refused(top))
    assert [str(file) in message for file in broken] == [True, True]
    (link := top / "cat" / "link.png").symlink_to("nowhere.png")
    os.mkfifo(pipe := top / "dog" / "pipe.png")  # reading it would wait for ever
    message = str(refused(top))
    assert [str(file) in message for file in (link, pipe)] == [True, True]


# Squares


def test_a_square_is_cropped_or_padded(top: Path) -> None:
    """Of 4 x 8 pixels in columns of 0, 30, ..., 210: the middle, or all at half the size between black."""
    columns = np.repeat(np.arange(8, dtype=np.uint8)[None] * 30, SIDE, 0)
    Image.fromarray(columns).save(top / "cat" / "+x.png")
    assert load(top).inputs[0, :, :, 0].tolist() == [[60, 90, 120, 150]] * SIDE
    padded = load(top, fit="pad").inputs[0, :, :, 0]
    assert padded[[0, -1]].unique().tolist() == [0]
    assert (padded[1:3].diff(dim=1) > 0).all()
    assert np.abs(padded[1].numpy().astype(int) - [15, 75, 135, 195]).max() <= 6  # a bilinear filter at the ends
    assert torch.equal(load(top, fit="pad").inputs[1], load(top).inputs[1])  # a square stays as it is


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_images_of_more_than_8_bits_are_padded_with_black(top: Path, kind: type) -> None:
    scale = 65535 if kind is np.uint16 else 1
    Image.fromarray(np.full((8, 4), scale, kind)).save(top / "cat" / "+x.tif")
    found = load(top, fit="pad").inputs[0, :, :, 0]
    assert found.tolist() == [[0, 255, 255, 0]] * SIDE


# The cache of decoded images


def test_arrays_that_other_rules_made_are_not_served(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(top)
    for rules in (("other code", decoding.rules()[1]), (decoding.rules()[0], "1.0")):
        monkeypatch.setattr(decoding, "rules", lambda rules=rules: rules)
        monkeypatch.setattr(pixels, "decode", lambda how, *_, **__: (np.full((SIDE, SIDE, 3), 7, np.uint8), None))
        assert load(top).inputs.unique().tolist() == [7]
        monkeypatch.undo()
    assert torch.equal(load(top).inputs, before.inputs)


def test_the_rules_are_the_code_and_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = decoding.rules()
    other = tmp_path / "pixels.py"
    other.write_text(Path(pixels.__file__).read_text() + "\n")
    monkeypatch.setattr(pixels, "__file__", str(other))
    monkeypatch.setattr(decoding, "version", lambda name: {"pillow": "1.0"}[name])
    code, library = decoding.rules()
    assert code != before[0]
    assert library == "1.0" != before[1]


def test_arrays_that_were_swapped_are_made_again(top: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = {size: load(top, size=size).inputs.clone() for size in (SIDE, 8)}
    files = {path.stat().st_size: path for path in (top.parent / "cache").glob("*.npy")}
    small, large = (files[size] for size in sorted(files))
    for suffix in (".npy", ".sha256"):
        one, two = small.with_suffix(suffix), large.with_suffix(suffix)
        content = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(content)
    for size, inputs in found.items():
        assert torch.equal(load(top, size=size).inputs, inputs)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


# Augmentation


def test_a_crop_beyond_the_image_is_refused(top: Path) -> None:
    assert load(top, crop=SIDE - 1).crop == SIDE - 1
    for crop in (SIDE, 1000):
        with pytest.raises(UserError) as caught:
            load(top, crop=crop)
        assert (caught.value.key, caught.value.kind) == ("dataset.crop", "value")
