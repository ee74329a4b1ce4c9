"""The service without thread, clock or disk: requests and passing time go in, transitions to commit and replies come out.

One turn goes like this (`flowkernel.service.host` drives it):

1. `handle` each request that has arrived, `pass_time` for what fell due. Decisions change memory at once and gather in a batch.
2. `hand_out` workflow tasks. They may go out before the commit: workflow code has no effects, and if the process dies, so
   does the code.
3. When the batch is `ripe`, the host commits it and calls `committed`: replies, activity tasks and listeners hear of it only now.

A batch is not ripe while all it holds belongs to runs whose code is being asked "what next?" at this moment: the answer,
some 100 µs away, joins the same commit. That is what makes a sequential step cost one commit.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from flowkernel import engine
from flowkernel.api import Reply
from flowkernel.engine import inputs
from flowkernel.model import requests as req
from flowkernel.model.errors import EngineBug, FlowkernelError
from flowkernel.model.events import Event
from flowkernel.model.execution import Execution
from flowkernel.model.ids import Instant, RunId
from flowkernel.model.tasks import (
    Deadline,
    ReadyTask,
)
from flowkernel.model.transition import Transition
from flowkernel.service import reading
from flowkernel.service.handlers import HANDLERS
from flowkernel.service.leasing import Leasing
from flowkernel.service.matching import Poll
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
        self.leasing = Leasing(self)
        self.queries = Queries(self)
        self.reads: list[Read] = []
        self._batch: list[Transition] = []
        self._batch_runs: set[RunId] = set()
        self._after: list[Answer] = []
        self._activity_polls: list[Poll] = []
        self._cold_polls: list[Poll] = []
        self._deadlines: list[tuple[Instant, int, RunId, Deadline]] = []
        self._number = itertools.count()

    # --- in ---------------------------------------------------------------------------------------------------------

    def handle(self, request: req.Request[Any], reply: Reply[Any], now: Instant) -> None:
        """Take a request. The reply is called once, here (refused) or after the commit."""
        self.now = now
        try:
            HANDLERS[type(request)](self, request, reply)
        except FlowkernelError as error:
            if self._batch:  # the refusal may rest on what is not durable yet
                self.later(reply, None, error)
            else:
                reply(None, error)
        except Exception as error:  # noqa: BLE001 - nothing was decided; the service must outlive a bug in one request
            reply(None, EngineBug(f"{type(request).__name__} failed inside the service: {error!r}"))

    def pass_time(self, now: Instant) -> None:
        """Decide on everything that fell due."""
        self.now = max(self.now, now)
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            _, _, run_id, deadline = heapq.heappop(deadlines)
            entry = self.runs.open.get(run_id)
            if entry is not None:
                self.apply(entry, inputs.DeadlinePassed(deadline))
                self.leasing.attempt_over(run_id, deadline.key, entry.execution)
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
        for poll in self.leasing.workflow_tasks.answered():
            if any(callable(task) for task in poll.collected):
                self._cold_polls.append(poll)
            else:
                poll.reply(tuple(poll.collected), None)
        self._activity_polls.extend(self.leasing.activity_tasks.answered())

    @property
    def pending(self) -> bool:
        """Whether there is anything that waits for a commit or for its turn after one."""
        return bool(self._batch or self._after or self._activity_polls or self._cold_polls or self.reads)

    @property
    def ripe(self) -> bool:
        """Whether what waits should be committed now, rather than together with answers that are being worked out."""
        if self._batch_runs and not self._cold_polls:
            return not self._batch_runs <= self.leasing.asked
        return self.pending

    @property
    def busy(self) -> bool:
        """Whether some worker is running code or an attempt: time must not be skipped."""
        return self.leasing.busy or self.queries.open

    @property
    def thinking(self) -> bool:
        """Whether some worker runs workflow code, or is about to."""
        return self.leasing.thinking or self.queries.open

    def take_batch(self) -> list[Transition]:
        """What to commit."""
        batch, self._batch = self._batch, []
        self._batch_runs = set()
        return batch

    def committed(self, batch: list[Transition]) -> None:
        """The batch is durable: send replies and tasks."""
        after, self._after = self._after, []
        polls, self._activity_polls = self._activity_polls, []
        for poll in polls:
            poll.reply(tuple(poll.collected), None)
        for call in after:
            call()
        for run_id in dict.fromkeys(transition.run.run_id for transition in batch):
            entry = self.runs.get(run_id)
            if entry is not None and entry.waiters:
                reading.wake_waiters(self, entry)
        cold, self._cold_polls = self._cold_polls, []
        for poll in cold:
            tasks = [task() if callable(task) else task for task in poll.collected]
            wanted = tuple(task for task in tasks if task is not None)
            if wanted:
                poll.reply(wanted, None)
            else:
                poll.put_back()
                self.leasing.rematch(self.leasing.workflow_tasks)

    def failed(self, batch: list[Transition], error: FlowkernelError) -> None:
        """The commit did not happen: nobody is told anything but the error, and memory goes back to what the store has.

        Polls stay open, and whoever waits for a run goes on waiting, unless there is no such run after all.
        """
        after, self._after = self._after, []
        polls, self._activity_polls = self._activity_polls, []
        for call in after:
            call.fail(error)
        for poll in polls:
            poll.put_back()
        self._reload({transition.run.run_id for transition in batch}, error)

    def refuse_all(self, error: FlowkernelError) -> None:
        """The service ends: whoever still waits gets the error, polls get no tasks."""
        after, self._after = self._after, []
        for call in after:
            call.fail(error)
        matched = [*self._activity_polls, *self._cold_polls]
        for poll in (*self.leasing.workflow_tasks.clear(), *self.leasing.activity_tasks.clear(), *matched):
            poll.reply((), None)
        for entry in self.runs.all():
            for _, reply in entry.waiters:
                reply(None, error)
            entry.waiters = []
        self.queries.refuse_all(error)

    def _reload(self, run_ids: set[RunId], error: FlowkernelError) -> None:
        # What was to fall due in a future that did not happen must not meet other events that get the same ids.
        self._deadlines = [item for item in self._deadlines if item[2] not in run_ids]
        heapq.heapify(self._deadlines)
        waiters = {run_id: entry.waiters for run_id in run_ids if (entry := self.runs.forget(run_id)) is not None}
        stored = [run for run in self.store.open_runs() if run.run.run_id in run_ids]
        executions = [engine.fold_run(run.run, run.entries) for run in stored]
        self.leasing.forget(run_ids, executions)
        self.queries.forget(run_ids, error)
        for run, execution in zip(stored, executions, strict=True):
            entry = self.adopt(execution, [event for event in run.entries if isinstance(event, Event)])
            entry.waiters = waiters.pop(run.run.run_id, [])
        for waiting in waiters.values():
            for _, reply in waiting:
                reply(None, error)

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
        self.take(entry, transition)
        return entry

    def apply(self, entry: Entry, request: Any) -> Transition:
        """Let the engine decide, and take over what it decided. Errors are the engine's."""
        transition = engine.decide(entry.execution, request, now=self.now)
        self.take(entry, transition)
        return transition

    def take(self, entry: Entry, transition: Transition) -> None:
        """Take over what the engine decided, and offer the tasks that follow."""
        before = entry.execution
        entry.execution = after = transition.after
        if transition.events or transition.records:
            self._batch.append(transition)
            self._batch_runs.add(after.ref.run_id)
            if transition.events:
                entry.unseen.extend(transition.events)
                if after.previous_started_event_id != before.previous_started_event_id:
                    entry.forget_seen()
        self.leasing.settle(entry, before)
        if after.open:
            self._keep(entry, transition.ready, transition.deadlines)
        else:
            entry.unseen = []
            self.queries.rematch()
            self.runs.close(entry)

    def _keep(self, entry: Entry, ready: tuple[ReadyTask, ...], deadlines: tuple[Deadline, ...]) -> None:
        run_id = entry.execution.ref.run_id
        for deadline in deadlines:
            heapq.heappush(self._deadlines, (deadline.due, next(self._number), run_id, deadline))
        for task in ready:
            self.leasing.offer(entry, task)

    def later(self, reply: Reply[R], answer: R | None, error: BaseException | None = None) -> None:
        """Answer after the commit."""
        self._after.append(Answer(reply, answer, error))


class Answer:
    """A reply that waits for the commit; `fail` is called instead if the commit does not happen."""

    __slots__ = ("_answer", "_error", "_reply")

    def __init__(self, reply: Reply[Any], answer: Any, error: BaseException | None = None) -> None:
        self._reply, self._answer, self._error = reply, answer, error

    def __call__(self) -> None:
        """Send it."""
        self._reply(self._answer, self._error)

    def fail(self, error: BaseException) -> None:
        """Send this error in its place."""
        self._reply(None, error)
