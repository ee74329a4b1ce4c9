"""The worker: takes tasks from a queue and runs the author's code."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from flowkernel.api import call
from flowkernel.model.errors import FlowkernelError
from flowkernel.model.requests import UnregisterWorker
from flowkernel.replay import ActivityDefinition, WorkflowDefinition
from flowkernel.worker import guard, output
from flowkernel.worker.activities import ActivityRunner
from flowkernel.worker.coding import Coding
from flowkernel.worker.collecting import collection
from flowkernel.worker.workflows import WorkflowRunner

if TYPE_CHECKING:
    from flowkernel.client import Client


class WorkerConfigError(FlowkernelError, ValueError):
    """A worker was set up in a way that cannot work. Nothing was started."""


class Worker:
    """Takes tasks of one task queue and runs workflows and activities.

    Use it as an async context manager, or ``await worker.run()``. Activities that are coroutines run on the loop on which the
    worker runs; other ones on ``activity_executor``, by default a thread pool of its own.

    Args:
        client: whose service gives the tasks, and whose converter reads them.
        task_queue: from which to take them.
        activities: functions decorated with ``@activity.defn``.
        workflows: classes decorated with ``@workflow.defn``.
        activity_executor: for synchronous activities.
        max_cached_workflows: runs whose code is kept in memory; others are replayed when they go on.
        max_concurrent_workflow_tasks: 100 if None.
        max_concurrent_activities: 100 if None.
        graceful_shutdown_timeout: how long running activities may go on after `shutdown`, before they are cancelled.
        default_heartbeat_throttle_interval: the most time between two heartbeats that are sent.
        max_heartbeat_throttle_interval: a limit to that.
        workflow_failure_exception_types: exceptions that fail a workflow instead of suspending it.
        debug_mode: no watch for workflow code that blocks, so that a debugger can stop in it.
        identity: shown in histories; process id and host if None.
        waits_for_unknown_types: leave tasks of types that are not registered here in the queue, instead of failing them.
        default_start_to_close_timeout: not used here; see `flowkernel.workflow`.

    Raises:
        WorkerConfigError: neither activities nor workflows, two with the same name, or something that is neither.
    """

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str,
        activities: Sequence[Callable[..., Any]] = (),
        workflows: Sequence[type[Any] | WorkflowDefinition] = (),
        activity_executor: Executor | None = None,
        max_cached_workflows: int = 1000,
        max_concurrent_workflow_tasks: int | None = None,
        max_concurrent_activities: int | None = None,
        graceful_shutdown_timeout: timedelta = timedelta(),
        default_heartbeat_throttle_interval: timedelta = timedelta(seconds=1),
        max_heartbeat_throttle_interval: timedelta = timedelta(seconds=60),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        debug_mode: bool = False,
        identity: str | None = None,
        waits_for_unknown_types: bool = False,
        deadlock_timeout: timedelta = timedelta(seconds=2),
    ) -> None:
        where = f"worker on {task_queue!r}"
        if not task_queue:
            raise WorkerConfigError("worker: task_queue is empty")
        self._activities = _named([ActivityDefinition.of(fn) for fn in _listed(activities, where, "activities")], "activities")
        self._workflows = _named([_workflow(item) for item in _listed(workflows, where, "workflows")], "workflows")
        _check_limit(where, "max_cached_workflows", max_cached_workflows, 0)
        _check_limit(where, "max_concurrent_workflow_tasks", max_concurrent_workflow_tasks, 1)
        _check_limit(where, "max_concurrent_activities", max_concurrent_activities, 1)
        if not self._activities and not self._workflows and not waits_for_unknown_types:
            raise WorkerConfigError(f"{where}: give it at least one activity or workflow")
        self._client = client
        self._task_queue = task_queue
        self._executor = activity_executor
        self._max_cached = max_cached_workflows
        self._max_workflow_tasks = max_concurrent_workflow_tasks or 100
        self._max_activities = max_concurrent_activities or 100
        self._grace = graceful_shutdown_timeout
        self._heartbeat_interval = min(default_heartbeat_throttle_interval, max_heartbeat_throttle_interval)
        self._failure_types = (*workflow_failure_exception_types, *client.failure_exception_types)
        watched = not debug_mode and not os.environ.get("TEMPORAL_DEBUG")
        self._deadlock_timeout = deadlock_timeout.total_seconds() if watched else None
        self._waits_for_unknown = waits_for_unknown_types
        self._identity = identity or client.identity
        self._worker_id = f"{self._identity}:{task_queue}:{secrets.token_hex(4)}"
        self._workflow_runner: WorkflowRunner | None = None
        self._activity_runner: ActivityRunner | None = None
        self._running: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = asyncio.Event()
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()
        self._fatal: BaseException | None = None
        self._is_running = False
        self._is_shutdown = False

    # --- properties -------------------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """The client that this worker uses."""
        return self._client

    @property
    def task_queue(self) -> str:
        """The queue from which it takes tasks."""
        return self._task_queue

    @property
    def identity(self) -> str:
        """Shown in histories."""
        return self._identity

    @property
    def is_running(self) -> bool:
        """Whether it takes tasks."""
        return self._is_running and not self._stop.is_set()

    @property
    def is_shutdown(self) -> bool:
        """Whether it has ended."""
        return self._is_shutdown

    # --- life -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take tasks until `shutdown` is called or this is cancelled.

        Raises:
            RuntimeError: it ran before.
            RPCError: the service gives no tasks any more, for example because it was closed.
        """
        if self._is_running:
            raise RuntimeError(f"worker on {self._task_queue!r} ran already; make another one")
        self._start()
        try:
            await self._stop.wait()
        finally:
            await asyncio.shield(self._finish())
        if self._fatal is not None:
            raise self._fatal

    async def shutdown(self) -> None:
        """Take no more tasks, let running activities end or cancel them, and wait for them."""
        self._stop.set()
        if self._is_running:
            await self._stopped.wait()

    def _start(self) -> None:
        self._is_running = True
        self._loop = loop = asyncio.get_running_loop()
        guard.install()
        output.installation.add()
        collection.add()
        client = self._client
        coding = Coding(client.data_converter, loop)
        self._workflow_runner = workflows = WorkflowRunner(
            client.service,
            namespace=client.namespace,
            task_queue=self._task_queue,
            worker_id=self._worker_id,
            identity=self._identity,
            converter=client.data_converter,
            coding=coding,
            definitions=self._workflows,
            failure_exception_types=self._failure_types,
            max_concurrent=self._max_workflow_tasks,
            max_cached=self._max_cached,
            deadlock_timeout=self._deadlock_timeout,
            waits_for_unknown=self._waits_for_unknown,
            on_fatal=self._fail,
        )
        self._activity_runner = activities = ActivityRunner(
            client.service,
            namespace=client.namespace,
            task_queue=self._task_queue,
            worker_id=self._worker_id,
            identity=self._identity,
            converter=client.data_converter,
            coding=coding,
            definitions=self._activities,
            loop=loop,
            executor=self._executor,
            max_concurrent=self._max_activities,
            heartbeat_interval=self._heartbeat_interval.total_seconds(),
            waits_for_unknown=self._waits_for_unknown,
            client=lambda: client,
            on_fatal=self._fail,
        )
        workflows.start()
        activities.start()
        self._started.set()

    def _fail(self, error: BaseException) -> None:
        """There are no more tasks to be had. From any thread."""

        def stop() -> None:
            if not self._stop.is_set():
                self._fatal = error
                self._stop.set()

        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(stop)

    async def _finish(self) -> None:
        assert self._workflow_runner is not None
        assert self._activity_runner is not None
        try:
            await call(self._client.service, UnregisterWorker(self._worker_id))
            await self._activity_runner.stop(self._grace.total_seconds())
            await asyncio.to_thread(self._workflow_runner.stop)
        except FlowkernelError:
            self._activity_runner.close()  # the service is gone, and with it whoever wanted the results
            await asyncio.to_thread(self._workflow_runner.stop)
        finally:
            output.installation.remove()
            collection.remove()
            self._is_shutdown = True
            self._stopped.set()

    async def __aenter__(self) -> Self:
        """Start taking tasks."""
        self._running = asyncio.create_task(self.run())
        started = asyncio.create_task(self._started.wait())
        await asyncio.wait({self._running, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._running.done():
            self._running.result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut down."""
        self._stop.set()
        if self._running is not None:
            await self._running

    # --- while it runs ----------------------------------------------------------------------------------------------

    def register_workflow(self, workflow: type[Any] | WorkflowDefinition) -> None:
        """Add a workflow, or replace the one with the same name; from any thread.

        Executions that the old code had suspended are tried again at once.
        """
        definition = _workflow(workflow)
        others = [known for known in self._workflows if known.name != definition.name]
        self._workflows = [*others, definition]
        if self._workflow_runner is not None:
            self._workflow_runner.register(definition)

    def register_activity(self, fn: Callable[..., Any]) -> None:
        """Add an activity, or replace the one with the same name; from any thread."""
        definition = ActivityDefinition.of(fn)
        others = [known for known in self._activities if known.name != definition.name]
        self._activities = [*others, definition]
        if self._activity_runner is not None:
            self._activity_runner.register(definition)


def _workflow(item: type[Any] | WorkflowDefinition) -> WorkflowDefinition:
    return item if isinstance(item, WorkflowDefinition) else WorkflowDefinition.of(item)


def _listed(given: Any, where: str, option: str) -> Sequence[Any]:
    if isinstance(given, Sequence):
        return cast("Sequence[Any]", given)
    name = getattr(given, "__name__", repr(given))
    raise WorkerConfigError(f"{where}: {option} is a list; write {option}=[{name}]")


def _check_limit(where: str, option: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise WorkerConfigError(f"{where}: {option} is {value}, but must be {least} or more")


def _named(definitions: list[Any], what: str) -> list[Any]:
    seen: set[str | None] = set()
    for definition in definitions:
        if definition.name in seen:
            raise WorkerConfigError(f"worker: more than one of its {what} is called {definition.name!r}")
        seen.add(definition.name)
    return definitions
