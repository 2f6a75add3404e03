"""Two thousand odd inputs: each is accepted or refused in one line, never a traceback, and nothing is half-written."""

import contextlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from tests.conftest import composed, names
from tests.fabricated import runs_of
from unlearning.config.build import Spec
from unlearning.config.groups import GROUPS
from unlearning.data.datasets import Dataset
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.models.checkpoints import load_checkpoint
from unlearning.report.command import main as report
from unlearning.request import Request
from unlearning.scenarios.saved import SavedSplit, split_file

pytestmark = pytest.mark.slow
CASES = {"command lines": 700, "tables": 400, "folders": 200, "splits": 200, "checkpoints": 300, "reports": 200}

ODD = (
    *(
        "",
        " ",
        "null",
        "true",
        "nan",
        "inf",
        "-1",
        "0",
        "1e400",
        "[]",
        "[[1],2]",
        "{}",
        "{a: 1}",
        "a,b",
        "~",
        "'",
        '"q"',
    ),
    *("\\", "$x$", "<b>", "\u00e9", "\U0001f600", "../../etc", "/dev/null", "0x10", "1_000", "@", "a=b", "\t"),
)
odd_text = st.one_of(
    st.sampled_from(ODD), st.text(max_size=8), st.integers(-(10**20), 10**20).map(str), st.floats().map(str)
)
damage = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(b"")),
    st.tuples(st.just("flip"), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("replace"), st.just(0.0), st.binary(max_size=40)),
)


def damaged(content: bytes, how: tuple[str, float, bytes]) -> bytes:
    """A file's content cut off, with other bytes at a place, or replaced."""
    kind, part, other = how
    place = int(part * len(content))
    return {"cut": content[:place], "flip": content[:place] + other + content[place + len(other) :], "replace": other}[
        kind
    ]


