"""What a Python package imports, read from its sources: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One module that another one imports; `lazy` where a function does it, when it is called."""

    by: str
    of: str
    lazy: bool


def imports_of(package: Path) -> list[Import]:
    """All imports of all modules in a package's folder, those for type checkers included."""
    sources = {}
    for path in (*package.rglob("*.py"), *package.rglob("*.pyi")):  # stubs of compiled modules
        parts = path.relative_to(package.parent).with_suffix("").parts
        sources[".".join(parts).removesuffix(".__init__")] = path
    return [
        Import(module, name, lazy)
        for module, path in sources.items()
        for statement, lazy in _statements(ast.parse(path.read_text()))
        for name in _names(statement, module, path.name == "__init__.py", sources)
    ]


def circle_in(imports: list[Import]) -> list[str]:
    """The first circle of modules, or of folders beside each other, that is found; or nothing.

    In each folder its modules and its folders count as one thing each: what two folders import from
    each other is a circle even where no module is part of one.
    """
    graphs: dict[str, dict[str, set[str]]] = {}
    for step in imports:
        by, of = step.by.split("."), step.of.split(".")
        shared = 0
        while shared < min(len(by), len(of)) and by[shared] == of[shared]:
            shared += 1
        if shared == 0 or by == of:
            continue
        # what stands in the folder that both are in: a module, a folder, or its own __init__
        ends = [".".join(part[: shared + 1]) for part in (by, of)]
        graphs.setdefault(".".join(by[:shared]), {}).setdefault(ends[0], set()).add(ends[1])
    for graph in graphs.values():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            return error.args[1]
    return []


def _statements(
    node: ast.AST, lazy: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, lazy
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _statements(child, lazy or function)


def _names(
    statement: ast.Import | ast.ImportFrom, module: str, is_folder: bool, known: dict[str, Path]
) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    start = []
    if statement.level:
        start = module.split(".")
        start = start[: len(start) - statement.level + is_folder]
    source = ".".join([*start, *([statement.module] if statement.module else [])])
    # "from .folder import name": a module of the folder, or something in its __init__
    inside = (f"{source}.{alias.name}" for alias in statement.names)
    return [name if name in known else source for name in inside]
