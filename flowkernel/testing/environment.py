"""Environments for testing workflows and activities: a service in memory, if wanted with a clock that jumps."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from flowkernel import common
from flowkernel.api import Change
from flowkernel.client import Client, open_client
from flowkernel.converter import DataConverter
from flowkernel.durations import duration as nanoseconds
from flowkernel.model.errors import FlowkernelError
from flowkernel.model.failures import Failure
from flowkernel.model.ids import SECOND
from flowkernel.model.records import WorkflowTaskAttemptFailed
from flowkernel.model.requests import GetWorkflowExecutionHistory, GetWorkflowExecutionHistoryResponse
from flowkernel.replay.definitions import ACTIVITY_MARK, ActivityDefinition
from flowkernel.replay.options import TimeSpan
from flowkernel.service import EmbeddedService, SkippingClock
from flowkernel.store.memory import MemoryStore
from flowkernel.worker.context import (
    ActivityCancellationDetails,
    ActivityContext,
    BothEvent,
    Info,
    ThreadInterrupt,
    current_activity,
)

__all__ = ["ActivityEnvironment", "WorkflowEnvironment", "WorkflowStuckError"]

P = ParamSpec("P")
R = TypeVar("R")


class WorkflowEnvironment:
    """A service for tests, and a client of it. Make one with `start_local` or `start_time_skipping`; use it in ``async with``.

    An ``assert`` that fails in workflow code fails the workflow here, instead of suspending it.

    Args:
        client: of the service to test with; it stays open when the environment is shut down.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def from_client(cls, client: Client) -> WorkflowEnvironment:
        """An environment around a client that is there already."""
        return cls(client)

    @classmethod
    async def start_local(
        cls, *, namespace: str = "default", data_converter: DataConverter | None = None, identity: str | None = None
    ) -> WorkflowEnvironment:
        """A service in memory, with the machine's clock.

        Args:
            namespace: as for `Client.connect`, as are the others.
        """
        client = open_client(":memory:", namespace=namespace, data_converter=data_converter, identity=identity)
        return _LocalEnvironment(client)

    @classmethod
    async def start_time_skipping(
        cls,
        *,
        start: datetime | None = None,
        namespace: str = "default",
        data_converter: DataConverter | None = None,
        identity: str | None = None,
    ) -> WorkflowEnvironment:
        """A service in memory, with a clock that stands still.

        While the result of a workflow is awaited through this environment's `client`, the clock jumps to whatever falls due
        next, as soon as no workflow code and no activity is running: a workflow that sleeps for a month ends at once. `sleep`
        lets time pass too.

        Args:
            start: the time at which it begins; now if None.
            namespace: as for `Client.connect`, as are the others.
        """
        return _SkippingEnvironment(start=start, namespace=namespace, data_converter=data_converter, identity=identity)

    @property
    def client(self) -> Client:
        """The client to use in the test, and to give to workers."""
        return self._client

    @property
    def supports_time_skipping(self) -> bool:
        """Whether time jumps here."""
        return False

    async def sleep(self, duration: TimeSpan, *, during_activities: bool = False) -> None:
        """Wait until so much time has passed: by waiting, or by skipping it.

        When time is skipped, whatever falls due on the way happens at its time, and first.

        Args:
            duration: timedelta, seconds or text such as ``"2h"``.
            during_activities: skip time also while activities run, as if they worked for that long; to test their timeouts.
                Otherwise an activity that runs holds time up, so that its timeouts do not depend on the speed of the machine.
        """
        del during_activities
        await asyncio.sleep(nanoseconds(duration) / SECOND)

    async def get_current_time(self) -> datetime:
        """The time here, UTC."""
        return datetime.now(UTC)

    def auto_time_skipping_disabled(self) -> AbstractContextManager[None]:
        """Inside the block, awaiting a result skips no time; only `sleep` does."""
        return _nothing_changes()

    async def shutdown(self) -> None:
        """End the service, if the environment started it. Shut down workers first."""

    async def __aenter__(self) -> Self:
        """The environment itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut down."""
        await self.shutdown()


@contextmanager
def _nothing_changes() -> Generator[None]:
    yield


class _LocalEnvironment(WorkflowEnvironment):
    """Owns its client and the service."""

    async def shutdown(self) -> None:
        await asyncio.to_thread(self._client.close)


