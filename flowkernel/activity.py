"""What activity authors use: the decorator, and what an activity can know and do while it runs.

Names and meaning are those of Temporal's Python SDK. Added: the decorator takes defaults for timeouts and retries, and calling
a decorated function inside a workflow schedules it: ``await fetch(url)`` is ``workflow.execute_activity(fetch, url)`` with those
defaults. Everywhere else the decorated function is the plain function.
"""

from __future__ import annotations

import asyncio.coroutines
import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

from flowkernel import common
from flowkernel.converter import PayloadConverter
from flowkernel.durations import duration
from flowkernel.model.ids import SECOND
from flowkernel.replay import ActivityDefinition, maybe_current
from flowkernel.replay.definitions import ACTIVITY_MARK
from flowkernel.replay.options import ActivityOptions, TimeSpan
from flowkernel.worker.context import (
    ActivityCancellationDetails,
    ActivityContext,
    CompleteAsync,
    Info,
    current_activity,
)

if TYPE_CHECKING:
    from flowkernel.client import Client

__all__ = [
    "ActivityCancellationDetails",
    "Info",
    "LoggerAdapter",
    "cancellation_details",
    "client",
    "defn",
    "heartbeat",
    "in_activity",
    "info",
    "is_cancelled",
    "is_worker_shutdown",
    "logger",
    "payload_converter",
    "raise_complete_async",
    "shield_thread_cancel_exception",
    "wait_for_cancelled",
    "wait_for_cancelled_sync",
    "wait_for_worker_shutdown",
    "wait_for_worker_shutdown_sync",
]

F = TypeVar("F", bound=Callable[..., Any])


@overload
def defn(fn: F) -> F: ...


@overload
def defn(
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    in_process: bool = False,
    task_queue: str | None = None,
    schedule_to_close_timeout: TimeSpan | None = None,
    schedule_to_start_timeout: TimeSpan | None = None,
    start_to_close_timeout: TimeSpan | None = None,
    heartbeat_timeout: TimeSpan | None = None,
    retry_policy: common.RetryPolicy | None = None,
) -> Callable[[F], F]: ...


def defn(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    in_process: bool = False,
    task_queue: str | None = None,
    schedule_to_close_timeout: TimeSpan | None = None,
    schedule_to_start_timeout: TimeSpan | None = None,
    start_to_close_timeout: TimeSpan | None = None,
    heartbeat_timeout: TimeSpan | None = None,
    retry_policy: common.RetryPolicy | None = None,
) -> Any:
    """Make a function an activity.

    Args:
        fn: the function, method or callable object.
        name: the activity type; the function's name if None.
        no_thread_cancel_exception: do not raise `flowkernel.exceptions.CancelledError` in the thread of a synchronous activity.
        dynamic: takes every activity type without a definition of its own, with one ``Sequence[RawValue]`` as argument.
        in_process: run it in a process of its own. For synchronous functions that compute for long and would hold up this one.
        task_queue: default for calls inside workflows, as are the timeouts (timedelta, seconds or text such as ``"30s"``) and
            ``retry_policy``.

    Raises:
        TypeError: the function cannot be called the way activities are, or is a coroutine and ``in_process``.
        ValueError: a length of time cannot be read, or a policy breaks a rule.
    """
    options = ActivityOptions.parse(
        task_queue=task_queue,
        schedule_to_close_timeout=schedule_to_close_timeout,
        schedule_to_start_timeout=schedule_to_start_timeout,
        start_to_close_timeout=start_to_close_timeout,
        heartbeat_timeout=heartbeat_timeout,
        retry_policy=retry_policy,
    )

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        definition = ActivityDefinition.make(
            fn,
            name=name,
            dynamic=dynamic,
            no_thread_cancel_exception=no_thread_cancel_exception,
            options=options,
        )
        if in_process and definition.is_async:
            raise TypeError(f"activity {definition.name!r}: a coroutine cannot run in a process of its own; write it as def")
        return _callable(fn, dataclasses.replace(definition, in_process=in_process))

    return decorate if fn is None else decorate(fn)


def _callable(fn: Callable[..., Any], definition: ActivityDefinition) -> Callable[..., Any]:
    """What stands in for the function: in workflow code a durable step, everywhere else the function itself."""
    if not inspect.isfunction(fn):
        setattr(fn, ACTIVITY_MARK, definition)
        return fn
    method = next(iter(inspect.signature(fn).parameters), "") == "self"

    @functools.wraps(fn)
    def step(*args: Any, **kwargs: Any) -> Any:
        runtime = maybe_current()
        if runtime is None:
            return fn(*args, **kwargs)
        if method:
            args = args[1:]
        if kwargs:
            bound = inspect.signature(fn).bind(*((None, *args) if method else args), **kwargs)
            bound.apply_defaults()
            args = bound.args[1:] if method else bound.args
        return runtime.call_activity(definition, args)

    if definition.is_async:
        _mark_coroutine(step)
    setattr(step, ACTIVITY_MARK, definition)
    return step


