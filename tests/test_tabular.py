"""Tables as data sets: their features, classes and normalisation, and which setting an error names."""

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import composed
from unlearning.config.build import Spec
from unlearning.data.tabular import csv, scikit_learn
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.request import Request


def test_a_bundled_table_is_normalised_by_its_training_rows() -> None:
    from sklearn.datasets import load_wine

    data, raw = scikit_learn("wine", seed=0), load_wine()
    assert data.inputs.shape == (178, 13)
    assert data.input_shape == (13,)
    train = raw.data[data.train.numpy()]
    expected = (raw.data - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(data.inputs.numpy(), expected, rtol=1e-3, atol=1e-5)
    low, high = data.bounds
    np.testing.assert_allclose(low.numpy(), expected[data.train.numpy()].min(0), rtol=1e-3)
    np.testing.assert_allclose(high.numpy(), expected[data.train.numpy()].max(0), rtol=1e-3)
    parts = torch.cat([data.train, data.validation, data.test])
    assert parts.sort().values.tolist() == list(range(178))


def table(tmp_path: Path, text: str | None = None) -> str:
    lines = [f"{i},{'red' if i % 3 else 'blue'},7,{'yes' if i % 2 else 'no'},note {i}" for i in range(120)]
    file = tmp_path / "orders.csv"
    file.write_text(text or "\n".join(["days,colour,same,late,remark", *lines]))
    return str(file)


def test_a_table_of_the_users_own(tmp_path: Path) -> None:
    data = csv(table(tmp_path), "late", seed=0, validation=0.25, test=0.2, drop=["remark"])
    assert data.name == "orders"
    assert data.classes == ("no", "yes")
    assert data.labels.tolist() == [0, 1] * 60
    assert (len(data.train), len(data.validation), len(data.test)) == (72, 24, 24)
    days, same, blue, red = data.inputs.T
    steps = days.diff()
    assert steps.min() > 0
    assert steps.max() - steps.min() < 1e-4
    assert same.unique().tolist() == [0.0]  # a constant column becomes 0 rather than NaN
    is_blue = torch.arange(120) % 3 == 0
    assert torch.equal(blue > 0, is_blue)
    assert torch.equal(red < 0, is_blue)
    assert data.inputs[data.train].mean(0).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "text", "key", "kind"),
    [
        ({"label": "lat"}, None, "dataset.label", "choice"),
        ({"drop": ["remarks"]}, None, "dataset.drop", "choice"),
        ({"words": ["colours"]}, None, "dataset.words", "choice"),
        ({}, None, "dataset.drop", "value"),  # the 120 different remarks
        ({}, "a,late\n1,yes\n,no\n", "dataset.drop", "value"),  # an empty cell
        ({}, "a,late\n1,yes\n2,yes\n", "dataset.root", "file"),  # a single class
        ({}, "late\nyes\nno\n", "dataset.root", "file"),  # no feature
        ({}, "a,late\n1,yes\n2,no\n", "split.test", "value"),  # too few rows to hold out a fifth of each class
        ({}, 'a,late\n1,"yes\n', "dataset.root", "file"),  # an open quotation
        ({"drop": ["late"]}, None, "dataset.drop", "conflict"),
        ({}, ",a,late\n0,1,yes\n1,2,no\n", "dataset.root", "file"),  # row numbers
        ({}, "a,late,a\n1,yes,2\n1,no,2\n", "dataset.root", "file"),  # two columns of one name
        ({}, f"a,late\n{10**20},yes\n{10**21},no\n{10**22},no\n", "dataset.words", "value"),  # beyond 64 bits
    ],
)
def test_a_table_that_cannot_be_used_names_the_setting(
    tmp_path: Path, options: dict, text: str | None, key: str, kind: str
) -> None:
    with pytest.raises(UserError) as refused:
        csv(**{"root": table(tmp_path, text), "label": "late", "seed": 0} | options)
    assert (refused.value.key, refused.value.kind) == (key, kind)


