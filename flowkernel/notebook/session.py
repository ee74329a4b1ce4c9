"""One open database in one kernel: client, workers, and the executions that this notebook started or attached to."""

from __future__ import annotations

import concurrent.futures
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from flowkernel.api import Change, call_sync
from flowkernel.client import Client, WorkflowHandle, open_client
from flowkernel.common import Payload, RawValue, WorkflowIDConflictPolicy
from flowkernel.model.errors import ExecutionNotFound
from flowkernel.model.events import WorkflowExecutionStarted
from flowkernel.model.ids import RunId, RunRef, WorkflowId
from flowkernel.model.policies import WorkflowExecutionStatus
from flowkernel.model.records import ActivityOutputCaptured
from flowkernel.model.requests import (
    DescribeWorkflowExecution,
    DescribeWorkflowExecutionResponse,
    ExecutionInfo,
    GetWorkflowExecutionHistory,
    GetWorkflowExecutionHistoryResponse,
    ListWorkflowExecutions,
    Request,
)
from flowkernel.notebook.background import Background
from flowkernel.notebook.errors import CommandError, nearest
from flowkernel.notebook.publisher import Publisher
from flowkernel.notebook.registration import Registry
from flowkernel.replay.definitions import WorkflowDefinition
from flowkernel.worker import Worker

__all__ = ["Session", "StartOptions", "Started", "SwitchInterval"]

R = TypeVar("R")
_CLOSING = frozenset(
    {
        "WorkflowExecutionCompleted",
        "WorkflowExecutionFailed",
        "WorkflowExecutionTimedOut",
        "WorkflowExecutionCanceled",
        "WorkflowExecutionTerminated",
        "WorkflowExecutionContinuedAsNew",
    }
)
# The timelines show it. Handlers that the author sets up get it all the same.
logging.getLogger("flowkernel.worker.suspended").addHandler(logging.NullHandler())

_ANSWER_TIMEOUT = 30.0
"""Seconds for a request that only reads or starts something; far more than it takes."""


@dataclass(frozen=True)
class StartOptions:
    """How an execution is started; names and meaning are those of `Client.start_workflow`."""

    workflow_id: str
    task_queue: str
    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    task_timeout: timedelta | None = None
    memo: Mapping[str, Any] | None = None
    new: bool = False


@dataclass(frozen=True)
class Started:
    """An execution that a cell began or attached to.

    Attributes:
        handle: the client's handle for exactly this run.
        run: which run.
        attached: whether it was open already.
        input: what it was started with.
    """

    handle: WorkflowHandle[Any]
    run: RunRef
    attached: bool
    input: tuple[Payload, ...]


class SwitchInterval:
    """Lets background threads in more often while executions are open.

    A cell that computes keeps the interpreter for 5 ms at a time, and a workflow's step changes threads several times: at
    Python's default a busy cell slows steps to a fifteenth.
    """

    SHORT = 0.0005

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usual: float | None = None

    def shorten(self) -> None:
        """Shorten it, unless somebody made it shorter yet."""
        with self._lock:
            present = sys.getswitchinterval()
            if self._usual is None and present > self.SHORT:
                self._usual = present
                sys.setswitchinterval(self.SHORT)

    def restore(self) -> None:
        """Give back what was there before."""
        with self._lock:
            if self._usual is not None:
                sys.setswitchinterval(self._usual)
                self._usual = None


