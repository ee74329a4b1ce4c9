"""The service without thread, clock or disk: requests and passing time go in, transitions to commit and replies come out.

One turn goes like this (`flowkernel.service.host` drives it):

1. `handle` each request that has arrived, `pass_time` for what fell due. Decisions change memory at once and gather in a batch.
2. `hand_out` workflow tasks. They may go out before the commit: workflow code has no effects, and if the process dies the code dies too.
3. When the batch is `ripe`, the host commits it and calls `committed`: replies, activity tasks and listeners hear of it only now.

A batch is not ripe while all it holds belongs to runs whose code is being asked "what next?" at this moment: the answer, some 100 µs
away, joins the same commit. That is what makes a sequential step cost one commit.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from msgspec.structs import replace

from flowkernel import engine
from flowkernel.api import Change, Reply
from flowkernel.engine import inputs
from flowkernel.model import requests as req
from flowkernel.model.errors import EngineBug, ExecutionNotFound, FlowkernelError, InvalidRequest
from flowkernel.model.events import Event, WorkflowTaskFailed, WorkflowTaskScheduled, WorkflowTaskStarted
from flowkernel.model.execution import ActivityState, Execution, PendingActivity, WorkflowTaskState
from flowkernel.model.ids import Instant, RunId, RunRef
from flowkernel.model.records import WorkflowTaskAttemptFailed
from flowkernel.model.tasks import (
    ActivityTask,
    ActivityTaskReady,
    Deadline,
    ReadyTask,
    TaskToken,
    WorkflowTask,
    WorkflowTaskReady,
)
from flowkernel.model.transition import Transition
from flowkernel.service import reading, starting
from flowkernel.service.matching import Matching, Poll
from flowkernel.service.queries import Queries
from flowkernel.service.runs import Entry, Runs
from flowkernel.store.port import Store

R = TypeVar("R")

Read = Callable[[], None]
"""A look into the store that ends with a reply; the host runs it off the service's thread, after the commit."""


