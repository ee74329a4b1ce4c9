"""A core by hand: requests go in one by one, and the test says when there is a commit and whether it works."""

from __future__ import annotations

from typing import Any

from flowkernel.model import commands as cmd
from flowkernel.model import requests as req
from flowkernel.model.errors import WriteFailed
from flowkernel.model.events import Event
from flowkernel.model.ids import SECOND, Instant, RunId
from flowkernel.model.payloads import Payload
from flowkernel.model.tasks import ActivityTask, WorkflowTask
from flowkernel.service.core import Core
from flowkernel.service.recovery import recover
from flowkernel.store.memory import MemoryStore

START: Instant = 1_000 * SECOND
NAMESPACE, QUEUE = "default", "queue"
COMPLETE = cmd.CompleteWorkflowExecution()


class Reply:
    """What became of a request. Fails when it is answered twice."""

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None

    def __call__(self, value: Any, error: BaseException | None) -> None:
        assert not self.done, "answered twice"
        self.done, self.value, self.error = True, value, error


def value(text: str) -> tuple[Payload, ...]:
    return (Payload({"encoding": b"json/plain"}, f'"{text}"'.encode()),)


def start(workflow_id: str = "order", **fields: Any) -> req.StartWorkflowExecution:
    return req.StartWorkflowExecution(NAMESPACE, workflow_id, "Order", QUEUE, **fields)  # type: ignore[arg-type]


def signal(name: str, workflow_id: str = "order", **fields: Any) -> req.SignalWorkflowExecution:
    return req.SignalWorkflowExecution(NAMESPACE, workflow_id, name, **fields)  # type: ignore[arg-type]


def activity(activity_id: str = "1", **fields: Any) -> cmd.ScheduleActivityTask:
    fields.setdefault("start_to_close_timeout", 10 * SECOND)
    return cmd.ScheduleActivityTask(activity_id, "work", QUEUE, **fields)


class Desk:
    """A core on a store in memory."""

    def __init__(self, store: MemoryStore | None = None, now: Instant = START) -> None:
        self.store = store or MemoryStore()
        self.now = now
        self.runs = 0
        self.commits = 0
        self.core = Core(self.store, self._new_run_id)
        self.recovered = recover(self.core, self.now)

    def _new_run_id(self, _: Instant) -> RunId:
        self.runs += 1
        return RunId(f"run-{self.runs}")

    def restarted(self, now: Instant | None = None) -> Desk:
        """Another core, with what the store has."""
        desk = Desk(self.store.reopened(), self.now if now is None else now)
        desk.runs = self.runs
        return desk

    # --- the host's part --------------------------------------------------------------------------------------------

    def send(self, request: Any) -> Reply:
        """Hand in a request, and hand out what may go out before the commit."""
        reply = Reply()
        self.core.handle(request, reply, self.now)
        self.core.hand_out()
        return reply

    def commit(self) -> None:
        """Commit until nothing waits."""
        while self.core.pending:
            batch = self.core.take_batch()
            if batch:
                self.store.commit(batch)
                self.commits += 1
            self.core.committed(batch)
            self._read()
            self.core.hand_out()

    def _read(self) -> None:
        reads, self.core.reads = self.core.reads, []
        for read in reads:
            read()

    def fail(self) -> None:
        """Try to commit, in vain."""
        batch = self.core.take_batch()
        assert batch, "there is nothing to commit"
        self.core.failed(batch, WriteFailed(":memory:", "disk full"))
        self.core.hand_out()

    def advance(self, seconds: float) -> None:
        """Let time pass, with everything that falls due on the way."""
        end = self.now + int(seconds * SECOND)
        while (due := self.core.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.core.pass_time(self.now)
            self.core.hand_out()
        self.now = end

    # --- clients ----------------------------------------------------------------------------------------------------

    def ask(self, request: Any) -> Any:
        """Send and commit; returns the answer or raises the error."""
        reply = self.send(request)
        self.commit()
        assert reply.done, f"no answer to {type(request).__name__}"
        if reply.error is not None:
            raise reply.error
        return reply.value

    def history(self, workflow_id: str = "order") -> tuple[Event, ...]:
        row = self.store.find_run(NAMESPACE, workflow_id)
        return self.store.history(row.run.run_id) if row is not None else ()

    def names(self, workflow_id: str = "order") -> list[str]:
        """What the store has of the latest run."""
        return [event.stored_name for event in self.history(workflow_id)]

    def query(self, name: str = "state", **fields: Any) -> Reply:
        return self.send(req.QueryWorkflow(NAMESPACE, "order", name, **fields))  # type: ignore[arg-type]

    # --- workers ----------------------------------------------------------------------------------------------------

    def poll(self, worker: str = "a", count: int = 1, types: frozenset[str] | None = None) -> Reply:
        return self.send(req.PollWorkflowTasks(NAMESPACE, QUEUE, worker, count, workflow_types=types))

    def poll_activities(self, worker: str = "a", count: int = 1, types: frozenset[str] | None = None) -> Reply:
        return self.send(req.PollActivityTasks(NAMESPACE, QUEUE, worker, count, activity_types=types))

    def answer(self, task: WorkflowTask, *commands: cmd.Command, worker: str = "a", cached: bool = True) -> Reply:
        assert task.token is not None
        return self.send(req.RespondWorkflowTaskCompleted(task.token, commands, worker, cached))

    def unregister(self, worker: str = "a", *, lost: bool = False) -> Reply:
        return self.send(req.UnregisterWorker(worker, lost))

    def run(self, *commands: cmd.Command, worker: str = "a", **fields: Any) -> WorkflowTask:
        """Start a run and answer its first task; returns that task."""
        poll = self.poll(worker)
        self.send(start(**fields))
        self.commit()
        (task,) = poll.value
        self.answer(task, *commands, worker=worker)
        self.commit()
        return task

    def running(self, worker: str = "a", **fields: Any) -> ActivityTask:
        """Start a run with one activity, whose attempt a worker has."""
        poll = self.poll_activities(worker)
        self.run(activity(**fields), worker=worker)
        (task,) = poll.value
        return task


def kinds(task: WorkflowTask) -> list[str]:
    return [event.stored_name for event in task.events]
