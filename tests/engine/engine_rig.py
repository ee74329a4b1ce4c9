"""One run, driven by hand: requests and time go in, and what the engine decides is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowkernel import engine
from flowkernel.engine import inputs
from flowkernel.model import commands as cmd
from flowkernel.model import requests as req
from flowkernel.model.events import Event
from flowkernel.model.execution import Execution, PendingActivity
from flowkernel.model.failures import ApplicationFailure, Failure
from flowkernel.model.ids import SECOND, Duration, Instant
from flowkernel.model.payloads import Payload
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.records import Record
from flowkernel.model.tasks import Deadline, ReadyTask, TaskToken
from flowkernel.model.transition import Transition

START: Instant = 1_000 * SECOND
BUG = WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
COMPLETE = cmd.CompleteWorkflowExecution()


def value(text: str) -> tuple[Payload, ...]:
    return (Payload({"encoding": b"json/plain"}, f'"{text}"'.encode()),)


def application(kind: str = "Flaky", **fields: Any) -> Failure:
    return Failure(kind.lower(), ApplicationFailure(kind, **fields))


def activity(activity_id: str = "1", **fields: Any) -> cmd.ScheduleActivityTask:
    """An activity with a start-to-close timeout of 10 s, unless other timeouts are given."""
    if "start_to_close_timeout" not in fields and "schedule_to_close_timeout" not in fields:
        fields["start_to_close_timeout"] = 10 * SECOND
    return cmd.ScheduleActivityTask(activity_id, "work", "queue", **fields)


class Rig:
    """Starts a run; see each method for what it asks of the engine."""

    def __init__(self, **start: Any) -> None:
        self.now = START
        self.history: list[Event] = []
        self.records: list[Record] = []
        self.ready: list[ReadyTask] = []
        self.deadlines: list[Deadline] = []
        self.execution: Execution
        self.last: Transition
        request = req.StartWorkflowExecution("default", "order", "Order", "queue", **start)
        self._take(engine.start_run(inputs.StartRun(request, "run"), now=self.now))  # type: ignore[arg-type]

    def _take(self, transition: Transition) -> Transition:
        self.last = transition
        self.execution = transition.after
        self.history.extend(transition.events)
        self.records.extend(transition.records)
        self.ready.extend(transition.ready)
        self.deadlines.extend(transition.deadlines)
        return transition

    def ask(self, request: Any) -> Transition:
        return self._take(engine.decide(self.execution, request, now=self.now))

    @property
    def names(self) -> list[str]:
        """The history's event types."""
        return [event.stored_name for event in self.history]

    def since(self, event_id: int) -> list[str]:
        return self.names[event_id:]

    def attributes(self, kind: str) -> Any:
        """Of the latest event of this type."""
        return next(event.attributes for event in reversed(self.history) if event.stored_name == kind)

    def happened(self, transition: Transition) -> list[str]:
        """The events and then the records of one decision."""
        return [
            *(event.stored_name for event in transition.events),
            *(type(record).__name__ for record in transition.records),
        ]

    # --- time -------------------------------------------------------------------------------------------------------

    def advance(self, duration: Duration) -> list[str]:
        """Let time pass, with everything that falls due on the way. Returns what was written."""
        end = self.now + duration
        written: list[str] = []
        while True:
            due = sorted(deadline for deadline in self.deadlines if deadline.due <= end)
            if not due:
                break
            self.deadlines.remove(due[0])
            self.now = max(self.now, due[0].due)
            written.extend(self.happened(self.ask(inputs.DeadlinePassed(due[0]))))
        self.now = end
        return written

    # --- the code ---------------------------------------------------------------------------------------------------

    @property
    def token(self) -> TaskToken:
        task = self.execution.workflow_task
        return TaskToken(self.execution.ref, task.scheduled_event_id, task.attempt, task.started_event_id)

    def take(self) -> Transition:
        """A worker takes the workflow task."""
        return self.ask(inputs.StartWorkflowTask("worker"))

    def answer(self, *commands: cmd.Command) -> Transition:
        """The worker that has the task answers."""
        return self.ask(req.RespondWorkflowTaskCompleted(self.token, commands, "worker"))

    def task(self, *commands: cmd.Command) -> Transition:
        """A worker takes the task and answers."""
        self.take()
        return self.answer(*commands)

    def break_code(self, failure: Failure | None = None) -> Transition:
        """The worker that has the task cannot run the code."""
        return self.ask(req.RespondWorkflowTaskFailed(self.token, BUG, failure or Failure("bug")))

    # --- activities -------------------------------------------------------------------------------------------------

    def pending(self, activity_id: str = "1") -> PendingActivity:
        return self.execution.activities[self.execution.activity_ids[activity_id]]

    def begin(self, activity_id: str = "1", worker: str = "worker") -> Transition:
        """A worker takes the activity's attempt."""
        pending = self.pending(activity_id)
        return self.ask(inputs.StartActivityTask(pending.scheduled_event_id, pending.attempt, worker))

    def attempt(self, activity_id: str = "1") -> TaskToken:
        pending = self.pending(activity_id)
        return TaskToken(self.execution.ref, pending.scheduled_event_id, pending.attempt)

    def by_name(self, activity_id: str = "1") -> req.ActivityAddress:
        return req.ActivityAddress("default", "order", "", activity_id)  # type: ignore[arg-type]

    def signal(self, name: str = "approve", request_id: str = "") -> Transition:
        return self.ask(req.SignalWorkflowExecution("default", "order", name, request_id=request_id))  # type: ignore[arg-type]


def started(*commands: cmd.Command, **start: Any) -> Rig:
    """A run whose first workflow task was answered with these commands."""
    rig = Rig(**start)
    rig.task(*commands)
    return rig


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.stored_name for event in events]
