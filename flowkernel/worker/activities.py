"""Runs activities: synchronous ones on threads, asynchronous ones on the worker's loop, in processes where asked."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from flowkernel import common
from flowkernel.api import Service
from flowkernel.converter import DataConverter
from flowkernel.converter.naming import always, check_sizes, to_payloads
from flowkernel.durations import to_timedelta
from flowkernel.exceptions import ApplicationError
from flowkernel.model.errors import RPCError, StoreError
from flowkernel.model.ids import SECOND, Instant
from flowkernel.model.payloads import Payloads
from flowkernel.model.requests import (
    PollActivityTasks,
    RecordActivityTaskOutput,
    Request,
    RespondActivityTaskCompleted,
    RespondActivityTaskFailed,
)
from flowkernel.model.tasks import ActivityTask
from flowkernel.replay import ActivityDefinition
from flowkernel.worker.coding import Coding
from flowkernel.worker.context import (
    ActivityCancellationDetails,
    ActivityContext,
    BothEvent,
    Info,
    ThreadInterrupt,
    current_activity,
)
from flowkernel.worker.heartbeats import Heartbeats
from flowkernel.worker.outcomes import Report, report_of
from flowkernel.worker.output import Captured, current_output
from flowkernel.worker.processes import ProcessPool

log = logging.getLogger("flowkernel.worker")

DELIVERY_PAUSE = 1.0
"""Seconds before an outcome that the service could not write is sent again."""

OUTPUT_INTERVAL = 1.0
"""Seconds after which captured output is stored while the attempt still runs."""


class Attempt:
    """One attempt in hand."""

    __slots__ = ("captured", "context", "definition", "heartbeats", "task")
    captured: Captured

    def __init__(self, task: ActivityTask, definition: ActivityDefinition) -> None:
        self.task = task
        self.definition = definition
        self.context: ActivityContext | None = None
        self.heartbeats: Heartbeats | None = None


class ActivityRunner:
    """The activity half of a worker. `start` is called on the worker's loop.

    Args:
        heartbeat_interval: most seconds between two heartbeats that are sent.
        client: makes the client that activities get from ``activity.client()``.
        on_fatal: told, on any thread, that there are no more tasks to be had.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        task_queue: str,
        worker_id: str,
        identity: str,
        converter: DataConverter,
        coding: Coding,
        definitions: Iterable[ActivityDefinition],
        loop: asyncio.AbstractEventLoop,
        executor: Executor | None = None,
        max_concurrent: int = 100,
        heartbeat_interval: float = 1.0,
        waits_for_unknown: bool = False,
        client: Callable[[], Any] | None = None,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._on_fatal = on_fatal
        self._service = service
        self._namespace, self._task_queue = namespace, task_queue
        self._worker_id, self._identity = worker_id, identity
        self._converter, self._coding = converter, coding
        self._definitions = {definition.name: definition for definition in definitions}
        self._loop = loop
        self._own_executor = executor is None
        self._executor: Executor = executor or ThreadPoolExecutor(max_concurrent, thread_name_prefix="flowkernel-activity")
        self._processes = ProcessPool()
        self._max_concurrent, self._heartbeat_interval = max_concurrent, heartbeat_interval
        self._waits_for_unknown = waits_for_unknown
        self._client = client
        self._shutdown_event = BothEvent(loop)
        self._lock = threading.Lock()
        self._wished = 0
        self._running: dict[int, Attempt] = {}
        self._idle = asyncio.Event()
        self._started = False
        self._stopping = False

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to take tasks."""
        self._started = True
        if self._definitions or self._waits_for_unknown:
            self._poll()

    async def stop(self, grace: float) -> None:
        """Let running attempts finish for `grace` seconds, then cancel them and wait. Stop polling first."""
        self._stopping = True
        self._shutdown_event.set()
        if not self._running:
            self._idle.set()
        elif grace > 0:
            try:
                await asyncio.wait_for(self._idle.wait(), grace)
            except TimeoutError:
                log.info("activities still run after the grace period; cancelling them")
        for attempt in list(self._running.values()):
            if attempt.context is not None:
                attempt.context.cancel(ActivityCancellationDetails(worker_shutdown=True))
        await self._idle.wait()
        self.close()

    def close(self) -> None:
        """Let go of threads and processes without waiting."""
        self._stopping = True
        self._processes.close()
        if self._own_executor:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def register(self, definition: ActivityDefinition) -> None:
        """Add an activity, or put it in the place of the one with the same name."""
        self._definitions = {**self._definitions, definition.name: definition}
        if not self._started:
            return
        if self._wished:
            self._service.send(self._request(0))
        else:
            self._poll()

    @property
    def names(self) -> list[str]:
        """Registered activity types."""
        return sorted(name for name in self._definitions if name is not None)

    # --- polling ----------------------------------------------------------------------------------------------------

    def _request(self, wished: int) -> PollActivityTasks:
        types = frozenset(self.names) if self._waits_for_unknown and None not in self._definitions else None
        return PollActivityTasks(self._namespace, self._task_queue, self._worker_id, wished, self._identity, types)

    def _poll(self) -> None:
        with self._lock:
            free = self._max_concurrent - len(self._running) - self._wished
            # A few at a time, once a wish is out: one request per finished attempt would be as many requests as attempts.
            if self._stopping or free <= 0 or (self._wished and free < self._max_concurrent // 4):
                return
            self._wished += free
        self._service.send(self._request(free), lambda tasks, error: self._take(free, tasks, error))

    def _take(self, wished: int, tasks: tuple[ActivityTask, ...] | None, error: BaseException | None) -> None:
        """Runs on the service's thread."""
        with self._lock:
            self._wished -= wished
        if not tasks:
            if error is not None and not self._stopping:
                self._on_fatal(error)
            return
        on_loop: list[Attempt] = []
        for task in tasks:
            definition = self._definitions.get(task.activity_type) or self._definitions.get(None)
            if definition is None:
                self._refuse(task)
                continue
            attempt = Attempt(task, definition)
            with self._lock:
                self._running[id(attempt)] = attempt
            if definition.is_async:
                on_loop.append(attempt)
            else:
                self._executor.submit(self._run_in_thread, attempt)
        if on_loop:
            self._loop.call_soon_threadsafe(self._start_on_loop, on_loop)
        self._poll()

    def _refuse(self, task: ActivityTask) -> None:
        known = ", ".join(self.names) or "none"
        message = f"Activity function {task.activity_type} is not registered on this worker, available activities: {known}"
        failure = self._converter.failure_converter.to_failure(
            ApplicationError(message, type="NotFoundError"), self._converter.payload_converter
        )
        self._service.send(RespondActivityTaskFailed(task.token, failure, self._identity))

    def _done(self, attempt: Attempt) -> None:
        # Task, context and attempt know one another. Untie them, so that they are freed now and not when the collector comes:
        # memory that is used again at once is still in the processor's cache.
        context, attempt.context = attempt.context, None
        attempt.captured.detach()
        if context is not None:
            context.task = context.on_cancel = None
        with self._lock:
            del self._running[id(attempt)]
            empty = not self._running
        if self._stopping:
            if empty:
                self._loop.call_soon_threadsafe(self._idle.set)
        else:
            self._poll()

    # --- running ----------------------------------------------------------------------------------------------------

    def _start_on_loop(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            # Its own context: what one activity sets, or prints, is not another's.
            context = contextvars.Context()
            task = context.run(self._loop.create_task, self._run_on_loop(attempt))
            task.add_done_callback(lambda _, attempt=attempt: self._done(attempt))

    async def _run_on_loop(self, attempt: Attempt) -> None:
        task = attempt.task
        context = self._context(attempt)
        context.task = asyncio.current_task()
        current_activity.set(context)
        current_output.set(attempt.captured)
        try:
            if self._coding.active:
                attempt.task = await self._coding.decode(task)
            result = await attempt.definition.fn(*self._args(attempt))
            payloads = self._result(attempt, result)
            if self._coding.active:
                payloads = await self._coding.encode(payloads)
            self._check_result(attempt, payloads)
        except BaseException as error:
            current_output.set(None)
            self._report_error(attempt, context, error)
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise
            return
        self._deliver(RespondActivityTaskCompleted(task.token, payloads, self._identity, attempt.captured.take()))

    def _run_in_thread(self, attempt: Attempt) -> None:
        task, definition = attempt.task, attempt.definition
        context = self._context(attempt)
        interrupt = ThreadInterrupt()
        if not definition.in_process:
            context.interrupt = interrupt
        activity_token = current_activity.set(context)
        output_token = current_output.set(attempt.captured)
        try:
            try:
                attempt.task = self._coding.decode_sync(task)
                if definition.in_process:
                    payloads = self._processes.run(definition, context, attempt.task.input, self._converter, attempt.captured)
                else:
                    result = definition.fn(*self._args(attempt))
                    interrupt.finish()
                    payloads = self._result(attempt, result)
                payloads = self._coding.encode_sync(payloads)
                self._check_result(attempt, payloads)
            finally:
                interrupt.finish()
                current_activity.reset(activity_token)
                current_output.reset(output_token)
        except BaseException as error:  # noqa: BLE001 - whatever an author's code raises is the attempt's outcome
            self._report_error(attempt, context, error)
        else:
            request = RespondActivityTaskCompleted(task.token, payloads, self._identity, attempt.captured.take())
            self._deliver(request)
        finally:
            self._done(attempt)

    def _args(self, attempt: Attempt) -> list[Any]:
        """Type hints count only if there are as many as arguments, as in the SDK."""
        definition, input_ = attempt.definition, attempt.task.input
        if definition.dynamic:
            return [[common.RawValue(payload) for payload in input_]]
        hints = definition.arg_types
        typed = list(hints) if hints is not None and len(hints) == len(input_) else None
        try:
            return self._converter.payload_converter.from_payloads(input_, typed)
        except Exception as error:
            raise ApplicationError(f"Failed decoding arguments: {error}", type=type(error).__name__) from error

    def _result(self, attempt: Attempt, result: Any) -> Payloads:
        converter = self._converter.payload_converter
        return tuple(to_payloads(converter, [result], always(f"activity {attempt.task.activity_type!r}: its result")))

    def _context(self, attempt: Attempt) -> ActivityContext:
        attempt.captured = Captured(partial(self._output_waits, attempt))
        attempt.context = context = ActivityContext(
            lambda: self._info(attempt.task),
            partial(self._heartbeat, attempt),
            self._converter.payload_converter,
            self._loop,
            self._shutdown_event,
            self._client,
        )
        return context

    def _heartbeat(self, attempt: Attempt, *details: Any) -> None:
        with self._lock:
            context = attempt.context
            if context is None:
                return  # a thread of the activity's has outlived it
            if attempt.heartbeats is None:
                attempt.heartbeats = self._heartbeats(attempt, context)
        attempt.heartbeats.beat(*details)

    def _heartbeats(self, attempt: Attempt, context: ActivityContext) -> Heartbeats:
        task = attempt.task
        timeout = task.heartbeat_timeout / SECOND
        return Heartbeats(
            self._service,
            task.token,
            identity=self._identity,
            converter=self._converter,
            coding=self._coding,
            interval=min(0.8 * timeout if timeout else self._heartbeat_interval, self._heartbeat_interval),
            loop=self._loop,
            captured=attempt.captured,
            on_cancel=partial(context.cancel, raises=not attempt.definition.no_thread_cancel_exception),
        )

    def _info(self, task: ActivityTask) -> Info:
        run = task.token.run
        details = self._converter.payload_converter.from_payloads(task.heartbeat_details) if task.heartbeat_details else []
        return Info(
            activity_id=task.activity_id,
            activity_type=task.activity_type,
            attempt=task.attempt,
            current_attempt_scheduled_time=_datetime(task.current_attempt_scheduled_time),
            heartbeat_details=details,
            heartbeat_timeout=_span(task.heartbeat_timeout),
            is_local=False,
            namespace=run.namespace,
            priority=common.Priority.from_model(task.priority),
            retry_policy=common.RetryPolicy.from_model(task.retry_policy) if task.retry_policy else None,
            schedule_to_close_timeout=_span(task.schedule_to_close_timeout),
            scheduled_time=_datetime(task.scheduled_time),
            start_to_close_timeout=_span(task.start_to_close_timeout),
            started_time=_datetime(task.started_time),
            task_queue=task.task_queue,
            task_token=task.token.encode(),
            workflow_id=run.workflow_id,
            workflow_namespace=run.namespace,
            workflow_run_id=run.run_id,
            workflow_type=task.workflow_type,
        )

    def _output_waits(self, attempt: Attempt) -> None:
        """Captured text is stored within a second, also if the attempt runs on."""

        def flush() -> None:
            if id(attempt) in self._running:
                output = attempt.captured.take()
                if output:
                    self._service.send(RecordActivityTaskOutput(attempt.task.token, output))

        self._loop.call_soon_threadsafe(self._loop.call_later, OUTPUT_INTERVAL, flush)

    # --- outcomes ---------------------------------------------------------------------------------------------------

    def _check_result(self, attempt: Attempt, payloads: Payloads) -> None:
        check_sizes(payloads, self._converter.payload_size_limit, always(f"activity {attempt.task.activity_type!r}: its result"))

    def _report_error(self, attempt: Attempt, context: ActivityContext, error: BaseException) -> None:
        beats = attempt.heartbeats
        if beats is not None and beats.error is not None:
            error = beats.error
        report = report_of(
            error,
            attempt.task.token,
            asked_to_stop=context.cancellation_details,
            converter=self._converter,
            identity=self._identity,
            heartbeat=beats.end() if beats is not None else (),
            output=attempt.captured.take(),
        )
        if report is None:
            return
        if self._coding.active:
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._send_coded(report)))
        else:
            self._deliver(report)

    async def _send_coded(self, report: Report) -> None:
        self._deliver(await self._coding.encode(report))

    def _deliver(self, outcome: Request[None]) -> None:
        self._service.send(outcome, lambda _, error: self._delivered(outcome, error))

    def _delivered(self, outcome: Request[None], error: BaseException | None) -> None:
        """A disk that was full gets another try; an attempt that nobody wants any more is no matter."""
        if error is None or isinstance(error, RPCError):
            return
        log.error("the outcome of an activity could not be recorded: %s", error)
        if isinstance(error, StoreError) and not self._stopping:
            self._loop.call_soon_threadsafe(self._loop.call_later, DELIVERY_PAUSE, self._deliver, outcome)


def _span(duration: int) -> timedelta | None:
    return to_timedelta(duration) if duration else None


def _datetime(instant: Instant) -> datetime:
    return datetime.fromtimestamp(instant / SECOND, UTC)
