"""What workflow code may know, and how it waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar, overload
from uuid import UUID

from flowkernel.converter import PayloadConverter
from flowkernel.durations import duration as nanoseconds
from flowkernel.replay.current import current, maybe_current
from flowkernel.replay.info import Info, utc

T = TypeVar("T")
D = TypeVar("D")


class _Missing:
    """Stands for a default that was not given."""


_MISSING = _Missing()


def in_workflow() -> bool:
    """Whether workflow code is running here."""
    return maybe_current() is not None


def info() -> Info:
    """The running workflow.

    Raises:
        NotInWorkflowError: outside of workflow code. So do all functions here but `in_workflow`.
    """
    return current().info


def instance() -> Any:
    """The object of the workflow's class; None in a workflow without a class."""
    return current().instance


def now() -> datetime:
    """The time of the workflow task, UTC: the same in every replay, and constant until the code waits."""
    return utc(current().loop.time_ns)


def time() -> float:
    """As `now`, in seconds since the epoch."""
    return current().loop.time()


def time_ns() -> int:
    """As `now`, in nanoseconds since the epoch."""
    return current().loop.time_ns


def random() -> Random:
    """The run's random numbers, the same in every replay. Not for secrets.

    Raises:
        ReadOnlyContextError: in a query handler.
    """
    return current().random


def random_seed() -> int:
    """What the run's random numbers grow from."""
    return current().seed


def new_random(name: str | None = None) -> Random:
    """Random numbers of one's own.

    Args:
        name: each name has its own sequence; without one it is the sequence of `random`, from its beginning.
    """
    seed = current().seed
    return Random(seed if name is None else f"{seed}:{name}")


def uuid4() -> UUID:
    """A random UUID, the same in every replay. Not for secrets."""
    return UUID(bytes=random().getrandbits(128).to_bytes(16, "big"), version=4)


def uuid7() -> UUID:
    """A UUID that begins with the time of the workflow task in milliseconds, the same in every replay. Not for secrets."""
    numbers = random()
    milliseconds = (time_ns() // 1_000_000) & ((1 << 48) - 1)
    first, second = numbers.getrandbits(12), numbers.getrandbits(62)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | first << 64 | 0b10 << 62 | second)


async def sleep(duration: float | timedelta | str, *, summary: str | None = None) -> None:
    """Wait on a durable timer.

    Args:
        duration: seconds, a timedelta, or text such as ``"2s"``. 0 makes a timer too, which ``asyncio.sleep(0)`` does not.
        summary: one line for people, shown with the timer.
    Raises:
        RuntimeError: the duration is negative.
    Durable: the timer, once the workflow task has completed.
    """
    negative = duration < timedelta(0) if isinstance(duration, timedelta) else not isinstance(duration, str) and duration < 0
    if negative:
        raise RuntimeError(f"workflow.sleep({duration!r}): a timer cannot be in the past; the duration must be 0 or more")
    await current().sleep(nanoseconds(duration), summary)


async def wait_condition(
    fn: Callable[[], bool], *, timeout: float | timedelta | str | None = None, timeout_summary: str | None = None
) -> None:
    """Wait until ``fn()`` is true. It is called whenever the workflow has nothing else to do.

    Args:
        fn: a plain function without arguments.
        timeout: seconds, a timedelta, or text such as ``"2s"``; None waits without limit and makes no timer, so a change from or
            to None does not fit histories made before. 0 raises at once.
        timeout_summary: one line for people, shown with the timer.
    Raises:
        TimeoutError: it did not become true in time (Python's own, as ``asyncio.TimeoutError``).
    """
    if isinstance(timeout, timedelta):
        timeout = timeout.total_seconds()
    elif isinstance(timeout, str):
        timeout = nanoseconds(timeout) / 1e9
    await current().wait_condition(fn, timeout, timeout_summary)


def cancellation_reason() -> str | None:
    """Why cancellation of this run was requested (may be an empty text); None while it was not."""
    return current().cancel_reason


def memo() -> Mapping[str, Any]:
    """The run's memo, converted without types."""
    return current().memo()


@overload
def memo_value(key: str, default: Any = ...) -> Any: ...
@overload
def memo_value(key: str, *, type_hint: type[T]) -> T: ...
@overload
def memo_value(key: str, default: D, *, type_hint: type[T]) -> T | D: ...
def memo_value(key: str, default: Any = _MISSING, *, type_hint: Any = None) -> Any:
    """One value of the run's memo.

    Args:
        key: its name.
        default: returned when there is none; without it that is an error.
        type_hint: what it is read as.
    Raises:
        KeyError: there is none of that name.
    """
    try:
        return current().memo_value(key, type_hint)
    except KeyError:
        if default is _MISSING:
            raise
        return default


def payload_converter() -> PayloadConverter:
    """Converts between values and payloads, for example in dynamic handlers."""
    return current().converter.payload_converter


def is_failure_exception(err: BaseException) -> bool:
    """Whether this exception, raised out of the workflow's code, would fail the run rather than suspend it."""
    return current().is_failure_exception(err)
