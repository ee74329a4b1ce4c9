"""Workflow tasks, folded: whether a run's code is idle, has something to do, runs, or fails.

Failures come in streaks. Only the first failure of a streak is an event; the later ones are records, which a reader may hand in
long after the events, so each is put into the streak whose time it falls into.
"""

from __future__ import annotations

from typing import Any

from flowkernel.model.events import (
    Event,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from flowkernel.model.failures import Failure
from flowkernel.model.ids import EventId, Instant
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.records import WorkflowTaskAttemptFailed
from flowkernel.timeline.model import Code, CodeState, Mark, Problem
from flowkernel.timeline.preview import problem
from flowkernel.timeline.steps import Clock

__all__ = ["TASK_EVENTS", "WorkflowTasks"]

TASK_EVENTS: frozenset[type[Any]] = frozenset(
    {WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskTimedOut}
)
_NO_FAULT = frozenset({WorkflowTaskFailedCause.UNHANDLED_COMMAND, WorkflowTaskFailedCause.RESET_STICKY_TASK_QUEUE})
"""The task is made again because something new arrived; the code did nothing wrong."""


class _Streak:
    """Failures in a row."""

    __slots__ = ("attempts", "cause", "ended", "event_id", "failed", "failure", "last", "next_time", "started")

    def __init__(self, event: Event) -> None:
        self.event_id: EventId = event.event_id
        self.started: Instant = event.event_time
        self.last: Instant = event.event_time
        self.ended: Instant = 0
        self.attempts = 1
        self.next_time: Instant = 0
        self.failed = False
        self.cause: WorkflowTaskFailedCause | None = None
        self.failure: Failure | None = None

    def note(self, time: Instant, attempt: int, cause: WorkflowTaskFailedCause, failure: Failure | None) -> None:
        self.failed = True
        self.attempts = max(self.attempts, attempt)
        if time >= self.last:
            self.last, self.cause, self.failure = time, cause, failure

    def problem(self) -> Problem | None:
        shown = problem(self.failure)
        if shown is None:
            return Problem(self.cause.name.replace("_", " ").lower()) if self.cause else None
        return shown


class WorkflowTasks:
    """The run's workflow tasks so far."""

    def __init__(self) -> None:
        self._state: CodeState = "idle"
        self._since: Instant = 0
        self._streaks: list[_Streak] = []
        self._definition = ""
        self._changes: list[tuple[Instant, EventId]] = []
        self.last_end: Instant = 0

    def apply(self, event: Event) -> None:
        """Take in one of `TASK_EVENTS`."""
        attributes = event.attributes
        self._since = event.event_time
        if isinstance(attributes, WorkflowTaskScheduled):
            self._state = "ready"
            return
        if isinstance(attributes, WorkflowTaskStarted):
            self._state = "running"
            return
        self.last_end = max(self.last_end, event.event_time)
        self._state = "idle"
        if isinstance(attributes, WorkflowTaskCompleted):
            if (streak := self._open_streak()) is not None:
                streak.ended = event.event_time
            if attributes.definition and self._definition and attributes.definition != self._definition:
                self._changes.append((event.event_time, event.event_id))
            self._definition = attributes.definition or self._definition
        elif isinstance(attributes, WorkflowTaskTimedOut):
            self._streak(event)
            self._state = "ready"
        elif isinstance(attributes, WorkflowTaskFailed) and attributes.cause not in _NO_FAULT:
            self._streak(event).note(event.event_time, 1, attributes.cause, attributes.failure)

    def attempt_failed(self, record: WorkflowTaskAttemptFailed) -> None:
        """A later failure of a streak."""
        streak = next((streak for streak in reversed(self._streaks) if streak.started <= record.time), None)
        if streak is None or record.cause in _NO_FAULT or (streak.ended and record.time > streak.ended):
            return
        self.last_end = max(self.last_end, record.time)
        streak.note(record.time, record.attempt, record.cause, record.failure)
        streak.next_time = max(streak.next_time, record.next_attempt_time)

    def code(self, clock: Clock, has_worker: bool | None) -> Code:
        """Where the code of an open run stands."""
        streak = self._open_streak()
        if streak is not None and streak.failed:
            retry = clock.at(streak.next_time) if streak.next_time else None
            return Code("failing", clock.at(streak.started), streak.attempts, retry, streak.problem(), has_worker)
        return Code(self._state, clock.at(self._since) if self._since else 0.0, has_worker=has_worker)

    def idle(self, has_worker: bool | None) -> Code:
        """The code of a closed run."""
        return Code("idle", has_worker=has_worker)

    def failing_stretches(self, clock: Clock) -> list[tuple[float, float | None, Problem | None]]:
        """Start, end (None if it lasts) and error of each streak in which the code failed."""
        return [
            (
                clock.at(streak.started),
                clock.at(streak.ended, clock.at(streak.started)) if streak.ended else None,
                streak.problem(),
            )
            for streak in self._streaks
            if streak.failed
        ]

    def marks(self, clock: Clock) -> list[Mark]:
        """One mark per streak, and one where the code changed."""
        marks = [
            Mark(
                f"event-{streak.event_id}",
                "task failed" if streak.failed else "task timed out",
                clock.at(streak.started),
                "workflow code failed" if streak.failed else "workflow task timed out",
                problem=streak.problem(),
                count=streak.attempts,
                last_at=clock.at(streak.last) if streak.attempts > 1 else None,
                event_id=streak.event_id,
            )
            for streak in self._streaks
        ]
        return marks + [
            Mark(f"definition-{event_id}", "definition", clock.at(time), "code changed", event_id=event_id)
            for time, event_id in self._changes
        ]

    def _open_streak(self) -> _Streak | None:
        return self._streaks[-1] if self._streaks and not self._streaks[-1].ended else None

    def _streak(self, event: Event) -> _Streak:
        streak = self._open_streak()
        if streak is None:
            streak = _Streak(event)
            self._streaks.append(streak)
        return streak