def test_a_column_of_texts_is_named_with_the_words_that_leave_it_out(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        csv(table(tmp_path), "late", seed=0)
    assert str(refused.value) == (
        f"column 'remark' of {tmp_path}/orders.csv holds 120 different words, too many for categories: set "
        "dataset.drop=[remark]"
    )


def odd_cell(tmp_path: Path, cell: str, row: int = 37, column: str = "days") -> str:
    """The table with another cell in a row, which is counted from 1 below the header."""
    file = Path(table(tmp_path))
    lines = [line.split(",") for line in file.read_text().splitlines()]
    lines[row][lines[0].index(column)] = cell
    file.write_text("\n".join(map(",".join, lines)))
    return str(file)


@pytest.mark.parametrize("cell", ["NA", "NaN", "12 kg", '"1,234"', "none at all", "12O", "?", "=A1"])
def test_a_word_in_a_column_of_numbers_is_named_with_its_row(tmp_path: Path, cell: str) -> None:
    with pytest.raises(UserError) as refused:
        csv(odd_cell(tmp_path, cell), "late", seed=0, drop=["remark"])
    assert (refused.value.key, refused.value.kind) == ("dataset.words", "value")
    for part in ("column 'days'", "row 37 below", repr(cell.strip('"'))):
        assert part in str(refused.value)


@pytest.mark.parametrize("row", [1, 120])
def test_a_number_in_a_column_of_words_is_told_with_the_first_word(tmp_path: Path, row: int) -> None:
    with pytest.raises(UserError) as refused:
        csv(odd_cell(tmp_path, "3", row, "colour"), "late", seed=0, drop=["remark"])
    first = 2 if row == 1 else 1
    assert f"row {first} below" in str(refused.value)


def test_a_word_among_numbered_classes_is_told_unless_classes_are_words(tmp_path: Path) -> None:
    lines = [f"{i},{'?' if i % 20 == 7 else i % 2}" for i in range(200)]
    file = table(tmp_path, "\n".join(["days,late", *lines]))
    with pytest.raises(UserError) as refused:
        csv(file, "late", seed=0)
    assert "column 'late'" in str(refused.value)
    assert "row 8 below" in str(refused.value)
    assert csv(file, "late", seed=0, words=["late"]).classes == ("0", "1", "?")


def test_a_column_may_be_said_to_hold_words(tmp_path: Path) -> None:
    file = odd_cell(tmp_path, "12 kg", column="same")
    data = csv(file, "late", seed=0, drop=["remark"], words=["same"])
    assert data.inputs.shape == (120, 1 + 2 + 2)  # days, two colours, and 7 or 12 kg
    also = csv(file, "late", seed=0, drop=["remark", "same"], words=["colour"])
    assert also.inputs.shape == (120, 1 + 2)


def test_codes_are_words_with_their_zeros(tmp_path: Path) -> None:
    lines = [f"{'07' if i % 3 else '7'},{i % 2}" for i in range(60)]
    file = table(tmp_path, "\n".join(["code,late", *lines]))
    assert csv(file, "late", seed=0, words=["code"]).inputs.shape == (60, 2)
    assert csv(file, "late", seed=0).inputs.unique().tolist() == [0.0]


@pytest.mark.parametrize("column", ["colour", "late"])
def test_a_cell_that_says_it_is_empty_is_a_word_only_if_told(tmp_path: Path, column: str) -> None:
    """Namibia's code is NA."""
    file = odd_cell(tmp_path, "NA", column=column)
    with pytest.raises(UserError) as refused:
        csv(file, "late", seed=0, drop=["remark"])
    assert (refused.value.key, refused.value.kind) == ("dataset.words", "value")
    assert "row 37 below" in str(refused.value)
    lines = ["days,country,late", *(f"{i},{'NA' if i % 2 else 'ZA'},{i % 4 // 2}" for i in range(120))]
    file = table(tmp_path, "\n".join(lines))
    assert csv(file, "late", seed=0, words=["country"]).inputs.shape == (120, 3)
    assert csv(file, "country", seed=0, words=["country"]).classes == ("NA", "ZA")


def test_numbers_in_two_units_are_refused(tmp_path: Path) -> None:
    lines = ["size,late", *(f"{i} {'kg' if i % 3 else 'lb'},{i % 2}" for i in range(60))]
    with pytest.raises(UserError) as refused:
        csv(table(tmp_path, "\n".join(lines)), "late", seed=0)
    assert refused.value.key == "dataset.words"
    lines = ["rank,late", *(f"{('1st', '2nd', '3rd')[i % 3]},{i % 2}" for i in range(60))]
    assert csv(table(tmp_path, "\n".join(lines)), "late", seed=0).inputs.shape == (60, 3)


@pytest.mark.parametrize("form", ["{} kg", "{}%", "${}", "€ {}.50", '"{},5"', '"1,{}00"', "{} km/h", "-{} °"])
def test_numbers_with_a_unit_in_every_cell_are_refused(tmp_path: Path, form: str) -> None:
    lines = [f"{form.format(i % 4 + 10)},{i % 2}" for i in range(60)]
    with pytest.raises(UserError) as refused:
        csv(table(tmp_path, "\n".join(["weight,late", *lines])), "late", seed=0)
    assert (refused.value.key, refused.value.kind) == ("dataset.words", "value")
    assert "'weight'" in str(refused.value)


@pytest.mark.parametrize("form", ["store {}", "{}-19", "a{}b", "{}:30", "{}{}rd and more 5"])
def test_words_with_numbers_in_them_are_words(tmp_path: Path, form: str) -> None:
    lines = [f"{form.format(*[i % 4 + 10] * 2)},{i % 2}" for i in range(60)]
    assert csv(table(tmp_path, "\n".join(["kind,late", *lines])), "late", seed=0).inputs.shape == (60, 4)


def test_two_kinds_of_drive_are_words(tmp_path: Path) -> None:
    lines = [f"{2 if i % 3 else 4}wd,{i % 2}" for i in range(60)]
    assert csv(table(tmp_path, "\n".join(["drive,late", *lines])), "late", seed=0).inputs.shape == (60, 2)


@pytest.mark.parametrize("cell", ["inf", "-inf", "1e39"])
def test_a_number_that_is_not_finite_is_named_with_its_row(tmp_path: Path, cell: str) -> None:
    with pytest.raises(UserError) as refused:
        csv(odd_cell(tmp_path, cell), "late", seed=0, drop=["remark"])
    assert (refused.value.key, refused.value.kind) == ("dataset.drop", "value")
    assert "'days'" in str(refused.value)
    assert "row 37 below" in str(refused.value)


def test_rows_longer_than_the_header_are_refused(tmp_path: Path) -> None:
    """They would be read with every column shifted by one."""
    file = table(tmp_path, "days,late\n" + "\n".join(f"{i},{i % 7},{i % 2}" for i in range(60)))
    with pytest.raises(UserError) as refused:
        csv(file, "late", seed=0)
    assert (refused.value.key, refused.value.kind) == ("dataset.root", "file")


def test_rows_that_end_in_a_comma_are_read_as_they_stand(tmp_path: Path) -> None:
    one, two = (
        csv(table(tmp_path, "days,late\n" + "\n".join(f"{i},{i % 2}{end}" for i in range(60))), "late", seed=0)
        for end in ("", ",")
    )
    assert one.digest == two.digest


@pytest.mark.parametrize(("name", "refused"), [("row_id", True), ("Index", True), ("days", False)])
def test_a_column_that_counts_the_rows_is_named(tmp_path: Path, name: str, refused: bool) -> None:
    file = table(tmp_path, "\n".join([f"size,{name},late", *(f"{i % 7},{i + 1},{i % 2}" for i in range(40))]))
    with pytest.raises(UserError) if refused else nullcontext() as caught:
        csv(file, "late", seed=0)
    assert csv(file, "late", seed=0, drop=[name]).inputs.shape[1] == 1
    if caught is not None:
        assert (caught.value.key, name in str(caught.value)) == ("dataset.drop", True)


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError) as caught:
        csv(str(tmp_path / "pipe.csv"), "late", seed=0)
    assert (caught.value.key, caught.value.kind) == ("dataset.root", "file")


def test_a_missing_table_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        csv(str(tmp_path / "none.csv"), "late", seed=0)
    assert (refused.value.key, refused.value.kind) == ("dataset.root", "file")


def test_a_table_that_scikit_learn_does_not_have_is_refused() -> None:
    node = composed("dataset=wine")[0]["dataset"]
    with pytest.raises(UserError) as refused:
        Spec("dataset", node | {"name": "beer"}).build()
    assert refused.value.key == "dataset.name"


def test_the_content_of_a_table_decides_the_key(tmp_path: Path) -> None:
    words = ["dataset=csv", f"dataset.root={table(tmp_path)}", "dataset.label=late", "dataset.drop=[remark]"]
    config, choices = composed(*words)

    def key() -> str:
        return Request(config, choices).key.digest

    before = key()
    assert key() == before
    table(tmp_path, "days,late,remark\n" + "\n".join(f"{i},{i % 2},x" for i in range(100)))
    assert key() != before
    job = Job.of(config)
    assert job.network()(torch.zeros(2, 1)).shape == (2, 2)
