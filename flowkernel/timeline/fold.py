"""From history to `Timeline`: a pure fold.

`TimelineFold` takes events and records as they become durable and keeps what it has learnt, so that a screen that refreshes ten
times a second pays for what is new and for what is open, not for the whole history. `fold` does it all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from flowkernel.model.events import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    Event,
    MarkerRecorded,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
from flowkernel.model.ids import MILLISECOND, EventId, Instant, RunRef
from flowkernel.model.records import EventBuffered, Record, WorkflowTaskAttemptFailed
from flowkernel.timeline.model import Bar, Mark, Problem, Segment, State, Status, Timeline
from flowkernel.timeline.preview import NAME_LIMIT, arguments, one_line, preview, problem
from flowkernel.timeline.steps import ActivityStep, Clock, TimerStep, summary_of
from flowkernel.timeline.tasks import TASK_EVENTS, WorkflowTasks
from flowkernel.timeline.words import how_it_ended, why_it_waits

__all__ = ["TimelineFold", "fold"]

_ENDED: dict[type[Any], Status] = {
    WorkflowExecutionCompleted: "completed",
    WorkflowExecutionFailed: "failed",
    WorkflowExecutionTimedOut: "timed out",
    WorkflowExecutionCanceled: "canceled",
    WorkflowExecutionTerminated: "terminated",
}
_ACTIVITY_ENDED: dict[type[Any], State] = {
    ActivityTaskCompleted: "completed",
    ActivityTaskFailed: "failed",
    ActivityTaskTimedOut: "timed out",
    ActivityTaskCanceled: "canceled",
}
_TIMER_ENDED: dict[type[Any], State] = {TimerFired: "fired", TimerCanceled: "canceled"}
_MARK_KINDS = (WorkflowExecutionSignaled, WorkflowExecutionCancelRequested, MarkerRecorded)


def fold(
    run: RunRef, events: Sequence[Event], records: Sequence[Record], now: Instant, *, has_worker: bool | None = None
) -> Timeline:
    """Make the view of a run from its whole history.

    Args:
        run: which run; the history need not have begun.
        events: from event 1 on, in order; may stop anywhere.
        records: the records beside them, in order.
        now: what open bars grow to.
        has_worker: whether a worker has the workflow's code; None if that is not known.
    """
    folding = TimelineFold(run)
    folding.add(events, records)
    return folding.view(now, has_worker=has_worker)


class TimelineFold:
    """A history on its way to a `Timeline`. Not thread-safe; raises nothing for an incomplete history."""

    def __init__(self, run: RunRef) -> None:
        """Begin the view of ``run``."""
        self.run = run
        self._clock = Clock(0)
        self._started: WorkflowExecutionStarted | None = None
        self._summary = ""
        self._latest: Instant = 0
        self._length: EventId = 0
        self._tasks = WorkflowTasks()
        self._steps: dict[EventId, ActivityStep | TimerStep] = {}
        self._early: dict[EventId, list[Record]] = {}
        self._marks: list[Mark] = []
        self._buffered: list[tuple[Instant, Event]] = []
        self._cancel: tuple[Instant, str] | None = None
        self._closed: Event | None = None
        self._inputs: tuple[str, ...] = ()

    def add(self, events: Sequence[Event], records: Sequence[Record] = ()) -> None:
        """Take in what one or more commits added. Every event and record must be handed in once."""
        for event in events:
            self._length = max(self._length, event.event_id)
            self._apply(event)
        for record in records:
            self._record(record)

    def view(self, now: Instant, *, has_worker: bool | None = None) -> Timeline:
        """The timeline as it is at ``now`` (or at the latest event, should that be later)."""
        if self._started is None:
            self._clock.start = self._latest or now
        clock, closed = self._clock, self._closed
        now = max(now, self._latest)
        ended = closed.event_time if closed else 0
        at, end = clock.at(now), clock.at(ended) if closed else None
        steps = [self._bar(step, now, ended) for step in self._steps.values()]
        code = self._tasks.code(clock, has_worker) if not closed else self._tasks.idle(has_worker)
        status: Status = _ENDED[type(closed.attributes)] if closed else "suspended" if code.state == "failing" else "running"
        failure = _failure(closed)
        started = self._started
        queue = one_line(started.task_queue, NAME_LIMIT) if started else ""
        kind = one_line(started.workflow_type, NAME_LIMIT) if started else ""
        cancel_at = clock.at(self._cancel[0]) if self._cancel else None
        reason = self._cancel[1] if self._cancel else ""
        expires = self._expires()
        result = _result(closed)
        run_bar = Bar(
            "run", "run", kind or "workflow", status, 0.0, end, kind, self._summary, queue, self._phases(status, end),
            inputs=self._inputs, result=result, problem=failure or code.problem, event_id=1, due=expires if not closed else None,
        )  # fmt: skip
        waiting = outcome = ""
        if closed:
            outcome = how_it_ended(status, failure, steps, _reason(closed))
        else:
            waiting = why_it_waits(
                code, steps, at, workflow_type=kind, task_queue=queue,
                cancel_requested_at=cancel_at, cancel_reason=reason, expires=expires,
            )  # fmt: skip
        return Timeline(
            namespace=one_line(self.run.namespace, NAME_LIMIT),
            workflow_id=one_line(self.run.workflow_id, NAME_LIMIT),
            run_id=one_line(self.run.run_id, NAME_LIMIT),
            workflow_type=kind,
            task_queue=queue,
            status=status,
            start_time=round(clock.start / MILLISECOND, 3),
            now=at,
            end=end,
            waiting=waiting,
            outcome=outcome,
            bars=(run_bar, *steps),
            marks=self._all_marks(),
            code=code,
            inputs=self._inputs,
            result=result,
            problem=failure or code.problem,
            summary=self._summary,
            expires=expires,
            attempt=started.attempt if started else 1,
            history_length=self._length,
            cancel_requested_at=cancel_at,
            cancel_reason=reason,
        )

    def _bar(self, step: ActivityStep | TimerStep, now: Instant, ended: Instant) -> Bar:
        return step.bar(self._clock, ended) if isinstance(step, TimerStep) else step.bar(self._clock, now, ended)

    def _phases(self, status: Status, end: float | None) -> tuple[Segment, ...]:
        """The run's own bar: stretches in which its code worked, and in which it failed."""
        segments: list[Segment] = []
        cursor = 0.0
        for begun, over, failed in self._tasks.failing_stretches(self._clock):
            if begun > cursor:
                segments.append(Segment("code", "running", cursor, begun))
            stop = end if over is None else over
            segments.append(Segment("code", "suspended", max(begun, cursor), stop, problem=failed))
            cursor = cursor if stop is None else max(stop, cursor)
            if over is None:
                return tuple(segments)
        segments.append(Segment("code", status, cursor, None if end is None else max(end, cursor)))
        return tuple(segments)

    def _expires(self) -> float | None:
        started = self._started
        if started is None:
            return None
        ends = [self._clock.start + started.run_timeout] if started.run_timeout else []
        if started.execution_expiration_time:
            ends.append(started.execution_expiration_time)
        return self._clock.at(min(ends)) if ends else None

    def _all_marks(self) -> tuple[Mark, ...]:
        flushed = self._tasks.last_end
        held = [
            mark for time, event in self._buffered if time > flushed and (mark := self._mark(event, f"held-{time}")) is not None
        ]
        marks = [*self._marks, *self._tasks.marks(self._clock), *held]
        return tuple(sorted(marks, key=lambda mark: mark.at))

    # --- taking in ---

    def _apply(self, event: Event) -> None:
        self._latest = max(self._latest, event.event_time)
        attributes = event.attributes
        kind = type(attributes)
        if kind in TASK_EVENTS:
            self._tasks.apply(event)
        elif kind in _ACTIVITY_ENDED or kind in _TIMER_ENDED:
            self._end_step(event, attributes)
        elif kind in _ENDED:
            self._closed = event
        elif isinstance(attributes, _MARK_KINDS):
            if isinstance(attributes, WorkflowExecutionCancelRequested) and self._cancel is None:
                self._cancel = (event.event_time, one_line(attributes.cause))
            if (mark := self._mark(event, f"event-{event.event_id}")) is not None:
                self._marks.append(mark)
        elif (handler := _BEGINNINGS.get(kind)) is not None:
            handler(self, event, attributes)

    def _end_step(self, event: Event, attributes: Any) -> None:
        if isinstance(attributes, (TimerFired, TimerCanceled)):
            timer = self._steps.get(attributes.started_event_id)
            if isinstance(timer, TimerStep):
                timer.close(event.event_time, _TIMER_ENDED[type(attributes)])
            return
        step = self._steps.get(attributes.scheduled_event_id)
        if isinstance(step, ActivityStep):
            step.close(
                event.event_time,
                _ACTIVITY_ENDED[type(attributes)],
                failure=getattr(attributes, "failure", None),
                result=getattr(attributes, "result", None),
            )

    def _run_started(self, event: Event, attributes: WorkflowExecutionStarted) -> None:
        self._clock.start = event.event_time
        self._started = attributes
        self._summary = summary_of(event.user_metadata)
        self._inputs = arguments(attributes.input)

    def _activity_scheduled(self, event: Event, attributes: ActivityTaskScheduled) -> None:
        step = self._steps[event.event_id] = ActivityStep(event, attributes)
        for record in self._early.pop(event.event_id, ()):
            step.record(record)

    def _activity_started(self, event: Event, attributes: ActivityTaskStarted) -> None:
        step = self._steps.get(attributes.scheduled_event_id)
        if isinstance(step, ActivityStep):
            step.started(event, attributes)

    def _activity_cancel(self, _event: Event, attributes: ActivityTaskCancelRequested) -> None:
        step = self._steps.get(attributes.scheduled_event_id)
        if isinstance(step, ActivityStep):
            step.cancel_requested()

    def _timer_started(self, event: Event, attributes: TimerStarted) -> None:
        self._steps[event.event_id] = TimerStep(event, attributes)

    def _mark(self, event: Event, ident: str) -> Mark | None:
        at, attributes = self._clock.at(event.event_time), event.attributes
        if isinstance(attributes, WorkflowExecutionSignaled):
            name, detail = one_line(attributes.signal_name, NAME_LIMIT), ", ".join(arguments(attributes.input, NAME_LIMIT))
            return Mark(ident, "signal", at, f"signal {name}", detail, event_id=event.event_id)
        if isinstance(attributes, WorkflowExecutionCancelRequested):
            return Mark(ident, "cancel", at, "cancel requested", one_line(attributes.cause), event_id=event.event_id)
        if isinstance(attributes, MarkerRecorded):
            detail = ", ".join(preview(item, NAME_LIMIT) for items in attributes.details.values() for item in items)
            patch = attributes.marker_name == "core_patch"
            name = "patch" if patch else f"marker {one_line(attributes.marker_name, NAME_LIMIT)}"
            return Mark(ident, "patch" if patch else "marker", at, name, detail, event_id=event.event_id)
        return None

    def _record(self, record: Record) -> None:
        self._latest = max(self._latest, record.time)
        if isinstance(record, EventBuffered):
            # What waits for its place in the history has happened all the same. A mark shows until the flush brings the
            # event itself; the end of a step is the same end when it comes again.
            if isinstance(record.event.attributes, _MARK_KINDS):
                self._buffered.append((record.time, record.event))
            elif not isinstance(record.event.attributes, (WorkflowExecutionStarted, ActivityTaskScheduled, TimerStarted)):
                self._apply(msgspec.structs.replace(record.event, event_time=record.event.event_time or record.time))
        elif isinstance(record, WorkflowTaskAttemptFailed):
            self._tasks.attempt_failed(record)
        else:
            step = self._steps.get(record.scheduled_event_id)
            if isinstance(step, ActivityStep):
                step.record(record)
            else:
                self._early.setdefault(record.scheduled_event_id, []).append(record)