def cases(kind: str) -> Callable[[Any], Any]:
    return settings(
        max_examples=CASES[kind],
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Counts what was accepted and refused, and prints that at the end."""
    found: Counter[str] = Counter()
    yield found
    printer = request.config.pluginmanager.getplugin("terminalreporter")
    for line, count in sorted(found.items()):
        printer.write_line(f"fuzz: {line}: {count}")


def attempt(told: Counter[str], kind: str, what: str, act: Callable[[], Any]) -> None:
    """Do something that is accepted or refused by a ``UserError`` that says something."""
    try:
        act()
    except UserError as error:
        refused = str(error)
    else:
        refused = None
    assert refused is None or refused.strip()
    if refused is not None:
        told[f"{kind}, refused"] += 1
        return
    told[f"{kind}, accepted: {what}"] += 1


KEYS = [
    *("seed", "scenario.classes", "scenario.count", "scenario.seed", "split.validation", "split.test", "split.seed"),
    *(
        "method.alpha",
        "method.lam",
        "method.epochs",
        "method.optimizer.lr",
        "method.keep",
        "pretrain.epochs",
        "figures",
    ),
    *(
        "pretrain.checkpoint",
        "after",
        "check",
        "trial",
        "retrained",
        "force",
        "paths.runs",
        "paths.store",
        "tracking.uri",
    ),
    *("evaluation.every", "evaluation.best_by", "trainer.threads", "trainer.precision", "trainer.devices", "addon"),
    *("split.imbalance", "model.width", "tracking.experiment", "method", "+method.x", "~scenario", "++seed", "dataset"),
]
choices = st.sampled_from([(group, name) for group in GROUPS for name in names(group)]).map("=".join)
words = st.one_of(
    choices,
    st.just("scenario.classes=${x}"),
    st.builds("{}={}".format, st.sampled_from(KEYS), odd_text),
    st.text(max_size=10),
)


def test_command_lines(told: Counter[str], tmp_path: Path) -> None:
    @cases("command lines")
    @given(st.lists(words, min_size=1, max_size=3))
    def check(given: list[str]) -> None:
        def act() -> None:
            places = [f"paths.root={tmp_path}", "tracking=none"]
            config, chosen = composed(*places, *given)
            request = Request(config, chosen, given)
            request.check()
            _ = request.folder, request.label, request.command
            if chosen["dataset"] in ("digits", "wine"):
                Job.of(config).checked()

        attempt(told, "command lines", given[0].partition("=")[0], act)

    check()
    assert not list(tmp_path.rglob("*.tmp"))


numbers = st.one_of(st.integers(0, 3).map(str), st.floats(-9, 9).map(lambda x: f"{x:.3f}"))
cells = st.one_of(numbers, numbers, numbers, odd_text)
tables = st.integers(2, 4).flatmap(
    lambda n: st.tuples(
        st.lists(odd_text, min_size=n, max_size=n),
        st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=2, max_size=6),
        st.lists(st.lists(cells, min_size=1, max_size=n), max_size=1),
    )
)


def test_tables(told: Counter[str], tmp_path: Path) -> None:
    node = composed("dataset=csv", "dataset.root=x", "dataset.label=x")[0]["dataset"]

    @cases("tables")
    @given(
        tables, st.sampled_from(",,,;\t"), st.sampled_from(["utf-8", "utf-8", "latin-1", "utf-16"]), st.integers(1, 12)
    )
    def check(table: Any, comma: str, encoding: str, times: int) -> None:
        header, rows, odd = table
        file = tmp_path / "table.csv"
        lines = [comma.join(row) for row in [header, *rows * times, *odd]]
        file.write_bytes("\n".join(lines).encode(encoding, errors="replace"))
        chosen = {"root": str(file), "label": header[-1]}
        if "${" not in chosen["label"]:  # which composition refuses
            attempt(told, "tables", encoding, lambda: Spec("dataset", node | chosen).build())

    check()


def test_folders(told: Counter[str], tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(picture, "png")
    part = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=5)
    labels = st.lists(part, min_size=2, max_size=3, unique=True)
    odd = st.tuples(st.lists(part, max_size=2), st.sampled_from([".png", ".jpg", ".txt", ""]), st.none() | damage)

    top, store = tmp_path / "images", f"paths.store={tmp_path / 'store'}"
    node = composed("dataset=image_folder", f"dataset.root={top}", "dataset.size=8", store)[0]["dataset"]

    @cases("folders")
    @given(labels, st.integers(1, 12), st.lists(odd, max_size=1))
    def check(labels: list[str], images: int, odd: list[Any]) -> None:
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir()
        for number, (place, suffix, how) in enumerate([*(([label], ".png", None) for label in labels), *odd] * images):
            content = picture.getvalue() if how is None else damaged(picture.getvalue(), how)
            with contextlib.suppress(OSError):  # the name of a file above it, or one that the system does not take
                (folder := top.joinpath(*place)).mkdir(parents=True, exist_ok=True)
                (folder / f"{number}{suffix}").write_bytes(content)
        attempt(told, "folders", f"{len(labels)} classes", lambda: Spec("dataset", node).build())

    check()
    assert not list((tmp_path / "store").rglob("*.tmp"))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    found: Dataset = Spec("dataset", composed("dataset=digits")[0]["dataset"]).build()
    return found


def test_splits(told: Counter[str], tmp_path: Path, digits: Dataset) -> None:
    problem = Spec("scenario", composed("dataset=digits")[0]["scenario"]).build().prepare(digits)
    content = split_file(problem.split, digits)

    @cases("splits")
    @given(damage)
    def check(how: tuple[str, float, bytes]) -> None:
        file = tmp_path / "split.safetensors"
        file.write_bytes(damaged(content, how))
        attempt(told, "splits", how[0], lambda: SavedSplit(0, str(file)).prepare(digits))

    check()


values = st.recursive(
    st.one_of(
        st.none(),
        st.integers(),
        st.floats(),
        st.text(max_size=3),
        st.sampled_from([(2, 3), (2,), (3, 2), (), (0,), (1, 2, 3)]).map(torch.zeros),
        st.just(torch.empty(2, 3, device="meta")),
        st.just(torch.zeros(2, 3, dtype=torch.int64)),
        st.just(torch.full((2, 3), float("nan"))),
        st.just(torch.eye(3).to_sparse()),
        st.just(torch.zeros(2, 3, dtype=torch.complex64)),
        st.just(torch.zeros(2, 3, dtype=torch.float16)),
        st.just(torch.quantize_per_tensor(torch.zeros(2, 3), 0.1, 0, torch.qint8)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["weight", "bias", "state_dict", "model", "0.weight", "module.bias"]), st.integers()
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=6,
)


whole = st.just({"weight": torch.eye(2, 3), "bias": torch.ones(2)})
changed = st.builds(
    lambda name, value: {"weight": torch.eye(2, 3), "bias": torch.ones(2), name: value},
    st.sampled_from(["weight", "bias", "epoch", "module.bias"]),
    values,
)


def test_checkpoints(told: Counter[str], tmp_path: Path) -> None:
    @cases("checkpoints")
    @given(
        st.one_of(values, whole, changed),
        st.one_of(st.none(), st.none(), damage),
        st.sampled_from(["pt", "pt", "pth", "safetensors"]),
    )
    def check(content: Any, how: tuple[str, float, bytes] | None, suffix: str) -> None:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        file = tmp_path / f"model.{suffix}"
        file.write_bytes(buffer.getvalue() if how is None else damaged(buffer.getvalue(), how))
        attempt(told, "checkpoints", type(content).__name__, lambda: load_checkpoint(nn.Linear(3, 2), str(file)))

    check()


def test_reports(told: Counter[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "whole").mkdir()
    whole = runs_of(tmp_path / "whole", methods=2, seeds=1)
    leaf = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=3), st.just([]), st.just({}))

    @cases("reports")
    @given(st.integers(0, 30), st.one_of(damage, st.tuples(st.integers(0, 200), leaf)))
    def check(number: int, how: Any) -> None:
        shutil.rmtree(root := tmp_path / "runs", ignore_errors=True)
        shutil.copytree(whole, root)
        files = sorted(file for file in root.rglob("*") if file.is_file())
        file = files[number % len(files)]
        if len(how) == 3 or file.suffix != ".json":
            file.write_bytes(damaged(file.read_bytes(), how if len(how) == 3 else ("cut", 0.5, b"")))
        else:
            content = json.loads(file.read_text())
            spoil(content, *how)
            file.write_text(json.dumps(content))
        code = report([str(root)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert code in (0, 1)
        assert (code == 0) == (not err.startswith("report: "))
        told[f"reports, {'accepted' if code == 0 else 'refused'}"] += 1
        assert not list(root.rglob("*.tmp"))

    check()


def spoil(content: Any, place: int, value: Any) -> None:
    """Put a value in the place of one of a JSON document's nodes."""
    found: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            found.append((node, key))
            walk(node[key])

    walk(content)
    if found:
        node, key = found[place % len(found)]
        node[key] = value
