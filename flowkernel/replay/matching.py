"""Comparing what the code asks for with what its history recorded.

One row per kind of command: the event that records it, what must be the same, and how both are called in messages. A new kind of
command is a new row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from flowkernel.model.commands import (
    CancelTimer,
    CancelWorkflowExecution,
    Command,
    CompleteWorkflowExecution,
    FailWorkflowExecution,
    RecordMarker,
    RequestCancelActivityTask,
    ScheduleActivityTask,
    StartTimer,
)
from flowkernel.model.events import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    Attributes,
    MarkerRecorded,
    TimerCanceled,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
)


class Recorded(NamedTuple):
    """How a kind of command appears in the history.

    Attributes:
        event: the class of the event that records it.
        key: what identifies it, of a command or of an event alike; equal keys match.
        words: the key in words.
    """

    event: type[Attributes]
    key: Callable[[Any], tuple[object, ...]]
    words: Callable[[Any], str]


def _nothing(_: Any) -> tuple[object, ...]:
    return ()


def _no_words(_: Any) -> str:
    return ""


def _activity(one: ScheduleActivityTask | ActivityTaskScheduled) -> tuple[object, ...]:
    return one.activity_type, one.activity_id


def _activity_words(one: ScheduleActivityTask | ActivityTaskScheduled) -> str:
    return f"activity {one.activity_type!r}, id {one.activity_id!r}"


def _scheduled(one: RequestCancelActivityTask | ActivityTaskCancelRequested) -> tuple[object, ...]:
    return (one.scheduled_event_id,)


def _scheduled_words(one: RequestCancelActivityTask | ActivityTaskCancelRequested) -> str:
    return f"the activity of event {one.scheduled_event_id}"


def _timer(one: StartTimer | CancelTimer | TimerStarted | TimerCanceled) -> tuple[object, ...]:
    return (one.timer_id,)


def _timer_words(one: StartTimer | CancelTimer | TimerStarted | TimerCanceled) -> str:
    return f"timer {one.timer_id!r}"


def _marker(one: RecordMarker | MarkerRecorded) -> tuple[object, ...]:
    return (one.marker_name,)


def _marker_words(one: RecordMarker | MarkerRecorded) -> str:
    return f"marker {one.marker_name!r}"


RECORDED_AS: dict[type[Command], Recorded] = {
    ScheduleActivityTask: Recorded(ActivityTaskScheduled, _activity, _activity_words),
    RequestCancelActivityTask: Recorded(ActivityTaskCancelRequested, _scheduled, _scheduled_words),
    StartTimer: Recorded(TimerStarted, _timer, _timer_words),
    CancelTimer: Recorded(TimerCanceled, _timer, _timer_words),
    RecordMarker: Recorded(MarkerRecorded, _marker, _marker_words),
    CompleteWorkflowExecution: Recorded(WorkflowExecutionCompleted, _nothing, _no_words),
    FailWorkflowExecution: Recorded(WorkflowExecutionFailed, _nothing, _no_words),
    CancelWorkflowExecution: Recorded(WorkflowExecutionCanceled, _nothing, _no_words),
}

COMMAND_EVENTS: dict[type[Attributes], Recorded] = {recorded.event: recorded for recorded in RECORDED_AS.values()}
"""The events that record a command."""


def matches(command: Command, attributes: Attributes) -> bool:
    """Whether this event records this command."""
    recorded = RECORDED_AS[type(command)]
    return recorded.event is type(attributes) and recorded.key(command) == recorded.key(attributes)


def _in_words(name: str, recorded: Recorded | None, one: Any) -> str:
    words = recorded.words(one) if recorded is not None else ""
    return f"{name} ({words})" if words else name


def command_in_words(command: Command) -> str:
    """For example ``ScheduleActivityTask (activity 'load', id '1')``."""
    return _in_words(type(command).__name__, RECORDED_AS[type(command)], command)


def event_in_words(attributes: Attributes) -> str:
    """For example ``ActivityTaskScheduled (activity 'load', id '1')``."""
    return _in_words(attributes.stored_name, COMMAND_EVENTS.get(type(attributes)), attributes)
