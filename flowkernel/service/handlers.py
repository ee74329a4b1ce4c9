"""What each request does: a table that later requests extend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowkernel import engine
from flowkernel.api import Reply
from flowkernel.engine import inputs
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound, InvalidRequest
from flowkernel.model.events import WorkflowTaskFailed
from flowkernel.model.execution import WorkflowTaskState
from flowkernel.model.ids import RunId, RunRef
from flowkernel.model.records import WorkflowTaskAttemptFailed
from flowkernel.model.tasks import TaskToken
from flowkernel.model.transition import Transition
from flowkernel.service import reading, starting
from flowkernel.service.matching import Matching
from flowkernel.service.runs import Entry

if TYPE_CHECKING:
    from flowkernel.service.core import Core


def open_entry(core: Core, namespace: str, workflow_id: str, run_id: str = "", first_run_id: str = "") -> Entry:
    """The open run that is meant.

    Raises:
        ExecutionNotFound: there is none, or it belongs to another chain.
    """
    entry = core.runs.find(namespace, workflow_id, run_id)
    if entry is not None and entry.execution.open:
        if first_run_id and entry.execution.started.first_execution_run_id != first_run_id:
            raise ExecutionNotFound(workflow_id, first_run_id)
        return entry
    if entry is None:
        row = core.store.find_run(namespace, workflow_id, RunId(run_id) if run_id else None)
        if row is None:
            raise ExecutionNotFound(workflow_id, run_id or None)
    raise ExecutionNotFound(workflow_id, run_id or None, closed=True)


def _to_run(core: Core, request: Any, reply: Reply[None]) -> None:
    first = getattr(request, "first_execution_run_id", "")
    core.apply(open_entry(core, request.namespace, request.workflow_id, request.run_id, first), request)
    core.later(reply, None)


def _entry_of(core: Core, run: RunRef) -> Entry:
    entry = core.runs.open.get(run.run_id)
    if entry is None:
        raise ExecutionNotFound(run.workflow_id, run.run_id, closed=True)
    return entry


# --- workers --------------------------------------------------------------------------------------------------------


def _workflow_task_answer(core: Core, request: Any, reply: Reply[None]) -> None:
    entry = _entry_of(core, request.token.run)
    if request.token.lease != entry.lease:
        raise ExecutionNotFound(request.token.run.workflow_id, request.token.run.run_id)
    transition = engine.decide(entry.execution, request, now=core.now)
    completed = type(request) is req.RespondWorkflowTaskCompleted
    refused = _failed_cause(transition) if completed else None
    entry.holder = None  # and not after `take`, which may hand out the next task at once
    entry.sticky = request.worker_id if completed and refused is None and request.cached else None
    core.take(entry, transition)
    if entry.mended and entry.execution.workflow_task.state is WorkflowTaskState.BACKING_OFF:
        core.apply(entry, inputs.WakeWorkflowTask())
    core.queries.rematch()
    core.later(reply, None, InvalidRequest(refused) if refused is not None else None)


def _failed_cause(transition: Transition) -> str | None:
    """Why the answer was refused; None if it was not."""
    for fact in (*(event.attributes for event in transition.events), *transition.records):
        if isinstance(fact, (WorkflowTaskFailed, WorkflowTaskAttemptFailed)):
            return f"{fact.cause.name}: {fact.failure.message if fact.failure else 'new events arrived'}"
    return None


def _activity_answer(core: Core, request: Any, reply: Reply[Any]) -> None:
    target = request.target
    if isinstance(target, TaskToken):
        entry = _entry_of(core, target.run)
        key = (target.run.run_id, target.scheduled_event_id)
    else:
        entry = open_entry(core, target.namespace, target.workflow_id, target.run_id)
        key = (entry.execution.ref.run_id, entry.execution.activity_ids.get(target.activity_id, 0))
    core.apply(entry, request)
    core.leasing.attempt_over(*key, entry.execution)
    if type(request) is req.RecordActivityTaskHeartbeat:
        pending = entry.execution.activities.get(key[1])
        requested = pending is not None and pending.cancel_requested
        core.later(reply, req.RecordActivityTaskHeartbeatResponse(requested))
    else:
        core.later(reply, None)


def _poll_workflow_tasks(core: Core, request: req.PollWorkflowTasks, reply: Reply[Any]) -> None:
    _poll(core, core.leasing.workflow_tasks, request, request.workflow_types, reply)


def _poll_activity_tasks(core: Core, request: req.PollActivityTasks, reply: Reply[Any]) -> None:
    _poll(core, core.leasing.activity_tasks, request, request.activity_types, reply)


def _poll(
    core: Core,
    matching: Matching,
    request: req.PollWorkflowTasks | req.PollActivityTasks,
    types: frozenset[str] | None,
    reply: Reply[Any],
) -> None:
    if request.worker_id in core.leasing.gone:
        reply((), None)
        return
    poll = matching.queue(request.namespace, request.task_queue).add(request, types, reply)
    if poll.credits <= 0:
        poll.reply((), None)
    core.queries.rematch()
    core.leasing.rematch(matching)


def _wake(core: Core, request: req.WakeWorkflowTasks, reply: Reply[int]) -> None:
    woken = 0
    for entry in list(core.runs.open.values()):
        execution = entry.execution
        ours = (execution.ref.namespace, execution.started.task_queue) == (request.namespace, request.task_queue)
        if not ours or execution.started.workflow_type not in request.workflow_types:
            continue
        if execution.workflow_task.state is WorkflowTaskState.BACKING_OFF:
            core.apply(entry, inputs.WakeWorkflowTask())
            woken += 1
        elif execution.workflow_task.state is WorkflowTaskState.STARTED:
            entry.mended = True  # what is out may fail yet, by the old code
    core.later(reply, woken)


def _unregister(core: Core, request: req.UnregisterWorker, reply: Reply[None]) -> None:
    core.hand_out()  # an attempt that was matched has begun, so it must arrive
    for poll in core.leasing.remove_worker(request.worker_id, lost=request.lost):
        poll.reply((), None)
    core.queries.worker_gone(request.worker_id)
    core.later(reply, None)


# --- queries --------------------------------------------------------------------------------------------------------


def _query(core: Core, request: req.QueryWorkflow, reply: Reply[Any]) -> None:
    core.queries.ask(request, reply)


def _query_answer(core: Core, request: req.RespondQueryTaskCompleted, reply: Reply[None]) -> None:
    core.queries.answered(request)
    reply(None, None)


HANDLERS: dict[type[Any], Callable[[Core, Any, Reply[Any]], None]] = {
    req.StartWorkflowExecution: starting.start,
    req.SignalWorkflowExecution: _to_run,
    req.RequestCancelWorkflowExecution: _to_run,
    req.TerminateWorkflowExecution: _to_run,
    req.QueryWorkflow: _query,
    req.DescribeWorkflowExecution: reading.describe,
    req.GetWorkflowExecutionHistory: reading.history,
    req.ListWorkflowExecutions: reading.list_executions,
    req.PollWorkflowTasks: _poll_workflow_tasks,
    req.PollActivityTasks: _poll_activity_tasks,
    req.RespondWorkflowTaskCompleted: _workflow_task_answer,
    req.RespondWorkflowTaskFailed: _workflow_task_answer,
    req.RespondQueryTaskCompleted: _query_answer,
    req.RespondActivityTaskCompleted: _activity_answer,
    req.RespondActivityTaskFailed: _activity_answer,
    req.RespondActivityTaskCanceled: _activity_answer,
    req.RecordActivityTaskHeartbeat: _activity_answer,
    req.RecordActivityTaskOutput: _activity_answer,
    req.ReleaseActivityTask: _activity_answer,
    req.WakeWorkflowTasks: _wake,
    req.UnregisterWorker: _unregister,
}
"""Request type → what it does. Errors are replied; an answer goes out after the commit."""