class Session:
    """Client, workers and publisher on one database. Made at first use; `close` stops everything.

    Args:
        database: path, or ``:memory:``.
        namespace: of all executions.
        owner: who holds the file, for the error that another process gets.
        registry: the notebook's definitions.
        publisher: draws the timelines.
        echo: where else the output of activities goes; None for nowhere.
    Raises:
        StoreError: the database cannot be opened; the text says why and what to do.
    """

    def __init__(
        self,
        database: str,
        *,
        namespace: str,
        owner: str,
        registry: Registry,
        publisher: Publisher,
        echo: Callable[[str], None] | None = None,
    ) -> None:
        self.database = database
        self.publisher = publisher
        self._registry = registry
        self._echo = echo
        self._interval = SwitchInterval()
        self._open: set[RunRef] = set()
        self._workers: dict[str, tuple[Worker, Callable[[], None]]] = {}
        self.client: Client = open_client(database, namespace=namespace, owner=owner)
        self._unsubscribe = self.client.service.subscribe(self._hear)
        self.background = Background()
        # What began before the subscription; the two overlap rather than leave a gap.
        self.found_open = self.list_executions(status=WorkflowExecutionStatus.RUNNING)
        self._open.update(info.run for info in self.found_open)
        self._pace()

    def submit(self, call: Callable[..., Awaitable[R]], *args: Any) -> concurrent.futures.Future[R]:
        """Begin a coroutine function beside the cells.

        Raises:
            CommandError: this session is closed.
        """
        if not self.background.alive:
            raise CommandError(
                f"the database {self.database} was closed when the extension was unloaded. Run the cell again, or take a new "
                f"handle with flowkernel.notebook.execution(...)"
            )
        return self.background.submit(call, *args)

    # --- asking the service -----------------------------------------------------------------------------------------

    def ask(self, request: Request[R]) -> R:
        """Send a request and wait for the answer. Interruptible."""
        return call_sync(self.client.service, request, _ANSWER_TIMEOUT)

    def describe(self, workflow_id: str, run_id: str = "") -> DescribeWorkflowExecutionResponse | None:
        """Describe a run (the latest by default); None if there is none."""
        try:
            return self.ask(DescribeWorkflowExecution(self.client.namespace, WorkflowId(workflow_id), RunId(run_id)))
        except ExecutionNotFound:
            return None

    def history(self, workflow_id: str, run_id: str = "") -> GetWorkflowExecutionHistoryResponse:
        """All that is recorded of a run: events, and the records beside them."""
        request = GetWorkflowExecutionHistory(self.client.namespace, WorkflowId(workflow_id), RunId(run_id), with_records=True)
        return self.ask(request)

    def list_executions(self, **narrowed: Any) -> tuple[ExecutionInfo, ...]:
        """List executions, latest start first. Keywords as for `ListWorkflowExecutions`."""
        return self.ask(ListWorkflowExecutions(self.client.namespace, **narrowed)).executions

    def find(self, name: str, prefix: str, run_id: str = "") -> DescribeWorkflowExecutionResponse:
        """Find an execution by its id, or by the NAME of this notebook's cell.

        Raises:
            CommandError: there is none; names the nearest.
        """
        for workflow_id in (name, f"{prefix}/{name}"):
            described = self.describe(workflow_id, run_id)
            if described is not None:
                return described
        known = {info.run.workflow_id for info in self.list_executions()}
        close = nearest(name, {*known, *(one.removeprefix(f"{prefix}/") for one in known)})
        hint = f" Did you mean {close!r}?" if close else " %workflow list shows those there are."
        raise CommandError(f"no execution {name!r}{f' with run {run_id}' if run_id else ''}.{hint}")

    # --- executions -------------------------------------------------------------------------------------------------

    def start(self, workflow_type: str, payloads: Sequence[Payload], options: StartOptions) -> Started:
        """Attach to the open execution of this id, or start a run.

        Durable: the start, when this returns.

        Raises:
            CommandError: the open execution is of another type.
        """
        self.worker(options.task_queue)
        present = self.describe(options.workflow_id)
        if present is not None and present.status is WorkflowExecutionStatus.RUNNING and not options.new:
            found = present.started.workflow_type
            if found != workflow_type:
                raise CommandError(
                    f"the open execution {options.workflow_id!r} is a {found!r}, not a {workflow_type!r}. "
                    f"Choose another --id, or end it first: %workflow terminate {options.workflow_id!r}"
                )
            return self.attach(present)
        handle = self.submit(self._start, workflow_type, payloads, options).result()
        run_id = handle.result_run_id or handle.first_execution_run_id or ""
        run = RunRef(self.client.namespace, WorkflowId(options.workflow_id), RunId(run_id))
        self.track(run)
        return Started(self.client.get_workflow_handle(run.workflow_id, run_id=run.run_id), run, False, tuple(payloads))

    async def _start(self, workflow_type: str, payloads: Sequence[Payload], options: StartOptions) -> WorkflowHandle[Any]:
        policy = WorkflowIDConflictPolicy.TERMINATE_EXISTING if options.new else WorkflowIDConflictPolicy.USE_EXISTING
        return await self.client.start_workflow(
            workflow_type,
            args=[RawValue(payload) for payload in payloads],
            id=options.workflow_id,
            task_queue=options.task_queue,
            execution_timeout=options.execution_timeout,
            run_timeout=options.run_timeout,
            task_timeout=options.task_timeout,
            memo=options.memo,
            id_conflict_policy=policy,
        )

    def attach(self, described: DescribeWorkflowExecutionResponse) -> Started:
        """Follow an execution that is there."""
        run = described.run
        self.worker(described.started.task_queue)
        self.track(run)
        handle: WorkflowHandle[Any] = self.client.get_workflow_handle(run.workflow_id, run_id=run.run_id)
        return Started(handle, run, True, tuple(described.started.input))

    def track(self, run: RunRef) -> None:
        """Have the board follow a run from its first event on."""
        board = self.publisher.board
        if not board.expect(run):
            return
        try:
            history = self.history(run.workflow_id, run.run_id)
        except BaseException:
            board.forget(run)
            raise
        board.begin(run, history.events, history.records)

    def worker(self, task_queue: str) -> Worker:
        """The worker of a task queue, started when it is first needed."""
        if task_queue not in self._workers:
            worker = Worker(self.client, task_queue=task_queue, waits_for_unknown_types=True)

            def register(definition: WorkflowDefinition) -> None:
                self.publisher.board.renew(definition.name, time.time_ns())
                worker.register_workflow(definition)

            leave = self._registry.follow(register, worker.register_activity)
            self.background.call(worker.__aenter__)
            self._workers[task_queue] = (worker, leave)
        return self._workers[task_queue][0]

    # --- what the service tells -------------------------------------------------------------------------------------

    def _hear(self, changes: Sequence[Change]) -> None:
        before = bool(self._open)
        for change in changes:
            if change.events:
                if isinstance(change.events[0].attributes, WorkflowExecutionStarted):
                    self._open.add(change.run)
                if change.events[-1].stored_name in _CLOSING:
                    self._open.discard(change.run)
            if self._echo is not None:
                for record in change.records:
                    if isinstance(record, ActivityOutputCaptured):
                        self._echo(record.text)
        if bool(self._open) != before:
            self._pace()
        self.publisher.hear(changes)

    def _pace(self) -> None:
        if self._open:
            self._interval.shorten()
        else:
            self._interval.restore()

    def close(self) -> None:
        """Stop workers and service, in at most about a second and a half. Open executions carry on when the file is opened next.

        Durable: everything acknowledged before; what activities do now is lost and tried again.
        """
        for worker, leave in self._workers.values():
            leave()
            with suppress(Exception):  # closing goes on with the next thing
                self.background.call(worker.shutdown, timeout=0.5)
        self._workers.clear()
        self._unsubscribe()
        with suppress(Exception):
            self.client.close(0.7)
        self.background.close(0.3)
        self._interval.restore()
