"""The port between those who ask (clients, workers, screens) and a service that owns state.

One method: `Service.send`. The embedded service (`flowkernel.service`) is one implementation; a gRPC client of a Temporal
cluster is another. Requests and answers are the classes of `flowkernel.model.requests`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import msgspec

from flowkernel.model.events import Event
from flowkernel.model.ids import RunRef
from flowkernel.model.records import Record
from flowkernel.model.requests import Request

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Reply(Protocol[R_contra]):
    """Called exactly once, from a thread of the service's, after everything it stands for is durable. Must not block."""

    def __call__(self, answer: R_contra | None, error: BaseException | None, /) -> None:
        """Take the answer or the error."""
        ...


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one commit added to a run."""

    run: RunRef
    events: tuple[Event, ...]
    records: tuple[Record, ...]


Listener = Callable[[Sequence[Change]], None]
"""Told of every commit, in order, on a thread of the service's. Must not block."""


class Service(Protocol):
    """Whoever owns state: turns requests into events, keeps them, hands out tasks."""

    def send(self, request: Request[R], reply: Reply[R] | None = None) -> None:
        """Hand in a request from any thread and return at once.

        The reply gets the answer, or the error that the request's class documents. Requests sent from one thread are taken
        in order.

        Durable: whatever the reply reports.
        """
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Hear of everything that becomes durable from now on. Returns the call that ends it."""
        ...


class _Mailbox:
    """Carries replies to one event loop, waking it once for however many are waiting."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._woken = False

    def put(self, future: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
        self._waiting.append((future, answer, error))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._waiting.clear()

    def _deliver(self) -> None:
        self._woken = False
        waiting = self._waiting
        while waiting:
            future, answer, error = waiting.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)


_mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Mailbox] = weakref.WeakKeyDictionary()


async def call(service: Service, request: Request[R]) -> R:
    """Send a request from a coroutine and wait for its answer.

    Raises:
        What the request's class documents. Being cancelled stops the waiting, not the request.
    """
    loop = asyncio.get_running_loop()
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        mailbox = _mailboxes[loop] = _Mailbox(loop)
    future: asyncio.Future[R] = loop.create_future()
    service.send(request, partial(mailbox.put, future))
    return await future


def call_sync(service: Service, request: Request[R], timeout: float | None = None) -> R:
    """Send a request from a plain thread and wait for its answer. Interruptible.

    Args:
        timeout: seconds; None waits for as long as it takes.
    Raises:
        TimeoutError: no answer in time. What the request's class documents.
    """
    future: concurrent.futures.Future[R] = concurrent.futures.Future()

    def reply(answer: R | None, error: BaseException | None) -> None:
        if error is None:
            future.set_result(cast(R, answer))
        else:
            future.set_exception(error)

    service.send(request, reply)
    return future.result(timeout)