class Core:
    """Owns the state of all open runs.

    Args:
        store: for reading; committing is the host's.
        new_run_id: makes a run id from an instant.
    """

    def __init__(self, store: Store, new_run_id: Callable[[Instant], RunId]) -> None:
        self.store = store
        self.new_run_id = new_run_id
        self.now: Instant = 0
        self.runs = Runs()
        self.workflow_tasks = Matching(self._workflow_type)
        self.activity_tasks = Matching(self._activity_type)
        self.queries = Queries(self)
        self.reads: list[Read] = []
        self._batch: list[Transition] = []
        self._batch_runs: set[RunId] = set()
        self._asked: set[RunId] = set()
        self._after: list[_Answer] = []
        self._activity_polls: list[Poll] = []
        self._attempts: dict[tuple[RunId, int], str] = {}
        self._cold_polls: list[Poll] = []
        self._deadlines: list[tuple[Instant, int, RunId, Deadline]] = []
        self._number = itertools.count()

    # --- in ---------------------------------------------------------------------------------------------------------

    def handle(self, request: req.Request[Any], reply: Reply[Any], now: Instant) -> None:
        """Take a request. The reply is called once, here (refused) or after the commit."""
        self.now = now
        handler = _HANDLERS.get(type(request))
        if handler is None:
            reply(None, EngineBug(f"no handler for {type(request).__name__}"))
            return
        try:
            handler(self, request, reply)
        except (FlowkernelError, req.QueryFailed) as error:
            reply(None, error)

    def pass_time(self, now: Instant) -> None:
        """Decide on everything that fell due."""
        self.now = max(self.now, now)
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            _, _, run_id, deadline = heapq.heappop(deadlines)
            entry = self.runs.open.get(run_id)
            if entry is not None:
                self.apply(entry, inputs.DeadlinePassed(deadline))
                pending = entry.execution.activities.get(deadline.key)
                if pending is None or pending.state is not ActivityState.STARTED:
                    self._attempts.pop((run_id, deadline.key), None)
        self.queries.pass_time(now)

    # --- out --------------------------------------------------------------------------------------------------------

    def next_due(self) -> Instant | None:
        """When `pass_time` has something to do next."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][2] not in self.runs.open:
            heapq.heappop(deadlines)
        due = deadlines[0][0] if deadlines else None
        query_due = self.queries.next_due()
        if due is None or query_due is None:
            return due if query_due is None else query_due
        return min(due, query_due)

    def hand_out(self) -> None:
        """Answer the polls that collected workflow tasks; set those with activity tasks aside until the commit."""
        for poll in self.workflow_tasks.answered():
            if any(callable(task) for task in poll.collected):
                self._cold_polls.append(poll)
            else:
                poll.reply(tuple(poll.collected), None)
        self._activity_polls.extend(self.activity_tasks.answered())

    @property
    def pending(self) -> bool:
        """Whether there is anything that waits for a commit or for its turn after one."""
        return bool(self._batch or self._after or self._activity_polls or self._cold_polls or self.reads)

    @property
    def ripe(self) -> bool:
        """Whether what waits should be committed now, rather than together with answers that are being worked out."""
        if self._batch_runs and not self._cold_polls:
            return not self._batch_runs <= self._asked
        return self.pending

    @property
    def busy(self) -> bool:
        """Whether some worker is running code or an attempt: time must not be skipped."""
        return bool(self._attempts) or self.thinking or self.activity_tasks.backed_up

    @property
    def thinking(self) -> bool:
        """Whether some worker runs workflow code, or is about to."""
        return bool(self._asked) or self.queries.open or self.workflow_tasks.backed_up

    def take_batch(self) -> list[Transition]:
        """What to commit."""
        batch, self._batch = self._batch, []
        self._batch_runs = set()
        return batch

    def committed(self, batch: list[Transition]) -> list[Change]:
        """The batch is durable: send replies and tasks. Returns what listeners should hear."""
        after, self._after = self._after, []
        polls, self._activity_polls = self._activity_polls, []
        for poll in polls:
            poll.reply(tuple(poll.collected), None)
        for call in after:
            call()
        changes = [Change(t.run, t.events, t.records) for t in batch]
        for change in changes:
            entry = self.runs.find(change.run.namespace, change.run.workflow_id, change.run.run_id)
            if entry is not None and entry.waiters:
                reading.wake_waiters(self, entry)
        cold, self._cold_polls = self._cold_polls, []
        for poll in cold:
            tasks = [task() if callable(task) else task for task in poll.collected]
            poll.reply(tuple(task for task in tasks if task is not None), None)
        return changes

    def failed(self, batch: list[Transition], error: FlowkernelError) -> None:
        """The commit did not happen: nobody is told anything but the error, and memory goes back to what the store has."""
        after, self._after = self._after, []
        polls, self._activity_polls = self._activity_polls, []
        for call in after:
            call.fail(error)
        for poll in polls:
            poll.reply((), None)
        for run_id in {transition.run.run_id for transition in batch}:
            self._reload(run_id)

    def refuse_all(self, error: FlowkernelError) -> None:
        """The service ends: whoever still waits gets the error, polls get no tasks."""
        after, self._after = self._after, []
        for call in after:
            call.fail(error)
        for poll in (*self.workflow_tasks.clear(), *self.activity_tasks.clear(), *self._activity_polls, *self._cold_polls):
            poll.reply((), None)
        for entry in self.runs.all():
            for _, reply in entry.waiters:
                reply(None, error)
            entry.waiters = []
        self.queries.refuse_all(error)

    def _reload(self, run_id: RunId) -> None:
        self._asked.discard(run_id)
        entry = self.runs.forget(run_id)
        events = self.store.history(run_id)
        if entry is None or not events:
            return
        stored = [run for run in self.store.open_runs() if run.run.run_id == run_id]
        for run in stored:
            self.adopt(engine.fold_run(run.run, run.entries), [e for e in run.entries if isinstance(e, Event)])

    # --- deciding ---------------------------------------------------------------------------------------------------

    def adopt(self, execution: Execution, events: list[Event]) -> Entry:
        """Take in an open run that the store had, with its tasks and deadlines."""
        entry = Entry(execution, events)
        entry.forget_seen()
        self.runs.add(entry)
        self._keep(entry, tuple(engine.ready_tasks(execution)), tuple(engine.deadlines(execution)))
        return entry

    def start(self, transition: Transition) -> Entry:
        """Take in a new run."""
        entry = Entry(transition.after)
        self.runs.add(entry)
        self._take(entry, transition)
        return entry

    def apply(self, entry: Entry, request: Any) -> Transition:
        """Let the engine decide, and take over what it decided. Errors are the engine's."""
        transition = engine.decide(entry.execution, request, now=self.now)
        self._take(entry, transition)
        return transition

    def _take(self, entry: Entry, transition: Transition) -> None:
        before = entry.execution
        entry.execution = after = transition.after
        if transition.events or transition.records:
            self._batch.append(transition)
            self._batch_runs.add(after.ref.run_id)
            if transition.events:
                entry.unseen.extend(transition.events)
        if not after.open:
            self._asked.discard(after.ref.run_id)
            entry.unseen = []
            for scheduled_event_id in before.activities:
                self._attempts.pop((after.ref.run_id, scheduled_event_id), None)
            self.queries.run_closed(entry)
            self.runs.close(entry)
            return
        if after.workflow_task.state is not WorkflowTaskState.STARTED:
            self._asked.discard(after.ref.run_id)
        self._keep(entry, transition.ready, transition.deadlines)

    def _keep(self, entry: Entry, ready: tuple[ReadyTask, ...], deadlines: tuple[Deadline, ...]) -> None:
        run_id = entry.execution.ref.run_id
        for deadline in deadlines:
            heapq.heappush(self._deadlines, (deadline.due, next(self._number), run_id, deadline))
        for task in ready:
            self._offer(entry, task)

    # --- tasks ------------------------------------------------------------------------------------------------------

    def _workflow_type(self, task: ReadyTask) -> str | None:
        entry = self.runs.open.get(task.run.run_id)
        return entry.execution.started.workflow_type if entry is not None else None

    def _activity_type(self, task: ReadyTask) -> str | None:
        entry = self.runs.open.get(task.run.run_id)
        pending = entry.execution.activities.get(task.scheduled_event_id) if entry is not None else None
        return pending.scheduled.activity_type if pending is not None else None

    def _offer(self, entry: Entry, task: ReadyTask) -> None:
        namespace = entry.execution.ref.namespace
        if isinstance(task, WorkflowTaskReady):
            queue = self.workflow_tasks.queue(namespace, entry.execution.started.task_queue)
            poll = queue.offer(task, entry.sticky)
            if poll is not None and not self._lease_workflow_task(entry, task, poll):
                poll.credits += 1
            return
        pending = entry.execution.activities.get(task.scheduled_event_id)
        if pending is None:
            return
        poll = self.activity_tasks.queue(namespace, pending.scheduled.task_queue).offer(task)
        if poll is not None and not self._lease_activity_task(entry, task, poll):
            poll.credits += 1

    def rematch(self, matching: Matching) -> None:
        """Offer waiting tasks again, because polls came in or types changed."""
        for queue in matching:
            if queue.waits:
                for task in queue.drain():
                    entry = self.runs.open.get(task.run.run_id)
                    if entry is not None:
                        self._offer(entry, task)

    def _lease_workflow_task(self, entry: Entry, ready: WorkflowTaskReady, poll: Poll) -> bool:
        task = entry.execution.workflow_task
        if task.state is not WorkflowTaskState.SCHEDULED or task.attempt != ready.attempt:
            return False
        self.apply(entry, inputs.StartWorkflowTask(poll.identity))
        entry.holder = poll.worker_id
        self._asked.add(ready.run.run_id)
        if entry.sticky != poll.worker_id and entry.execution.previous_started_event_id:
            poll.collected.append(partial(self._cold_workflow_task, entry))
        else:
            poll.collected.append(self._workflow_task(entry, tuple(entry.unseen)))
        return True

    def _workflow_task(self, entry: Entry, events: tuple[Event, ...]) -> WorkflowTask:
        """The task as a worker gets it: with its own started event, which is written only when it is answered."""
        execution = entry.execution
        task, started = execution.workflow_task, execution.started
        extra: list[Event] = []
        if task.transient:
            scheduled = WorkflowTaskScheduled(started.task_queue, execution.task_timeout, task.attempt)
            extra.append(Event(task.scheduled_event_id, task.scheduled_time, scheduled))
        attributes = WorkflowTaskStarted(task.scheduled_event_id, task.identity)
        extra.append(Event(task.started_event_id, task.started_time, attributes))
        return WorkflowTask(
            execution.ref,
            started.workflow_type,
            started.task_queue,
            (*events, *extra),
            events[0].event_id if events else extra[0].event_id,
            TaskToken(execution.ref, task.scheduled_event_id, task.attempt, task.started_event_id),
            task.attempt,
        )

    def _cold_workflow_task(self, entry: Entry) -> WorkflowTask | None:
        """For a worker that does not keep the run: with the history from the start, part of which is in the store only."""
        if entry.execution.workflow_task.state is not WorkflowTaskState.STARTED:
            return None
        return self._workflow_task(entry, self.store.history(entry.execution.ref.run_id))

    def ask_query(self, poll: Poll, task: WorkflowTask, *, cached: bool) -> None:
        """Hand a query to a worker, with the history if it does not keep the run."""

        def cold() -> WorkflowTask:
            return replace(task, events=self.store.history(task.run.run_id))

        poll.collected.append(task if cached else cold)

    def _lease_activity_task(self, entry: Entry, ready: ActivityTaskReady, poll: Poll) -> bool:
        try:
            self.apply(entry, inputs.StartActivityTask(ready.scheduled_event_id, ready.attempt, poll.identity))
        except ExecutionNotFound:
            return False
        pending = entry.execution.activities[ready.scheduled_event_id]
        self._attempts[ready.run.run_id, ready.scheduled_event_id] = poll.worker_id
        poll.collected.append(_activity_task(entry.execution, pending))
        return True

    # --- requests ---------------------------------------------------------------------------------------------------

    def open_entry(self, namespace: str, workflow_id: str, run_id: str = "", first_run_id: str = "") -> Entry:
        """The open run that is meant.

        Raises:
            ExecutionNotFound: there is none, or it belongs to another chain.
        """
        entry = self.runs.find(namespace, workflow_id, run_id)
        if entry is not None and entry.execution.open:
            if first_run_id and entry.execution.started.first_execution_run_id != first_run_id:
                raise ExecutionNotFound(workflow_id, first_run_id)
            return entry
        if entry is None:
            row = self.store.find_run(namespace, workflow_id, RunId(run_id) if run_id else None)
            if row is None:
                raise ExecutionNotFound(workflow_id, run_id or None)
        raise ExecutionNotFound(workflow_id, run_id or None, closed=True)

    def later(self, reply: Reply[R], answer: R) -> None:
        """Answer after the commit."""
        self._after.append(_Answer(reply, answer))

    def _to_run(self, request: Any, reply: Reply[None]) -> None:
        first = getattr(request, "first_execution_run_id", "")
        entry = self.open_entry(request.namespace, request.workflow_id, request.run_id, first)
        self.apply(entry, request)
        self.later(reply, None)

    def _workflow_task_answer(self, request: Any, reply: Reply[None]) -> None:
        entry = self._entry_of(request.token.run)
        transition = self.apply(entry, request)
        entry.holder = None
        refused = _failed_cause(transition) if type(request) is req.RespondWorkflowTaskCompleted else None
        if type(request) is req.RespondWorkflowTaskFailed or refused is not None:
            entry.sticky = None
        else:
            entry.sticky = request.worker_id if request.cached else None
            entry.forget_seen()
        self.queries.task_answered(entry)
        if refused is not None:
            self._after.append(_Answer(reply, None, InvalidRequest(refused)))
        else:
            self.later(reply, None)

    def _activity_answer(self, request: Any, reply: Reply[Any]) -> None:
        target = request.target
        if isinstance(target, TaskToken):
            entry = self._entry_of(target.run)
            key = (target.run.run_id, target.scheduled_event_id)
        else:
            entry = self.open_entry(target.namespace, target.workflow_id, target.run_id)
            key = (entry.execution.ref.run_id, entry.execution.activity_ids.get(target.activity_id, 0))
        self.apply(entry, request)
        if type(request) not in _GOES_ON:
            self._attempts.pop(key, None)
        if type(request) is req.RecordActivityTaskHeartbeat:
            pending = entry.execution.activities.get(key[1])
            requested = pending is not None and pending.cancel_requested
            self.later(cast("Reply[Any]", reply), req.RecordActivityTaskHeartbeatResponse(requested))
        else:
            self.later(reply, None)

    def _entry_of(self, run: RunRef) -> Entry:
        entry = self.runs.open.get(run.run_id)
        if entry is None:
            raise ExecutionNotFound(run.workflow_id, run.run_id, closed=True)
        return entry

    def _poll_workflow_tasks(self, request: req.PollWorkflowTasks, reply: Reply[Any]) -> None:
        queue = self.workflow_tasks.queue(request.namespace, request.task_queue)
        self._poll(self.workflow_tasks, queue.add(request, request.workflow_types, reply))

    def _poll_activity_tasks(self, request: req.PollActivityTasks, reply: Reply[Any]) -> None:
        queue = self.activity_tasks.queue(request.namespace, request.task_queue)
        self._poll(self.activity_tasks, queue.add(request, request.activity_types, reply))

    def _poll(self, matching: Matching, poll: Poll) -> None:
        if poll.credits <= 0:
            poll.reply((), None)
        self.queries.rematch()
        self.rematch(matching)

    def _wake(self, request: req.WakeWorkflowTasks, reply: Reply[int]) -> None:
        woken = 0
        for entry in list(self.runs.open.values()):
            started, task = entry.execution.started, entry.execution.workflow_task
            if started.task_queue == request.task_queue and started.workflow_type in request.workflow_types:
                if task.state is WorkflowTaskState.BACKING_OFF:
                    self.apply(entry, inputs.WakeWorkflowTask())
                    woken += 1
        self.later(reply, woken)

    def _unregister(self, request: req.UnregisterWorker, reply: Reply[None]) -> None:
        for poll in (*self.workflow_tasks.remove(request.worker_id), *self.activity_tasks.remove(request.worker_id)):
            poll.reply((), None)
        for entry in list(self.runs.open.values()):
            if entry.sticky == request.worker_id:
                entry.sticky = None
            if entry.holder == request.worker_id:
                entry.holder = None
                self.apply(entry, inputs.ReturnWorkflowTask())
        if request.lost:
            self._lose_attempts(request.worker_id)
        self.queries.worker_gone(request.worker_id)
        self.later(reply, None)

    def _lose_attempts(self, worker_id: str) -> None:
        for (run_id, scheduled_event_id), holder in list(self._attempts.items()):
            if holder != worker_id:
                continue
            del self._attempts[run_id, scheduled_event_id]
            entry = self.runs.open.get(run_id)
            pending = entry.execution.activities.get(scheduled_event_id) if entry is not None else None
            if entry is not None and pending is not None:
                self.apply(entry, inputs.LoseActivityAttempt(scheduled_event_id, pending.attempt))

    def _start(self, request: req.StartWorkflowExecution, reply: Reply[Any]) -> None:
        starting.start(self, request, reply)

    def _history(self, request: req.GetWorkflowExecutionHistory, reply: Reply[Any]) -> None:
        reading.history(self, request, reply)

    def _describe(self, request: req.DescribeWorkflowExecution, reply: Reply[Any]) -> None:
        reading.describe(self, request, reply)

    def _list(self, request: req.ListWorkflowExecutions, reply: Reply[Any]) -> None:
        reading.list_executions(self, request, reply)

    def _query(self, request: req.QueryWorkflow, reply: Reply[Any]) -> None:
        self.queries.ask(request, reply)

    def _query_answer(self, request: req.RespondQueryTaskCompleted, reply: Reply[None]) -> None:
        self.queries.answered(request)
        reply(None, None)


