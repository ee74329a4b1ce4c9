"""Folds: how each event and record changes the state of its run.

Recovery replays a run's rows through these functions; decisions apply what they write through the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from flowkernel.model import events as ev
from flowkernel.model import records as rec
from flowkernel.model.errors import EngineBug
from flowkernel.model.events import Event
from flowkernel.model.execution import (
    ActivityState,
    Execution,
    PendingActivity,
    PendingTimer,
    PendingWorkflowTask,
    WorkflowTaskState,
)
from flowkernel.model.ids import Instant, RunRef
from flowkernel.model.policies import WorkflowExecutionStatus
from flowkernel.model.records import Record

NO_TASK = PendingWorkflowTask()


def fold_run(ref: RunRef, entries: Iterable[Event | Record]) -> Execution:
    """Rebuild a run from its rows, in the order in which they were written.

    Raises:
        EngineBug: the rows do not begin with the run's start.
    """
    entries = iter(entries)
    first = next(entries, None)
    if not isinstance(first, Event) or not isinstance(first.attributes, ev.WorkflowExecutionStarted):
        raise EngineBug(f"{ref}: its history begins with {first}, not with WorkflowExecutionStarted")
    execution = begin(ref, first.attributes, first.event_time)
    fold_event(execution, first)
    for entry in entries:
        if isinstance(entry, Event):
            fold_event(execution, entry)
        else:
            fold_record(execution, entry)
    return execution


def begin(ref: RunRef, started: ev.WorkflowExecutionStarted, now: Instant) -> Execution:
    """The state of a run just before its first event."""
    limits = [limit for limit in (started.execution_expiration_time, _after(now, started.run_timeout)) if limit]
    return Execution(
        ref=ref,
        started=started,
        start_time=now,
        start_request_id=started.request_id,
        run_expiration_time=min(limits, default=0),
    )


def _after(now: Instant, duration: int) -> Instant:
    return now + duration if duration else 0


def fold_event(state: Execution, event: Event) -> None:
    """Change `state` by one event of the history."""
    state.next_event_id = event.event_id + 1
    if state.buffered and type(event.attributes) in _FROM_OUTSIDE:
        state.buffered = ()  # they are written together, so with the first one all get their place
    handler = _EVENTS.get(type(event.attributes))
    if handler is not None:
        handler(state, event, event.attributes)


def fold_record(state: Execution, record: Record) -> None:
    """Change `state` by one record."""
    handler = _RECORDS.get(type(record))
    if handler is not None:
        handler(state, record)


# --- the run --------------------------------------------------------------------------------------------------------


def _closed(status: WorkflowExecutionStatus) -> Callable[[Execution, Event, Any], None]:
    def fold(state: Execution, event: Event, _: Any) -> None:
        state.status = status
        state.close_time = event.event_time
        state.close_event = event
        state.workflow_task = NO_TASK
        state.buffered = ()
        state.activities = {}
        state.activity_ids = {}
        state.timers = {}

    return fold


def _signaled(state: Execution, _: Event, attributes: ev.WorkflowExecutionSignaled) -> None:
    if attributes.request_id:
        state.signal_request_ids |= {attributes.request_id}


def _cancel_requested(state: Execution, _: Event, __: ev.WorkflowExecutionCancelRequested) -> None:
    state.cancel_requested = True


# --- workflow tasks -------------------------------------------------------------------------------------------------


def _task_scheduled(state: Execution, event: Event, attributes: ev.WorkflowTaskScheduled) -> None:
    state.workflow_task = PendingWorkflowTask(WorkflowTaskState.SCHEDULED, event.event_id, event.event_time, attributes.attempt)


def _task_started(state: Execution, event: Event, attributes: ev.WorkflowTaskStarted) -> None:
    state.workflow_task = replace(
        state.workflow_task,
        state=WorkflowTaskState.STARTED,
        started_event_id=event.event_id,
        started_time=event.event_time,
        identity=attributes.identity,
    )


def _task_completed(state: Execution, _: Event, attributes: ev.WorkflowTaskCompleted) -> None:
    state.previous_started_event_id = attributes.started_event_id
    state.workflow_task = NO_TASK
    state.buffered = ()


def _task_failed(state: Execution, event: Event, attributes: ev.WorkflowTaskFailed | ev.WorkflowTaskTimedOut) -> None:
    """What follows is a repeated attempt, which has no events of its own unless it completes."""
    failure = attributes.failure if isinstance(attributes, ev.WorkflowTaskFailed) else None
    state.workflow_task = PendingWorkflowTask(
        WorkflowTaskState.SCHEDULED, event.event_id + 1, event.event_time, 2, last_failure=failure
    )
    state.buffered = ()


def _task_attempt_failed(state: Execution, record: rec.WorkflowTaskAttemptFailed) -> None:
    state.workflow_task = PendingWorkflowTask(
        WorkflowTaskState.BACKING_OFF if record.next_attempt_time > record.time else WorkflowTaskState.SCHEDULED,
        state.next_event_id,
        record.time,
        record.attempt + 1,
        next_attempt_time=record.next_attempt_time,
        last_failure=record.failure,
    )
    state.buffered = ()


# --- activities -----------------------------------------------------------------------------------------------------


def _activity_scheduled(state: Execution, event: Event, attributes: ev.ActivityTaskScheduled) -> None:
    state.own_activities()
    expiration = _after(event.event_time, attributes.schedule_to_close_timeout)
    state.activities[event.event_id] = PendingActivity(
        attributes,
        event.event_id,
        event.event_time,
        attempt_scheduled_time=event.event_time,
        expiration_time=expiration,
    )
    state.activity_ids[attributes.activity_id] = event.event_id


def _activity_closed(state: Execution, _: Event, attributes: Any) -> None:
    state.own_activities()
    pending = state.activities.pop(attributes.scheduled_event_id, None)
    if pending is not None:
        state.activity_ids.pop(pending.scheduled.activity_id, None)


def _activity_cancel_requested(state: Execution, event: Event, attributes: ev.ActivityTaskCancelRequested) -> None:
    state.own_activities()
    pending = state.activities.get(attributes.scheduled_event_id)
    if pending is not None:
        changed = replace(pending, cancel_requested_event_id=event.event_id)
        state.activities[attributes.scheduled_event_id] = changed


def _attempt_started(state: Execution, record: rec.ActivityAttemptStarted) -> None:
    state.own_activities()
    pending = state.activities.get(record.scheduled_event_id)
    if pending is not None:
        state.activities[record.scheduled_event_id] = replace(
            pending,
            state=ActivityState.STARTED,
            attempt=record.attempt,
            started_time=record.time,
            identity=record.identity,
            heartbeat_time=0,
        )


def _attempt_failed(state: Execution, record: rec.ActivityAttemptFailed) -> None:
    state.own_activities()
    pending = state.activities.get(record.scheduled_event_id)
    if pending is not None:
        waits = record.next_attempt_time > record.time
        state.activities[record.scheduled_event_id] = replace(
            pending,
            state=ActivityState.BACKING_OFF if waits else ActivityState.SCHEDULED,
            attempt=record.attempt + 1,
            attempt_scheduled_time=record.next_attempt_time,
            started_time=0,
            identity="",
            last_failure=record.failure,
            heartbeat_time=0,
        )


def _attempt_released(state: Execution, record: rec.ActivityAttemptReleased) -> None:
    state.own_activities()
    pending = state.activities.get(record.scheduled_event_id)
    if pending is not None:
        state.activities[record.scheduled_event_id] = replace(pending, state=ActivityState.RELEASED)


def _heartbeat(state: Execution, record: rec.ActivityHeartbeatRecorded) -> None:
    state.own_activities()
    pending = state.activities.get(record.scheduled_event_id)
    if pending is not None:
        state.activities[record.scheduled_event_id] = replace(
            pending, heartbeat_details=record.details, heartbeat_time=record.time
        )


# --- timers and buffered events -------------------------------------------------------------------------------------


def _timer_started(state: Execution, event: Event, attributes: ev.TimerStarted) -> None:
    state.own_timers()
    state.timers[attributes.timer_id] = PendingTimer(
        attributes.timer_id, event.event_id, event.event_time + attributes.start_to_fire_timeout, event.event_time
    )


def _timer_ended(state: Execution, _: Event, attributes: ev.TimerFired | ev.TimerCanceled) -> None:
    state.own_timers()
    state.timers.pop(attributes.timer_id, None)


def _buffered(state: Execution, record: rec.EventBuffered) -> None:
    """The event has happened, though it has no place yet: what it ends is no longer pending."""
    state.buffered = (*state.buffered, record.event)
    kind = type(record.event.attributes)
    if kind in _EFFECTS_WHILE_BUFFERED:
        _EVENTS[kind](state, record.event, record.event.attributes)


_EVENTS: dict[type[ev.Attributes], Callable[[Execution, Event, Any], None]] = {
    ev.WorkflowExecutionCompleted: _closed(WorkflowExecutionStatus.COMPLETED),
    ev.WorkflowExecutionFailed: _closed(WorkflowExecutionStatus.FAILED),
    ev.WorkflowExecutionTimedOut: _closed(WorkflowExecutionStatus.TIMED_OUT),
    ev.WorkflowExecutionCanceled: _closed(WorkflowExecutionStatus.CANCELED),
    ev.WorkflowExecutionTerminated: _closed(WorkflowExecutionStatus.TERMINATED),
    ev.WorkflowExecutionSignaled: _signaled,
    ev.WorkflowExecutionCancelRequested: _cancel_requested,
    ev.WorkflowTaskScheduled: _task_scheduled,
    ev.WorkflowTaskStarted: _task_started,
    ev.WorkflowTaskCompleted: _task_completed,
    ev.WorkflowTaskFailed: _task_failed,
    ev.WorkflowTaskTimedOut: _task_failed,
    ev.ActivityTaskScheduled: _activity_scheduled,
    ev.ActivityTaskCompleted: _activity_closed,
    ev.ActivityTaskFailed: _activity_closed,
    ev.ActivityTaskTimedOut: _activity_closed,
    ev.ActivityTaskCanceled: _activity_closed,
    ev.ActivityTaskCancelRequested: _activity_cancel_requested,
    ev.TimerStarted: _timer_started,
    ev.TimerFired: _timer_ended,
    ev.TimerCanceled: _timer_ended,
}

_FROM_OUTSIDE = frozenset(
    {
        ev.WorkflowExecutionSignaled,
        ev.WorkflowExecutionCancelRequested,
        ev.ActivityTaskStarted,
        ev.ActivityTaskTimedOut,
        ev.TimerFired,
    }
)
"""Events with which a group of buffered ones begins; no command writes them."""

_EFFECTS_WHILE_BUFFERED = frozenset(_EVENTS) - {
    kind for kind in _EVENTS if kind.__name__.startswith("WorkflowTask") or kind in ev.CLOSE_EVENTS
}

_RECORDS: dict[type[Any], Callable[[Execution, Any], None]] = {
    rec.ActivityAttemptStarted: _attempt_started,
    rec.ActivityAttemptFailed: _attempt_failed,
    rec.ActivityAttemptReleased: _attempt_released,
    rec.ActivityHeartbeatRecorded: _heartbeat,
    rec.EventBuffered: _buffered,
    rec.WorkflowTaskAttemptFailed: _task_attempt_failed,
}
