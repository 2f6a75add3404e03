"""Code without the words that it only says: what is left decides numbers."""

from __future__ import annotations

import ast
import copy
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)

SPEAKERS = {"log", "logger", "logging", "warnings"}  # what their functions are given is only said
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def without_prose(tree: Node) -> Node:
    """A copy without docstrings, messages of errors and logs, and type annotations of functions and names."""
    return Silent().visit(copy.deepcopy(tree))


class Silent(ast.NodeTransformer):
    """Removes what is only said; the names of arguments and the types of errors stay."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
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
        match node.func:
            case ast.Attribute(value=ast.Name(id=name)) if name in SPEAKERS:
                node.args, node.keywords = [], []
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self.without_hints(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.without_hints(node)

    def without_hints(self, node: FUNCTIONS) -> ast.AST:
        """A function without annotations."""
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
