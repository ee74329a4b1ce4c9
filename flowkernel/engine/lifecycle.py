"""The run's own machine: started, then open until it completes, fails, is cancelled, is terminated or times out."""

from __future__ import annotations

from flowkernel.engine.bad_command import BadCommand
from flowkernel.engine.draft import Draft
from flowkernel.engine.fold import begin
from flowkernel.engine.inputs import StartRun
from flowkernel.model.commands import CancelWorkflowExecution, CompleteWorkflowExecution, FailWorkflowExecution
from flowkernel.model.errors import InvalidRequest
from flowkernel.model.events import (
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowTaskFailed,
    WorkflowTaskStarted,
)
from flowkernel.model.execution import WorkflowTaskState
from flowkernel.model.failures import RetryState
from flowkernel.model.ids import SECOND, EventId, Instant, RunRef
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.requests import (
    RequestCancelWorkflowExecution,
    SignalWorkflowExecution,
    StartWorkflowExecution,
    TerminateWorkflowExecution,
)
from flowkernel.model.tasks import Deadline, DeadlineKind

LONGEST_ID = 1000
LONGEST_TASK_TIMEOUT = 120 * SECOND


def check_start(request: StartWorkflowExecution) -> None:
    """Refuse a start whose fields break a rule.

    Raises:
        InvalidRequest: names the field.
    """
    for field in ("namespace", "workflow_id", "workflow_type", "task_queue"):
        value = getattr(request, field)
        if not value:
            raise InvalidRequest(f"start: {field} is empty")
        if len(value) > LONGEST_ID:
            raise InvalidRequest(f"start: {field} is {len(value)} characters long; at most {LONGEST_ID} are allowed")
    for field in ("execution_timeout", "run_timeout", "task_timeout"):
        if getattr(request, field) < 0:
            raise InvalidRequest(f"start: {field} is negative")


def start(request: StartRun, now: Instant) -> Draft:
    """Begin a run: its first event, and the first workflow task follows.

    Raises:
        InvalidRequest: a field breaks a rule.
    """
    asked = request.request
    check_start(asked)
    run_timeout = asked.run_timeout or asked.execution_timeout
    if asked.execution_timeout:
        run_timeout = min(run_timeout, asked.execution_timeout)
    started = WorkflowExecutionStarted(
        workflow_type=asked.workflow_type,
        workflow_id=asked.workflow_id,
        task_queue=asked.task_queue,
        input=asked.input,
        execution_timeout=asked.execution_timeout,
        run_timeout=run_timeout,
        task_timeout=min(asked.task_timeout or 10 * SECOND, LONGEST_TASK_TIMEOUT),
        execution_expiration_time=now + asked.execution_timeout if asked.execution_timeout else 0,
        identity=asked.identity,
        original_execution_run_id=request.run_id,
        first_execution_run_id=request.run_id,
        retry_policy=asked.retry_policy,
        memo=asked.memo,
        search_attributes=asked.search_attributes,
        header=asked.header,
        priority=asked.priority,
        request_id=asked.request_id,
    )
    ref = RunRef(asked.namespace, asked.workflow_id, request.run_id)
    draft = Draft(begin(ref, started, now), now)
    draft.append(started, asked.user_metadata)
    draft.news = True
    if draft.state.run_expiration_time:
        draft.deadlines.append(Deadline(draft.state.run_expiration_time, DeadlineKind.WORKFLOW_RUN))
    return draft


# --- requests -------------------------------------------------------------------------------------------------------


def signal(draft: Draft, request: SignalWorkflowExecution) -> None:
    """A signal arrives; the same request id counts once."""
    if request.request_id and request.request_id in draft.state.signal_request_ids:
        return
    if not request.signal_name:
        raise InvalidRequest("signal: signal_name is empty")
    draft.happen(
        WorkflowExecutionSignaled(request.signal_name, request.input, request.identity, request.header, request.request_id)
    )


def request_cancel(draft: Draft, request: RequestCancelWorkflowExecution) -> None:
    """Somebody asks the run to cancel itself; asking again changes nothing."""
    if not draft.state.cancel_requested:
        draft.happen(WorkflowExecutionCancelRequested(request.reason, request.identity, request.request_id))


def terminate(draft: Draft, request: TerminateWorkflowExecution) -> None:
    """End the run from outside."""
    _interrupt_task(draft)
    draft.append(WorkflowExecutionTerminated(request.reason, request.details, request.identity))


def time_out(draft: Draft, deadline: Deadline) -> None:
    """The run's time is up. No code runs for it."""
    if deadline.due == draft.state.run_expiration_time:
        _interrupt_task(draft)
        draft.append(WorkflowExecutionTimedOut(RetryState.RETRY_POLICY_NOT_SET))


def _interrupt_task(draft: Draft) -> None:
    """A workflow task that a worker holds ends as failed, so that what was buffered gets its place."""
    task, buffered = draft.state.workflow_task, draft.state.buffered
    if task.state is not WorkflowTaskState.STARTED:
        return
    if not task.transient:
        started = draft.append(WorkflowTaskStarted(task.scheduled_event_id, task.identity), time=task.started_time)
        cause = WorkflowTaskFailedCause.FORCE_CLOSE_COMMAND
        draft.append(WorkflowTaskFailed(task.scheduled_event_id, started, cause, None, task.identity))
    draft.state.buffered = buffered
    draft.flush()


# --- commands -------------------------------------------------------------------------------------------------------


def complete(draft: Draft, command: CompleteWorkflowExecution, completed: EventId) -> None:
    """The code returned."""
    _refuse_buffered(draft)
    draft.append(WorkflowExecutionCompleted(command.result, completed))


def fail(draft: Draft, command: FailWorkflowExecution, completed: EventId) -> None:
    """The code raised a failure."""
    _refuse_buffered(draft)
    draft.append(WorkflowExecutionFailed(command.failure, RetryState.RETRY_POLICY_NOT_SET, completed))


def cancel(draft: Draft, command: CancelWorkflowExecution, completed: EventId) -> None:
    """The code let a requested cancellation end it."""
    _refuse_buffered(draft)
    draft.append(WorkflowExecutionCanceled(command.details, completed))


def _refuse_buffered(draft: Draft) -> None:
    """The code may not close the run while there is something it has not seen: a signal would be lost."""
    if draft.state.buffered:
        raise BadCommand(
            WorkflowTaskFailedCause.UNHANDLED_COMMAND, "new events arrived; the workflow task is tried again with them"
        )
