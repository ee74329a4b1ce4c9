"""Exceptions that authors raise and catch, with the names and meaning of Temporal's Python SDK.

A `FailureError` can cross processes: a failure converter turns it into a `flowkernel.model.failures.Failure` and back. Any other
exception becomes an `ApplicationError` on the way. ``CancelledError`` and ``TimeoutError`` here are neither asyncio's nor the
built-in ones; `is_cancelled_exception` knows all kinds of cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from flowkernel.model.errors import FlowkernelError
from flowkernel.model.failures import ErrorCategory, Failure, RetryState, TimeoutType

__all__ = [
    "ActivityError",
    "ApplicationError",
    "ApplicationErrorCategory",
    "CancelledError",
    "ChildWorkflowError",
    "FailureError",
    "FlowkernelError",
    "RetryState",
    "ServerError",
    "TemporalError",
    "TerminatedError",
    "TimeoutError",
    "TimeoutType",
    "WorkflowAlreadyStartedError",
    "is_cancelled_exception",
]

ApplicationErrorCategory = ErrorCategory
"""How much noise an `ApplicationError` deserves: ``BENIGN`` ones are logged at debug level."""


class TemporalError(FlowkernelError):
    """Base of the exceptions that mirror Temporal's."""

    @property
    def cause(self) -> BaseException | None:
        """What led to this error: its ``__cause__``."""
        return self.__cause__


class FailureError(TemporalError):
    """An error that fails a workflow or an activity, and that survives the way through a history.

    Args:
        message: what happened, without the type.
        failure: the recorded failure that this error was made from. It is used again, unchanged, when the error is recorded.
        exc_args: what ``args``, and so ``str``, show; the message if not given.
    """

    def __init__(self, message: str, *, failure: Failure | None = None, exc_args: tuple[Any, ...] | None = None) -> None:
        super().__init__(*((message,) if exc_args is None else exc_args))
        self._message = message
        self._failure = failure

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with `args`, which does not suit keyword-only parameters; errors must reach the parent of a
        # worker process whole.
        return _unpickle, (type(self), self.args, self.__dict__)

    @property
    def message(self) -> str:
        """What happened, without the type."""
        return self._message

    @property
    def failure(self) -> Failure | None:
        """The recorded failure that this error was made from, with its stack trace; None for an error raised here."""
        return self._failure


def _unpickle(kind: type[FailureError], args: tuple[Any, ...], state: dict[str, Any]) -> FailureError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class WorkflowAlreadyStartedError(FailureError):
    """A start was refused because an execution has this id.

    Attributes:
        workflow_id: the id that is taken.
        workflow_type: the type of the workflow that was to be started.
        run_id: the run that has the id, if known.
        first_run_id: the first run of its chain, if known.
    """

    def __init__(
        self, workflow_id: str, workflow_type: str, *, run_id: str | None = None, first_run_id: str | None = None
    ) -> None:
        super().__init__("Workflow execution already started")
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.run_id = run_id
        self.first_run_id = first_run_id

    def because(self, why: str) -> WorkflowAlreadyStartedError:
        """The same error, whose text says what stands in the way and the way out."""
        self.args = (f"{self.message}: {why}",)
        return self


class ApplicationError(FailureError):
    """Raised by the author's code to fail an activity or a workflow.

    Args:
        message: what happened.
        details: values for whoever catches it; converted like arguments.
        type: what ``RetryPolicy.non_retryable_error_types`` is compared with.
        non_retryable: True forbids another attempt, whatever the retry policy says.
        next_retry_delay: until the next attempt, in place of the retry policy's interval.
        category: ``BENIGN`` for errors that are part of the plan.
    """

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str | None = None,  # noqa: A002 - the SDK's name
        non_retryable: bool = False,
        next_retry_delay: timedelta | None = None,
        category: ApplicationErrorCategory = ApplicationErrorCategory.UNSPECIFIED,
    ) -> None:
        super().__init__(message, exc_args=(f"{type}: {message}" if type else message,))
        self._details = details
        self._type = type
        self._non_retryable = non_retryable
        self._next_retry_delay = next_retry_delay
        self._category = category

    @property
    def details(self) -> Sequence[Any]:
        """Values that came with the error."""
        return self._details

    @property
    def type(self) -> str | None:
        """What retry policies match on; for an error made from another exception, the name of its class."""
        return self._type

    @property
    def non_retryable(self) -> bool:
        """Whether the error itself forbids another attempt. A retry policy may forbid it too."""
        return self._non_retryable

    @property
    def next_retry_delay(self) -> timedelta | None:
        """Until the next attempt, in place of the retry policy's interval."""
        return self._next_retry_delay

    @property
    def category(self) -> ApplicationErrorCategory:
        """How much noise it deserves."""
        return self._category


