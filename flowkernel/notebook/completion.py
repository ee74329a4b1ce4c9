"""Tab completion on the magics' lines: subcommands, options, workflow ids, signal and query names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias, cast

from IPython.core import completer
from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult

from flowkernel.notebook.commands import COMMANDS

__all__ = ["CompletionSource", "candidates", "make_matcher"]

_Matcher: TypeAlias = Callable[[CompletionContext], SimpleMatcherResult]
_context_matcher = cast("Callable[..., Callable[[_Matcher], _Matcher]]", getattr(completer, "context_matcher"))  # noqa: B009 (it has no types)
_LINE = re.compile(r"\s*(?:\w+\s*=\s*)?%workflow(?:\s+(?P<words>.*))?$", re.DOTALL)
_CELL = re.compile(r"\s*%%workflow\s+(?P<words>[^\n]*)$")
_EXECUTION_COMMANDS = frozenset(COMMANDS) - {"list"}


class CompletionSource(Protocol):
    """Where the names come from. Must be quick and must not raise."""

    def workflow_ids(self) -> Iterable[str]:
        """Ids of executions."""
        ...

    def handler_names(self, execution: str, kind: str) -> Iterable[str]:
        """Names of an execution's handlers; the kind is ``signal`` or ``query``."""
        ...

    def cell_options(self) -> Iterable[str]:
        """Options of the cell magic."""
        ...


def candidates(source: CompletionSource, before: str) -> tuple[str, list[str]] | None:
    """What can stand at the cursor.

    Args:
        source: where names come from.
        before: the text before the cursor.
    Returns:
        The piece of the word that is there already, and the words that begin with it; None if this is not one of our lines.
    """
    cell, line = _CELL.match(before), _LINE.match(before)
    if cell is not None:
        fragment = _last_word(cell["words"])
        return fragment, _beginning(fragment, source.cell_options() if fragment.startswith("-") else ())
    if line is None:
        return None
    text = line["words"] or ""
    fragment = _last_word(text)
    words = text[: len(text) - len(fragment)].split()
    if not words:
        return fragment, _beginning(fragment, COMMANDS)
    command = COMMANDS.get(words[0])
    if command is None:
        return fragment, []
    if fragment.startswith("-"):
        return fragment, _beginning(fragment, command.parser().option_names)
    position = len([word for word in words[1:] if not word.startswith("-")])
    if position == 0 and command.name in _EXECUTION_COMMANDS:
        return fragment, _beginning(fragment, source.workflow_ids())
    if position == 1 and command.name in {"signal", "query"}:
        return fragment, _beginning(fragment, source.handler_names(words[1], command.name))
    return fragment, []


def _last_word(text: str) -> str:
    return "" if not text or text[-1].isspace() else text.rsplit(maxsplit=1)[-1]


def _beginning(fragment: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(fragment)})


def make_matcher(source: CompletionSource) -> _Matcher:
    """A matcher for ``ip.Completer.custom_matchers``."""

    @_context_matcher(identifier="flowkernel")
    def complete_workflow(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")
        before = "\n".join([*lines[: context.cursor_line], lines[context.cursor_line][: context.cursor_position]])
        found: Any = candidates(source, before if before.lstrip().startswith("%%") else before.rpartition("\n")[2])
        if found is None:
            return {"completions": []}
        fragment, words = found
        # Python's and the file system's suggestions make no sense on these lines.
        completions = [SimpleCompletion(text=word, type="flowkernel") for word in words]
        return {"completions": completions, "matched_fragment": fragment, "suppress": bool(words)}

    return complete_workflow
