"""The workflow task machine: here is what happened, what next?

At most one task is open per run. Its lease to a worker is in memory only: started and completed are written together with
the answer. The first failure in a row is an event; repeated attempts are *transient*: they leave records, and events only once
one completes. When something new happens meanwhile, the repeated attempt becomes an ordinary first one.

The pause before attempt 3 and later follows Temporal, where the worker keeps silent about repeated failures and the task times
out: 10 s, and from there 5 s · 2ⁿ more, up to 10 minutes.
"""

from __future__ import annotations

from msgspec.structs import replace

from flowkernel.engine.commands import COMMANDS, is_close
from flowkernel.engine.draft import Draft
from flowkernel.engine.inputs import StartWorkflowTask
from flowkernel.model.errors import ExecutionNotFound
from flowkernel.model.events import (
    Event,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from flowkernel.model.execution import WorkflowTaskState
from flowkernel.model.failures import Failure
from flowkernel.model.ids import MINUTE, SECOND, Duration, EventId
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.records import WorkflowTaskAttemptFailed
from flowkernel.model.requests import RespondWorkflowTaskCompleted, RespondWorkflowTaskFailed
from flowkernel.model.tasks import Deadline, DeadlineKind, TaskToken, WorkflowTaskReady

LONGEST_BACKOFF: Duration = 10 * MINUTE


def schedule(draft: Draft) -> None:
    """Make sure that the code gets to see what is new."""
    state = draft.state
    match state.workflow_task.state:
        case WorkflowTaskState.NONE:
            draft.append(WorkflowTaskScheduled(state.started.task_queue, state.task_timeout))
            offer(draft)
        case WorkflowTaskState.BACKING_OFF:
            wake(draft)
        case WorkflowTaskState.SCHEDULED | WorkflowTaskState.STARTED:
            pass


def offer(draft: Draft) -> None:
    """Ask for a worker."""
    task = draft.state.workflow_task
    draft.ready.append(WorkflowTaskReady(draft.state.ref, task.scheduled_event_id, task.attempt))


def wake(draft: Draft) -> None:
    """End the pause before a repeated attempt."""
    if draft.state.workflow_task.state is WorkflowTaskState.BACKING_OFF:
        draft.state.workflow_task = replace(draft.state.workflow_task, state=WorkflowTaskState.SCHEDULED)
        offer(draft)


def start(draft: Draft, request: StartWorkflowTask) -> None:
    """A worker takes the task. Writes nothing, unless a repeated attempt turns into an ordinary one."""
    state = draft.state
    task = state.workflow_task
    if task.state is not WorkflowTaskState.SCHEDULED:
        raise ExecutionNotFound(state.ref.workflow_id, state.ref.run_id)
    if task.transient and task.scheduled_event_id != state.next_event_id:
        draft.append(WorkflowTaskScheduled(state.started.task_queue, state.task_timeout))
        task = state.workflow_task
    started_event_id = task.scheduled_event_id + 1 if task.transient else state.next_event_id
    state.workflow_task = replace(
        task,
        state=WorkflowTaskState.STARTED,
        started_event_id=started_event_id,
        started_time=draft.now,
        identity=request.identity,
        next_attempt_time=0,
    )
    draft.deadlines.append(Deadline(draft.now + state.task_timeout, DeadlineKind.WORKFLOW_TASK, started_event_id, task.attempt))


def give_back(draft: Draft) -> None:
    """The lease ended without an answer and without fault: offer the task again. Writes only what was buffered.

    After a restart there is no lease any more, and what was buffered gets its place too.
    """
    state = draft.state
    if state.workflow_task.state is WorkflowTaskState.STARTED:
        state.workflow_task = replace(
            state.workflow_task, state=WorkflowTaskState.SCHEDULED, started_event_id=0, started_time=0, identity=""
        )
        offer(draft)
    draft.flush()


def complete(draft: Draft, request: RespondWorkflowTaskCompleted) -> None:
    """The code has run: write the task and the events of its commands.

    Raises:
        ExecutionNotFound: the token is outdated.
        BadCommand: a command breaks a rule; nothing of this answer counts, and the task has failed.
    """
    _check(draft, request.token)
    state = draft.state
    if state.buffered and any(is_close(command) for command in request.commands):
        fail(draft, WorkflowTaskFailedCause.UNHANDLED_COMMAND, None, state.workflow_task.identity)
        return
    task, buffered = state.workflow_task, state.buffered
    scheduled, started = _write_start(draft)
    completed = draft.append(WorkflowTaskCompleted(scheduled, started, task.identity, request.definition))
    state.buffered = buffered
    for command in request.commands:
        COMMANDS[type(command)](draft, command, completed)
        if not state.open:
            return
    draft.flush()


def respond_failed(draft: Draft, request: RespondWorkflowTaskFailed) -> None:
    """The worker could not run the code. Errors as for `complete`."""
    _check(draft, request.token)
    fail(draft, request.cause, request.failure, draft.state.workflow_task.identity)


def fail(draft: Draft, cause: WorkflowTaskFailedCause, failure: Failure | None, identity: str) -> None:
    """The task failed: the run stays open and the task is tried again."""
    task, buffered = draft.state.workflow_task, draft.state.buffered
    if task.transient:
        pause = 0 if buffered else backoff(task.attempt + 1)
        draft.record(WorkflowTaskAttemptFailed(draft.now, task.attempt, cause, failure, draft.now + pause))
    else:
        scheduled, started = _write_start(draft)
        draft.append(WorkflowTaskFailed(scheduled, started, cause, failure, identity))
    _try_again(draft, buffered)


def time_out(draft: Draft, deadline: Deadline) -> None:
    """The worker held the task for too long."""
    task, buffered = draft.state.workflow_task, draft.state.buffered
    held = task.state is WorkflowTaskState.STARTED
    if not held or (task.started_event_id, task.attempt) != (deadline.key, deadline.attempt):
        return
    if task.transient:
        cause = WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
        fail(draft, cause, Failure("the worker did not answer the workflow task in time"), task.identity)
        return
    scheduled, started = _write_start(draft)
    draft.append(WorkflowTaskTimedOut(scheduled, started))
    _try_again(draft, buffered)


def backed_off(draft: Draft, deadline: Deadline) -> None:
    """The pause before a repeated attempt is over."""
    task = draft.state.workflow_task
    if task.state is WorkflowTaskState.BACKING_OFF and task.attempt == deadline.attempt:
        wake(draft)


def backoff(attempt: int) -> Duration:
    """How long to wait before this attempt."""
    if attempt <= 2:
        return 0
    return min(10 * SECOND + (5 * SECOND * 2 ** (attempt - 3) if attempt > 3 else 0), LONGEST_BACKOFF)


def _check(draft: Draft, token: TaskToken) -> None:
    task = draft.state.workflow_task
    current = (task.scheduled_event_id, task.started_event_id, task.attempt)
    wanted = (token.scheduled_event_id, token.started_event_id, token.attempt)
    if task.state is not WorkflowTaskState.STARTED or current != wanted:
        raise ExecutionNotFound(draft.state.ref.workflow_id, draft.state.ref.run_id)


def _write_start(draft: Draft) -> tuple[EventId, EventId]:
    """Write the started event, and for a repeated attempt the scheduled one too; return their ids."""
    state, task = draft.state, draft.state.workflow_task
    scheduled = task.scheduled_event_id
    if task.transient:
        scheduled = draft.append(
            WorkflowTaskScheduled(state.started.task_queue, state.task_timeout, task.attempt), time=task.scheduled_time
        )
    started = draft.append(WorkflowTaskStarted(scheduled, task.identity), time=task.started_time)
    return scheduled, started


def _try_again(draft: Draft, buffered: tuple[Event, ...]) -> None:
    state = draft.state
    state.buffered = buffered  # the fold dropped them with the task; now they get their place
    draft.flush()
    task = state.workflow_task
    if task.state is WorkflowTaskState.BACKING_OFF:
        draft.deadlines.append(Deadline(task.next_attempt_time, DeadlineKind.WORKFLOW_TASK_BACKOFF, 0, task.attempt))
    else:
        offer(draft)