_STUCK_AFTER = 10
"""Failures in a row after which code that fails will not mend itself."""


class WorkflowStuckError(FlowkernelError):
    """The code of a workflow whose result is awaited keeps failing, and time would be skipped for ever.

    Args:
        workflow_id: which.
        attempt: how often it was tried.
        failure: what happened the last time.
    """

    def __init__(self, workflow_id: str, attempt: int, failure: Failure | None) -> None:
        kind = getattr(failure.info, "type", "") if failure is not None else ""
        what = f"{kind}: {failure.message}" if failure is not None else "another event came each time"
        super().__init__(
            f"workflow {workflow_id!r} has no result: its code failed {attempt} times, the last time with {what.rstrip('.')}. "
            f"The execution is suspended until better code is registered"
        )


class _SkippingClient(Client):
    """Lets time be skipped while a result is awaited."""

    skips = True

    def __init__(self, service: EmbeddedService, clock: SkippingClock, **options: Any) -> None:
        super().__init__(service, **options)
        self._clock = clock

    @property
    def failure_exception_types(self) -> Sequence[type[BaseException]]:
        return (AssertionError,)

    async def await_close(self, request: GetWorkflowExecutionHistory) -> GetWorkflowExecutionHistoryResponse:
        if not self.skips:
            return await super().await_close(request)
        loop = asyncio.get_running_loop()
        closed = asyncio.ensure_future(super().await_close(request))

        stuck: list[WorkflowStuckError] = []

        def give_up(error: WorkflowStuckError) -> None:
            stuck.append(error)
            closed.cancel()

        def look(changes: Sequence[Change]) -> None:
            for change in changes:
                if change.run.workflow_id == request.workflow_id:
                    for record in change.records:
                        if isinstance(record, WorkflowTaskAttemptFailed) and record.attempt >= _STUCK_AFTER:
                            error = WorkflowStuckError(request.workflow_id, record.attempt, record.failure)
                            loop.call_soon_threadsafe(give_up, error)

        unsubscribe = self.service.subscribe(look)
        # The request itself makes the service look at the clock again.
        self._clock.allow()
        try:
            return await closed
        except asyncio.CancelledError:
            if stuck:
                raise stuck[0] from None
            raise
        finally:
            self._clock.forbid()
            unsubscribe()


class _SkippingEnvironment(WorkflowEnvironment):
    """A service whose clock the environment holds."""

    _client: _SkippingClient

    def __init__(self, *, start: datetime | None, **options: Any) -> None:
        if start is not None and start.tzinfo is None:
            raise ValueError(f"start={start!r} has no time zone; use for example datetime(2030, 1, 1, tzinfo=UTC)")
        self._clock = SkippingClock(None if start is None else round(start.timestamp() * 1_000_000) * 1000)
        self._service = EmbeddedService(MemoryStore(), self._clock)
        super().__init__(_SkippingClient(self._service, self._clock, **options))
        self._client.adopt(self._service)

    @property
    def supports_time_skipping(self) -> bool:
        return True

    async def sleep(self, duration: TimeSpan, *, during_activities: bool = False) -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        length, clock = nanoseconds(duration), self._clock
        ends: list[Callable[[], None]] = []

        def finish(error: BaseException | None = None) -> None:
            if not over.done():
                over.set_result(None) if error is None else over.set_exception(error)

        def wake() -> None:
            loop.call_soon_threadsafe(finish)

        def begin(_: None, error: BaseException | None) -> None:
            if error is not None:
                loop.call_soon_threadsafe(finish, error)
            elif not over.cancelled():
                ends.append(clock.begin_sleep(length, wake, over_activities=during_activities))

        # In line behind what was asked before, which happens before time passes.
        self._service.nudge(begin)
        try:
            await over
        finally:
            for end in ends:
                end()

    async def get_current_time(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now() / SECOND, UTC)

    @contextmanager
    def auto_time_skipping_disabled(self) -> Generator[None]:
        before, self._client.skips = self._client.skips, False
        try:
            yield
        finally:
            self._client.skips = before

    async def shutdown(self) -> None:
        await asyncio.to_thread(self._client.close)


# --- activities -----------------------------------------------------------------------------------------------------


