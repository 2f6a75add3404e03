"""The HTML page: what it says, that it needs nothing from elsewhere, and that names stay names."""

import inspect
import json
import os
import re
import time
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from markdown_it import MarkdownIt
from scipy import stats
from sklearn.metrics import roc_auc_score

from tests.fabricated import BLOCKS, CLASSES, HOSTILE, PIXEL, add_layers, runs_of
from tests.finished import result, whole, write_finished
from unlearning.records import artefacts
from unlearning.records.names import GALLERY
from unlearning.report import collect, main
from unlearning.report.comparison import Ranks, ranked, ranked_by
from unlearning.report.critical_diagram import as_file, critical_diagram
from unlearning.report.html import outputs
from unlearning.report.html.curves import curves_of
from unlearning.report.html.nearness import levels
from unlearning.report.html.pictures import Pictures
from unlearning.report.html.rows import PICTURES
from unlearning.report.latex import escaped as latex_escaped
from unlearning.report.latex import latex
from unlearning.report.markdown import page
from unlearning.report.tables import report_on
from unlearning.runtime.markdown import escaped

VOID = {"meta", "input", "wbr", "br", "link", "img"}


class Tree(HTMLParser):
    """The elements of a page: tag, attributes and own text; elements that are not closed are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "text": ""} | {name: value or "" for name, value in attrs}
        self.found.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def of(self, tag: str, **attributes: str) -> Iterator[dict[str, Any]]:
        """The elements with this tag and these attributes."""
        return (e for e in self.found if e["tag"] == tag and all(e.get(n) == v for n, v in attributes.items()))

    @property
    def data(self) -> dict[str, Any]:
        """The block of data."""
        (block,) = self.of("script", id="data")
        return json.loads(block["text"])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``out put`` beside the folder ``runs`` with twelve runs: three methods, two seeds, two settings."""
    root = tmp_path_factory.mktemp("report")
    (root / "runs").mkdir()
    runs_of(root / "runs", methods=3, settings=2)
    assert main([str(root / "runs"), "--margin", "0.05", "--out", str(root / "out put")]) == 0
    return root / "out put"


@pytest.fixture(scope="module")
def tree(written: Path) -> Tree:
    return Tree((written / "report.html").read_text())


# What the page holds


def test_the_page_says_the_answer_and_has_every_method(tree: Tree) -> None:
    said = [" ".join(e["text"].split()) for e in tree.of("p", **{"class": "answer"})]
    assert said[0].startswith("method_01 has the best mean rank of gap/mean over 2 settings: 1.00.")
    assert len(said) == 3
    assert "method_01 is closest to the retrained model: gap/mean 0." in said[1]
    assert "n=2, all seeds" in said[1]
    assert "Retraining with another seed has" in said[1]
    lines = [e["text"].split() for e in tree.of("tr") if e.get("class", "").startswith("row")]
    assert [line[0] for line in lines] == 2 * ["original", "retrained", "retrain", "method_01", "method_02"]


def test_a_cell_has_mean_and_interval_of_the_runs(written: Path, tree: Tree) -> None:
    values = [
        found["rows"]["unlearned"]["forget/acc"]
        for f in written.parent.glob("runs/run*")
        if (found := json.loads((f / "results.json").read_text()))["config"]["choices"]["method"] == "method_02"
        and found["config"]["scenario"]["classes"] == [HOSTILE]
    ]
    assert len(values) == 2
    half = stats.t.ppf(0.975, 1) * stats.sem(values)
    (row,) = (
        r for r in tree.data["rows"] if r["label"] == "method_02" and HOSTILE in tree.data["settings"][r["setting"]]
    )
    cell = row["values"]["forget/acc"]
    assert cell["mean"] == pytest.approx(np.mean(values), rel=1e-4)
    assert (cell["text"], cell["interval"]) == (f"{np.mean(values):.3f}", f"±{half:.3f}")
    assert any(e["text"] == f"{cell['text']}{cell['interval']}" for e in tree.of("td"))


