"""Heartbeats: throttled on their way out; their answers bring cancellation in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from flowkernel.api import Service
from flowkernel.converter import DataConverter
from flowkernel.converter.naming import always, check_sizes, to_payloads
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
        self._unsent: Payloads | None = None
        self._timer_set = False
        self._ended = False
        self.error: BaseException | None = None

    def beat(self, *details: Any) -> None:
        """Report that the attempt is alive. Details that cannot be kept cancel the attempt, which fails with that error."""
        try:
            payloads = tuple(to_payloads(self._converter.payload_converter, details, _NAME)) if details else ()
            if not self._coding.active:
                check_sizes(payloads, self._converter.payload_size_limit, _NAME)
        except Exception as error:  # noqa: BLE001 - an author's converter may raise anything
            self.error = error
            self._on_cancel(ActivityCancellationDetails())
            return
        with self._lock:
            if self._ended:
                return
            self._unsent = payloads
            wait = self._last_sent + self._interval - time.monotonic()
            if wait > 0:
                set_timer, self._timer_set = not self._timer_set, True
                if set_timer:
                    self._loop.call_soon_threadsafe(self._loop.call_later, wait, self._flush)
                return
            self._last_sent = time.monotonic()
        self._send()

    def _flush(self) -> None:
        with self._lock:
            self._timer_set = False
            self._last_sent = time.monotonic()
        self._send()

    def _send(self) -> None:
        if self._coding.active:
            asyncio.run_coroutine_threadsafe(self._send_coded(), self._loop)
        else:
            self._send_latest(None)

    async def _send_coded(self) -> None:
        unsent = self._unsent
        if unsent is None:
            return
        try:
            payloads = await self._coding.encode(unsent)
            check_sizes(payloads, self._converter.payload_size_limit, _NAME)
        except Exception as error:  # noqa: BLE001 - as above, for codecs
            self.error = error
            self._on_cancel(ActivityCancellationDetails())
        else:
            self._send_latest((unsent, payloads))

    def _send_latest(self, coded: tuple[Payloads, Payloads] | None) -> None:
        """Send what is not sent yet; if it is coded, only the value of which it is the code."""
        with self._lock:
            unsent = self._unsent
            if unsent is None or self._ended or (coded is not None and coded[0] is not unsent):
                return
            self._unsent = None
        payloads = coded[1] if coded is not None else unsent
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
            unsent, self._unsent = self._unsent, None
        return unsent or ()


_NAME = always("heartbeat: detail")
