"""What a Python file defines, read and not run: it is the user's, and its imports are in the base image only."""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from torchserve_operator.builder.errors import BuildError
from torchserve_operator.builder.files import File

MAX_SIZE = 4 << 20


@dataclass(frozen=True, slots=True)
class Module:
    """The names at a file's top level.

    Attributes:
        path: The file's, for messages.
        classes: Those that are defined whatever happens, by name.
        possible_classes: Those under an `if` or a `try` too.
        functions: By name.
        names: All names that are bound: classes, functions, imports, variables.
        open: Whether it may have names that cannot be seen here (`from x import *`, `__getattr__`).
    """

    path: str
    classes: dict[str, ast.ClassDef]
    possible_classes: dict[str, ast.ClassDef]
    functions: dict[str, ast.FunctionDef]
    names: frozenset[str]
    open: bool


def read_module(file: File, field: str) -> Module:
    """Read a file of Python.

    Raises:
        BuildError: It is none.
    """
    if file.size > MAX_SIZE:
        raise BuildError(field, f"{file.path} has {file.size:,} bytes; expected a Python file of at most {MAX_SIZE:,}")
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(b"".join(file.chunks()))
    except SyntaxError as error:
        where = f", line {error.lineno}" if error.lineno else ""
        raise BuildError(field, f"{file.path}{where} is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise BuildError(field, f"{file.path} is not Python: {error or 'nested too deeply'}") from None
    top = list(_top_level(tree.body))
    names = bound_names(tree.body)
    return Module(
        path=file.path,
        classes={node.name: node for node in tree.body if isinstance(node, ast.ClassDef)},
        possible_classes={node.name: node for node in top if isinstance(node, ast.ClassDef)},
        functions={node.name: node for node in top if isinstance(node, ast.FunctionDef)},
        names=frozenset(names),
        open=not names.isdisjoint({"*", "__getattr__"}),
    )


def bound_names(body: list[ast.stmt]) -> set[str]:
    """Return the names that the statements of a file or of a class bind in it."""
    return {name for node in _top_level(body) for name in _bound(node)}


def _top_level(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the nodes that bind names at the top level: not what lies in functions and classes."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (node for node in ast.walk(statement) if isinstance(node, ast.Global))
        elif not isinstance(statement, ast.ClassDef):
            for child in ast.iter_child_nodes(statement):
                if isinstance(child, ast.ExceptHandler | ast.match_case):
                    yield from _top_level(child.body)
                elif isinstance(child, ast.stmt):
                    yield from _top_level([child])
                else:
                    yield from ast.walk(child)


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Global):
        yield from node.names
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