def test_details_have_commands_settings_notes_verdicts_and_costs(tree: Tree) -> None:
    row = next(r for r in tree.data["rows"] if r["label"] == "method_02")
    assert [run["command"].split()[2] for run in row["runs"]] == ["method=method_02"] * 2
    assert f"method.note={HOSTILE}" in row["config"]
    assert row["notes"] == [f"left {HOSTILE} as it was (2 runs)"]
    assert row["verdict"].startswith("nothing is shown: three runs")  # there are two
    share = (0.5 + 10 * 2 / 3) / 9
    assert row["values"][tree.data["share"]]["mean"] == pytest.approx(share, rel=1e-4)
    assert row["sigmas"]["forget/acc"] > 1
    assert [one["name"] for one in row["classes"]] == list(CLASSES)
    assert row["curves"]["forget_acc"]["mean"] == pytest.approx([0.5 ** (e + 1) for e in range(6)], rel=1e-4)


def test_files_are_linked_from_where_the_page_is(written: Path, tree: Tree) -> None:
    links = [file["href"] for run in tree.data["rows"][-1]["runs"] for file in run["files"]]
    assert links
    assert all((written / unquote(link)).resolve().is_file() for link in links)


# Nothing from elsewhere, and names stay names


def test_the_page_refers_to_nothing_outside(written: Path, tree: Tree) -> None:
    text = (written / "report.html").read_text()
    assert not [word for word in ("http:", "https:", "//cdn", "@import", "url(", "fetch(", "XMLHttp") if word in text]
    assert not [e for e in tree.found if e["tag"] in ("link", "img", "iframe", "base", "object")]
    assert not [e for e in tree.of("script") if "src" in e]
    assert all(e["href"].startswith("#") for e in tree.of("a"))


def test_hostile_names_are_text(written: Path, tree: Tree) -> None:
    assert any(HOSTILE in e["text"] for e in tree.of("span"))
    assert HOSTILE in next(tree.of("option", value="1"))["text"] + next(tree.of("option", value="0"))["text"]
    assert len(list(tree.of("script"))) == 2
    assert "<b>$" not in (written / "report.html").read_text()  # the only b of the page holds a word
    assert HOSTILE in tree.data["settings"][0] + tree.data["settings"][1]


def test_hostile_names_survive_markdown_and_latex(written: Path) -> None:
    report = report_on(collect(written.parent / "runs"), margin=0.05)
    rendered = Tree(MarkdownIt("commonmark").enable("table").render(page(report)))
    titles = [e["text"] for e in rendered.of("h2")]
    assert sorted(titles) == sorted(table.setting for table in report.tables)
    assert any(HOSTILE in e["text"] for e in rendered.of("li"))
    assert not [e for e in rendered.found if e["tag"] in ("script", "b", "em") and HOSTILE[-3:] in e["text"]]
    for name in (HOSTILE, "_a_ *b* `c` ~~d~~ [e](f) &lt; \\ # $x$", "# one", "1. one", "- one"):
        (shown,) = Tree(
            MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(f"- x\n- {escaped(name)}\n")
        ).of("ul")
        assert shown["text"].split() == ["x", *name.split()]
    text = latex(report)
    assert text.count(r"\textbf{") > 0
    assert "XeLaTeX" not in text  # the emoji is in comments alone
    assert r"$<$/script$>$$<$b$>$\$x\_1\$ \& " in latex_escaped(HOSTILE)


# Its parts


def test_levels_go_from_the_nearest_to_the_farthest() -> None:
    # roots of the shares of the largest distance: 0, .2, .5, 1; five levels of a fifth each
    assert levels({0: 0.0, 1: 0.04, 2: 0.25, 3: 1.0}, "→") == {0: 0, 1: 1, 2: 2, 3: 4}
    assert set(levels({0: 0.9, 1: 0.901}, "↓").values()) <= {0, 1}  # no colours out of a thousandth
    assert levels({0: 1.0, 1: 10.0, 2: 100.0}, "↓", relative=True) == {0: 0, 1: 2, 2: 4}