def _mark_coroutine(step: Callable[..., Any]) -> None:
    """Let ``asyncio.iscoroutinefunction`` say yes, and from Python 3.12 on ``inspect.iscoroutinefunction`` too."""
    mark: Any = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(step)
    else:
        internals: Any = asyncio.coroutines
        setattr(step, "_is_coroutine", internals._is_coroutine)  # noqa: B010 - functions declare no such attribute


# --- inside an activity ---------------------------------------------------------------------------------------------


def _context() -> ActivityContext:
    context = current_activity.get(None)
    if context is None:
        raise RuntimeError("not in an activity: call this from a function that a worker runs as an activity")
    return context


def in_activity() -> bool:
    """Whether this code runs as an activity."""
    return current_activity.get(None) is not None


def info() -> Info:
    """The running activity.

    Raises:
        RuntimeError: not in an activity.
    """
    return _context().info


def heartbeat(*details: Any) -> None:
    """Tell the service that this attempt is alive.

    Args:
        details: JSON-convertible values; handed to the next attempt if this one dies (``info().heartbeat_details``).

    Raises:
        RuntimeError: not in an activity.
    Durable: the latest details only, at most a second later.
    """
    _context().heartbeat(*details)


def is_cancelled() -> bool:
    """Whether this attempt was asked to stop."""
    return _context().cancelled.is_set()


def cancellation_details() -> ActivityCancellationDetails | None:
    """Why this attempt was asked to stop; None if it was not."""
    return _context().cancellation_details


async def wait_for_cancelled() -> None:
    """Wait, in an asynchronous activity, until it is asked to stop."""
    await _context().cancelled.wait()


def wait_for_cancelled_sync(timeout: TimeSpan | None = None) -> None:
    """Wait, in a synchronous activity, until it is asked to stop or the time is up."""
    _context().cancelled.wait_in_thread(_seconds(timeout))


def is_worker_shutdown() -> bool:
    """Whether the worker is shutting down."""
    return _context().worker_shutdown.is_set()


async def wait_for_worker_shutdown() -> None:
    """Wait, in an asynchronous activity, until the worker shuts down."""
    await _context().worker_shutdown.wait()


def wait_for_worker_shutdown_sync(timeout: TimeSpan | None = None) -> None:
    """Wait, in a synchronous activity, until the worker shuts down or the time is up."""
    _context().worker_shutdown.wait_in_thread(_seconds(timeout))


def _seconds(timeout: TimeSpan | None) -> float | None:
    return None if timeout is None else duration(timeout) / SECOND


def shield_thread_cancel_exception() -> AbstractContextManager[None]:
    """Hold back, inside the block, the exception that cancellation raises in the thread of a synchronous activity.

    Raises:
        RuntimeError: not in an activity, or not in a thread.
    """
    interrupt = _context().interrupt
    if interrupt is None:
        raise RuntimeError("shield_thread_cancel_exception: this activity does not run in a thread")
    return interrupt.shield()


def raise_complete_async() -> NoReturn:
    """End this function but not the activity: somebody else will complete it.

    They use ``client.get_async_activity_handle`` with ``info().task_token``, or workflow id and activity id. Timeouts go on.

    Raises:
        CompleteAsync: always; let it pass.
    """
    _context()
    raise CompleteAsync


def client() -> Client:
    """The worker's client.

    Raises:
        RuntimeError: not in an activity, or in a process of its own.
    """
    make = _context().client
    if make is None:
        raise RuntimeError("activity.client: there is none in a process of its own, or in a test that gave none")
    return cast("Client", make())


def payload_converter() -> PayloadConverter:
    """The converter that read the arguments."""
    return _context().payload_converter


class LoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """Adds which activity is speaking: at the end of the message, and as ``temporal_activity`` on the record.

    Attributes:
        activity_info_on_message: add it to the message.
        activity_info_on_extra: add it to the record.
    """

    def __init__(self, logger: logging.Logger, extra: dict[str, Any] | None = None) -> None:
        super().__init__(logger, extra or {})
        self.activity_info_on_message = True
        self.activity_info_on_extra = True

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """See `logging.LoggerAdapter.process`."""
        context = current_activity.get(None)
        if context is not None:
            found = context.info
            details = {
                "activity_id": found.activity_id,
                "activity_type": found.activity_type,
                "attempt": found.attempt,
                "namespace": found.workflow_namespace,
                "task_queue": found.task_queue,
                "workflow_id": found.workflow_id,
                "workflow_run_id": found.workflow_run_id,
                "workflow_type": found.workflow_type,
            }
            if self.activity_info_on_message:
                msg = f"{msg} ({details})"
            if self.activity_info_on_extra:
                kwargs["extra"] = {**(kwargs.get("extra") or {}), "temporal_activity": details}
        return msg, kwargs


logger = LoggerAdapter(logging.getLogger("flowkernel.activity"))
"""For activity code; what it logs is kept with the attempt."""
