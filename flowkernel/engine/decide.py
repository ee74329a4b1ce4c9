"""The engine's one entrance: (execution, request, now) → transition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowkernel.engine import activity, lifecycle, timer, workflow_task
from flowkernel.engine import inputs as given
from flowkernel.engine.bad_command import BadCommand
from flowkernel.engine.draft import Draft
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound
from flowkernel.model.execution import ActivityState, Execution, WorkflowTaskState
from flowkernel.model.ids import Instant
from flowkernel.model.tasks import ActivityTaskReady, Deadline, DeadlineKind, ReadyTask, WorkflowTaskReady
from flowkernel.model.transition import Transition


def start_run(request: given.StartRun, *, now: Instant) -> Transition:
    """Begin a run.

    Raises:
        InvalidRequest: a field of the request breaks a rule.
    """
    draft = lifecycle.start(request, now)
    workflow_task.schedule(draft)
    return draft.transition()


def decide(execution: Execution, request: Any, *, now: Instant) -> Transition:
    """Return everything that `request` writes and leads to; change nothing.

    Args:
        request: one of the types in `REQUESTS`.
        now: not before the time of any earlier decision on this run.

    Raises:
        ExecutionNotFound: the run is closed, or the request names a task that is no longer wanted.
        InvalidRequest: a field of the request breaks a rule.
    """
    handler = REQUESTS[type(request)]
    if not execution.open:
        if type(request) in _IGNORED_WHEN_CLOSED:
            return Draft(execution, now).transition()
        raise ExecutionNotFound(execution.ref.workflow_id, execution.ref.run_id, closed=True)
    draft = Draft(execution, now)
    try:
        handler(draft, request)
    except BadCommand as bad:
        draft = Draft(execution, now)
        workflow_task.fail(draft, bad.cause, bad.failure, execution.workflow_task.identity)
    if draft.news and draft.state.open:
        workflow_task.schedule(draft)
    return draft.transition()


def _give_back(draft: Draft, _: given.ReturnWorkflowTask) -> None:
    workflow_task.give_back(draft)


def _wake(draft: Draft, _: given.WakeWorkflowTask) -> None:
    workflow_task.wake(draft)


def _deadline(draft: Draft, request: given.DeadlinePassed) -> None:
    DEADLINES[request.deadline.kind](draft, request.deadline)


REQUESTS: dict[type[Any], Callable[[Draft, Any], None]] = {
    req.SignalWorkflowExecution: lifecycle.signal,
    req.RequestCancelWorkflowExecution: lifecycle.request_cancel,
    req.TerminateWorkflowExecution: lifecycle.terminate,
    req.RespondWorkflowTaskCompleted: workflow_task.complete,
    req.RespondWorkflowTaskFailed: workflow_task.respond_failed,
    req.RespondActivityTaskCompleted: activity.answer,
    req.RespondActivityTaskFailed: activity.answer,
    req.RespondActivityTaskCanceled: activity.answer,
    req.RecordActivityTaskHeartbeat: activity.answer,
    req.RecordActivityTaskOutput: activity.answer,
    req.ReleaseActivityTask: activity.answer,
    given.StartWorkflowTask: workflow_task.start,
    given.ReturnWorkflowTask: _give_back,
    given.WakeWorkflowTask: _wake,
    given.StartActivityTask: activity.start,
    given.LoseActivityAttempt: activity.lose,
    given.DeadlinePassed: _deadline,
}
"""Request type → handler. A new machine adds its rows here."""

DEADLINES: dict[DeadlineKind, Callable[[Draft, Deadline], None]] = {
    DeadlineKind.WORKFLOW_EXECUTION: lifecycle.time_out,
    DeadlineKind.WORKFLOW_RUN: lifecycle.time_out,
    DeadlineKind.WORKFLOW_TASK: workflow_task.time_out,
    DeadlineKind.WORKFLOW_TASK_BACKOFF: workflow_task.backed_off,
    DeadlineKind.TIMER: timer.fire,
    DeadlineKind.ACTIVITY_SCHEDULE_TO_START: activity.due,
    DeadlineKind.ACTIVITY_START_TO_CLOSE: activity.due,
    DeadlineKind.ACTIVITY_SCHEDULE_TO_CLOSE: activity.due,
    DeadlineKind.ACTIVITY_HEARTBEAT: activity.due,
    DeadlineKind.ACTIVITY_BACKOFF: activity.due,
}

_IGNORED_WHEN_CLOSED = frozenset(
    {given.DeadlinePassed, given.ReturnWorkflowTask, given.WakeWorkflowTask, given.LoseActivityAttempt}
)


def ready_tasks(execution: Execution) -> list[ReadyTask]:
    """The tasks of an execution that wait for a worker; what recovery offers."""
    if not execution.open:
        return []
    ready: list[ReadyTask] = []
    task = execution.workflow_task
    if task.state is WorkflowTaskState.SCHEDULED:
        ready.append(WorkflowTaskReady(execution.ref, task.scheduled_event_id, task.attempt))
    ready.extend(
        ActivityTaskReady(execution.ref, pending.scheduled_event_id, pending.attempt)
        for pending in execution.activities.values()
        if pending.state is ActivityState.SCHEDULED
    )
    return ready


def deadlines(execution: Execution) -> list[Deadline]:
    """Everything that falls due for an execution; what recovery keeps."""
    if not execution.open:
        return []
    found: list[Deadline] = []
    if execution.run_expiration_time:
        found.append(Deadline(execution.run_expiration_time, DeadlineKind.WORKFLOW_RUN))
    task = execution.workflow_task
    if task.state is WorkflowTaskState.BACKING_OFF:
        found.append(Deadline(task.next_attempt_time, DeadlineKind.WORKFLOW_TASK_BACKOFF, 0, task.attempt))
    if task.state is WorkflowTaskState.STARTED:
        due = task.started_time + execution.task_timeout
        found.append(Deadline(due, DeadlineKind.WORKFLOW_TASK, task.started_event_id, task.attempt))
    found.extend(Deadline(one.fire_time, DeadlineKind.TIMER, one.started_event_id) for one in execution.timers.values())
    for pending in execution.activities.values():
        found.extend(activity.deadlines_of(pending))
    return found
