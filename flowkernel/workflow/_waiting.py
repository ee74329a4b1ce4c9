"""Waiting for several things in an order that a replay repeats: asyncio's own functions keep them in sets, in no such order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
Fut = TypeVar("Fut", bound=asyncio.Future[Any])

_RETURN_WHEN = (asyncio.ALL_COMPLETED, asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION)


async def wait(
    fs: Iterable[Fut], *, timeout: float | None = None, return_when: str = asyncio.ALL_COMPLETED
) -> tuple[list[Fut], list[Fut]]:
    """As ``asyncio.wait``, with lists in the order given instead of sets.

    Args:
        fs: futures or tasks; a coroutine must be made a task first.
        timeout: seconds, on a durable timer; when it passes, what is not done is returned as pending.
        return_when: one of asyncio's three constants.
    Raises:
        TypeError: something else than futures and tasks.
        ValueError: nothing to wait for, or an unknown ``return_when``.
    """
    futures = _futures(fs, "workflow.wait")
    if not futures:
        raise ValueError("workflow.wait was given nothing to wait for")
    if return_when not in _RETURN_WHEN:
        raise ValueError(f"workflow.wait: return_when is {return_when!r}; use one of {', '.join(_RETURN_WHEN)}")
    loop = asyncio.get_running_loop()
    enough: asyncio.Future[None] = loop.create_future()
    missing = len(futures)

    def wake() -> None:
        if not enough.done():
            enough.set_result(None)

    def one_done(future: asyncio.Future[Any]) -> None:
        nonlocal missing
        missing -= 1
        failed = return_when == asyncio.FIRST_EXCEPTION and not future.cancelled() and future.exception() is not None
        if missing <= 0 or return_when == asyncio.FIRST_COMPLETED or failed:
            if timer is not None:
                timer.cancel()
            wake()

    timer = loop.call_later(timeout, wake) if timeout is not None else None
    for future in futures:
        future.add_done_callback(one_done)
    try:
        await enough
    finally:
        if timer is not None:
            timer.cancel()
        for future in futures:
            future.remove_done_callback(one_done)
    return [future for future in futures if future.done()], [future for future in futures if not future.done()]


def as_completed(
    fs: Iterable[asyncio.Future[T] | Coroutine[Any, Any, T]], *, timeout: float | None = None
) -> Iterator[Coroutine[Any, Any, T]]:
    """As ``asyncio.as_completed``: yields awaitables that give the results in the order in which they come.

    Args:
        fs: futures, tasks or coroutines.
        timeout: seconds, on a durable timer; when it passes, the awaitables that are left raise ``TimeoutError``.
    Raises:
        TypeError: not an iterable of such.
    """
    if isinstance(fs, asyncio.Future) or asyncio.iscoroutine(fs):
        raise TypeError("workflow.as_completed takes an iterable of futures, not a single one")
    return _as_completed([asyncio.ensure_future(one) for one in fs], timeout)


def _as_completed(todo: list[asyncio.Future[T]], timeout: float | None) -> Generator[Coroutine[Any, Any, T]]:
    done: asyncio.Queue[asyncio.Future[T] | None] = asyncio.Queue()

    def time_is_up() -> None:
        for future in todo:
            future.remove_done_callback(one_done)
            done.put_nowait(None)
        todo.clear()

    def one_done(future: asyncio.Future[T]) -> None:
        if not todo:
            return
        todo.remove(future)
        done.put_nowait(future)
        if not todo and timer is not None:
            timer.cancel()

    async def next_result() -> T:
        future = await done.get()
        if future is None:
            raise TimeoutError
        return future.result()

    count = len(todo)
    timer = asyncio.get_running_loop().call_later(timeout, time_is_up) if todo and timeout is not None else None
    for future in list(todo):
        future.add_done_callback(one_done)
    for _ in range(count):
        yield next_result()


def _futures(fs: Iterable[Fut], name: str) -> list[Fut]:
    if isinstance(fs, asyncio.Future) or asyncio.iscoroutine(fs):
        raise TypeError(f"{name} takes an iterable of tasks or futures, not a single one")
    futures = list(fs)
    for future in futures:
        if not isinstance(future, asyncio.Future):  # pyright: ignore[reportUnnecessaryIsInstance] - authors do not all use pyright
            raise TypeError(
                f"{name} takes tasks or futures, not a {type(future).__name__}; make it a task with asyncio.create_task"
            )
    return futures
