"""The state of one run, as the engine needs it to decide: derived from events and records, never stored.

An `Execution` is immutable in use: the engine works on a copy and hands the new one back in a `Transition`, so a commit
that fails leaves the old one true.
"""

from __future__ import annotations

import enum

import msgspec

from flowkernel.model.events import ActivityTaskScheduled, Event, WorkflowExecutionStarted
from flowkernel.model.failures import Failure
from flowkernel.model.ids import Duration, EventId, Instant, RunRef
from flowkernel.model.payloads import Payloads
from flowkernel.model.policies import WorkflowExecutionStatus


class WorkflowTaskState(enum.Enum):
    """Where the run's one workflow task stands."""

    NONE = "none"
    SCHEDULED = "scheduled"
    BACKING_OFF = "backing off"
    STARTED = "started"


class ActivityState(enum.Enum):
    """Where a pending activity stands."""

    SCHEDULED = "scheduled"
    STARTED = "started"
    BACKING_OFF = "backing off"
    RELEASED = "released"


class PendingWorkflowTask(msgspec.Struct, frozen=True, gc=False):
    """The run's workflow task. ``scheduled_event_id`` is 0 while there is none."""

    state: WorkflowTaskState = WorkflowTaskState.NONE
    scheduled_event_id: EventId = 0
    scheduled_time: Instant = 0
    attempt: int = 1
    started_event_id: EventId = 0
    started_time: Instant = 0
    identity: str = ""
    next_attempt_time: Instant = 0
    last_failure: Failure | None = None

    @property
    def transient(self) -> bool:
        """Whether this is a repeated attempt, whose events are only written if it completes."""
        return self.attempt > 1


class PendingActivity(msgspec.Struct, frozen=True, gc=False):
    """An activity between its scheduled event and the event that ends it."""

    scheduled: ActivityTaskScheduled
    scheduled_event_id: EventId
    scheduled_time: Instant
    state: ActivityState = ActivityState.SCHEDULED
    attempt: int = 1
    attempt_scheduled_time: Instant = 0
    started_time: Instant = 0
    identity: str = ""
    last_failure: Failure | None = None
    heartbeat_details: Payloads = ()
    heartbeat_time: Instant = 0
    cancel_requested_event_id: EventId = 0
    expiration_time: Instant = 0

    @property
    def cancel_requested(self) -> bool:
        """Whether the workflow asked for cancellation."""
        return self.cancel_requested_event_id != 0


class PendingTimer(msgspec.Struct, frozen=True, gc=False):
    """A timer that has not fired."""

    timer_id: str
    started_event_id: EventId
    fire_time: Instant
    started_time: Instant = 0


class Execution(msgspec.Struct):
    """One run as the engine sees it.

    A copy shares its dicts with the execution that it was made from, until it owns them: call `own_activities` or `own_timers`
    before a change.
    """

    ref: RunRef
    started: WorkflowExecutionStarted
    start_time: Instant
    next_event_id: EventId = 1
    status: WorkflowExecutionStatus = WorkflowExecutionStatus.RUNNING
    close_time: Instant = 0
    close_event: Event | None = None
    workflow_task: PendingWorkflowTask = PendingWorkflowTask()
    previous_started_event_id: EventId = 0
    activities: dict[EventId, PendingActivity] = {}
    activity_ids: dict[str, EventId] = {}
    timers: dict[str, PendingTimer] = {}
    buffered: tuple[Event, ...] = ()
    cancel_requested: bool = False
    signal_request_ids: frozenset[str] = frozenset()
    start_request_id: str = ""
    run_expiration_time: Instant = 0
    borrows_activities: bool = False
    borrows_timers: bool = False

    @property
    def open(self) -> bool:
        """Whether the run can still get events."""
        return self.status is WorkflowExecutionStatus.RUNNING

    def own_activities(self) -> None:
        """Copy the activities if they are shared with another execution."""
        if self.borrows_activities:
            self.activities = self.activities.copy()
            self.activity_ids = self.activity_ids.copy()
            self.borrows_activities = False

    def own_timers(self) -> None:
        """Copy the timers if they are shared with another execution."""
        if self.borrows_timers:
            self.timers = self.timers.copy()
            self.borrows_timers = False

    @property
    def task_timeout(self) -> Duration:
        """How long a worker may hold a workflow task."""
        return self.started.task_timeout
