"""The thread that drives the core and owns the store for writing.

While it waits in a commit, requests gather; the next turn takes them all. So commits group by themselves, without a timer: the
busier the service, the larger the groups.
"""

from __future__ import annotations

import contextvars
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from flowkernel.api import Change, Listener, Reply
from flowkernel.model.errors import EngineBug, FlowkernelError, RPCError, RPCStatusCode, StoreError
from flowkernel.model.ids import Instant, RunId, uuid7
from flowkernel.model.requests import Request, StartWorkflowExecution
from flowkernel.service.clock import Clock, SystemClock
from flowkernel.service.core import Core
from flowkernel.service.recovery import recover
from flowkernel.store.port import Store

R = TypeVar("R")

LONGEST_HOLD = 0.002
"""Seconds for which a commit may wait for answers that belong into it."""

STARTS_PER_TURN = 256
"""How many new runs one turn takes in at most."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between commits while they keep failing, from the second failure in a row on: a full disk must not keep a processor
busy."""

log = logging.getLogger("flowkernel.service")


class Closed(RPCError):
    """The service has been closed."""

    def __init__(self) -> None:
        super().__init__("the flowkernel service is closed; open the database again", RPCStatusCode.UNAVAILABLE)


class EmbeddedService:
    """A service in this process: `flowkernel.api.Service` on a store.

    Args:
        store: becomes this service's own; closed with it.
        clock: where time comes from.
    """

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._core = Core(store, _new_run_id)
        self._inbox: queue.SimpleQueue[tuple[Request[Any] | None, Reply[Any] | None]] = queue.SimpleQueue()
        self._starts: deque[tuple[StartWorkflowExecution, Reply[Any]]] = deque()
        self._starting: set[tuple[str, str]] = set()
        self._listeners: list[Listener] = []
        self._closing = False
        self._ended = False
        self._failures = 0
        self._retry_at = 0.0
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="flowkernel-reader")
        self.recovered = recover(self._core, self._clock.now())
        # An empty context: what this thread prints or displays belongs to no cell.
        self._thread = threading.Thread(
            target=contextvars.Context().run, args=(self._run,), name="flowkernel-service", daemon=True
        )
        self._thread.start()

    # --- the port ---------------------------------------------------------------------------------------------------

    def send(self, request: Request[R], reply: Reply[R] | None = None) -> None:
        """See `flowkernel.api.Service.send`."""
        if self._closing:
            (reply or _ignore)(None, Closed())
            return
        self._inbox.put((request, reply or _ignore))
        if self._ended:  # it ended between the two lines above
            self._refuse_inbox(Closed())

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """See `flowkernel.api.Service.subscribe`."""
        with self._lock:
            self._listeners = [*self._listeners, listener]

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = [other for other in self._listeners if other is not listener]

        return unsubscribe

    def nudge(self, heard: Reply[None] | None = None) -> None:
        """Look at the clock again.

        Args:
            heard: called first, on the service's thread, after all requests that were sent before.
        """
        if self._closing:
            (heard or _ignore)(None, Closed())
            return
        self._inbox.put((None, heard))

    def close(self, timeout: float | None = None) -> None:
        """Commit what has been decided, close the store and end the thread.

        Args:
            timeout: seconds to wait for that.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._inbox.put((None, None))
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not (self._closing and self._inbox.empty() and not self._starts):
                self._turn()
        except BaseException as error:
            log.exception("the flowkernel service stopped")
            self._closing = True
            self._refuse_all(error)
        finally:
            self._reader.shutdown(wait=True)
            self._ended = True
            self._refuse_all(Closed())
            self._store.close()

    def _turn(self) -> None:
        core, inbox = self._core, self._inbox
        held_since: float | None = None
        while True:
            self._receive(self._wait_time(held_since))
            for _ in range(inbox.qsize()):
                self._receive(0)
            self._admit()
            due = core.next_due()
            if due is not None and due <= self._now():
                core.pass_time(self._now())
            core.hand_out()
            if self._pause() > 0:
                continue
            if core.ripe or (held_since is not None and time.monotonic() - held_since >= LONGEST_HOLD):
                break
            if not core.pending:
                held_since = None
                if self._closing:
                    break
            elif held_since is None:
                held_since = time.monotonic()
        while core.pending and self._commit():
            core.hand_out()
            if not core.ripe:
                break

    def _pause(self) -> float:
        """How long nothing is to be committed, because it failed the last times."""
        return 0.0 if not self._failures or self._closing else self._retry_at - time.monotonic()

    def _now(self) -> Instant:
        return max(self._clock.now(), self._core.now)

    def _wait_time(self, held_since: float | None) -> float | None:
        pause = self._pause()
        if pause > 0 and self._core.pending:
            return pause
        if held_since is not None:
            return LONGEST_HOLD
        if self._core.pending or self._closing or self._starts:
            return 0
        if not self._inbox.empty():
            return 0  # before time may be skipped, what was asked is heard
        return self._clock.wait_time(self._core.next_due(), self._core)

    def _receive(self, timeout: float | None) -> None:
        try:
            request, reply = self._inbox.get(timeout=timeout) if timeout != 0 else self._inbox.get_nowait()
        except queue.Empty:
            return
        if request is None or reply is None:
            (reply or _ignore)(None, None)
            return
        if type(request) is StartWorkflowExecution:
            self._starts.append((request, reply))
            self._starting.add((request.namespace, request.workflow_id))
            return
        if self._starts and (getattr(request, "namespace", ""), getattr(request, "workflow_id", "")) in self._starting:
            self._admit(len(self._starts))  # requests of one thread are taken in order
        self._core.handle(request, reply, self._now())

    def _admit(self, count: int = STARTS_PER_TURN) -> None:
        """Take some of the starts that wait. What has begun goes first: so it ends sooner, and its data is still in the cache."""
        for _ in range(min(len(self._starts), count)):
            request, reply = self._starts.popleft()
            self._starting.discard((request.namespace, request.workflow_id))
            self._core.handle(request, reply, self._now())

    def _commit(self) -> bool:
        """Make durable what was decided, and tell of it. Returns whether it worked."""
        core = self._core
        batch = core.take_batch()
        if batch:
            try:
                self._store.commit(batch)
            except StoreError as error:
                log.error("commit failed: %s", error)  # noqa: TRY400 - the text says it all
                core.failed(batch, error)
                self._failures += 1
                pause = min(FIRST_PAUSE * 2 ** min(self._failures - 2, 10), LONGEST_PAUSE)
                self._retry_at = time.monotonic() + pause if self._failures > 1 else 0.0
                return False
            self._failures = 0
        core.committed(batch)
        reads, core.reads = core.reads, []
        for read in reads:
            self._reader.submit(read)
        if batch and self._listeners:
            self._publish([Change(transition.run, transition.events, transition.records) for transition in batch])
        return True

    def _publish(self, changes: Sequence[Change]) -> None:
        for listener in self._listeners:
            try:
                listener(changes)
            except Exception:
                log.exception("a listener failed")

    def _refuse_all(self, error: BaseException) -> None:
        known = error if isinstance(error, FlowkernelError) else EngineBug(f"the service stopped: {error!r}")
        self._core.refuse_all(known)
        while self._starts:
            _, reply = self._starts.popleft()
            reply(None, known)
        self._refuse_inbox(known)

    def _refuse_inbox(self, error: FlowkernelError) -> None:
        while True:
            try:
                _, reply = self._inbox.get_nowait()
            except queue.Empty:
                return
            if reply is not None:
                reply(None, error)


def _new_run_id(now: Instant) -> RunId:
    return RunId(uuid7(now, os.urandom(10)))


def _ignore(answer: Any, error: BaseException | None) -> None:
    """The reply of a request whose sender does not care."""
