"""Leasing: which worker has which task. A lease is in memory only; what it leads to is not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from flowkernel.engine import inputs
from flowkernel.model.errors import ExecutionNotFound
from flowkernel.model.events import Event, WorkflowTaskScheduled, WorkflowTaskStarted
from flowkernel.model.execution import ActivityState, Execution, PendingActivity, WorkflowTaskState
from flowkernel.model.ids import EventId, RunId
from flowkernel.model.tasks import (
    ActivityTask,
    ActivityTaskReady,
    ReadyTask,
    TaskToken,
    WorkflowTask,
    WorkflowTaskReady,
)
from flowkernel.service.matching import Matching, Poll
from flowkernel.service.runs import Entry

if TYPE_CHECKING:
    from flowkernel.service.core import Core


class Leasing:
    """The queues, and what was handed out from them.

    Attributes:
        asked: runs whose code is being asked "what next?".
        attempts: running activity attempts, by run and scheduled event, with their worker's id.
        gone: ids of workers that have unregistered. They are not used again, but a last poll may still be on its way.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.workflow_tasks = Matching(self._workflow_type)
        self.activity_tasks = Matching(self._activity_type)
        self.asked: set[RunId] = set()
        self.attempts: dict[tuple[RunId, EventId], str] = {}
        self.gone: set[str] = set()
        self._numbers = itertools.count(1)

    @property
    def thinking(self) -> bool:
        """Whether some worker runs workflow code, or is about to."""
        return bool(self.asked) or self.workflow_tasks.backed_up

    @property
    def busy(self) -> bool:
        """Whether some worker runs code or an attempt, or is about to."""
        return bool(self.attempts) or self.thinking or self.activity_tasks.backed_up

    def settle(self, entry: Entry, before: Execution) -> None:
        """A run has changed: forget the leases that this ends."""
        after, run_id = entry.execution, entry.execution.ref.run_id
        if after.workflow_task.state is not WorkflowTaskState.STARTED:
            self.asked.discard(run_id)
        if not after.open:
            for scheduled_event_id in before.activities:
                self.attempts.pop((run_id, scheduled_event_id), None)

    def attempt_over(self, run_id: RunId, scheduled_event_id: EventId, execution: Execution) -> None:
        """Something happened to an activity: its attempt may have ended by that."""
        pending = execution.activities.get(scheduled_event_id)
        if pending is None or pending.state is not ActivityState.STARTED:
            self.attempts.pop((run_id, scheduled_event_id), None)

    def forget(self, run_ids: set[RunId], executions: Iterable[Execution]) -> None:
        """What happened to these runs is undone; `executions` are those that there still are, as they were before."""
        self.asked -= run_ids
        running = {
            (execution.ref.run_id, key)
            for execution in executions
            for key, pending in execution.activities.items()
            if pending.state is ActivityState.STARTED
        }
        self.attempts = {key: held for key, held in self.attempts.items() if key[0] not in run_ids or key in running}

    # --- handing out ------------------------------------------------------------------------------------------------

    def _workflow_type(self, task: ReadyTask) -> str | None:
        entry = self._core.runs.open.get(task.run.run_id)
        return entry.execution.started.workflow_type if entry is not None else None

    def _activity_type(self, task: ReadyTask) -> str | None:
        entry = self._core.runs.open.get(task.run.run_id)
        pending = entry.execution.activities.get(task.scheduled_event_id) if entry is not None else None
        return pending.scheduled.activity_type if pending is not None else None

    def offer(self, entry: Entry, task: ReadyTask) -> None:
        """Match a task to a worker, or let it wait."""
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
                    entry = self._core.runs.open.get(task.run.run_id)
                    if entry is not None:
                        self.offer(entry, task)

    def _lease_workflow_task(self, entry: Entry, ready: WorkflowTaskReady, poll: Poll) -> bool:
        task = entry.execution.workflow_task
        if task.state is not WorkflowTaskState.SCHEDULED or task.attempt != ready.attempt:
            return False
        self._core.apply(entry, inputs.StartWorkflowTask(poll.identity))
        entry.holder = poll.worker_id
        entry.lease = next(self._numbers)
        entry.mended = False
        self.asked.add(ready.run.run_id)
        if entry.sticky != poll.worker_id and entry.execution.previous_started_event_id:
            poll.collected.append(partial(self._cold_workflow_task, entry, entry.lease))
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
            TaskToken(execution.ref, task.scheduled_event_id, task.attempt, task.started_event_id, entry.lease),
            task.attempt,
        )

    def _cold_workflow_task(self, entry: Entry, lease: int) -> WorkflowTask | None:
        """For a worker that does not keep the run: with the history from the start, part of which is in the store only."""
        run_id, state = entry.execution.ref.run_id, entry.execution.workflow_task.state
        if self._core.runs.open.get(run_id) is not entry or entry.lease != lease or state is not WorkflowTaskState.STARTED:
            return None
        return self._workflow_task(entry, self._core.store.history(run_id))

    def ask_query(self, poll: Poll, task: WorkflowTask, *, cached: bool) -> None:
        """Hand a query to a worker, with the history if it does not keep the run."""

        def cold() -> WorkflowTask:
            return replace(task, events=self._core.store.history(task.run.run_id))

        poll.collected.append(task if cached else cold)

    def _lease_activity_task(self, entry: Entry, ready: ActivityTaskReady, poll: Poll) -> bool:
        try:
            self._core.apply(entry, inputs.StartActivityTask(ready.scheduled_event_id, ready.attempt, poll.identity))
        except ExecutionNotFound:
            return False
        pending = entry.execution.activities[ready.scheduled_event_id]
        self.attempts[ready.run.run_id, ready.scheduled_event_id] = poll.worker_id
        poll.collected.append(_activity_task(entry.execution, pending))
        return True

    # --- taking back ------------------------------------------------------------------------------------------------

    def remove_worker(self, worker_id: str, *, lost: bool) -> list[Poll]:
        """A worker goes: its workflow tasks go back, its attempts too if it is lost. Returns its polls."""
        # The polls first: what goes back must not come to this worker again.
        self.gone.add(worker_id)
        polls = [*self.workflow_tasks.remove(worker_id), *self.activity_tasks.remove(worker_id)]
        for entry in list(self._core.runs.open.values()):
            if entry.sticky == worker_id:
                entry.sticky = None
            if entry.holder == worker_id:
                entry.holder = None
                self._core.apply(entry, inputs.ReturnWorkflowTask())
        if lost:
            self._lose_attempts(worker_id)
        return polls

    def _lose_attempts(self, worker_id: str) -> None:
        for (run_id, scheduled_event_id), holder in list(self.attempts.items()):
            if holder != worker_id:
                continue
            del self.attempts[run_id, scheduled_event_id]
            entry = self._core.runs.open.get(run_id)
            pending = entry.execution.activities.get(scheduled_event_id) if entry is not None else None
            if entry is not None and pending is not None:
                self._core.apply(entry, inputs.LoseActivityAttempt(scheduled_event_id, pending.attempt))


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
