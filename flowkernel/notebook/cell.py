"""From a cell's text to a workflow: compile the body, and take from the notebook what it reads.

A statement cell is compiled as *module* code, not as the body of a function, and each run gets a namespace of its own. So the
body means what it would mean in an ordinary cell: functions see names that are assigned later, ``global`` and ``import *`` work,
and a name that is read first and assigned later starts with the notebook's value. Nothing that the code assigns outlives the run,
which is what replay needs.

Line numbers are the cell's own, the magic's line included, so that tracebacks and ``inspect.getsource`` show the cell.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import logging
import re
import types
import typing
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from flowkernel.notebook.errors import CellNameError, CellSyntaxError
from flowkernel.notebook.scope import FreeName, free_names

__all__ = [
    "Captured",
    "CellProgram",
    "CellSource",
    "capture",
    "compile_cell",
    "compile_class_cell",
    "is_class_cell",
    "parse_cell",
    "type_hint",
]

RESULT_NAME = "_flowkernel_result"
_MAGIC_START = re.compile(r"\s*(?P<sign>%%?|!!?|\?\??)\s*[\w.\-/]")
_MAGIC_ASSIGNED = re.compile(r"[^=!<>]=\s*(?P<sign>%|!)\s*[\w.\-/]")
_MAGIC_HELP = re.compile(r"\w(?P<sign>\?\??)\s*$")
_REFERENCE_TYPES = (types.ModuleType, types.UnionType, types.GenericAlias, typing.TypeVar, logging.Logger, re.Pattern)


@dataclass(frozen=True)
class CellSource:
    """The text of a cell, and where its author sees it.

    Attributes:
        body: the text after the magic's line.
        filename: the name to compile under; tracebacks and the debugger find the cell by it.
        place: the cell as shown to its author, for example ``Cell In[3]``.
        first_line: line of the cell at which the body starts, from 1; 2 when the magic is the first line.
    """

    body: str
    filename: str = "<cell>"
    place: str = "Cell"
    first_line: int = 2

    def line(self, number: int) -> str:
        """The text of a line of the cell, without its end; empty if the body has no such line."""
        lines = self.body.splitlines()
        index = number - self.first_line
        return lines[index] if 0 <= index < len(lines) else ""

    def padded(self) -> str:
        """The body, moved down to the cell's own line numbers."""
        return "\n" * (self.first_line - 1) + self.body


@dataclass(frozen=True)
class Captured:
    """What a cell takes from the notebook.

    Attributes:
        references: activities, functions, classes, modules and other callables; the run uses the very objects.
        data: values that become recorded input, by name, in the order in which they are recorded.
    """

    references: Mapping[str, object]
    data: Mapping[str, object]


@dataclass(frozen=True)
class CellProgram:
    """A statement cell, compiled.

    Attributes:
        source: where it came from.
        code: module code that leaves the value of the last expression under `RESULT_NAME`.
        reads: names that it reads from outside.
        normalised: the body without comments and layout.
    """

    source: CellSource
    code: types.CodeType
    reads: tuple[FreeName, ...]
    normalised: str

    def versioned_source(self, references: Iterable[str]) -> str:
        """The text whose hash names this version of the code: the normalised body, and the names used by reference."""
        return "\n".join([self.normalised, *(f"# by reference: {name}" for name in sorted(references))])

    async def run(self, references: Mapping[str, object], values: Mapping[str, object]) -> Any:
        """Run the body once, in a namespace of its own.

        Returns:
            The value of the last expression; None if the body ends with a statement.
        """
        namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, **references, **values}
        outcome = eval(self.code, namespace)  # noqa: S307  (the author's own cell)
        if self.code.co_flags & inspect.CO_COROUTINE:
            await cast("Awaitable[Any]", outcome)
        return namespace.get(RESULT_NAME)


