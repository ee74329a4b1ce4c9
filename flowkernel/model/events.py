"""Events: the facts of a run's history, with Temporal's names, order and meaning.

Each class is one event type; its name is the stored name and never changes. New fields get defaults, so that histories
written earlier stay readable.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from flowkernel.model.failures import Failure, RetryState
from flowkernel.model.ids import SECOND, Duration, EventId, Instant, RunId, WorkflowId
from flowkernel.model.payloads import Header, Payload, Payloads
from flowkernel.model.policies import Priority, RetryPolicy, WorkflowTaskFailedCause


class Attributes(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is common to all events' attributes: a name under which they are stored."""

    @property
    def stored_name(self) -> str:
        """The event type's name, for example ``ActivityTaskScheduled``."""
        return type(self).__name__


# --- the run --------------------------------------------------------------------------------------------------------


class WorkflowExecutionStarted(Attributes, frozen=True, omit_defaults=True, gc=False):
    """A run began. Always event 1."""

    workflow_type: str
    workflow_id: WorkflowId
    task_queue: str
    input: Payloads = ()
    execution_timeout: Duration = 0
    run_timeout: Duration = 0
    task_timeout: Duration = 10 * SECOND
    execution_expiration_time: Instant = 0
    identity: str = ""
    original_execution_run_id: RunId = RunId("")
    first_execution_run_id: RunId = RunId("")
    attempt: int = 1
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    header: Header = {}
    priority: Priority = Priority()
    request_id: str = ""


