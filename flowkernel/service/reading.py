"""Reading: histories, descriptions and lists. Looks into the store are queued in `Core.reads`, for after the commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowkernel.api import Reply
from flowkernel.model.errors import ExecutionNotFound, FlowkernelError, InvalidRequest
from flowkernel.model.execution import PendingWorkflowTask
from flowkernel.model.requests import (
    DescribeWorkflowExecution,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistory,
    GetWorkflowExecutionHistoryResponse,
    ListWorkflowExecutions,
    ListWorkflowExecutionsResponse,
)
from flowkernel.service.runs import Entry

if TYPE_CHECKING:
    from flowkernel.service.core import Core


def read(core: Core, reply: Reply[Any], look: Callable[[], Any]) -> None:
    """Answer with what `look` finds in the store, once everything decided so far is there."""

    def answer() -> None:
        try:
            found = look()
        except FlowkernelError as error:
            reply(None, error)
        else:
            reply(found, None)

    core.reads.append(answer)


def history(core: Core, request: GetWorkflowExecutionHistory, reply: Reply[GetWorkflowExecutionHistoryResponse]) -> None:
    """Answer now, or when there is something to answer with."""
    entry = core.runs.find(request.namespace, request.workflow_id, request.run_id)
    if entry is not None and request.close_event_only:
        if entry.execution.close_event is not None:
            core.later(reply, _close_response(entry))
            return
        if request.wait_new_event:
            entry.waiters.append((request, reply))
            return
    if entry is not None and request.wait_new_event and not _has_news(entry, request):
        entry.waiters.append((request, reply))
        return
    read(core, reply, lambda: _stored_history(core, request))


def wake_waiters(core: Core, entry: Entry) -> None:
    """Answer those who waited for what is now committed."""
    waiting, entry.waiters = entry.waiters, []
    for request, reply in waiting:
        if request.close_event_only:
            if entry.execution.close_event is not None:
                reply(_close_response(entry), None)
            else:
                entry.waiters.append((request, reply))
        elif _has_news(entry, request):
            read(core, reply, lambda request=request: _stored_history(core, request))
        else:
            entry.waiters.append((request, reply))


def _has_news(entry: Entry, request: GetWorkflowExecutionHistory) -> bool:
    """Whether there is an event to answer with, or never will be."""
    return not entry.execution.open or entry.execution.next_event_id > request.after_event_id + 1


def _close_response(entry: Entry) -> GetWorkflowExecutionHistoryResponse:
    event = entry.execution.close_event
    return GetWorkflowExecutionHistoryResponse(entry.execution.ref, (event,) if event is not None else ())


def _stored_history(core: Core, request: GetWorkflowExecutionHistory) -> GetWorkflowExecutionHistoryResponse:
    row = core.store.find_run(request.namespace, request.workflow_id, request.run_id or None)
    if row is None:
        raise ExecutionNotFound(request.workflow_id, request.run_id or None)
    after = row.history_length - 1 if request.close_event_only else request.after_event_id
    events = core.store.history(row.run.run_id, after)
    records = core.store.records(row.run.run_id) if request.with_records else ()
    return GetWorkflowExecutionHistoryResponse(row.run, events, records)


def describe(core: Core, request: DescribeWorkflowExecution, reply: Reply[DescribeWorkflowExecutionResponse]) -> None:
    """Describe from memory while the run is open, else from the store."""
    entry = core.runs.find(request.namespace, request.workflow_id, request.run_id)
    if entry is None or not entry.execution.open:
        read(core, reply, lambda: _describe_stored(core, request))
        return
    execution = entry.execution
    queue = core.leasing.workflow_tasks.queue(request.namespace, execution.started.task_queue)
    core.later(
        reply,
        DescribeWorkflowExecutionResponse(
            run=execution.ref,
            started=execution.started,
            status=execution.status,
            start_time=execution.start_time,
            close_time=0,
            history_length=execution.next_event_id - 1,
            workflow_task=execution.workflow_task,
            pending_activities=tuple(execution.activities.values()),
            pending_timers=tuple(execution.timers.values()),
            cancel_requested=execution.cancel_requested,
            has_worker=queue.has_worker_for(execution.started.workflow_type),
        ),
    )


def _describe_stored(core: Core, request: DescribeWorkflowExecution) -> DescribeWorkflowExecutionResponse:
    row = core.store.find_run(request.namespace, request.workflow_id, request.run_id or None)
    if row is None:
        raise ExecutionNotFound(request.workflow_id, request.run_id or None)
    return DescribeWorkflowExecutionResponse(
        run=row.run,
        started=row.started,
        status=row.status,
        start_time=row.start_time,
        close_time=row.close_time,
        history_length=row.history_length,
        workflow_task=PendingWorkflowTask(),
        user_metadata=row.user_metadata,
    )


def list_executions(core: Core, request: ListWorkflowExecutions, reply: Reply[ListWorkflowExecutionsResponse]) -> None:
    """List runs from the store.

    Raises:
        InvalidRequest: a list filter was given, which this version does not read.
    """
    if request.query:
        raise InvalidRequest(
            f"list filter {request.query!r}: filters are not supported yet; narrow the list by status, type or workflow id"
        )

    def look() -> ListWorkflowExecutionsResponse:
        return ListWorkflowExecutionsResponse(
            core.store.list_runs(
                request.namespace,
                status=request.status,
                workflow_type=request.workflow_type,
                workflow_id=request.workflow_id,
                limit=request.limit,
            )
        )

    read(core, reply, look)
