"""Errors that clients see."""

from __future__ import annotations

from flowkernel.exceptions import TemporalError
from flowkernel.model.errors import RPCError, RPCStatusCode
from flowkernel.model.policies import WorkflowExecutionStatus

__all__ = [
    "AsyncActivityCancelledError",
    "RPCError",
    "RPCStatusCode",
    "WorkflowFailureError",
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
]


class WorkflowFailureError(TemporalError):
    """The workflow did not complete. ``cause`` says why: it failed, was cancelled or terminated, or timed out."""

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__("Workflow execution failed")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        """Why it did not complete."""
        assert self.__cause__ is not None
        return self.__cause__


class WorkflowQueryRejectedError(TemporalError):
    """The query's reject condition applies to the execution's status."""

    def __init__(self, status: WorkflowExecutionStatus) -> None:
        super().__init__(f"Query rejected, workflow status: {status.name}")
        self.status = status


class WorkflowQueryFailedError(TemporalError):
    """The workflow's query handler raised, or there is none."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AsyncActivityCancelledError(TemporalError):
    """A heartbeat found that the activity should stop."""

    def __init__(self, details: object = None) -> None:
        super().__init__("Activity cancelled")
        self.details = details
