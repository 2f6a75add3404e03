"""Words decide no key: of every module of the package, and of any module that a user writes."""

import ast
import re
from pathlib import Path

import pytest

import unlearning
from tests.conftest import CONF
from unlearning.config.imports import Module, closure, read_module
from unlearning.config.prose import without_prose
from unlearning.engine import lab
from unlearning.engine.key import OUTSIDE
from unlearning.request import RUN

ROOT = Path(unlearning.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TARGETS = sorted({t for file in CONF.rglob("*.yaml") for t in re.findall(r"_target_: ([\w.]+)", file.read_text())})
VALUES = {"inputs and labels", "inputs and finer labels"}  # of what a method may see, as results hold it


def module_of(file: Path) -> Module:
    """The module of this package that a file holds."""
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    found = read_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert found
    return found


def parsed(source: str) -> Module:
    """A module of this source."""
    return Module("user", Path("user.py"), source.encode(), without_prose(ast.parse(source)))


class Reworded(ast.NodeTransformer):
    """Other words in every docstring, message and annotation."""

    def __init__(self) -> None:
        self.changed = 0

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return self.said(node) if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args = [self.said(argument) for argument in node.exc.args]
            node.exc.keywords = [self.said(keyword) for keyword in node.exc.keywords]
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = ast.Constant("other words in any assertion")
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        speaks = re.match(
            r"(log|warnings)\.(debug|info|warning|error|exception|warn|filterwarnings)$", ast.unparse(node.func)
        )
        if speaks:
            node.args = [self.said(argument) for argument in node.args]
            node.keywords = [self.said(keyword) for keyword in node.keywords]
        return node if speaks else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        self.changed += 1
        node.annotation = ast.Name("Anything")
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        node.body = self.visit(node.body)  # its arguments take no annotation
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if node.name == "remarks" and [argument.arg for argument in node.args.args] == ["last", "options", "sizes"]:
            self.said(node)
        self.changed += 1
        node.returns = ast.Name("Anything")
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.changed += 1
        node.annotation = ast.Name("Anything")
        return self.generic_visit(node)

    def said(self, node: ast.AST) -> ast.AST:
        """The same with other strings."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                self.changed += 1
                inner.value = f"{inner.value[::-1]} in other words"
        return node


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_rewording_a_module_changes_no_key(file: Path) -> None:
    """Docstrings, messages, annotations, comments and layout, of every module whether or not it is in any key."""
    module = module_of(file)
    rewording = Reworded()
    tree = rewording.visit(ast.parse(module.source))
    text = "\n".join(f"{line}  # a remark" if line.endswith(":") else line for line in ast.unparse(tree).splitlines())
    changed = parsed(text + "\n\n\n# the end")
    assert rewording.changed or not module.source
    assert ast.dump(changed.tree) != ast.dump(module.tree) or not module.source
    assert changed.digest == module.digest


def test_a_module_in_any_key_holds_no_sentence_besides_its_messages() -> None:
    """A message in a variable, an argument or a returned value would decide keys."""
    found = []
    for module in closure([RUN, *lab.MAKING, lab.PREDICT, *TARGETS], OUTSIDE).values():
        for node in ast.walk(module.code):
            text = words_of(node)
            if len([word for word in text.split() if re.search(r"[A-Za-z]", word)]) >= 3 and text not in VALUES:
                found.append(f"{module.file}, line {node.lineno}: {text}")
    assert found == []


def words_of(node: ast.AST) -> str:
    """The text of a string, with x for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_the_sentences_of_a_module_are_found() -> None:
    """The test above can fail."""
    code = parsed('WHY = "it is too large"\nraise ValueError("this one is fine")\nx = f"{a} is too large"\n').code
    assert [text for node in ast.walk(code) if (text := words_of(node))][:2] == ["it is too large", "x is too large"]


CODE = '''
"""A module."""
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from somewhere import Anything

class Own:
    """A class."""
    rate: float = 0.5

    def step(self, size: int = 3) -> float:
        """Take a step."""
        if size < 0:
            raise ValueError(f"a size of {size} is too small") from None
        log.warning("a size of %s", size)
        assert size, "there must be some"
        return self.rate * torch.log(size)  # natural

    @staticmethod
    def remarks(last, options, sizes):
        if last["kept"] < 1:
            yield "little was kept"

def remarks(name):
    return name + "said"
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A class."""', '"""Another class."""'),
        ('        """Take a step."""\n', "        # take a step\n        pass\n"),
        ("rate: float", "rate: int"),
        ("size: int", "size"),
        ("-> float", ""),
        ("is too small", "must be larger"),
        (" from None", ""),
        ("a size of %s", "size: %d"),
        (', "there must be some"', ""),
        ("  # natural", ""),
        ('last["kept"] < 1', "sizes"),
        ("import Anything", "import Something"),
    ],
)
def test_words_do_not_count(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert parsed(CODE.replace(old, new)).digest == parsed(CODE).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= 0.5", "= 0.25"),
        ("= 3", "= 4"),
        ("size < 0", "size <= 0"),
        ("raise ValueError", "raise TypeError"),
        ("assert size", "assert not size"),
        ("self.rate *", "self.rate +"),
        ("torch.log(size)", "torch.log(3)"),
        ("size: int", "extent: int"),
        ("class Own", "class Other"),
        ("log.warning", "log.info"),
        ('"said"', '"done"'),  # in a function of the same name as that in which a method remarks on a run
    ],
)
def test_code_counts(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert parsed(CODE.replace(old, new)).digest != parsed(CODE).digest


def test_what_is_imported_for_type_checkers_alone_is_not_used() -> None:
    source = "if TYPE_CHECKING:\n    from one import Thing\nelse:\n    from other import Thing\n"
    assert parsed(source).imports == ["other", "other.Thing"]
