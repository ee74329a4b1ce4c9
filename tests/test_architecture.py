"""Imports point one way. The table is that of docs/architecture.md, section 1."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

VALUES = {"common", "exceptions", "converter", "durations"}
FACES = {"workflow", "activity", "client", "testing"}

ARROWS: dict[str, set[str]] = {
    "model": set(),
    "durations": {"model"},
    "common": {"model", *VALUES},
    "exceptions": {"model", *VALUES},
    "converter": {"model", *VALUES},
    "engine": {"model"},
    "replay": {"model", *VALUES},
    "store": {"model"},
    "api": {"model"},
    "service": {"api", "engine", "store", "model"},
    "worker": {"api", "replay", "model", *VALUES},
    "activity": {"replay", "worker", "model", *VALUES},
    "workflow": {"replay", "model", *VALUES},
    "client": {"api", "service", "store", "replay", "model", *VALUES},
    "timeline": {"model"},
    "testing": {"api", "engine", "store", "service", "replay", "worker", "model", "workflow", "activity", "client", *VALUES},
    "notebook": {"timeline", "api", "model", "worker", "replay", *FACES, *VALUES},
    "headless": {"timeline", "api", "model", "worker", *FACES, *VALUES},
    "cli": {"timeline", "api", "model", "worker", *FACES, *VALUES, "headless"},
}
"""May import. What `cli` starts, `headless`, is a program of its own: the command line is its face."""

PURE = {"model", "engine", "replay", "timeline"}
IMPURE_MODULES = {"socket", "subprocess", "duckdb", "sqlite3", "logging.config", "tempfile", "shutil", "http", "urllib.request"}

TYPE_ONLY = {("activity", "client"), ("worker", "client")}
"""May import for annotations only: ``activity.client()`` returns a client, a worker takes one."""

DEFERRING = {"flowkernel", "flowkernel.notebook.extension", "flowkernel.notebook.magics"}
"""May import modules of our own inside functions, since loading the extension must be quick; never to hide a circle."""

OPTIONAL = {"pydantic", "google", "matplotlib", "anywidget", "ipywidgets", "pandas", "IPython", "ipykernel", "rich", "duckdb"}
"""Heavy or optional packages: only these may be imported inside a function."""


class Import(NamedTuple):
    place: str
    source: str
    target: str
    nested: bool
    type_only: bool


def package(root: Path) -> Path:
    return root / "flowkernel"


def layer(module: str) -> str:
    return module.split(".")[1] if module.startswith("flowkernel.") else ""


def modules(root: Path) -> Iterator[tuple[str, ast.Module, Path]]:
    for path in sorted(package(root).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_text()), path


@functools.cache
def imports(root: Path) -> tuple[Import, ...]:
    known = {module for module, _, _ in modules(root)}
    found: list[Import] = []
    for module, tree, path in modules(root):
        nested = _inside(tree, lambda node: isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))
        type_only = _inside(tree, lambda node: isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for node in ast.walk(tree):
            place = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
            targets = _targets(node, known, place)
            found.extend(Import(place, module, target, id(node) in nested, id(node) in type_only) for target in targets)
    return tuple(found)


def _inside(tree: ast.AST, outer: Callable[[ast.AST], bool]) -> set[int]:
    return {id(inner) for node in ast.walk(tree) if outer(node) for inner in ast.walk(node)}


def _targets(node: ast.AST, known: set[str], place: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, f"{place}: relative import"
    assert node.module is not None
    # `from flowkernel import workflow` imports the module flowkernel.workflow.
    return [full if (full := f"{node.module}.{alias.name}") in known else node.module for alias in node.names]


def graph(root: Path) -> dict[str, set[str]]:
    """Which module imports which when it is loaded."""
    edges: dict[str, set[str]] = {module: set() for module, _, _ in modules(root)}
    for found in imports(root):
        if found.target in edges and not found.nested and not found.type_only:
            edges[found.source].add(found.target)
    return edges


def reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting.extend(edges[module])
    return seen


def test_every_layer_is_in_the_table(root: Path) -> None:
    found = {layer(module) for module, _, _ in modules(root)} - {""}
    assert found <= set(ARROWS), f"say in ARROWS and docs/architecture.md what {sorted(found - set(ARROWS))} may import"


def test_arrows_point_one_way(root: Path) -> None:
    wrong = [
        f"{found.place}: {layer(found.source)} imports {found.target}"
        for found in imports(root)
        if layer(found.source)
        and layer(found.target)
        and layer(found.target) not in {layer(found.source), *ARROWS[layer(found.source)]}
        and not (found.type_only and (layer(found.source), layer(found.target)) in TYPE_ONLY)
    ]
    assert wrong == []


def test_the_table_has_no_cycles() -> None:
    done: set[str] = set(VALUES)
    left = {name: targets - VALUES for name, targets in ARROWS.items() if name not in VALUES}
    while left:
        free = {name for name, targets in left.items() if targets <= done}
        assert free, f"a cycle among {sorted(left)}"
        done |= free
        left = {name: targets for name, targets in left.items() if name not in free}


def test_edges_do_not_import_one_another() -> None:
    assert "headless" not in ARROWS["notebook"]
    assert "cli" not in ARROWS["notebook"] | ARROWS["headless"]
    assert "notebook" not in ARROWS["headless"] | ARROWS["cli"]


def test_pure_layers_touch_nothing(root: Path) -> None:
    wrong = [
        f"{found.place}: {found.target}"
        for found in imports(root)
        if layer(found.source) in PURE and (found.target in IMPURE_MODULES or found.target.split(".")[0] in IMPURE_MODULES)
    ]
    assert wrong == []


def test_imports_inside_functions_are_for_heavy_packages_only(root: Path) -> None:
    edges = graph(root)
    wrong = []
    for found in imports(root):
        if not found.nested or found.target.split(".")[0] in OPTIONAL:
            continue
        if found.source not in DEFERRING or found.target not in edges:
            wrong.append(f"{found.place}: {found.target}")
        elif found.source in reachable(edges, found.target):
            wrong.append(f"{found.place}: {found.target} hides a circle")
    assert wrong == []


def test_modules_do_not_import_one_another_in_a_circle(root: Path) -> None:
    edges = graph(root)
    assert [module for module in sorted(edges) if module in reachable(edges, module)] == []


def test_what_is_imported_is_declared(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=\[]", entry)[0].replace("-", "_").lower() for entry in project["dependencies"]}
    wrong = [
        f"{found.place}: {found.target}"
        for found in imports(root)
        if (name := found.target.split(".")[0]) != "flowkernel"
        and name not in sys.stdlib_module_names
        and name.lower() not in declared
        and name not in OPTIONAL
        and not (name == "pytest" and layer(found.source) == "testing")
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ["utils", "helpers", "misc"])
def test_no_module_for_whatever_is_left(root: Path, name: str) -> None:
    assert list(package(root).rglob(f"{name}.py")) == []
