"""A decision in the making: a private copy of the execution, and what has been decided so far.

Handlers add events and records; each is folded into the copy at once, by the very function that rebuilds executions from the
database, so what a decision sees and what recovery sees cannot differ.

Events that arrive while a worker holds the workflow task must not get an id yet: the worker's answer comes first in the
history. They are kept in `Execution.buffered` and made durable as `EventBuffered` records; `flush` gives them their place.
"""

from __future__ import annotations

from typing import cast

from msgspec.structs import replace

from flowkernel.engine.fold import fold_event, fold_record
from flowkernel.model.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    Event,
    EventAttributes,
    UserMetadata,
)
from flowkernel.model.execution import Execution, WorkflowTaskState
from flowkernel.model.ids import EventId, Instant
from flowkernel.model.records import EventBuffered, Record
from flowkernel.model.tasks import Deadline, ReadyTask
from flowkernel.model.transition import Transition

ACTIVITY_CLOSE = (ActivityTaskCompleted, ActivityTaskFailed, ActivityTaskTimedOut, ActivityTaskCanceled)


class Draft:
    """Collects one decision. `news` says that the history has something which the code has not seen."""

    __slots__ = ("deadlines", "events", "news", "now", "ready", "records", "state")

    def __init__(self, execution: Execution, now: Instant) -> None:
        self.state = state = replace(execution)
        state.borrows_activities = state.borrows_timers = True
        self.now = now
        self.events: list[Event] = []
        self.records: list[Record] = []
        self.ready: list[ReadyTask] = []
        self.deadlines: list[Deadline] = []
        self.news = False

    def append(
        self, attributes: EventAttributes, user_metadata: UserMetadata | None = None, *, time: Instant | None = None
    ) -> EventId:
        """Add an event to the history and return its id."""
        event_id = self.state.next_event_id
        event = Event(event_id, self.now if time is None else time, attributes, user_metadata)
        self.events.append(event)
        fold_event(self.state, event)
        return event_id

    def happen(self, *happened: EventAttributes) -> None:
        """Add events that came from outside the workflow's code, buffering them while a worker holds the workflow task."""
        if self.state.workflow_task.state is WorkflowTaskState.STARTED:
            for attributes in happened:
                self.record(EventBuffered(self.now, Event(0, self.now, attributes)))
            return
        self.news = True
        previous = 0
        for attributes in happened:
            previous = self.append(_with_started(attributes, previous))

    def flush(self) -> None:
        """Give buffered events their place in the history."""
        buffered = self.state.buffered
        if not buffered:
            return
        self.news = True
        self.state.buffered = ()
        previous = 0
        for event in buffered:
            previous = self.append(_with_started(event.attributes, previous), event.user_metadata, time=event.event_time)

    def record(self, record: Record) -> None:
        """Add a fact beside the history."""
        self.records.append(record)
        fold_record(self.state, record)

    def transition(self) -> Transition:
        """What has been decided."""
        self.state.borrows_activities = self.state.borrows_timers = False
        return Transition(
            self.state.ref,
            tuple(self.events),
            tuple(self.records),
            self.state,
            tuple(self.ready),
            tuple(self.deadlines),
        )


def _with_started(attributes: EventAttributes, started: EventId) -> EventAttributes:
    """Point the end of an activity at its started event, which comes right before it and only now has an id."""
    if started and isinstance(attributes, ACTIVITY_CLOSE) and not attributes.started_event_id:
        return cast(EventAttributes, replace(attributes, started_event_id=started))
    return attributes
