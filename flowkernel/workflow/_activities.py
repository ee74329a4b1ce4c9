"""Calling activities from workflow code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Concatenate, TypedDict, TypeVar, cast, overload

from typing_extensions import Unpack

from flowkernel.common import Priority, RetryPolicy
from flowkernel.replay.activities import ActivityHandle
from flowkernel.replay.current import current
from flowkernel.replay.definitions import ActivityDefinition
from flowkernel.replay.options import NO_OPTIONS, ActivityCancellationType, ActivityOptions

P = TypeVar("P")
R = TypeVar("R")
S = TypeVar("S")


class _Unset:
    """Stands for an argument that was not given; None is one that was."""


_UNSET = _Unset()


class ActivityConfig(TypedDict, total=False):
    """Options of `start_activity` and `execute_activity`.

    Times are seconds, a timedelta or text such as ``"30s"``. What is not given comes from ``@activity.defn(…)``.

    Attributes:
        task_queue: whose workers run it; the workflow's own by default.
        schedule_to_close_timeout: for all attempts together.
        schedule_to_start_timeout: until a worker takes it; not retried when it passes.
        start_to_close_timeout: for each attempt. This or ``schedule_to_close_timeout`` is required.
        heartbeat_timeout: longest pause between two heartbeats.
        retry_policy: how failures are retried; without limit by default.
        cancellation_type: what cancelling means.
        activity_id: unique among the run's open activities; a number by default.
        summary: one line for people.
        priority: order among the tasks of its queue.
    """

    task_queue: str | None
    schedule_to_close_timeout: timedelta | float | str | None
    schedule_to_start_timeout: timedelta | float | str | None
    start_to_close_timeout: timedelta | float | str | None
    heartbeat_timeout: timedelta | float | str | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    summary: str | None
    priority: Priority


def _start(activity: object, arg: Any, args: Sequence[Any], result_type: Any, options: ActivityConfig) -> ActivityHandle[Any]:
    runtime = current()
    if arg is not _UNSET:
        if args:
            raise ValueError(f"activity {_name(activity)}: give either one argument or args=[…], not both")
        args = (arg,)
    elif isinstance(args, str):
        raise TypeError(f"activity {_name(activity)}: args is the text {args!r}; pass a list of arguments")
    parsed = ActivityOptions.parse(result_type=result_type, **options) if options or result_type is not None else NO_OPTIONS
    return runtime.start_activity(activity, args, parsed)


def _name(activity: object) -> str:
    return repr(activity if isinstance(activity, str) else getattr(activity, "__name__", activity))


def _of_class(activity: type[Any]) -> ActivityDefinition:
    # The worker makes the object; here the class's __call__ says what it takes and gives.
    return ActivityDefinition.of(cast(Any, activity).__call__)


@overload
def start_activity(activity: Callable[[], Awaitable[R]], **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...
@overload
def start_activity(activity: Callable[[], R], **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...
@overload
def start_activity(activity: Callable[[P], Awaitable[R]], arg: P, **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...
@overload
def start_activity(activity: Callable[[P], R], arg: P, **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: Callable[..., Awaitable[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: Callable[..., R], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = (),
    result_type: type[Any] | None = None,
    **options: Unpack[ActivityConfig],
) -> ActivityHandle[Any]: ...
def start_activity(
    activity: Any,
    arg: Any = _UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ActivityConfig],
) -> ActivityHandle[Any]:
    """Ask for an activity and go on; the handle is a task to await, gather or cancel.

    Args:
        activity: a function decorated with ``@activity.defn``, or an activity's name.
        arg: its argument, if it takes one.
        args: its arguments, if it takes more.
        result_type: what the result is read as, for an activity given by name.
        options: see `ActivityConfig`.
    Raises:
        ValueError: no time limit is given, here or in ``@activity.defn``; or an option breaks a rule.
        TypeError: not an activity, or an argument that cannot be converted.
        ReadOnlyContextError: in a query handler.
        NotInWorkflowError: outside of workflow code.
    Durable: the activity is scheduled once the workflow task has completed.
    """
    return _start(activity, arg, args, result_type, options)


@overload
async def execute_activity(activity: Callable[[], Awaitable[R]], **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity(activity: Callable[[], R], **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity(activity: Callable[[P], Awaitable[R]], arg: P, **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity(activity: Callable[[P], R], arg: P, **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity(
    activity: Callable[..., Awaitable[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity(activity: Callable[..., R], *, args: Sequence[Any], **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = (),
    result_type: type[Any] | None = None,
    **options: Unpack[ActivityConfig],
) -> Any: ...
async def execute_activity(
    activity: Any,
    arg: Any = _UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ActivityConfig],
) -> Any:
    """Ask for an activity and wait for its result. Arguments and errors as for `start_activity`.

    Raises:
        ActivityError: it failed for good, timed out or was cancelled; its ``cause`` says how.
    """
    return await _start(activity, arg, args, result_type, options)


@overload
def start_activity_method(activity: Callable[[S], Awaitable[R]], **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...
@overload
def start_activity_method(activity: Callable[[S], R], **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...
@overload
def start_activity_method(
    activity: Callable[[S, P], Awaitable[R]], arg: P, **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_method(activity: Callable[[S, P], R], arg: P, **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...
@overload
def start_activity_method(
    activity: Callable[Concatenate[S, ...], Awaitable[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_method(
    activity: Callable[Concatenate[S, ...], R], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
def start_activity_method(
    activity: Callable[..., Any], arg: Any = _UNSET, *, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> ActivityHandle[Any]:
    """As `start_activity`, for a method given by its class: ``Shop.charge``."""
    return _start(activity, arg, args, None, options)


@overload
async def execute_activity_method(activity: Callable[[S], Awaitable[R]], **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity_method(activity: Callable[[S], R], **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity_method(activity: Callable[[S, P], Awaitable[R]], arg: P, **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity_method(activity: Callable[[S, P], R], arg: P, **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity_method(
    activity: Callable[Concatenate[S, ...], Awaitable[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity_method(
    activity: Callable[Concatenate[S, ...], R], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...
async def execute_activity_method(
    activity: Callable[..., Any], arg: Any = _UNSET, *, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> Any:
    """As `execute_activity`, for a method given by its class: ``Shop.charge``."""
    return await _start(activity, arg, args, None, options)


def start_activity_class(
    activity: type[Any], arg: Any = _UNSET, *, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> ActivityHandle[Any]:
    """As `start_activity`, for a class whose ``__call__`` is the activity."""
    return _start(_of_class(activity), arg, args, None, options)


async def execute_activity_class(
    activity: type[Any], arg: Any = _UNSET, *, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> Any:
    """As `execute_activity`, for a class whose ``__call__`` is the activity."""
    return await _start(_of_class(activity), arg, args, None, options)
