"""A failed execution as a cell shows it: the chain of failures, each with the author's lines where it was raised."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from flowkernel.client import WorkflowFailureError
from flowkernel.exceptions import FailureError
from flowkernel.model.failures import ActivityFailure, ApplicationFailure, Failure

__all__ = ["PlaceOf", "SuspendedError", "WorkflowFailed"]

PlaceOf = Callable[[str], str | None]
"""What the author calls a file, for example ``Cell In[3]``; None for a file that is no cell."""

_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_LIBRARY = re.compile(r"site-packages|dist-packages|[/\\]lib[/\\]python3|^<frozen|[/\\]flowkernel[/\\]")
_SHOWN_FRAMES = 3


class WorkflowFailed(WorkflowFailureError):
    """An execution ended other than by returning a result; `cause` says how.

    Args:
        workflow_id: which execution.
        cause: the failure, as the client raises it.
        place_of: names the cells of stack traces.
    """

    def __init__(self, workflow_id: str, cause: BaseException, place_of: PlaceOf = lambda _file: None) -> None:
        super().__init__(cause=cause)
        self.workflow_id = workflow_id
        self._place_of = place_of

    def __str__(self) -> str:
        deepest = list(_chain(self.cause))[-1]
        return f"{self.workflow_id} {_ending(self.cause)}: {_in_words(deepest)}"

    def _render_traceback_(self) -> list[str]:
        shown = [f"WorkflowFailed: {self.workflow_id} {_ending(self.cause)}"]
        for depth, error in enumerate(_chain(self.cause)):
            indent = "  " * (depth + 1)
            shown.append(indent + _in_words(error))
            failure = error.failure if isinstance(error, FailureError) else None
            shown += [f"{indent}    {line}" for line in author_lines(failure.stack_trace if failure else "", self._place_of)]
        shown.append(f'The whole story: %workflow history "{self.workflow_id}"')
        return ["\n".join(shown)]


class SuspendedError(WorkflowFailureError):
    """Waiting ended because the workflow's code fails: it is tried again, but only better code helps. Nothing is lost.

    Args:
        workflow_id: which execution.
        summary: what its code raised, in a line.
        where: the author's line, if known.
    """

    def __init__(self, workflow_id: str, summary: str, where: str) -> None:
        super().__init__(cause=RuntimeError(summary))
        self.workflow_id = workflow_id
        self._text = (
            f"{workflow_id} is suspended: its code raised {summary}{f' ({where})' if where else ''}. "
            f"Fix the code, run its cell again, and it carries on from here."
        )

    def __str__(self) -> str:
        return self._text

    def _render_traceback_(self) -> list[str]:
        return [f"SuspendedError: {self._text}"]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _ending(cause: BaseException | None) -> str:
    kind = type(cause).__name__
    return {"CancelledError": "was cancelled", "TerminatedError": "was terminated", "TimeoutError": "timed out"}.get(
        kind, "failed"
    )


def _in_words(error: BaseException) -> str:
    failure: Failure | None = error.failure if isinstance(error, FailureError) else None
    info = failure.info if failure is not None else None
    if isinstance(info, ActivityFailure):
        ended = info.retry_state.name.lower().replace("_", " ")
        return f"activity {info.activity_type} failed ({ended})"
    if isinstance(info, ApplicationFailure) and failure is not None and info.type:
        return f"{info.type}: {failure.message}"
    return f"{type(error).__name__}: {error}"


def author_lines(trace: str, place_of: PlaceOf) -> list[str]:
    """The last few lines of a stack trace that are the author's, each with its code."""
    found: list[str] = []
    lines = trace.splitlines()
    for index, line in enumerate(lines):
        frame: Any = _FRAME.match(line)
        if frame is None or _LIBRARY.search(frame["file"]):
            continue
        place = place_of(frame["file"]) or frame["file"]
        function = f" in {frame['function']}" if frame["function"] and frame["function"] != "<module>" else ""
        code = lines[index + 1].strip() if index + 1 < len(lines) and not _FRAME.match(lines[index + 1]) else ""
        found.append(f"{place}, line {frame['line']}{function}{f': {code}' if code else ''}")
    return found[-_SHOWN_FRAMES:]
