"""Clocks: where the service's time comes from. Everything below gets it as an argument."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from flowkernel.model.ids import SECOND, Duration, Instant


class Clock(Protocol):
    """Tells the time and how long to wait."""

    def now(self) -> Instant:
        """The present instant; never goes back."""
        ...

    def wait_time(self, due: Instant | None, *, busy: bool) -> float | None:
        """How many seconds the service may wait for requests, None for as long as it takes.

        Args:
            due: when something falls due, None for never.
            busy: whether a worker is at work, so that time must not be skipped.
        """
        ...


class SystemClock:
    """The machine's clock, kept from going back when somebody sets it."""

    def __init__(self) -> None:
        self._last: Instant = 0

    def now(self) -> Instant:
        """The present instant."""
        self._last = max(self._last, time.time_ns())
        return self._last

    def wait_time(self, due: Instant | None, *, busy: bool) -> float | None:
        """Until `due`."""
        return None if due is None else max(0.0, (due - self.now()) / SECOND)


class SkippingClock:
    """A clock that jumps to whatever falls due next, while `skip` is on and no worker is at work.

    Starts at the machine's time, and stands still in between.
    """

    def __init__(self, start: Instant | None = None) -> None:
        self._now = time.time_ns() if start is None else start
        self._lock = threading.Lock()
        self._skipping = 0

    def now(self) -> Instant:
        """The present instant."""
        with self._lock:
            self._now += 1
            return self._now

    def advance(self, duration: Duration) -> None:
        """Let time pass. Wake the service afterwards."""
        with self._lock:
            self._now += duration

    def allow(self) -> None:
        """Let time be skipped, until as many `forbid` calls."""
        with self._lock:
            self._skipping += 1

    def forbid(self) -> None:
        """Undo one `allow`."""
        with self._lock:
            self._skipping -= 1

    def wait_time(self, due: Instant | None, *, busy: bool) -> float | None:
        """Jump to `due` if that is allowed."""
        with self._lock:
            if due is not None and due <= self._now:
                return 0.0
            if due is None or busy or self._skipping <= 0:
                return None
            self._now = due
            return 0.0
