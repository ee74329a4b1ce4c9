"""Queries: questions to workflow code, which write nothing.

A query waits while the run's workflow task is with a worker or about to be, so that its answer includes what happened before it
was asked; then a worker gets it as a task of its own. Closed runs are answered by replaying their history.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING

from flowkernel.api import Reply
from flowkernel.model.errors import ExecutionNotFound, FlowkernelError, RPCError, RPCStatusCode
from flowkernel.model.events import WorkflowExecutionStarted
from flowkernel.model.execution import WorkflowTaskState
from flowkernel.model.ids import Instant, RunId, RunRef
from flowkernel.model.policies import QueryRejectCondition, WorkflowExecutionStatus
from flowkernel.model.requests import (
    QueryFailed,
    QueryWorkflow,
    QueryWorkflowResponse,
    RespondQueryTaskCompleted,
)
from flowkernel.model.tasks import WorkflowQuery, WorkflowTask
from flowkernel.service.matching import TaskQueue

if TYPE_CHECKING:
    from flowkernel.service.core import Core

FAILING_AFTER = 3
"""From this attempt of a failing workflow task on, queries are refused at once (Temporal's rule)."""


class _Query:
    __slots__ = ("due", "query_id", "ref", "reply", "request", "started", "worker_id")

    def __init__(
        self,
        query_id: str,
        request: QueryWorkflow,
        reply: Reply[QueryWorkflowResponse],
        ref: RunRef,
        started: WorkflowExecutionStarted,
        due: Instant,
    ) -> None:
        self.query_id = query_id
        self.request = request
        self.reply = reply
        self.ref = ref
        self.started = started
        self.due = due
        self.worker_id: str | None = None


class Queries:
    """The queries that have no answer yet."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._numbers = itertools.count(1)
        self._open: dict[str, _Query] = {}
        self._unmatched: deque[_Query] = deque()

    @property
    def open(self) -> bool:
        """Whether a worker is working on a query, or will be in a moment."""
        return bool(self._open) and any(
            query.worker_id is not None or self._queue(query).has_worker_for(query.started.workflow_type)
            for query in self._open.values()
        )

    def _queue(self, query: _Query) -> TaskQueue:
        return self._core.leasing.workflow_tasks.queue(query.ref.namespace, query.started.task_queue)

    def next_due(self) -> Instant | None:
        """When the first query gives up."""
        return min((query.due for query in self._open.values()), default=None) if self._open else None

    def ask(self, request: QueryWorkflow, reply: Reply[QueryWorkflowResponse]) -> None:
        """Take a query.

        Raises:
            ExecutionNotFound: no such run.
            RPCError: FAILED_PRECONDITION while the run's code keeps failing.
        """
        core = self._core
        entry = core.runs.find(request.namespace, request.workflow_id, request.run_id)
        if entry is not None:
            execution = entry.execution
            ref, started, status = execution.ref, execution.started, execution.status
        else:
            row = core.store.find_run(request.namespace, request.workflow_id, request.run_id or None)
            if row is None:
                raise ExecutionNotFound(request.workflow_id, request.run_id or None)
            ref, started, status = row.run, row.started, row.status
        if _rejected(request.reject_condition, status):
            core.later(reply, QueryWorkflowResponse(rejected=status))
            return
        if entry is not None and entry.execution.workflow_task.attempt >= FAILING_AFTER:
            raise RPCError("Unable to query workflow due to Workflow Task in failed state.", RPCStatusCode.FAILED_PRECONDITION)
        due = core.now + request.timeout
        query = _Query(f"q{next(self._numbers)}", request, reply, ref, started, due)
        self._open[query.query_id] = query
        self._unmatched.append(query)
        self.rematch()

    def rematch(self) -> None:
        """Hand waiting queries to workers that have credits."""
        for _ in range(len(self._unmatched)):
            query = self._unmatched.popleft()
            if query.query_id in self._open and not self._dispatch(query):
                self._unmatched.append(query)

    def _dispatch(self, query: _Query) -> bool:
        entry = self._core.runs.open.get(query.ref.run_id)
        if entry is not None and entry.execution.workflow_task.state in (
            WorkflowTaskState.SCHEDULED,
            WorkflowTaskState.STARTED,
        ):
            return False
        queue = self._queue(query)
        preferred = entry.sticky if entry is not None else None
        poll = queue.find(query.started.workflow_type, preferred)
        if poll is None:
            return False
        poll.credits -= 1
        query.worker_id = poll.worker_id
        cached = poll.worker_id == preferred
        self._core.leasing.ask_query(poll, self._task(query, cached=cached), cached=cached)
        return True

    def _task(self, query: _Query, *, cached: bool) -> WorkflowTask:
        request = query.request
        question = WorkflowQuery(query.query_id, request.query_type, request.args, request.header)
        started = query.started
        return WorkflowTask(query.ref, started.workflow_type, started.task_queue, (), 0 if cached else 1, query=question)

    def answered(self, response: RespondQueryTaskCompleted) -> None:
        """A worker has the answer."""
        query = self._open.pop(response.query_id, None)
        if query is None:
            return
        if response.error is not None:
            self._core.later(query.reply, None, QueryFailed(response.error, response.failure))
        else:
            self._core.later(query.reply, QueryWorkflowResponse(response.result))

    def pass_time(self, now: Instant) -> None:
        """Give up on queries that nobody answered in time."""
        late = [query for query in self._open.values() if query.due <= now]
        for query in late:
            del self._open[query.query_id]
            why = (
                "no worker has this workflow's code"
                if query.worker_id is None
                else "the worker did not answer; its code may be blocking"
            )
            message = f"query {query.request.query_type!r} on {query.ref.workflow_id!r}: {why}"
            query.reply(None, RPCError(message, RPCStatusCode.DEADLINE_EXCEEDED))
        if late:
            self._unmatched = deque(query for query in self._unmatched if query.query_id in self._open)

    def refuse_all(self, error: FlowkernelError) -> None:
        """The service ends."""
        unanswered, self._open = list(self._open.values()), {}
        for query in unanswered:
            query.reply(None, error)

    def forget(self, run_ids: set[RunId], error: FlowkernelError) -> None:
        """What happened to these runs is undone: an answer may rest on it, so there will be none."""
        for query in [query for query in self._open.values() if query.ref.run_id in run_ids]:
            del self._open[query.query_id]
            query.reply(None, error)
        self._unmatched = deque(query for query in self._unmatched if query.query_id in self._open)

    def worker_gone(self, worker_id: str) -> None:
        """Ask another worker."""
        for query in self._open.values():
            if query.worker_id == worker_id:
                query.worker_id = None
                self._unmatched.append(query)
        self.rematch()


def _rejected(condition: QueryRejectCondition, status: WorkflowExecutionStatus) -> bool:
    if condition is QueryRejectCondition.NOT_OPEN:
        return status is not WorkflowExecutionStatus.RUNNING
    if condition is QueryRejectCondition.NOT_COMPLETED_CLEANLY:
        return status not in (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED)
    return False