class _Answer:
    """A reply that waits for the commit; `fail` is called instead if the commit does not happen."""

    __slots__ = ("_answer", "_error", "_reply")

    def __init__(self, reply: Reply[Any], answer: Any, error: BaseException | None = None) -> None:
        self._reply, self._answer, self._error = reply, answer, error

    def __call__(self) -> None:
        self._reply(self._answer, self._error)

    def fail(self, error: BaseException) -> None:
        self._reply(None, error)


def _failed_cause(transition: Transition) -> str | None:
    for event in transition.events:
        if isinstance(event.attributes, WorkflowTaskFailed):
            failure = event.attributes.failure
            return f"{event.attributes.cause.name}: {failure.message if failure else 'new events arrived'}"
    for record in transition.records:
        if isinstance(record, WorkflowTaskAttemptFailed):
            return f"{record.cause.name}: {record.failure.message if record.failure else 'new events arrived'}"
    return None


def _activity_task(execution: Execution, pending: PendingActivity) -> ActivityTask:
    scheduled = pending.scheduled
    return ActivityTask(
        token=TaskToken(execution.ref, pending.scheduled_event_id, pending.attempt),
        workflow_type=execution.started.workflow_type,
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        task_queue=scheduled.task_queue,
        input=scheduled.input,
        header=scheduled.header,
        attempt=pending.attempt,
        scheduled_time=pending.scheduled_time,
        current_attempt_scheduled_time=pending.attempt_scheduled_time,
        started_time=pending.started_time,
        schedule_to_close_timeout=scheduled.schedule_to_close_timeout,
        start_to_close_timeout=scheduled.start_to_close_timeout,
        heartbeat_timeout=scheduled.heartbeat_timeout,
        heartbeat_details=pending.heartbeat_details,
        retry_policy=scheduled.retry_policy,
        priority=scheduled.priority,
    )


