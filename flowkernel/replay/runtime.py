"""What running workflow code can reach: the face `flowkernel.workflow` calls these methods on the current run."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping, Sequence
from random import Random
from typing import Any

from flowkernel.common import RawValue
from flowkernel.converter import DataConverter
from flowkernel.exceptions import CancelledError, FailureError, is_cancelled_exception
from flowkernel.model.commands import CancelWorkflowExecution, FailWorkflowExecution
from flowkernel.model.events import UserMetadata, WorkflowExecutionStarted
from flowkernel.model.failures import Failure
from flowkernel.model.ids import Duration, Instant, RunRef
from flowkernel.model.payloads import Payloads
from flowkernel.replay.activities import Activities, ActivityHandle
from flowkernel.replay.current import current, maybe_current
from flowkernel.replay.definitions import ActivityDefinition, HandlerDefinition, WorkflowDefinition
from flowkernel.replay.info import Info, make_info
from flowkernel.replay.loop import WorkflowLoop
from flowkernel.replay.options import NO_OPTIONS, ActivityOptions
from flowkernel.replay.queries import Queries
from flowkernel.replay.randomness import seed_of
from flowkernel.replay.signals import Signals
from flowkernel.replay.sources import traceback_line
from flowkernel.replay.timers import Timers

__all__ = ["WorkflowRuntime", "current", "maybe_current"]

Report = Callable[[str, BaseException | None], None]
"""Where words for the worker's log go: a message, and the error that it is about."""