class WorkflowExecutionCompleted(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The workflow's code returned."""

    result: Payloads = ()
    workflow_task_completed_event_id: EventId = 0


class WorkflowExecutionFailed(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The workflow's code raised a failure."""

    failure: Failure
    retry_state: RetryState = RetryState.RETRY_POLICY_NOT_SET
    workflow_task_completed_event_id: EventId = 0


class WorkflowExecutionTimedOut(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The run or execution timeout passed. No workflow code ran for it."""

    retry_state: RetryState = RetryState.TIMEOUT


class WorkflowExecutionCanceled(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The code let a requested cancellation end it."""

    details: Payloads = ()
    workflow_task_completed_event_id: EventId = 0


class WorkflowExecutionTerminated(Attributes, frozen=True, omit_defaults=True, gc=False):
    """Somebody ended the run from outside, without asking its code."""

    reason: str = ""
    details: Payloads = ()
    identity: str = ""


class WorkflowExecutionCancelRequested(Attributes, frozen=True, omit_defaults=True, gc=False):
    """Somebody asked the run to cancel itself."""

    cause: str = ""
    identity: str = ""
    request_id: str = ""


class WorkflowExecutionSignaled(Attributes, frozen=True, omit_defaults=True, gc=False):
    """A signal arrived."""

    signal_name: str
    input: Payloads = ()
    identity: str = ""
    header: Header = {}
    request_id: str = ""


# --- workflow tasks -------------------------------------------------------------------------------------------------


class WorkflowTaskScheduled(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The code has something new to look at."""

    task_queue: str
    start_to_close_timeout: Duration = 10 * SECOND
    attempt: int = 1


class WorkflowTaskStarted(Attributes, frozen=True, omit_defaults=True, gc=False):
    """A worker took the task. Its time is the workflow's ``now()``."""

    scheduled_event_id: EventId
    identity: str = ""
    request_id: str = ""
    history_size_bytes: int = 0
    suggest_continue_as_new: bool = False


class WorkflowTaskCompleted(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The code ran until it had to wait; the events of its commands follow."""

    scheduled_event_id: EventId
    started_event_id: EventId
    identity: str = ""
    definition: str = ""


class WorkflowTaskTimedOut(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The worker did not answer in time."""

    scheduled_event_id: EventId
    started_event_id: EventId


class WorkflowTaskFailed(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The code could not be run: a bug in it, or it no longer fits its history."""

    scheduled_event_id: EventId
    started_event_id: EventId
    cause: WorkflowTaskFailedCause
    failure: Failure | None = None
    identity: str = ""


# --- activities -----------------------------------------------------------------------------------------------------


class ActivityTaskScheduled(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The code asked for an activity."""

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
    workflow_task_completed_event_id: EventId = 0


class ActivityTaskStarted(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The last attempt began. Written together with the activity's end, so retries leave no events."""

    scheduled_event_id: EventId
    identity: str = ""
    attempt: int = 1
    last_failure: Failure | None = None


class ActivityTaskCompleted(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The activity returned."""

    scheduled_event_id: EventId
    started_event_id: EventId
    result: Payloads = ()
    identity: str = ""


class ActivityTaskFailed(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The activity failed for good."""

    scheduled_event_id: EventId
    started_event_id: EventId
    failure: Failure
    retry_state: RetryState
    identity: str = ""


class ActivityTaskTimedOut(Attributes, frozen=True, omit_defaults=True, gc=False):
    """One of the activity's timeouts passed for good."""

    scheduled_event_id: EventId
    started_event_id: EventId
    failure: Failure
    retry_state: RetryState


class ActivityTaskCancelRequested(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The code asked to cancel an activity."""

    scheduled_event_id: EventId
    workflow_task_completed_event_id: EventId = 0


class ActivityTaskCanceled(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The activity ended by a requested cancellation."""

    scheduled_event_id: EventId
    started_event_id: EventId
    latest_cancel_requested_event_id: EventId = 0
    details: Payloads = ()
    identity: str = ""


# --- timers and markers ---------------------------------------------------------------------------------------------


class TimerStarted(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The code asked to be woken."""

    timer_id: str
    start_to_fire_timeout: Duration
    workflow_task_completed_event_id: EventId = 0


class TimerFired(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The time came."""

    timer_id: str
    started_event_id: EventId


class TimerCanceled(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The code no longer wants to be woken."""

    timer_id: str
    started_event_id: EventId
    workflow_task_completed_event_id: EventId = 0
    identity: str = ""


class MarkerRecorded(Attributes, frozen=True, omit_defaults=True, gc=False):
    """The worker noted something for later replays."""

    marker_name: str
    details: dict[str, Payloads] = {}
    workflow_task_completed_event_id: EventId = 0
    header: Header = {}
    failure: Failure | None = None


EventAttributes: TypeAlias = (
    WorkflowExecutionStarted
    | WorkflowExecutionCompleted
    | WorkflowExecutionFailed
    | WorkflowExecutionTimedOut
    | WorkflowExecutionCanceled
    | WorkflowExecutionTerminated
    | WorkflowExecutionCancelRequested
    | WorkflowExecutionSignaled
    | WorkflowTaskScheduled
    | WorkflowTaskStarted
    | WorkflowTaskCompleted
    | WorkflowTaskTimedOut
    | WorkflowTaskFailed
    | ActivityTaskScheduled
    | ActivityTaskStarted
    | ActivityTaskCompleted
    | ActivityTaskFailed
    | ActivityTaskTimedOut
    | ActivityTaskCancelRequested
    | ActivityTaskCanceled
    | TimerStarted
    | TimerFired
    | TimerCanceled
    | MarkerRecorded
)

CLOSE_EVENTS: frozenset[type[Attributes]] = frozenset(
    {
        WorkflowExecutionCompleted,
        WorkflowExecutionFailed,
        WorkflowExecutionTimedOut,
        WorkflowExecutionCanceled,
        WorkflowExecutionTerminated,
    }
)
"""The events that end a run."""


class UserMetadata(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Words for people, shown by screens: a one-line summary and longer details."""

    summary: Payload | None = None
    details: Payload | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One fact of a history: its place, its time and what happened."""

    event_id: EventId
    event_time: Instant
    attributes: EventAttributes
    user_metadata: UserMetadata | None = None

    @property
    def stored_name(self) -> str:
        """The event type's name, for example ``ActivityTaskScheduled``."""
        return type(self.attributes).__name__

    def __str__(self) -> str:
        return f"event {self.event_id} {self.stored_name}"