class CancelledError(FailureError):
    """Work was cancelled at somebody's request. Not ``asyncio.CancelledError``.

    Args:
        message: shown with it.
        details: values for whoever catches it.
    """

    def __init__(self, message: str = "Cancelled", *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """Values that came with the cancellation."""
        return self._details


class TerminatedError(FailureError):
    """A workflow was terminated from outside; none of its code ran for it."""

    def __init__(self, message: str, *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """Values that came with the termination."""
        return self._details


class TimeoutError(FailureError):  # noqa: A001 - the SDK's name
    """A workflow or an activity took too long. Not the built-in ``TimeoutError``."""

    def __init__(self, message: str, *, type: TimeoutType | None, last_heartbeat_details: Sequence[Any]) -> None:  # noqa: A002
        super().__init__(message)
        self._type = type
        self._last_heartbeat_details = last_heartbeat_details

    @property
    def type(self) -> TimeoutType | None:
        """Which timeout passed."""
        return self._type

    @property
    def last_heartbeat_details(self) -> Sequence[Any]:
        """What the activity last reported with its heartbeat."""
        return self._last_heartbeat_details


class ServerError(FailureError):
    """The service failed, not the author's code."""

    def __init__(self, message: str, *, non_retryable: bool = False) -> None:
        super().__init__(message)
        self._non_retryable = non_retryable

    @property
    def non_retryable(self) -> bool:
        """Whether it forbids another attempt."""
        return self._non_retryable


class ActivityError(FailureError):
    """An activity failed for good, as the workflow sees it. `cause` says why."""

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int,
        started_event_id: int,
        identity: str,
        activity_type: str,
        activity_id: str,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._scheduled_event_id = scheduled_event_id
        self._started_event_id = started_event_id
        self._identity = identity
        self._activity_type = activity_type
        self._activity_id = activity_id
        self._retry_state = retry_state

    @property
    def scheduled_event_id(self) -> int:
        """The event that scheduled the activity."""
        return self._scheduled_event_id

    @property
    def started_event_id(self) -> int:
        """The event of its last attempt's start."""
        return self._started_event_id

    @property
    def identity(self) -> str:
        """The worker that ran it."""
        return self._identity

    @property
    def activity_type(self) -> str:
        """The activity's name."""
        return self._activity_type

    @property
    def activity_id(self) -> str:
        """This execution of the activity."""
        return self._activity_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why it was not tried again."""
        return self._retry_state


class ChildWorkflowError(FailureError):
    """A child workflow failed, as its parent sees it. `cause` says why."""

    def __init__(
        self,
        message: str,
        *,
        namespace: str,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
        initiated_event_id: int,
        started_event_id: int,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._namespace = namespace
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._workflow_type = workflow_type
        self._initiated_event_id = initiated_event_id
        self._started_event_id = started_event_id
        self._retry_state = retry_state

    @property
    def namespace(self) -> str:
        """The child's namespace."""
        return self._namespace

    @property
    def workflow_id(self) -> str:
        """The child's workflow id."""
        return self._workflow_id

    @property
    def run_id(self) -> str:
        """The child's run."""
        return self._run_id

    @property
    def workflow_type(self) -> str:
        """The child's workflow type."""
        return self._workflow_type

    @property
    def initiated_event_id(self) -> int:
        """The parent's event that asked for the child."""
        return self._initiated_event_id

    @property
    def started_event_id(self) -> int:
        """The parent's event that recorded the child's start."""
        return self._started_event_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why it was not tried again."""
        return self._retry_state


def is_cancelled_exception(exception: BaseException) -> bool:
    """Whether an exception means that something was cancelled.

    True for asyncio's cancellation, for `CancelledError`, and for an activity or child workflow whose cause is one.
    """
    if isinstance(exception, ActivityError | ChildWorkflowError):
        return isinstance(exception.cause, CancelledError)
    return isinstance(exception, asyncio.CancelledError | CancelledError)
