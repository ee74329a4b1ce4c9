"""What can go wrong while workflow code is run or replayed.

Whose fault: `NondeterminismError`, `WorkflowCodeError` and `ReadOnlyContextError` are the workflow code's;
`UnsupportedInWorkflow` too, and names the way out; `OutdatedInstance` says that the worker's cached instance does not fit the
history any more.
Nothing was written for any of them.
"""

from __future__ import annotations

from flowkernel.model.errors import FlowkernelError
from flowkernel.model.ids import EventId, RunRef


class ReplayError(FlowkernelError):
    """Base of the errors of running workflow code."""


class NondeterminismError(ReplayError):
    """The code asks for something else than its history recorded.

    Args:
        run: whose history.
        event_id: the first event that differs; 0 when the history ends before what the code asks for.
        recorded: what the history holds there.
        asked: what the code asks for now.
        where: the author's line, or an empty text when it is not known.
    """

    def __init__(self, run: RunRef, event_id: EventId, recorded: str, asked: str, where: str = "") -> None:
        place = f" at {where}" if where else ""
        recorded_part = f"event {event_id} recorded {recorded}" if event_id else f"the history recorded {recorded}"
        super().__init__(
            f"workflow {run.workflow_id!r}: {recorded_part}, but the code{place} now asks for {asked}. Bring back the code that "
            f"made this history and the run carries on, or terminate it and start it anew with the new code."
        )
        self.run = run
        self.event_id = event_id
        self.recorded = recorded
        self.asked = asked
        self.where = where


class WorkflowCodeError(ReplayError):
    """Workflow code raised something that is no failure, so the workflow task fails and the execution waits for better code.

    The original exception is ``__cause__``.

    Args:
        run: whose code.
        error: what it raised.
        where: the author's line, or an empty text when it is not known.
    """

    def __init__(self, run: RunRef, error: BaseException, where: str = "") -> None:
        place = f" ({where})" if where else ""
        super().__init__(
            f"workflow {run.workflow_id!r}: its code raised {type(error).__name__}: {str(error).rstrip('.')}{place}. "
            f"The execution is suspended, not failed: mend the code and it carries on."
        )
        self.run = run
        self.where = where
        self.__cause__ = error


class OutdatedInstance(ReplayError):
    """A cached instance answered a task that did not complete. Drop it and replay the whole history."""

    def __init__(self, run: RunRef, event_id: EventId, happened: str) -> None:
        super().__init__(
            f"workflow {run.workflow_id!r}: event {event_id} ({happened}) does not continue what this instance has seen. "
            f"Drop it and activate a new one with the history from event 1."
        )


class ReadOnlyContextError(ReplayError):
    """A query handler tried to change the workflow."""

    def __init__(self, attempted: str) -> None:
        super().__init__(f"cannot {attempted} in a query handler: it may look at the workflow, not change it")


class NotInWorkflowError(ReplayError, RuntimeError):
    """Something that only works in workflow code was called elsewhere."""

    def __init__(self) -> None:
        super().__init__("not in workflow code: call this inside a workflow's run method or one of its handlers")


class UnsupportedInWorkflow(ReplayError, NotImplementedError, RuntimeError):
    """Workflow code tried something with an effect outside of its history, which a replay could not repeat."""

    def __init__(self, attempted: str) -> None:
        super().__init__(
            f"{attempted} is not possible in workflow code, because a replay could not repeat it. "
            f"Put it into an activity and await that."
        )


class EvictedError(BaseException):
    """Ends code that still runs while its instance is torn down. Not an `Exception`, so that authors do not catch it."""

    def __init__(self, attempted: str) -> None:
        super().__init__(f"the workflow is being evicted from the worker's cache; ignored: {attempted}")