class ActivityEnvironment:
    """Runs activity code without a worker, with everything that `flowkernel.activity` offers.

    Args:
        client: what ``activity.client()`` gives.

    Attributes:
        info: what ``activity.info()`` gives; change it with ``dataclasses.replace``.
        on_heartbeat: called with what ``activity.heartbeat`` is called with.
        payload_converter: what ``activity.payload_converter()`` gives.
    """

    def __init__(self, client: Client | None = None) -> None:
        self.info = self.default_info()
        self.on_heartbeat: Callable[..., None] = lambda *_: None
        self.payload_converter = DataConverter.default.payload_converter
        self._client = client
        self._cancellation: ActivityCancellationDetails | None = None
        self._shutdown = False
        self._running: list[tuple[ActivityContext, bool]] = []

    @staticmethod
    def default_info() -> Info:
        """The information that activities get if nobody changes it."""
        epoch = datetime.fromtimestamp(0, UTC)
        return Info(
            activity_id="test",
            activity_type="unknown",
            attempt=1,
            current_attempt_scheduled_time=epoch,
            heartbeat_details=[],
            heartbeat_timeout=None,
            is_local=False,
            namespace="default",
            priority=common.Priority.default,
            retry_policy=None,
            schedule_to_close_timeout=timedelta(seconds=1),
            scheduled_time=epoch,
            start_to_close_timeout=timedelta(seconds=1),
            started_time=epoch,
            task_queue="test",
            task_token=b"test",
            workflow_id="test",
            workflow_namespace="default",
            workflow_run_id="test-run",
            workflow_type="test",
        )

    def run(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function as an activity. Give the result of a coroutine function to ``await``.

        Args:
            fn: an activity or any other function.
            args: its arguments, as are the named ones.

        Returns:
            What it returns. It raises what it raises.
        """
        definition: ActivityDefinition | None = getattr(fn, ACTIVITY_MARK, None)
        raises = definition is None or not definition.no_thread_cancel_exception
        call = fn if inspect.isroutine(fn) else getattr(type(fn), "__call__", fn)  # noqa: B004 - wanted itself
        if definition.is_async if definition is not None else inspect.iscoroutinefunction(call):
            return self._run_async(fn, args, kwargs)  # pyright: ignore[reportReturnType] - R is a coroutine's type here
        context = self._context(None)
        context.interrupt = interrupt = ThreadInterrupt()
        with self._entered(context, raises=raises):
            try:
                return fn(*args, **kwargs)
            finally:
                interrupt.finish()

    async def _run_async(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        context = self._context(asyncio.get_running_loop())
        with self._entered(context, raises=True):
            context.task = asyncio.create_task(fn(*args, **kwargs))
            if self._cancellation is not None:
                context.task.cancel()
            return await context.task

    def cancel(self, cancellation_details: ActivityCancellationDetails | None = None) -> None:
        """Ask what runs here, and what will, to stop. From any thread; only the first call counts.

        Args:
            cancellation_details: why; because the workflow asked for it if None.
        """
        if self._cancellation is not None:
            return
        self._cancellation = cancellation_details or ActivityCancellationDetails(cancel_requested=True)
        for context, raises in list(self._running):
            context.cancel(self._cancellation, raises=raises)

    def worker_shutdown(self) -> None:
        """Tell what runs here, and what will, that the worker shuts down. From any thread."""
        self._shutdown = True
        for context, _ in list(self._running):
            context.worker_shutdown.set()

    def _context(self, loop: asyncio.AbstractEventLoop | None) -> ActivityContext:
        client = self._client
        return ActivityContext(
            lambda: self.info,
            lambda *details: self.on_heartbeat(*details),
            self.payload_converter,
            loop,
            BothEvent(loop),
            (lambda: client) if client is not None else None,
        )

    @contextmanager
    def _entered(self, context: ActivityContext, *, raises: bool) -> Generator[None]:
        if self._cancellation is not None:
            # It finds out by looking: nothing is raised in code that has not begun.
            context.cancellation_details = self._cancellation
            context.cancelled.set()
        if self._shutdown:
            context.worker_shutdown.set()
        entry = (context, raises)
        self._running.append(entry)
        token = current_activity.set(context)
        try:
            yield
        finally:
            current_activity.reset(token)
            self._running.remove(entry)
