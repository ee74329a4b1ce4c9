"""Histories for tests, written event by event, or from the commands that code asks for.

history = (
    HistoryBuilder("greet", "Ada")
    .task_scheduled().task_started().task_completed()
    .activity_scheduled("load", activity_id="1")
    .activity_completed("1", {"rows": 3})
    .task_scheduled().task_started()
)
instance.activate(history.events)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from flowkernel.converter import DataConverter
from flowkernel.durations import duration
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
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    Event,
    EventAttributes,
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
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from flowkernel.model.failures import Failure, RetryState, TimeoutFailure, TimeoutType
from flowkernel.model.ids import SECOND, EventId, Instant, RunId, RunRef, WorkflowId
from flowkernel.model.payloads import Payloads
from flowkernel.model.policies import WorkflowTaskFailedCause

__all__ = ["HistoryBuilder"]

_START: Instant = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


class HistoryBuilder:
    """Appends events with the ids and references that a service gives them. It does not check that their order makes sense.

    Args:
        workflow_type: the workflow's name; the first event is written at once.
        args: its input.
        run: workflow and run id; fixed ones by default.
        data_converter: for input, results and failures.
        started: further fields of ``WorkflowExecutionStarted``.

    Attributes:
        events: the history so far.
        time: the next event's time; `advance` moves it.
    """

    def __init__(
        self,
        workflow_type: str = "workflow",
        *args: Any,
        run: RunRef | None = None,
        data_converter: DataConverter = DataConverter.default,
        **started: Any,
    ) -> None:
        self.run = run or RunRef("default", WorkflowId("test"), RunId("01900000-0000-7000-8000-000000000000"))
        self.time = _START
        self._converter = data_converter
        self._events: list[Event] = []
        self._task_scheduled: EventId = 0
        self._task_started: EventId = 0
        self._task_completed: EventId = 0
        self._activities: dict[str, EventId] = {}
        self._activity_starts: dict[str, EventId] = {}
        self._timers: dict[str, EventId] = {}
        fields: dict[str, Any] = {
            "task_queue": "queue",
            "original_execution_run_id": self.run.run_id,
            "first_execution_run_id": self.run.run_id,
            **started,
        }
        self.add(
            WorkflowExecutionStarted(
                workflow_type=workflow_type, workflow_id=self.run.workflow_id, input=self._payloads(args), **fields
            )
        )

    @property
    def events(self) -> tuple[Event, ...]:
        """The history so far."""
        return tuple(self._events)

    def since(self, event_id: EventId) -> tuple[Event, ...]:
        """What follows an event."""
        return tuple(self._events[event_id:])

    def _payloads(self, values: Iterable[Any]) -> Payloads:
        return tuple(self._converter.payload_converter.to_payloads(list(values)))

    def _failure(self, error: BaseException | Failure) -> Failure:
        if isinstance(error, Failure):
            return error
        return self._converter.failure_converter.to_failure(error, self._converter.payload_converter)

    def add(self, attributes: EventAttributes) -> Self:
        """Append any event."""
        self._events.append(Event(len(self._events) + 1, self.time, attributes))
        return self

    def advance(self, delay: float | str) -> Self:
        """Let time pass before the next event."""
        self.time += duration(delay)
        return self

    # --- workflow tasks -----------------------------------------------------------------------------------------

    def task_scheduled(self, attempt: int = 1) -> Self:
        """The code has something to look at."""
        self.add(WorkflowTaskScheduled("queue", attempt=attempt))
        self._task_scheduled = len(self._events)
        return self

    def task_started(self, **fields: Any) -> Self:
        """A worker took the workflow task."""
        self.add(WorkflowTaskStarted(self._task_scheduled, **fields))
        self._task_started = len(self._events)
        return self

    def task_completed(self) -> Self:
        """The worker answered; the events of its commands come next."""
        self.add(WorkflowTaskCompleted(self._task_scheduled, self._task_started))
        self._task_completed = len(self._events)
        return self

    def task_failed(self, cause: WorkflowTaskFailedCause = WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE) -> Self:
        """The code could not be run."""
        return self.add(WorkflowTaskFailed(self._task_scheduled, self._task_started, cause))

    def task_timed_out(self) -> Self:
        """The worker did not answer."""
        return self.add(WorkflowTaskTimedOut(self._task_scheduled, self._task_started))

    def task(self) -> Self:
        """Scheduled and started: ready for the code's answer."""
        return self.task_scheduled().task_started()

    def completed_task(self) -> Self:
        """Scheduled, started and completed."""
        return self.task().task_completed()

    # --- what the code asked for --------------------------------------------------------------------------------

    def activity_scheduled(self, activity_type: str, *args: Any, activity_id: str, **fields: Any) -> Self:
        """The code asked for an activity."""
        others: dict[str, Any] = {"task_queue": "queue", **fields}
        self.add(ActivityTaskScheduled(activity_id, activity_type, input=self._payloads(args), **others))
        self._activities[activity_id] = len(self._events)
        return self

    def activity_cancel_requested(self, activity_id: str) -> Self:
        """The code asked to cancel an activity."""
        return self.add(ActivityTaskCancelRequested(self._activities[activity_id], self._task_completed))

    def timer_started(self, timer_id: str, delay: float | str = 1) -> Self:
        """The code asked to be woken."""
        self.add(TimerStarted(timer_id, duration(delay), self._task_completed))
        self._timers[timer_id] = len(self._events)
        return self

    def timer_canceled(self, timer_id: str) -> Self:
        """The code no longer wants to be woken."""
        return self.add(TimerCanceled(timer_id, self._timers[timer_id], self._task_completed))

    def marker_recorded(self, name: str) -> Self:
        """The worker noted something."""
        return self.add(MarkerRecorded(name, workflow_task_completed_event_id=self._task_completed))

    def completed(self, result: Any = None) -> Self:
        """The code returned."""
        return self.add(WorkflowExecutionCompleted(self._payloads([result]), self._task_completed))

    def failed(self, error: BaseException | Failure) -> Self:
        """The code raised a failure."""
        return self.add(WorkflowExecutionFailed(self._failure(error), workflow_task_completed_event_id=self._task_completed))

    def canceled(self) -> Self:
        """The code let a requested cancellation end it."""
        return self.add(WorkflowExecutionCanceled((), self._task_completed))

    def commands(self, commands: Iterable[Command]) -> Self:
        """Complete the open workflow task with these commands: its event, then one for each of them."""
        self.task_completed()
        by_event = {event_id: activity_id for activity_id, event_id in self._activities.items()}
        for command in commands:
            self._record(command, by_event)
        return self

    def _record(self, command: Command, by_event: dict[EventId, str]) -> None:
        done = self._task_completed
        match command:
            case ScheduleActivityTask():
                self.activity_scheduled(command.activity_type, activity_id=command.activity_id, task_queue=command.task_queue)
            case RequestCancelActivityTask():
                self.activity_cancel_requested(by_event[command.scheduled_event_id])
            case StartTimer():
                self.timer_started(command.timer_id, command.start_to_fire_timeout / SECOND)
            case CancelTimer():
                self.timer_canceled(command.timer_id)
            case RecordMarker():
                self.marker_recorded(command.marker_name)
            case CompleteWorkflowExecution():
                self.add(WorkflowExecutionCompleted(command.result, done))
            case FailWorkflowExecution():
                self.failed(command.failure)
            case CancelWorkflowExecution():
                self.canceled()

    # --- what happened to it ------------------------------------------------------------------------------------

    def activity_started(self, activity_id: str, attempt: int = 1) -> Self:
        """The last attempt began."""
        self.add(ActivityTaskStarted(self._activities[activity_id], attempt=attempt))
        self._activity_starts[activity_id] = len(self._events)
        return self

    def _start_of(self, activity_id: str) -> EventId:
        if activity_id not in self._activity_starts:
            self.activity_started(activity_id)
        return self._activity_starts.pop(activity_id)

    def activity_completed(self, activity_id: str, result: Any = None) -> Self:
        """The activity returned; its start is written too, if it was not."""
        started = self._start_of(activity_id)
        return self.add(ActivityTaskCompleted(self._activities[activity_id], started, self._payloads([result])))

    def activity_failed(
        self,
        activity_id: str,
        error: BaseException | Failure,
        retry_state: RetryState = RetryState.MAXIMUM_ATTEMPTS_REACHED,
    ) -> Self:
        """The activity failed for good."""
        started = self._start_of(activity_id)
        return self.add(ActivityTaskFailed(self._activities[activity_id], started, self._failure(error), retry_state))

    def activity_timed_out(self, activity_id: str, timeout_type: TimeoutType = TimeoutType.START_TO_CLOSE) -> Self:
        """One of the activity's timeouts passed for good."""
        started = self._start_of(activity_id)
        failure = Failure(f"activity {timeout_type.name} timeout", TimeoutFailure(timeout_type))
        return self.add(ActivityTaskTimedOut(self._activities[activity_id], started, failure, RetryState.TIMEOUT))

    def activity_canceled(self, activity_id: str, *details: Any) -> Self:
        """The activity ended by a requested cancellation."""
        started = self._activity_starts.pop(activity_id, 0)
        return self.add(ActivityTaskCanceled(self._activities[activity_id], started, details=self._payloads(details)))

    def timer_fired(self, timer_id: str) -> Self:
        """The time came."""
        return self.add(TimerFired(timer_id, self._timers[timer_id]))

    def signaled(self, name: str, *args: Any) -> Self:
        """A signal arrived."""
        return self.add(WorkflowExecutionSignaled(name, self._payloads(args)))

    def cancel_requested(self, reason: str = "") -> Self:
        """Somebody asked the run to cancel itself."""
        return self.add(WorkflowExecutionCancelRequested(reason))

    def terminated(self, reason: str = "") -> Self:
        """Somebody ended the run."""
        return self.add(WorkflowExecutionTerminated(reason))

    def timed_out(self) -> Self:
        """The run took too long."""
        return self.add(WorkflowExecutionTimedOut())
