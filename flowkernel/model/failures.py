"""Failures: an exception as data, in the shape of Temporal's ``Failure`` message."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from flowkernel.model.ids import Duration, EventId
from flowkernel.model.payloads import Payload, Payloads


class TimeoutType(enum.IntEnum):
    """Which clock ran out. Values are Temporal's."""

    UNSPECIFIED = 0
    START_TO_CLOSE = 1
    SCHEDULE_TO_START = 2
    SCHEDULE_TO_CLOSE = 3
    HEARTBEAT = 4


class RetryState(enum.IntEnum):
    """Why an activity or workflow was not tried again. Values are Temporal's."""

    UNSPECIFIED = 0
    IN_PROGRESS = 1
    NON_RETRYABLE_FAILURE = 2
    TIMEOUT = 3
    MAXIMUM_ATTEMPTS_REACHED = 4
    RETRY_POLICY_NOT_SET = 5
    INTERNAL_SERVER_ERROR = 6
    CANCEL_REQUESTED = 7


class ErrorCategory(enum.IntEnum):
    """How much noise an application failure deserves. Values are Temporal's."""

    UNSPECIFIED = 0
    BENIGN = 1


class ApplicationFailure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag_field="kind", tag="application"):
    """Raised by the author's code. ``type`` is what retry policies match on."""

    type: str = ""
    non_retryable: bool = False
    details: Payloads = ()
    next_retry_delay: Duration | None = None
    category: ErrorCategory = ErrorCategory.UNSPECIFIED


class TimeoutFailure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag_field="kind", tag="timeout"):
    """A timeout; carries the last heartbeat so that work done is not lost."""

    timeout_type: TimeoutType
    last_heartbeat_details: Payloads = ()


class CanceledFailure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag_field="kind", tag="canceled"):
    """The work was cancelled at somebody's request."""

    details: Payloads = ()


class TerminatedFailure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag_field="kind", tag="terminated"):
    """The run was terminated from outside."""


class ServerFailure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag_field="kind", tag="server"):
    """The service itself failed."""

    non_retryable: bool = False


class ActivityFailure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag_field="kind", tag="activity"):
    """Wraps the failure of an activity, as the workflow sees it."""

    scheduled_event_id: EventId
    started_event_id: EventId
    identity: str
    activity_type: str
    activity_id: str
    retry_state: RetryState


class ChildWorkflowFailure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag_field="kind", tag="child_workflow"):
    """Wraps the failure of a child workflow, as the parent sees it."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    initiated_event_id: EventId
    started_event_id: EventId
    retry_state: RetryState


FailureInfo: TypeAlias = (
    ApplicationFailure
    | TimeoutFailure
    | CanceledFailure
    | TerminatedFailure
    | ServerFailure
    | ActivityFailure
    | ChildWorkflowFailure
)


class Failure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An exception as data: message, where it was raised, what kind, and the failure that caused it."""

    message: str = ""
    info: FailureInfo | None = None
    cause: Failure | None = None
    stack_trace: str = ""
    source: str = "flowkernel"
    encoded_attributes: Payload | None = None
