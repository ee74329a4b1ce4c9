"""Commands: what workflow code asks for when it is activated."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from flowkernel.model.events import UserMetadata
from flowkernel.model.failures import Failure
from flowkernel.model.ids import Duration, EventId
from flowkernel.model.payloads import Header, Payloads
from flowkernel.model.policies import Priority, RetryPolicy


class ScheduleActivityTask(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Run an activity. Either ``schedule_to_close_timeout`` or ``start_to_close_timeout`` is set."""

    activity_id: str
    activity_type: str
    task_queue: str
    input: Payloads = ()
    schedule_to_close_timeout: Duration = 0
    schedule_to_start_timeout: Duration = 0
    start_to_close_timeout: Duration = 0
    heartbeat_timeout: Duration = 0
    retry_policy: RetryPolicy | None = None
    header: Header = {}
    priority: Priority = Priority()
    user_metadata: UserMetadata | None = None


class RequestCancelActivityTask(msgspec.Struct, frozen=True, gc=False):
    """Ask a running activity to cancel."""

    scheduled_event_id: EventId


class StartTimer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Wake the code after ``start_to_fire_timeout``."""

    timer_id: str
    start_to_fire_timeout: Duration
    user_metadata: UserMetadata | None = None


class CancelTimer(msgspec.Struct, frozen=True, gc=False):
    """Forget a timer."""

    timer_id: str


class RecordMarker(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Write something into the history for later replays."""

    marker_name: str
    details: dict[str, Payloads] = {}
    header: Header = {}
    failure: Failure | None = None


class CompleteWorkflowExecution(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """End the run with a result."""

    result: Payloads = ()


class FailWorkflowExecution(msgspec.Struct, frozen=True, gc=False):
    """End the run with a failure."""

    failure: Failure


class CancelWorkflowExecution(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """End the run as cancelled."""

    details: Payloads = ()


Command: TypeAlias = (
    ScheduleActivityTask
    | RequestCancelActivityTask
    | StartTimer
    | CancelTimer
    | RecordMarker
    | CompleteWorkflowExecution
    | FailWorkflowExecution
    | CancelWorkflowExecution
)
