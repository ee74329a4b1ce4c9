"""What a history says, apart from times, attempts, ids and who did it: what two runs of one program have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowkernel.model import events as ev
from flowkernel.model.events import Event
from flowkernel.model.failures import ActivityFailure, ApplicationFailure, Failure, RetryState, TimeoutFailure

Line = tuple[Any, ...]


def failure_in_short(failure: Failure | None) -> Line:
    """Kind, message and causes; what an attempt's number or a lost worker may change is left out."""
    if failure is None:
        return ()
    info = failure.info
    kind: Line = (type(info).__name__,)
    if isinstance(info, ApplicationFailure):
        kind = ("application", info.type, info.non_retryable)
    elif isinstance(info, TimeoutFailure):
        kind = ("timeout", info.timeout_type.name)
    elif isinstance(info, ActivityFailure):
        kind = ("activity", info.activity_id, info.retry_state.name)
    return (*kind, failure.message, *failure_in_short(failure.cause))


def outline(history: Sequence[Event], *, tasks: bool) -> list[Line]:
    """One line for each event.

    Args:
        tasks: with the events of workflow tasks. How news is grouped into tasks depends on when they arrive.
    """
    names: dict[int, str] = {}
    lines: list[Line] = []
    for event in history:
        attributes = event.attributes
        kind = event.stored_name
        if isinstance(attributes, ev.ActivityTaskScheduled):
            names[event.event_id] = attributes.activity_id
            lines.append((kind, attributes.activity_id, attributes.activity_type, attributes.input))
        elif isinstance(attributes, ev.TimerStarted):
            lines.append((kind, attributes.timer_id, attributes.start_to_fire_timeout))
        elif isinstance(attributes, (ev.TimerFired, ev.TimerCanceled)):
            lines.append((kind, attributes.timer_id))
        elif isinstance(attributes, ev.WorkflowExecutionSignaled):
            lines.append((kind, attributes.signal_name, attributes.input))
        elif isinstance(attributes, ev.MarkerRecorded):
            lines.append((kind, attributes.marker_name))
        elif kind.startswith("ActivityTask"):
            name = names[attributes.scheduled_event_id]  # type: ignore[union-attr]
            lines.append((kind, name, *_outcome(attributes)))
        elif kind.startswith("WorkflowTask"):
            if tasks:
                lines.append((kind, *_outcome(attributes)))
        else:
            lines.append((kind, *_outcome(attributes)))
    return _cancelled_alike(lines)


def _outcome(attributes: Any) -> Line:
    result = getattr(attributes, "result", ())
    failure = failure_in_short(getattr(attributes, "failure", None))
    cause = getattr(attributes, "cause", None)
    state = getattr(attributes, "retry_state", None)
    return (result, failure, cause, state)


def _cancelled_alike(lines: list[Line]) -> list[Line]:
    """An activity that was asked to cancel ends the same way whether it gave in, was never begun, or lost its worker."""
    gone = {line[1] for line in lines if line[0] == "ActivityTaskCanceled"}
    gone |= {line[1] for line in lines if line[0] == "ActivityTaskTimedOut" and line[-1] is RetryState.CANCEL_REQUESTED}
    alike: list[Line] = []
    for line in lines:
        if line[0] in ("ActivityTaskCanceled", "ActivityTaskTimedOut") and line[1] in gone:
            alike.append(("ActivityTaskCanceled", line[1]))
        elif not (line[0] == "ActivityTaskStarted" and line[1] in gone):
            alike.append(line)
    return alike


def by_name(history: Sequence[Event]) -> dict[Any, list[Line]]:
    """The same lines, sorted by what they are about: for programs in which several things go on at once."""
    about: dict[Any, list[Line]] = {}
    for line in outline(history, tasks=False):
        kind = line[0]
        key = (kind[:5], line[1]) if kind.startswith(("Activity", "Timer")) else kind
        about.setdefault(key, []).append(line)
    return about
