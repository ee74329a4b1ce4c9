"""What an activity can know and do while it runs: the face `flowkernel.activity` reads the context that is set here."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flowkernel import common
from flowkernel.converter import PayloadConverter
from flowkernel.exceptions import CancelledError


@dataclass(frozen=True)
class Info:
    """The running activity and the workflow it belongs to.

    Attributes:
        attempt: from 1.
        heartbeat_details: what the latest heartbeat of an earlier attempt reported.
        task_token: names this attempt; for completing it from elsewhere.
    """

    activity_id: str
    activity_type: str
    attempt: int
    current_attempt_scheduled_time: datetime
    heartbeat_details: Sequence[Any]
    heartbeat_timeout: timedelta | None
    is_local: bool
    namespace: str
    priority: common.Priority
    retry_policy: common.RetryPolicy | None
    schedule_to_close_timeout: timedelta | None
    scheduled_time: datetime
    start_to_close_timeout: timedelta | None
    started_time: datetime
    task_queue: str
    task_token: bytes
    workflow_id: str
    workflow_namespace: str
    workflow_run_id: str
    workflow_type: str


@dataclass(frozen=True)
class ActivityCancellationDetails:
    """Why the activity was asked to cancel."""

    not_found: bool = False
    cancel_requested: bool = False
    paused: bool = False
    timed_out: bool = False
    worker_shutdown: bool = False
    reset: bool = False


class CompleteAsync(BaseException):
    """Raised by `flowkernel.activity.raise_complete_async`: the attempt goes on elsewhere."""


class BothEvent:
    """An event that threads and coroutines can wait for. Cheap until somebody waits."""

    __slots__ = ("_async", "_is_set", "_lock", "_loop", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._is_set = False
        self._thread: threading.Event | None = None
        self._async: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether it happened."""
        return self._is_set

    def set(self) -> None:
        """Set it, from any thread."""
        with self._lock:
            self._is_set = True
            if self._thread is not None:
                self._thread.set()
            if self._async is not None and self._loop is not None:
                self._loop.call_soon_threadsafe(self._async.set)

    def wait_in_thread(self, timeout: float | None) -> bool:
        """Wait in a thread, for so many seconds; returns whether it happened."""
        with self._lock:
            if self._is_set:
                return True
            if self._thread is None:
                self._thread = threading.Event()
        return self._thread.wait(timeout)

    async def wait(self) -> None:
        """Wait in a coroutine on the worker's loop."""
        with self._lock:
            if self._is_set:
                return
            if self._async is None:
                self._async = asyncio.Event()
        await self._async.wait()


class ThreadInterrupt:
    """Raises `CancelledError` inside the thread that runs a synchronous activity, unless shielded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_id: int | None = threading.get_ident()
        self._shields = 0
        self._waiting = False

    def interrupt(self) -> None:
        """Raise now, or when the last shield ends."""
        with self._lock:
            if self._thread_id is None:
                return
            if self._shields:
                self._waiting = True
                return
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread_id), ctypes.py_object(CancelledError))

    def finish(self) -> None:
        """The activity's code has ended: raise no more."""
        with self._lock:
            self._thread_id = None

    @contextmanager
    def shield(self) -> Generator[None]:
        """Hold the exception back inside the block."""
        with self._lock:
            self._shields += 1
        try:
            yield
        finally:
            with self._lock:
                self._shields -= 1
                raise_now = self._waiting and not self._shields
                self._waiting = self._waiting and not raise_now
            if raise_now:
                raise CancelledError


class ActivityContext:
    """One running attempt, as its code sees it.

    What many activities never ask for is made on demand: starting one is on the hot path.

    Args:
        make_info: called once, when somebody asks.
        heartbeat: takes values and reports that the attempt is alive.
        loop: the worker's.
        client: makes the worker's client; None where there is none.

    Attributes:
        interrupt: raises in the thread of a synchronous activity.
        task: the task of an asynchronous one.
        on_cancel: how to stop code that runs in another process.
    """

    __slots__ = (
        "_info",
        "_make_info",
        "cancellation_details",
        "cancelled",
        "client",
        "heartbeat",
        "interrupt",
        "on_cancel",
        "payload_converter",
        "task",
        "worker_shutdown",
    )

    def __init__(
        self,
        make_info: Callable[[], Info],
        heartbeat: Callable[..., None],
        payload_converter: PayloadConverter,
        loop: asyncio.AbstractEventLoop | None,
        worker_shutdown: BothEvent,
        client: Callable[[], Any] | None = None,
    ) -> None:
        self._make_info = make_info
        self._info: Info | None = None
        self.heartbeat = heartbeat
        self.payload_converter = payload_converter
        self.cancelled = BothEvent(loop)
        self.worker_shutdown = worker_shutdown
        self.client = client
        self.cancellation_details: ActivityCancellationDetails | None = None
        self.interrupt: ThreadInterrupt | None = None
        self.task: asyncio.Task[Any] | None = None
        self.on_cancel: Callable[[], None] | None = None

    @property
    def info(self) -> Info:
        """The running activity."""
        if self._info is None:
            self._info = self._make_info()
        return self._info

    def cancel(self, details: ActivityCancellationDetails, *, raises: bool = True) -> None:
        """Ask the attempt to stop. From any thread; the first reason counts."""
        if self.cancellation_details is not None:
            return
        self.cancellation_details = details
        self.cancelled.set()
        if self.on_cancel is not None:
            self.on_cancel()
        elif self.task is not None:
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)
        elif self.interrupt is not None and raises:
            self.interrupt.interrupt()


current_activity: contextvars.ContextVar[ActivityContext] = contextvars.ContextVar("flowkernel_activity")
