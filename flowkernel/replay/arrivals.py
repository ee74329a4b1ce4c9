"""What a history brings to the code: read event by event, kept until the workflow task in which the code sees it.

Reading marks timers as fired and activities as ended at once, so that code which cancels them in the very same activation asks
for nothing; telling the code waits for its turn. Signals are told first, whatever their place among the other events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from flowkernel.model.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    Attributes,
    Event,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
)
from flowkernel.replay.activities import ActivityOutcome

if TYPE_CHECKING:
    from flowkernel.replay.runtime import WorkflowRuntime


class Arrivals:
    """What arrived since the code last ran. ``others`` holds calls: a function and its arguments."""

    __slots__ = ("others", "signals")

    def __init__(self) -> None:
        self.signals: list[WorkflowExecutionSignaled] = []
        self.others: list[tuple[Callable[..., None], tuple[Any, ...]]] = []


def _execution_started(runtime: WorkflowRuntime, event: Event, arrivals: Arrivals) -> None:  # noqa: ARG001 - as in the table
    attributes = cast(WorkflowExecutionStarted, event.attributes)
    runtime.started = attributes
    runtime.task_queue = attributes.task_queue
    runtime.workflow_start_time = event.event_time


def _signaled(runtime: WorkflowRuntime, event: Event, arrivals: Arrivals) -> None:  # noqa: ARG001
    arrivals.signals.append(cast(WorkflowExecutionSignaled, event.attributes))


def _cancel_requested(runtime: WorkflowRuntime, event: Event, arrivals: Arrivals) -> None:
    arrivals.others.append((_cancel_run, (runtime, cast(WorkflowExecutionCancelRequested, event.attributes).cause)))


def _cancel_run(runtime: WorkflowRuntime, reason: str) -> None:
    runtime.cancel_reason = reason
    if runtime.run_task is not None:
        # Not at once: the run method may not have begun, and it shall be able to catch the cancellation.
        runtime.loop.call_soon(runtime.run_task.cancel)


def _activity_scheduled(runtime: WorkflowRuntime, event: Event, arrivals: Arrivals) -> None:  # noqa: ARG001
    runtime.activities.recorded(cast(ActivityTaskScheduled, event.attributes).activity_id, event.event_id)


def _activity_ended(runtime: WorkflowRuntime, event: Event, arrivals: Arrivals) -> None:
    attributes = cast("ActivityOutcome", event.attributes)
    handle = runtime.activities.ended(attributes)
    if handle is not None:
        arrivals.others.append((runtime.activities.resolve, (handle, attributes)))


def _timer_started(runtime: WorkflowRuntime, event: Event, arrivals: Arrivals) -> None:  # noqa: ARG001
    runtime.timers.recorded(cast(TimerStarted, event.attributes).timer_id)


def _timer_fired(runtime: WorkflowRuntime, event: Event, arrivals: Arrivals) -> None:
    timer = runtime.timers.fired(cast(TimerFired, event.attributes).timer_id)
    if timer is not None:
        arrivals.others.append((runtime.timers.fire, (timer,)))


READERS: dict[type[Attributes], Callable[[WorkflowRuntime, Event, Arrivals], None]] = {
    ActivityTaskCanceled: _activity_ended,
    ActivityTaskCompleted: _activity_ended,
    ActivityTaskFailed: _activity_ended,
    ActivityTaskScheduled: _activity_scheduled,
    ActivityTaskTimedOut: _activity_ended,
    TimerFired: _timer_fired,
    TimerStarted: _timer_started,
    WorkflowExecutionCancelRequested: _cancel_requested,
    WorkflowExecutionSignaled: _signaled,
    WorkflowExecutionStarted: _execution_started,
}
"""What each kind of event means for the code. Kinds that are not listed mean nothing to it."""