_GOES_ON = frozenset({req.RecordActivityTaskHeartbeat, req.RecordActivityTaskOutput})

# pyright: reportPrivateUsage=false
_HANDLERS: dict[type[Any], Callable[[Core, Any, Reply[Any]], None]] = {
    req.StartWorkflowExecution: Core._start,
    req.SignalWorkflowExecution: Core._to_run,
    req.RequestCancelWorkflowExecution: Core._to_run,
    req.TerminateWorkflowExecution: Core._to_run,
    req.QueryWorkflow: Core._query,
    req.DescribeWorkflowExecution: Core._describe,
    req.GetWorkflowExecutionHistory: Core._history,
    req.ListWorkflowExecutions: Core._list,
    req.PollWorkflowTasks: Core._poll_workflow_tasks,
    req.PollActivityTasks: Core._poll_activity_tasks,
    req.RespondWorkflowTaskCompleted: Core._workflow_task_answer,
    req.RespondWorkflowTaskFailed: Core._workflow_task_answer,
    req.RespondQueryTaskCompleted: Core._query_answer,
    req.RespondActivityTaskCompleted: Core._activity_answer,
    req.RespondActivityTaskFailed: Core._activity_answer,
    req.RespondActivityTaskCanceled: Core._activity_answer,
    req.RecordActivityTaskHeartbeat: Core._activity_answer,
    req.RecordActivityTaskOutput: Core._activity_answer,
    req.ReleaseActivityTask: Core._activity_answer,
    req.WakeWorkflowTasks: Core._wake,
    req.UnregisterWorker: Core._unregister,
}
