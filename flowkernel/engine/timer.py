"""The timer machine.

A timer is ticking from its command until it fires or is cancelled; afterwards it is not kept, so its id may be used again.
"""

from __future__ import annotations

from flowkernel.engine.bad_command import BadCommand
from flowkernel.engine.draft import Draft
from flowkernel.model.commands import CancelTimer, StartTimer
from flowkernel.model.events import TimerCanceled, TimerFired, TimerStarted
from flowkernel.model.ids import EventId
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.tasks import Deadline, DeadlineKind


def start(draft: Draft, command: StartTimer, completed: EventId) -> None:
    """The code asks to be woken.

    Raises:
        BadCommand: the id is ticking already, or the time is negative.
    """
    if command.timer_id in draft.state.timers:
        raise BadCommand(WorkflowTaskFailedCause.START_TIMER_DUPLICATE_ID, f"timer {command.timer_id!r} is already ticking")
    if not command.timer_id or command.start_to_fire_timeout < 0:
        raise BadCommand(
            WorkflowTaskFailedCause.BAD_START_TIMER_ATTRIBUTES, f"timer {command.timer_id!r}: needs an id and a time ≥ 0"
        )
    event_id = draft.append(TimerStarted(command.timer_id, command.start_to_fire_timeout, completed), command.user_metadata)
    draft.deadlines.append(Deadline(draft.state.timers[command.timer_id].fire_time, DeadlineKind.TIMER, event_id))


def fire(draft: Draft, deadline: Deadline) -> None:
    """The time has come, unless the timer was cancelled."""
    for timer in draft.state.timers.values():
        if timer.started_event_id == deadline.key:
            draft.happen(TimerFired(timer.timer_id, timer.started_event_id))
            return


def cancel(draft: Draft, command: CancelTimer, completed: EventId) -> None:
    """The code no longer wants to be woken. A fired event that it has not seen yet is dropped.

    Raises:
        BadCommand: there is no such timer.
    """
    state = draft.state
    timer = state.timers.get(command.timer_id)
    if timer is not None:
        started_event_id = timer.started_event_id
    else:
        for event in state.buffered:
            if isinstance(event.attributes, TimerFired) and event.attributes.timer_id == command.timer_id:
                started_event_id = event.attributes.started_event_id
                state.buffered = tuple(other for other in state.buffered if other is not event)
                break
        else:
            raise BadCommand(WorkflowTaskFailedCause.BAD_CANCEL_TIMER_ATTRIBUTES, f"timer {command.timer_id!r} is not ticking")
    draft.append(TimerCanceled(command.timer_id, started_event_id, completed, state.workflow_task.identity))
