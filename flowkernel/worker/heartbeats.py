"""Heartbeats: throttled on their way out; their answers bring cancellation in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from flowkernel.api import Service
from flowkernel.converter import DataConverter
from flowkernel.model.errors import RPCError, RPCStatusCode
from flowkernel.model.payloads import Payloads
from flowkernel.model.requests import RecordActivityTaskHeartbeat, RecordActivityTaskHeartbeatResponse
from flowkernel.model.tasks import TaskToken
from flowkernel.worker.coding import Coding
from flowkernel.worker.context import ActivityCancellationDetails
from flowkernel.worker.output import Captured


class Heartbeats:
    """The heartbeats of one attempt. `beat` may be called from any thread.

    Args:
        interval: seconds between two that are sent; what comes in between waits, and only the latest counts.
        on_cancel: told when the attempt should stop.
    """

    def __init__(
        self,
        service: Service,
        token: TaskToken,
        *,
        identity: str,
        converter: DataConverter,
        coding: Coding,
        interval: float,
        loop: asyncio.AbstractEventLoop,
        captured: Captured,
        on_cancel: Callable[[ActivityCancellationDetails], None],
    ) -> None:
        self._service, self._token, self._identity = service, token, identity
        self._converter, self._coding = converter, coding
        self._interval, self._loop = interval, loop
        self._captured, self._on_cancel = captured, on_cancel
        self._lock = threading.Lock()
        self._last_sent = -interval
        self._pending: Payloads | None = None
        self._timer_set = False
        self._ended = False
        self.error: BaseException | None = None

    def beat(self, *details: Any) -> None:
        """Report that the attempt is alive. Details that cannot be converted cancel the attempt, which fails with that error."""
        try:
            payloads = tuple(self._converter.payload_converter.to_payloads(details)) if details else ()
        except Exception as error:  # noqa: BLE001 - becomes the attempt's failure
            self.error = error
            self._on_cancel(ActivityCancellationDetails())
            return
        with self._lock:
            if self._ended:
                return
            wait = self._last_sent + self._interval - time.monotonic()
            if wait > 0:
                self._pending = payloads
                set_timer, self._timer_set = not self._timer_set, True
                if set_timer:
                    self._loop.call_soon_threadsafe(self._loop.call_later, wait, self._flush)
                return
            self._last_sent = time.monotonic()
            self._pending = None
        self._send(payloads)

    def _flush(self) -> None:
        with self._lock:
            self._timer_set = False
            payloads, self._pending = self._pending, None
            if payloads is None or self._ended:
                return
            self._last_sent = time.monotonic()
        self._send(payloads)

    def _send(self, payloads: Payloads) -> None:
        if self._coding.active:
            if threading.current_thread() is threading.main_thread() or _on_loop(self._loop):
                self._loop.create_task(self._send_coded(payloads))
                return
            payloads = self._coding.encode_sync(payloads)
        self._send_encoded(payloads)

    async def _send_coded(self, payloads: Payloads) -> None:
        self._send_encoded(await self._coding.encode(payloads))

    def _send_encoded(self, payloads: Payloads) -> None:
        request = RecordActivityTaskHeartbeat(self._token, payloads, self._identity, self._captured.take())
        self._service.send(request, self._answered)

    def _answered(self, answer: RecordActivityTaskHeartbeatResponse | None, error: BaseException | None) -> None:
        if answer is not None and answer.cancel_requested:
            self._on_cancel(ActivityCancellationDetails(cancel_requested=True))
        elif isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
            self._on_cancel(ActivityCancellationDetails(not_found=True))

    def end(self) -> Payloads:
        """Send no more; returns details that were not sent yet."""
        with self._lock:
            self._ended = True
            pending, self._pending = self._pending, None
        return pending or ()


def _on_loop(loop: asyncio.AbstractEventLoop) -> bool:
    return asyncio._get_running_loop() is loop  # pyright: ignore[reportPrivateUsage,reportAttributeAccessIssue]
