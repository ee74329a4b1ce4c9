"""Errors as a cell shows them: a few lines, the cell's own line among them, and a true ``error`` output.

IPython asks an exception for `_render_traceback_` before it formats one itself. The exception stays a real one: the cell fails,
`except` works, and a headless run sees it. (IPython's own `UsageError` is only printed, so that a headless run passes.)
"""

from __future__ import annotations

import asyncio
import builtins
import difflib
import keyword
from collections.abc import Iterable
from typing import TypeVar

from flowkernel.model.errors import FlowkernelError

__all__ = [
    "AwaitDetached",
    "CellNameError",
    "CellSyntaxError",
    "CommandError",
    "Detached",
    "InputError",
    "NotebookError",
    "UsageError",
    "nearest",
    "shortened",
]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was probably meant to be, if any is close."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def _shown(kind: str, text: str) -> list[str]:
    return [f"{kind}: {text}"]


class NotebookError(FlowkernelError):
    """Base of the errors that a cell shows in short. Nothing was started or written unless the text says so."""

    def _render_traceback_(self) -> list[str]:
        return _shown(type(self).__name__, str(self))


class UsageError(NotebookError):
    """A magic was written wrongly. Nothing was done.

    Args:
        problem: what is wrong, naming the option or word.
        command: the command whose ``--help`` explains it, for example ``%workflow list``.
        hint: a way out, if there is a better one than the help.
    """

    def __init__(self, problem: str, *, command: str = "%workflow", hint: str = "") -> None:
        way_out = f" {hint}" if hint else ""
        super().__init__(f"{problem}.{way_out} See {command} --help")
        self.problem = problem
        self.command = command


class CommandError(NotebookError):
    """A command was understood but could not be carried out; the text says why and what to do."""


class InputError(NotebookError, TypeError):
    """A value that the cell reads cannot become recorded input. Nothing was started.

    Args:
        name: the variable or argument.
        value: its value; only its type is shown.
        reason: the converter's own words.
    """

    def __init__(self, name: str, value: object, reason: str) -> None:
        kind = type(value)
        where = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        super().__init__(
            f"{name!r} is a {where}{kind.__qualname__}, which cannot be recorded as workflow input. Nothing was started. Let an "
            f"activity make it, from what can be recorded: a path, a query, plain rows. ({reason})"
        )
        self.name = name


class CellNameError(NotebookError, NameError):
    """The cell reads a name that neither it nor the notebook defines. Nothing was started.

    Args:
        name: the missing name.
        place: the cell as shown to its author, for example ``Cell In[3]``.
        line: line in the cell, from 1, the magic's own line included.
        text: that line.
        known: names that the notebook has, for the suggestion.
    """

    def __init__(self, name: str, place: str, line: int, text: str, known: Iterable[str]) -> None:
        candidates = {*known, *dir(builtins), *keyword.kwlist}
        close = nearest(name, (one for one in candidates if not one.startswith("_")))
        meant = f" Did you mean: {close!r}?" if close else ""
        super().__init__(f"name {name!r} is not defined.{meant}")
        self.name = name
        self.place = place
        self.line = line
        self.text = text

    def _render_traceback_(self) -> list[str]:
        shown = f"  {self.place}, line {self.line}\n    {self.text.strip()}"
        return [shown, f"NameError: {self}"]


class CellSyntaxError(NotebookError):
    """The cell's body is no Python, or Python that a workflow cannot have. Nothing was started.

    Not a `SyntaxError`: for those IPython shows the whole way from the magic to the compiler.

    Args:
        problem: what is wrong.
        place: the cell as shown to its author, for example ``Cell In[3]``.
        line: line in the cell, from 1, the magic's own line included.
        column: offset in that line, from 1; 0 if unknown.
        text: that line.
    """

    def __init__(self, problem: str, place: str, line: int, column: int, text: str) -> None:
        super().__init__(f"{problem} ({place}, line {line})")
        self.problem = problem
        self.place = place
        self.line = line
        self.column = column
        self.text = text

    def _render_traceback_(self) -> list[str]:
        stripped = self.text.lstrip()
        lines = [f"  {self.place}, line {self.line}", f"    {stripped.rstrip()}"]
        if self.column:
            lines.append(" " * (4 + max(0, self.column - 1 - (len(self.text) - len(stripped)))) + "^")
        return ["\n".join(lines), f"SyntaxError: {self.problem}"]


E = TypeVar("E", bound=BaseException)


def shortened(error: E, shown: list[str] | None = None) -> E:
    """Have a cell show an exception in short, whatever its class. `except` still catches it as what it is.

    Args:
        error: the exception; changed.
        shown: the lines to show; its class and text by default.
    """
    if not hasattr(error, "_render_traceback_"):
        lines = _shown(type(error).__name__, str(error)) if shown is None else shown
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    return error


class _Detaching(BaseException):
    """What both kinds of interrupted waiting say."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f'{workflow_id} goes on in the background. To stop it: %workflow cancel "{workflow_id}"')
        self.workflow_id = workflow_id

    def _render_traceback_(self) -> list[str]:
        return _shown("Detached", str(self))


class Detached(_Detaching, KeyboardInterrupt):
    """A blocking wait was interrupted; the execution goes on."""


class AwaitDetached(_Detaching, asyncio.CancelledError):
    """An ``await`` was interrupted; the execution goes on.

    It is a cancellation, not a `KeyboardInterrupt`: one that leaves a task would tear the kernel's event loop down.
    """
