"""The thread beside the cells: a daemon with an event loop of its own, on which client and workers live.

A daemon, because a thread that Python waits for would stall the kernel's shutdown until it is killed; and started in an empty
context, because what runs in a cell's context has its output pinned to that cell for ever.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

__all__ = ["Background"]

T = TypeVar("T")


class Background:
    """Runs coroutines on its own thread. Starts at once; `close` ends it."""

    def __init__(self, name: str = "flowkernel-background") -> None:
        self._ready: concurrent.futures.Future[BlockingPortal] = concurrent.futures.Future()
        self._thread = threading.Thread(target=contextvars.Context().run, args=(self._run,), name=name, daemon=True)
        self._thread.start()
        self._portal = self._ready.result()

    def _run(self) -> None:
        anyio.run(self._serve)

    async def _serve(self) -> None:
        async with BlockingPortal() as portal:
            self._ready.set_result(portal)
            await portal.sleep_until_stopped()

    def submit(self, call: Callable[..., Awaitable[T]], *args: Any) -> concurrent.futures.Future[T]:
        """Begin a coroutine function on the thread and return at once. Cancelling the future cancels it."""
        # The portal copies the caller's context into the task; an empty one keeps the cell's out.
        return contextvars.Context().run(self._portal.start_task_soon, call, *args)

    def call(self, call: Callable[..., Awaitable[T]], *args: Any, timeout: float | None = None) -> T:
        """Run a coroutine function on the thread and wait for what it returns or raises. Interruptible, which cancels it.

        Raises:
            TimeoutError: it took longer than ``timeout`` seconds; it is cancelled.
        """
        future = self.submit(call, *args)
        try:
            return future.result(timeout)
        except (TimeoutError, KeyboardInterrupt, asyncio.CancelledError):
            future.cancel()
            raise

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self, timeout: float = 1.0) -> None:
        """Cancel what still runs and end the thread, waiting ``timeout`` seconds at most."""
        if self._thread.is_alive():
            self.submit(self._portal.stop, True)
            self._thread.join(timeout)