def parse_cell(source: CellSource, flags: int = 0) -> ast.Module:
    """Parse a cell's body.

    Args:
        flags: compiler flags in force in the notebook (``from __future__`` imports).
    Raises:
        CellSyntaxError: it is no Python, or uses IPython's magics or shell syntax, which a workflow cannot have.
    """
    try:
        tree = compile(
            source.padded(),
            source.filename,
            "exec",
            flags | ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
    except SyntaxError as error:
        raise _magic_error(source) or _syntax_error(source, error) from None
    except ValueError as error:  # null bytes
        raise CellSyntaxError(str(error), source.place, source.first_line, 0, source.line(source.first_line)) from None
    return cast(ast.Module, tree)


def is_class_cell(tree: ast.Module) -> bool:
    """Whether the body defines a workflow class (``@workflow.defn``), rather than being the workflow itself."""
    return any(_is_defn(decorator) for node in tree.body if isinstance(node, ast.ClassDef) for decorator in node.decorator_list)


def _is_defn(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(target, ast.Attribute) and target.attr == "defn") or (isinstance(target, ast.Name) and target.id == "defn")


def compile_cell(source: CellSource, tree: ast.Module, flags: int = 0) -> CellProgram:
    """Compile a statement cell.

    Args:
        source: the cell.
        tree: what `parse_cell` made of it; not changed.
        flags: as for `parse_cell`.
    Raises:
        CellSyntaxError: for example a ``return``, which a cell cannot have.
    """
    normalised = ast.unparse(tree)
    reads = free_names(tree)
    body = list(tree.body)
    if body and isinstance(body[-1], ast.Expr):
        last = body[-1]
        assigned = ast.Assign(targets=[ast.Name(RESULT_NAME, ast.Store())], value=last.value)
        body[-1] = ast.fix_missing_locations(ast.copy_location(assigned, last))
    module = ast.Module(body=body, type_ignores=[])
    try:
        code = compile(module, source.filename, "exec", flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        raise _syntax_error(source, error) from None
    return CellProgram(source, code, reads, normalised)


def compile_class_cell(source: CellSource, tree: ast.Module, flags: int = 0) -> types.CodeType:
    """Compile a cell that defines a workflow class, to be run in the notebook itself.

    Raises:
        CellSyntaxError: for example an ``await`` outside of a function.
    """
    try:
        return compile(tree, source.filename, "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        raise _syntax_error(source, error) from None


def _syntax_error(source: CellSource, error: SyntaxError) -> CellSyntaxError:
    line = error.lineno or source.first_line
    problem = error.msg
    if problem == "'return' outside function":
        problem += ". A workflow cell has none: the value of its last expression is the result"
    # Python reports an unexpected end one line after the last.
    text = source.line(line) or (error.text or "").rstrip("\n")
    return CellSyntaxError(problem, source.place, line, error.offset or 0, text)


def _magic_error(source: CellSource) -> CellSyntaxError | None:
    for index, text in enumerate(source.body.splitlines()):
        found = _MAGIC_START.match(text) or _MAGIC_ASSIGNED.search(text) or _MAGIC_HELP.search(text)
        if found is not None and not _parses(text):
            what = {"%": "a magic", "!": "a shell command", "?": "IPython's help"}[found["sign"][0]]
            problem = f"a workflow cell cannot use {what}. It is recorded and replayed: do this in an activity or in another cell"
            line = source.first_line + index
            return CellSyntaxError(problem, source.place, line, found.start("sign") + 1, text)
    return None


def _parses(line: str) -> bool:
    try:
        ast.parse(line.strip())
    except (SyntaxError, ValueError):
        return False
    return True


def capture(program: CellProgram, notebook: Mapping[str, object]) -> Captured:
    """Take what a cell reads from the notebook's names.

    Args:
        program: the compiled cell.
        notebook: the notebook's variables.
    Returns:
        References and data; data sorted by name.
    Raises:
        CellNameError: a name that the cell needs is neither there nor a builtin.
    """
    references: dict[str, object] = {}
    data: dict[str, object] = {}
    for read in sorted(program.reads, key=lambda read: (read.line, read.column)):
        if read.name in notebook:
            value = notebook[read.name]
            (references if _is_reference(value) else data)[read.name] = value
        elif read.required and not hasattr(builtins, read.name):
            source = program.source
            raise CellNameError(read.name, source.place, read.line, source.line(read.line), notebook)
    return Captured(dict(sorted(references.items())), dict(sorted(data.items())))


def _is_reference(value: object) -> bool:
    if isinstance(value, _REFERENCE_TYPES) or callable(value):
        return True
    # Policies and timeouts: settings of this package, no data of the author's.
    return type(value).__module__.partition(".")[0] in {"flowkernel", "typing"}


_JSON_TYPES = (str, int, float, bool, type(None))


def type_hint(value: object) -> Any:
    """The type as which a recorded value is read back, so that it comes back as it was.

    Lists and the values of dicts take their elements' type along when it is the same for all.
    """
    kind = cast("type[Any]", type(value))
    generic: Any = kind
    if kind in _JSON_TYPES:
        return kind
    if kind in (list, set, frozenset):
        element = _common_hint(list(cast("Iterable[object]", value)))
        return generic[element] if element is not None else kind
    if kind is dict:
        mapping = cast("dict[object, object]", value)
        keys, values = _common_hint(list(mapping)), _common_hint(list(mapping.values()))
        return dict[keys or Any, values or Any] if mapping else kind  # type: ignore[misc]
    if kind is tuple:
        elements = cast("tuple[object, ...]", value)
        return tuple[tuple(type_hint(element) for element in elements)] if elements else kind  # type: ignore[misc]
    return kind


def _common_hint(values: Sequence[object]) -> Any:
    hints: list[Any] = []
    for value in values:
        hint = type_hint(value)
        if hint not in hints:
            hints.append(hint)
        if len(hints) > 1:
            return None
    return hints[0] if hints else None