_BEGINNINGS: dict[type[Any], Callable[[TimelineFold, Event, Any], None]] = {
    WorkflowExecutionStarted: TimelineFold._run_started,  # pyright: ignore[reportPrivateUsage]
    ActivityTaskScheduled: TimelineFold._activity_scheduled,  # pyright: ignore[reportPrivateUsage]
    ActivityTaskStarted: TimelineFold._activity_started,  # pyright: ignore[reportPrivateUsage]
    ActivityTaskCancelRequested: TimelineFold._activity_cancel,  # pyright: ignore[reportPrivateUsage]
    TimerStarted: TimelineFold._timer_started,  # pyright: ignore[reportPrivateUsage]
}


def _result(closed: Event | None) -> str | None:
    if closed is None or not isinstance(closed.attributes, WorkflowExecutionCompleted) or not closed.attributes.result:
        return None
    return preview(closed.attributes.result[0])


def _failure(closed: Event | None) -> Problem | None:
    return problem(closed.attributes.failure) if closed and isinstance(closed.attributes, WorkflowExecutionFailed) else None


def _reason(closed: Event) -> str:
    attributes = closed.attributes
    if isinstance(attributes, WorkflowExecutionTerminated):
        return one_line(attributes.reason)
    if isinstance(attributes, WorkflowExecutionTimedOut):
        return "the run's timeout passed"
    if isinstance(attributes, WorkflowExecutionCanceled):
        return ", ".join(arguments(attributes.details, NAME_LIMIT))
    return ""