def test_losses_roc_and_matrix_against_their_definitions() -> None:
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(40, 3)), generator.integers(0, 3, 40)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(outputs.losses(logits, labels), -np.log(p[np.arange(40), labels]))
    certain = outputs.losses(np.array([[50.0, 0.0]]), np.array([0]))
    assert certain[0] == pytest.approx(np.exp(-50), rel=1e-9)
    members, others = np.array([3.0, 2.0, 2.0, 0.0]), np.array([2.0, 1.0, -1.0])
    truth = roc_auc_score([1] * 4 + [0] * 3, np.concatenate([members, others]))
    assert outputs.auc(members, others) == pytest.approx(truth)
    curve = outputs.roc(members, others)
    assert all(value is None for value in curve[: int(np.searchsorted(outputs.RATES, 0.33))])  # one of 3 is more
    assert curve[-1] == 1.0
    assert curve[int(np.searchsorted(outputs.RATES, 0.34))] == 0.75  # one is allowed: above 1
    table = outputs.matrix(np.array([0, 0, 2]), np.array([0, 1, 2]), "xyz")
    assert table == {"rows": ["x", "z"], "columns": ["x", "y", "z"], "counts": [[1, 1, 0], [0, 0, 1]]}
    shares = outputs.histogram(np.array([1e-9, 0.5, 0.5, 1e9]))
    assert (shares[0], shares[-1], sum(shares)) == (0.25, 0.25, 1.0)


def test_layers_and_pictures_are_in_the_page_itself(tmp_path: Path) -> None:
    root = runs_of(tmp_path, methods=2, seeds=1)
    add_layers(root)
    assert main([str(root)]) == 0
    tree = Tree((root / "report.html").read_text())
    (data,) = (json.loads(element["text"]) for element in tree.found if element.get("id") == "data")
    own = [row for row in data["rows"] if row["kind"] == "unlearned"]
    for row in own:
        assert row["blocks"] == list(BLOCKS)  # not in alphabetical order
        assert all(f"layer_cka/original_forget/{block}" in row["values"] for block in BLOCKS)
        assert b64decode(row["pictures"]["embeddings.png"].removeprefix("data:image/png;base64,")) == PIXEL
    assert own[0]["models"]["retrained"]["layer_cka/original_forget/head"] == pytest.approx(0.2)
    runs = collect(root)
    pictures = Pictures(room=len(PIXEL))
    assert [len(pictures.of(run)) for run in runs if run.state == "done"] == [1, 0]  # there is room for one


def test_many_classes_keep_the_most_frequent_and_one_column_for_the_rest() -> None:
    labels = np.repeat(np.arange(30), 2)
    table = outputs.matrix(labels, labels, [str(c) for c in range(30)])
    assert len(table["rows"]) == outputs.SHOWN
    assert table["columns"][-1] == "others"
    assert sum(map(sum, table["counts"])) == 2 * outputs.SHOWN


def test_every_figure_of_a_run_is_linked() -> None:
    made = set(re.findall(r'"(\w+\.png)"', inspect.getsource(artefacts))) | {GALLERY}
    assert len(made) > 1
    assert made == set(PICTURES)


def test_curves_say_what_their_places_count(tmp_path: Path) -> None:
    (root := tmp_path / "runs").mkdir()
    (run,) = collect(write_finished(root, result()))
    names = ("forget_acc", "distance", "loss")
    (root / "run0" / "curves.json").write_text(json.dumps({f"unlearn/{name}": [[0, 1], [1, 0]] for name in names}))
    assert {name: curve["by"] for name, curve in curves_of([run]).items()} == {
        "forget_acc": "epoch",
        "distance": "epoch",  # of the weights of an epoch
        "loss": "step",
    }


def test_a_run_without_files_or_with_broken_ones_has_no_figures(tmp_path: Path) -> None:
    (root := tmp_path / "runs").mkdir()
    (run,) = collect(write_finished(root, result(files={"references-1": ""})))
    assert outputs.Outputs().of(run) is None
    assert curves_of([run]) == {}
    (root / "run0" / "curves.json").write_text("{")
    assert curves_of([run]) == {}
    assert main([str(root)]) == 0


