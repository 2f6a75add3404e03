"""Strip docstrings, messages and annotations from code, so that only what affects results is hashed."""

from __future__ import annotations

import ast

SPEAKERS = ("log", "logger", "logging", "warnings")
REMARKS = ("remarks", ["last", "options", "sizes"])  # where a method tells what its numbers do not show
SPEECH = ("debug", "info", "warning", "warn", "error", "exception", "critical", "log", "filterwarnings", "simplefilter")


def without_prose(tree: ast.Module) -> ast.Module:
    """A module's tree, changed in place: without docstrings, messages, annotations and imports for type checkers.

    Messages are the arguments of exceptions that are raised, of assertions, and of calls such as ``log.warning``, and
    all that the ``remarks`` of a method say about a finished run.
    """
    silent: ast.Module = Silent().visit(tree)
    return silent


class Silent(ast.NodeTransformer):
    """Removes docstrings, messages and annotations; argument names and error types stay."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return ast.copy_location(ast.Pass(), node)  # a docstring
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        node.cause = None
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = node.func
        if (
            isinstance(called, ast.Attribute)
            and called.attr in SPEECH
            and isinstance(called.value, ast.Name)
            and called.value.id in SPEAKERS
        ):
            node.args, node.keywords = [], []
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.copy_location(ast.Pass(), node)]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self.without_hints(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.without_hints(node)

    def without_hints(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        """A function without annotations; without its body where all that it does is to remark."""
        if (node.name, [argument.arg for argument in node.args.args]) == REMARKS:
            node.body = [ast.copy_location(ast.Pass(), node)]
        node.returns = None
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            argument.annotation = None
        for rest in (arguments.vararg, arguments.kwarg):
            if rest is not None:
                rest.annotation = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)
