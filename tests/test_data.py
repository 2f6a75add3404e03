"""Data sets, the transform, and the datamodule's batches."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.transforms.functional import rotate

from tests.conftest import Tiny, composed
from unlearning.config.build import Spec
from unlearning.data.datamodule import UnlearningData
from unlearning.data.datasets import Dataset, coarsened, hold_out
from unlearning.data.digits import digits
from unlearning.data.feed import Feed, Phase
from unlearning.data.transform import Transform, rotated
from unlearning.data.trigger import Trigger
from unlearning.errors import UserError
from unlearning.methods.finetune import FineTune


def test_digits_are_split_by_class_and_disjoint() -> None:
    data = digits(seed=0)
    parts = torch.cat([data.train, data.validation, data.test])
    assert len(parts) == len(parts.unique()) == 1797
    shares = torch.stack([data.labels[ids].bincount(minlength=10) / len(ids) for ids in (data.train, data.test)])
    assert (shares[0] - shares[1]).abs().max() < 0.01
    assert digits(seed=0).digest == data.digest
    assert digits(seed=1).digest != data.digest


def test_digits_declare_the_statistics_of_their_pixels() -> None:
    data = digits(seed=0)
    pixels = data.inputs.float() / 255
    assert pixels.mean().item() == pytest.approx(data.mean[0], abs=2e-4)
    assert pixels.std().item() == pytest.approx(data.std[0], abs=2e-4)


def test_what_a_network_sees_decides_the_digest() -> None:
    data = image_data()
    changes = [{"crop": 1}, {"flip": True}, {"mean": (0.5, 0.4, 0.2)}, {"std": (0.2, 0.25, 0.2)}]
    changes += [{"classes": (*data.classes, "one more")}]  # another network, with one more output
    changes += [{"fine_labels": data.labels, "fine_classes": data.classes}]  # by which some methods order samples
    assert len({data.digest, *(replace(data, **change).digest for change in changes)}) == 7


def image_data(crop: int = 0, flip: bool = False) -> Dataset:
    inputs = torch.arange(2 * 5 * 4 * 3, dtype=torch.uint8).view(2, 5, 4, 3)
    ids = torch.arange(2)
    return Dataset("x", inputs, ids, ("a", "b"), ids, ids[:0], ids, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), crop, flip)


@pytest.mark.parametrize(
    ("change", "key", "kind"),
    [
        ({"mean": (0.5, 0.5)}, "dataset.mean", "value"),
        ({"std": (0.5,)}, "dataset.std", "value"),
        ({"mean": ()}, "dataset.mean", "value"),
        ({"inputs": torch.zeros(2, 5, 4, 3, dtype=torch.int64)}, "dataset", "value"),
        ({"inputs": torch.zeros(2, 5, dtype=torch.uint8)}, "dataset", "value"),
        ({"inputs": torch.zeros(2, 5, 4)}, "dataset", "value"),
        ({"inputs": torch.zeros(2, 3, 5, 4), "crop": 1}, "dataset.crop", "conflict"),
        ({"inputs": torch.zeros(2, 3), "flip": True}, "dataset.flip", "conflict"),
        ({"inputs": torch.zeros(2, 3), "rotation": 5.0}, "dataset.rotation", "conflict"),
        ({"inputs": torch.zeros(2, 4)}, "dataset.mean", "value"),  # four features and three means
    ],
)
def test_samples_statistics_and_augmentation_that_do_not_fit_are_refused(change: dict, key: str, kind: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(image_data(), **change)
    assert (caught.value.key, caught.value.kind) == (key, kind)


def test_float_images_reach_a_network_as_they_are() -> None:
    inputs = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).view(2, 3, 2, 2)  # a channel holds four numbers in a row
    ids = torch.arange(2)
    data = Dataset("own", inputs, ids, ("a", "b"), ids[:1], ids[:0], ids[1:])
    assert data.input_shape == (3, 2, 2)
    low, high = data.bounds  # of the first image, which is the only training sample
    assert low.tolist() == [[[0.0]], [[4.0]], [[8.0]]]
    assert high.tolist() == [[[3.0]], [[7.0]], [[11.0]]]
    transform = Transform(data)
    assert torch.equal(transform(inputs, augment=True, ids=ids), inputs)
    marked = Transform(data.with_trigger(Trigger(0, 1, 1, (9.0, 9.0, 9.0)), ids[1:]))(inputs, ids=ids)
    expected = inputs.clone()
    expected[1, :, 0, 1] = 9
    assert torch.equal(marked, expected)


def test_bounds_of_uint8_images_are_black_and_white_and_of_features_their_extremes() -> None:
    low, high = image_data().bounds
    assert low.flatten().tolist() == pytest.approx([-2.5, -1.6, -1.0])  # -mean / std
    assert high.flatten().tolist() == pytest.approx([2.5, 2.4, 7 / 3])  # (1 - mean) / std
    ids = torch.arange(3)
    features = torch.tensor([[1.0, -5.0], [3.0, 2.0], [9.0, 9.0]])
    low, high = Dataset("own", features, ids, ("a", "b", "c"), ids[:2], ids[:0], ids[2:]).bounds
    assert (low.tolist(), high.tolist()) == ([1.0, -5.0], [3.0, 2.0])


@pytest.mark.parametrize(
    ("choice", "option", "value"),
    [
        ("cifar10", "crop", -1),
        ("cifar10", "rotation", -10.0),
        ("cifar10", "rotation", 181.0),
        ("cifar10", "rotation", float("nan")),
        ("cifar10", "std", [0.5, 0.0, 0.5]),
        ("cifar10", "std", [0.5, float("nan"), 0.5]),
        ("cifar10", "name", "cifar11"),
        ("image_folder", "limit", 0),
        ("image_folder", "size", 0),
    ],
)
def test_options_have_bounds(choice: str, option: str, value: object) -> None:
    node = composed(f"dataset={choice}", *(["dataset.root=x"] if choice == "image_folder" else []))[0]["dataset"]
    with pytest.raises(UserError) as caught:
        Spec("dataset", node | {option: value}).build()
    assert caught.value.key == f"dataset.{option}"


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan"), 0.99])  # the last leaves too few of some class
def test_a_fraction_that_cannot_be_held_out_is_about_the_split(fraction: float) -> None:
    with pytest.raises(UserError) as caught:
        hold_out(torch.arange(20), torch.arange(20) % 2, fraction, 0, "validation")
    assert caught.value.key == "split.validation"


def test_nothing_is_held_out_at_a_fraction_of_zero() -> None:
    kept, held = hold_out(torch.arange(3), torch.zeros(3), 0.0, 0, "test")
    assert (kept.tolist(), held.tolist()) == ([0, 1, 2], [])


def test_the_transform_normalises_by_channel() -> None:
    data = image_data()
    found = Transform(data)(data.inputs)
    assert found.shape == (2, 3, 5, 4)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found[1, 2, 3, 1].item() == pytest.approx((int(data.inputs[1, 3, 1, 2]) / 255 - 0.3) / 0.3, rel=1e-5)


def test_augmentation_crops_and_flips_each_sample_by_itself() -> None:
    data = image_data(crop=1, flip=True)
    torch.manual_seed(0)
    many = data.inputs[:1].expand(300, -1, -1, -1)
    found = Transform(data).augmented(many)
    padded = torch.nn.functional.pad(data.inputs[0], (0, 0, 1, 1, 1, 1))
    windows = [padded[y : y + 5, x : x + 4] for y in range(3) for x in range(3)]
    expected = [w.flatten().tolist() for window in windows for w in (window, window.flip(1))]
    counts = [sum(image.flatten().tolist() == e for image in found) for e in expected]
    assert sum(counts) == 300  # every image is one of the 18 crops and mirrored crops
    assert min(counts) > 0  # and each of them occurs


def test_without_flip_nothing_is_mirrored() -> None:
    data = image_data(crop=0, flip=False)
    assert torch.equal(Transform(data)(data.inputs, augment=True), Transform(data)(data.inputs))


def test_rotation_is_that_of_torchvision_for_each_sample() -> None:
    torch.manual_seed(0)
    angles = 40 * torch.rand(50) - 20  # no place is as near to one pixel as to another
    image = torch.arange(1, 7 * 6 + 1, dtype=torch.uint8).view(7, 6)
    rows, columns, outside = rotated(7, 6, angles.view(-1, 1, 1))
    found = image[rows, columns].masked_fill(outside, 0)
    expected = torch.stack([rotate(image[None], angle)[0] for angle in angles.tolist()])
    assert torch.equal(found, expected)
    assert outside.any()


def test_augmentation_rotates_what_is_cropped_and_flipped() -> None:
    data = replace(image_data(crop=1, flip=True), rotation=30.0)
    many = data.inputs[1:].expand(20, -1, -1, -1)
    torch.manual_seed(0)
    upright = Transform(replace(data, rotation=0.0)).augmented(many)  # the same crops and flips
    angles = (2 * torch.rand(20) - 1) * 30
    expected = [rotate(i.permute(2, 0, 1), a).permute(1, 2, 0) for i, a in zip(upright, angles.tolist(), strict=True)]
    torch.manual_seed(0)
    assert torch.equal(Transform(data).augmented(many), torch.stack(expected))
    assert angles.min() < -20 < 20 < angles.max()


def test_models_of_other_pixels_are_others() -> None:
    data = image_data()
    others = [replace(data, **{k: v}) for k, v in (("crop", 1), ("flip", True), ("rotation", 1.0), ("std", (1.0,) * 3))]
    assert len({one.digest for one in [data, *others]}) == 5


def test_the_digest_shows_where_a_set_ends() -> None:
    data, ids = image_data(), torch.arange(2)
    parts = ("train", "validation", "test")
    splits = [(ids, ids[:0], ids[:0]), (ids[:1], ids[1:], ids[:0]), (ids[:1], ids[:0], ids[1:])]
    assert len({replace(data, **dict(zip(parts, split, strict=True))).digest for split in splits}) == 3


def fed(tiny: Tiny, processes: int = 1) -> UnlearningData:
    """The data module beside a trainer of this number of processes."""
    data = UnlearningData(tiny.data, tiny.split, tiny.problem.task)
    data.trainer = SimpleNamespace(world_size=processes)
    return data


def test_no_batch_of_one_reaches_batchnorm(tiny: Tiny) -> None:
    network = nn.Sequential(tiny.model, nn.BatchNorm1d(2))
    feed = FineTune(network, batch_size=3).feed
    data = fed(tiny)
    assert [len(b.ids) for b in data.loader("train", feed)] == [3]  # 4 = 3 + a lone 1, which is left out
    assert data.plan("train", feed).steps == 1
    halves = fed(tiny, processes=2)  # two of the four each, in batches of one
    with pytest.raises(UserError) as caught:
        halves.loader("train", feed)
    assert caught.value.key == "method.batch_size"
    still = FineTune(network, batch_size=3, batch_norm="eval").feed
    assert halves.plan("train", still).steps == 2
    assert sorted(len(b.ids) for b in data.loader("train", still)) == [1, 3]
    assert data.plan("train", FineTune(tiny.model, batch_size=3).feed).steps == 2  # without BatchNorm


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_that_share_a_batch_of_all_samples_take_one_step(tiny: Tiny, processes: int) -> None:
    feed = FineTune(tiny.model, batch_size=100).feed  # 4 samples: a process has all, two, or, padded, two
    assert fed(tiny, processes).plan("train", feed).steps == 1


def test_a_share_of_retain_is_the_same_every_time(tiny: Tiny) -> None:
    data = fed(tiny)
    share = data.stream("retain", 0.5)
    assert len(share) == 1
    assert torch.equal(share, data.stream("retain", 0.5))
    assert data.stream("train", 0.5).tolist() == sorted([0, 1, *share.tolist()])


def test_what_the_original_learns_is_in_the_same_order_whatever_will_be_forgotten() -> None:
    streams = []
    for scenario in ("class", "random"):
        config, _ = composed(f"scenario={scenario}")
        problem = Spec("scenario", config["scenario"]).build().prepare(Spec("dataset", config["dataset"]).build())
        streams.append(UnlearningData(problem.data, problem.split, problem.task).stream("train"))
    assert torch.equal(*streams)


def test_superclasses_relabel_and_keep_the_fine_classes() -> None:
    data = digits(seed=0, superclasses={"round": [0, 6, 8, 9], "straight": ["one", 4, 7], "curved": [2, 3, 5]})
    found = coarsened(data)
    assert found.classes == ("round", "straight", "curved")
    assert torch.equal(found.fine_labels, data.labels)
    assert set(found.labels[data.labels == 4].tolist()) == {1}
    assert coarsened(found) is found


@pytest.mark.parametrize(
    ("superclasses", "kind"),
    [
        (None, "missing"),
        ({"round": [0], "rest": [1, 2, 3]}, "value"),  # six are in none
        ({"all": range(10), "again": [3]}, "value"),
        ({"all": [*range(9), "then"]}, "choice"),
    ],
)
def test_superclasses_hold_each_class_once(superclasses: dict | None, kind: str) -> None:
    with pytest.raises(UserError) as caught:
        coarsened(digits(seed=0, superclasses=superclasses))
    assert (caught.value.key, caught.value.kind) == ("dataset.superclasses", kind)


@pytest.mark.parametrize("wanted", ["ten", "10", 10, -1])
def test_a_class_that_does_not_exist(wanted: str | int) -> None:
    with pytest.raises(UserError) as caught:
        digits(seed=0).class_number(wanted, "scenario.target")
    assert (caught.value.key, caught.value.kind) == ("scenario.target", "choice")


@pytest.mark.parametrize("feed", [Feed(("forget",)), Feed(("retain",)), Feed(("validation",), labels=False)])
def test_a_phase_draws_no_more_than_its_method_declares(feed: Feed, tiny: Tiny) -> None:
    """Forget samples, labels and validation samples are not handed to a method that declares retain inputs alone."""

    class Greedy(FineTune):
        feed = Feed(("retain",), labels=False)

        def phases(self) -> list[Phase]:
            return [Phase("greedy", replace(feed, batch_sizes=self.feed.batch_sizes))]

    with pytest.raises(ValueError, match="declares"):
        tiny.fit(Greedy(tiny.model, optimizer=lambda parameters: torch.optim.SGD(parameters, 0.1)))