def test_the_diagram_has_each_method_at_its_mean_rank() -> None:
    means = {"one": 1.0, "two": 2.25, HOSTILE: 2.75}
    drawing = ElementTree.fromstring(
        as_file(critical_diagram(Ranks("gap/mean", means, 4, 1.66, 0.04, [["one", "two"]], {})))
    )
    space = drawing.tag.removesuffix("svg")
    places = {t.text: t for t in drawing.iter(f"{space}text")}
    assert {"one 1.00", "two 2.25", f"2.75 {HOSTILE[:31]}…", "CD 1.66"} <= set(places)
    ends = sorted(
        float(line.get("x1", "")) for line in drawing.iter(f"{space}line") if line.get("x1") == line.get("x2")
    )
    left, right = ends[0], ends[-1]
    at = left + (right - left) * (2.25 - 1) / 2
    assert any(abs(x - at) < 0.06 for x in ends)


def test_ranks_say_which_methods_they_leave_out(tmp_path: Path) -> None:
    def run(method: str, value: float, setting: int, alpha: int = 1) -> dict[str, Any]:
        config = {"scenario.classes": [setting], "method.alpha": alpha}
        return result(value, method=method, config=config, gaps=whole(value))

    (root := tmp_path / "runs").mkdir()
    found = [run(m, v, s, alpha=s + 1) for s in (0, 1) for m, v in (("ssd", 0.1), ("jit", 0.2))]
    write_finished(root, *found, run("scrub", 0.3, 0), run("jit", 0.4, 1, alpha=9))
    report = report_on(collect(root), test="gap/mean")
    assert ranked(report.groups, "gap/mean", report.arrows) is None  # jit has two groups in one setting
    assert "no mean ranks" in report.tests[-1]
    write_finished(root, run("msg", 0.01, 0, alpha=5), run("msg", 0.3, 1, alpha=7))
    ranks = ranked((report := report_on(collect(root), test="gap/mean")).groups, "gap/mean", report.arrows)
    assert ranks is not None
    assert ranks.means == {"ssd": 1.5, "msg": 1.5}
    assert set(ranks.left_out) == {"jit", "scrub", "jit alpha=2", "jit alpha=9"}
    assert "scrub (1 of 2 settings)" in report.tests[-1]


def test_corrective_settings_are_ranked_by_what_is_corrected(tmp_path: Path) -> None:
    def run(method: str, gap: float, seen: float, setting: int) -> dict[str, Any]:
        rows = {"original": {}, "unlearned": {"corrective/acc_seen": seen}}
        parts = {"rows": rows, "gaps": {"gap/mean": gap}, "directions": {"corrective/acc_seen": "up"}}
        config = {"scenario.classes": [setting]}
        return result(method=method, config=config, sizes={"forget": 1, "manipulated": 9}, **parts)

    (root := tmp_path / "runs").mkdir()
    write_finished(root, *(run(*one, s) for s in (0, 1) for one in (("ssd", 0.1, 0.2), ("jit", 0.3, 0.9))))
    report = report_on(collect(root))
    found = ranked_by(report.groups, "", report.arrows)
    assert found is not None
    assert (found.metric, found.means) == ("corrective/acc_seen", {"jit": 1.0, "ssd": 2.0})
    asked = ranked_by(report.groups, "gap/mean", report.arrows)
    assert asked is not None
    assert asked.means == {"ssd": 1.0, "jit": 2.0}
    assert main([str(root)]) == 0
    said = [
        " ".join(e["text"].split()) for e in Tree((root / "report.html").read_text()).of("p", **{"class": "answer"})
    ]
    assert said[0].startswith("jit has the best mean rank of corrective/acc_seen over 2 settings")
    assert "jit corrects the most manipulated samples: corrective/acc_seen 0.900 (n=1)" in said[1]


@pytest.mark.slow
def test_three_hundred_runs_take_less_than_five_seconds(tmp_path: Path) -> None:
    root = runs_of(tmp_path, methods=25, seeds=3, settings=4, samples=2000)
    assert len(list(root.iterdir())) == 300
    start = time.process_time()
    assert main([str(root), "--margin", "0.05"]) == 0
    assert time.process_time() - start < 5
    assert os.path.getsize(root / "report.html") < 5e6