class WorkflowRuntime:
    """One run while its code is in memory: its loop, its object, and what it may ask for.

    Attributes:
        instance: the object of the workflow's class; None before its code first ran, and for a bare function.
        run_task: the task of the run method; None before its code first ran.
        replaying: the code is answered from history.
        serving_query: a query handler is running.
        cancel_reason: None unless cancellation of the run was requested.
        history_length: events up to the present workflow task.
        history_size: bytes of the history up to the present workflow task.
    """

    __slots__ = (
        "_failure_exception_types",
        "_info",
        "_memo",
        "_random",
        "activities",
        "cancel_reason",
        "context",
        "continue_as_new_suggested",
        "converter",
        "definition",
        "history_length",
        "history_size",
        "instance",
        "loop",
        "queries",
        "replaying",
        "run",
        "run_task",
        "serving_query",
        "signals",
        "start_time",
        "started",
        "task_queue",
        "timers",
        "workflow_start_time",
    )

    def __init__(
        self,
        definition: WorkflowDefinition,
        run: RunRef,
        converter: DataConverter,
        failure_exception_types: tuple[type[BaseException], ...],
        report: Report,
    ) -> None:
        self.definition = definition
        self.run = run
        self.converter = converter
        self.loop = loop = WorkflowLoop()
        loop.runtime = self
        loop.report = report
        loop.timers = self.timers = Timers(loop)
        self.activities = Activities(self)
        self.signals = Signals(self, definition.signals)
        self.queries = Queries(self, definition.queries)
        self.context = contextvars.Context()
        self.instance: Any = None
        self.run_task: asyncio.Task[Any] | None = None
        self.started: WorkflowExecutionStarted | None = None
        self.task_queue = ""
        self.workflow_start_time: Instant = 0
        self.start_time: Instant = 0
        self.replaying = False
        self.serving_query = False
        self.cancel_reason: str | None = None
        self.history_length = 0
        self.history_size = 0
        self.continue_as_new_suggested = False
        self._failure_exception_types = (
            FailureError,
            TimeoutError,
            *definition.failure_exception_types,
            *failure_exception_types,
        )
        self._random: Random | None = None
        self._info: Info | None = None
        self._memo: dict[str, Any] | None = None

    # --- activities and time ------------------------------------------------------------------------------------

    def start_activity(
        self, activity: object, args: Sequence[Any] = (), options: ActivityOptions = NO_OPTIONS
    ) -> ActivityHandle[Any]:
        """Ask for an activity; see `Activities.start`."""
        return self.activities.start(activity, args, options)

    def call_activity(
        self, activity: ActivityDefinition, args: Sequence[Any] = (), options: ActivityOptions = NO_OPTIONS
    ) -> ActivityHandle[Any]:
        """Ask for an activity that the code called as a plain function.

        What neither ``options`` nor the activity's decorator says comes from the workflow's ``activity_defaults``. Errors as for
        `Activities.start`.
        """
        return self.activities.start(activity, args, options.over(activity.options).over(self._activity_defaults(activity)))

    def _activity_defaults(self, activity: ActivityDefinition) -> ActivityOptions:
        defaults = self.definition.activity_defaults
        if defaults.start_to_close_timeout and activity.options.schedule_to_close_timeout:
            # An activity with a limit of its own needs none from the notebook.
            return ActivityOptions(retry_policy=defaults.retry_policy, heartbeat_timeout=defaults.heartbeat_timeout)
        return defaults

    async def sleep(self, delay: Duration, summary: str | None = None) -> None:
        """Wait for ``delay`` nanoseconds on a durable timer, also when it is 0."""
        future: asyncio.Future[None] = self.loop.create_future()
        timer = self.timers.start(delay, _set_unless_done, (future,), None, self.summary(summary))
        try:
            await future
        except asyncio.CancelledError:
            timer.cancel()
            raise

    async def wait_condition(
        self, condition: Callable[[], bool], timeout: float | None = None, timeout_summary: str | None = None
    ) -> None:
        """Wait until ``condition`` holds; it is looked at whenever nothing else is ready.

        Args:
            condition: called without arguments.
            timeout: seconds; None for no limit and no timer.
            timeout_summary: shown with the timer.
        Raises:
            TimeoutError: it did not hold in time.
            ReadOnlyContextError: in a query handler.
        """
        loop = self.loop
        loop.outbox.check("wait for a condition")
        future: asyncio.Future[bool] = loop.create_future()
        loop.conditions.append((condition, future))
        if timeout is None:
            await future
            return
        if timeout > 0:
            self.timers.metadata = self.summary(timeout_summary)
        await asyncio.wait_for(future, timeout)

    def summary(self, text: str | None) -> UserMetadata | None:
        """Words for people, to go with a command."""
        return UserMetadata(summary=self.converter.payload_converter.to_payload(text)) if text else None

    # --- what the code may know ---------------------------------------------------------------------------------

    @property
    def info(self) -> Info:
        """The run's own data."""
        if self._info is None:
            assert self.started is not None
            self._info = make_info(self.run, self.started, self.start_time, self.workflow_start_time)
        return self._info

    @property
    def seed(self) -> int:
        """What the run's random numbers grow from."""
        started = self.started
        return seed_of((started.original_execution_run_id if started is not None else "") or self.run.run_id)

    @property
    def random(self) -> Random:
        """The run's own random numbers, the same in every replay.

        Raises:
            ReadOnlyContextError: in a query handler, where drawing one would change what comes next.
        """
        if self.loop.outbox.read_only:
            self.loop.outbox.check("draw random numbers")
        if self._random is None:
            self._random = Random(self.seed)
        return self._random

    def memo(self) -> Mapping[str, Any]:
        """The memo's values, converted without types."""
        if self._memo is None:
            convert = self.converter.payload_converter.from_payload
            self._memo = {key: convert(payload) for key, payload in self._raw_memo().items()}
        return self._memo

    def _raw_memo(self) -> Mapping[str, Any]:
        return self.started.memo if self.started is not None else {}

    def memo_value(self, key: str, type_hint: Any = None) -> Any:
        """One of the memo's values, converted to a type.

        Raises:
            KeyError: there is none of that name.
        """
        memo = self._raw_memo()
        if key not in memo:
            raise KeyError(f"the workflow's memo has no {key!r}; it has: {', '.join(sorted(memo)) or 'nothing'}")
        return self.converter.payload_converter.from_payload(memo[key], type_hint)

    @property
    def replaying_history_events(self) -> bool:
        """Whether history is replayed, as opposed to a query answered meanwhile."""
        return self.replaying and not self.serving_query

    def is_failure_exception(self, error: BaseException) -> bool:
        """Whether an exception fails the run, rather than suspending it."""
        return isinstance(error, self._failure_exception_types)

    def fails_run(self, kind: type[BaseException]) -> bool:
        """As `is_failure_exception`, for a class."""
        return issubclass(kind, self._failure_exception_types)

    # --- values -------------------------------------------------------------------------------------------------

    def decode(self, payloads: Payloads, types: Sequence[Any] | None) -> list[Any]:
        """Read payloads; types count only if there are as many.

        Raises:
            RuntimeError: they cannot be read.
        """
        if not payloads:
            return []
        hints = list(types) if types is not None and len(types) == len(payloads) else None
        try:
            return list(self.converter.payload_converter.from_payloads(payloads, hints))
        except FailureError:
            raise
        except Exception as error:
            raise RuntimeError(f"Failed decoding arguments: {error}") from error

    def handler_args(self, definition: HandlerDefinition, name: str, payloads: Payloads) -> list[Any]:
        """A handler's arguments; a dynamic handler gets the name and the raw values. Errors as for `decode`."""
        if definition.name is None:
            return [name, [RawValue(payload) for payload in payloads]]
        return self.decode(payloads, definition.arg_types)

    def run_args(self, payloads: Payloads) -> list[Any]:
        """The run method's arguments; a dynamic workflow gets the raw values. Errors as for `decode`."""
        if self.definition.name is None:
            return [[RawValue(payload) for payload in payloads]]
        return self.decode(payloads, self.definition.arg_types)

    def error_of(self, failure: Failure) -> BaseException:
        """A recorded failure as the exception to raise."""
        return self.converter.failure_converter.from_failure(failure, self.converter.payload_converter)

    # --- tasks whose end matters to the run ---------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run the run method or a signal handler as a task; what it raises ends or suspends the run."""
        return self.loop.create_task(self._guarded(work), name=name, context=self.context.copy())

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BaseException as error:  # what escapes here would be lost in a task that nobody awaits
            if isinstance(error, KeyboardInterrupt):
                raise
            if not self.loop.outbox.evicting:
                self.raised(error)

    def release(self) -> None:
        """Let go of everything at the end, so that memory does not wait for the garbage collector."""
        loop = self.loop
        loop.release()
        self.run_task = None
        self.instance = None
        del self.activities, self.signals, self.queries, self.timers

    def raised(self, error: BaseException) -> None:
        """Decide what an exception out of workflow code means.

        Cancellation is a state: once it was requested, any cancellation that escapes closes the run as cancelled, even one of an
        activity that the code itself cancelled.
        """
        outbox = self.loop.outbox
        if isinstance(error, asyncio.CancelledError):
            cancelled = CancelledError(str(error) or "Cancelled")
            cancelled.__cause__ = error.__cause__
            error = cancelled.with_traceback(error.__traceback__)
        if self.cancel_reason is not None and is_cancelled_exception(error):
            outbox.close(CancelWorkflowExecution(), traceback_line(error))
        elif self.is_failure_exception(error):
            try:
                failure = self.converter.failure_converter.to_failure(error, self.converter.payload_converter)
            except Exception as unconvertible:  # noqa: BLE001 - for example details of a type without a converter
                self.loop.error = unconvertible
            else:
                outbox.close(FailWorkflowExecution(failure), traceback_line(error))
        else:
            self.loop.error = error


def _set_unless_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
