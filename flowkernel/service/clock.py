"""Clocks: where the service's time comes from. Everything below gets it as an argument."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from flowkernel.model.ids import SECOND, Duration, Instant


class Load(Protocol):
    """What the workers do. Only looked at when it matters: finding out takes time."""

    @property
    def thinking(self) -> bool:
        """Whether workflow code runs, or is about to."""
        ...

    @property
    def busy(self) -> bool:
        """Whether that, or an activity."""
        ...


class Clock(Protocol):
    """Tells the time and how long to wait."""

    def now(self) -> Instant:
        """The present instant; never goes back."""
        ...

    def wait_time(self, due: Instant | None, load: Load) -> float | None:
        """How many seconds the service may wait for requests, None for as long as it takes.

        Args:
            due: when something falls due, None for never.
            load: what the workers do.
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

    def wait_time(self, due: Instant | None, load: Load) -> float | None:  # noqa: ARG002 - only who skips time asks
        """Until `due`."""
        return None if due is None else max(0.0, (due - self.now()) / SECOND)


class SkippingClock:
    """A clock that stands still, and jumps to whatever falls due next when that is allowed.

    It is allowed between `allow` and `forbid`, and while a `begin_sleep` lasts. Starts at the machine's time.
    """

    def __init__(self, start: Instant | None = None) -> None:
        self._now = time.time_ns() if start is None else start
        self._lock = threading.Lock()
        self._skipping = 0
        self._sleepers: list[_Sleeper] = []

    def now(self) -> Instant:
        """The present instant."""
        with self._lock:
            self._now += 1
            return self._now

    def advance(self, duration: Duration) -> None:
        """Let time pass at once. Nudge the service afterwards."""
        with self._lock:
            self._now += duration

    def allow(self) -> None:
        """Let time be skipped, until as many `forbid` calls. Nudge the service afterwards."""
        with self._lock:
            self._skipping += 1

    def forbid(self) -> None:
        """Undo one `allow`."""
        with self._lock:
            self._skipping -= 1

    def begin_sleep(self, duration: Duration, wake: Callable[[], object], *, over_activities: bool = False) -> Callable[[], None]:
        """Let time be skipped until `duration` has passed. Nudge the service afterwards.

        Args:
            wake: called when that is so, on the service's thread, after everything that fell due before.
            over_activities: also while activities run. For them, time passes while they work.

        Returns:
            Ends the sleep early.
        """
        with self._lock:
            sleeper = _Sleeper(self._now + duration, wake, over_activities)
            self._sleepers.append(sleeper)

        def cancel() -> None:
            with self._lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)

        return cancel

    def wait_time(self, due: Instant | None, load: Load) -> float | None:
        """Jump to `due`, or to the end of a sleep that comes first, if that is allowed."""
        with self._lock:
            if due is not None and due <= self._now:
                return 0.0
            free = [sleeper for sleeper in self._sleepers if not (load.thinking if sleeper.over_activities else load.busy)]
            first = min(self._sleepers, key=lambda sleeper: sleeper.until, default=None)
            if first is not None and (due is None or first.until < due):
                if not free:
                    return None
                self._now = max(self._now, first.until)
                self._sleepers.remove(first)
            elif due is not None and (free or (self._skipping > 0 and not load.busy)):
                self._now = due
                return 0.0
            else:
                return None
        first.wake()
        return 0.0


class _Sleeper(NamedTuple):
    until: Instant
    wake: Callable[[], object]
    over_activities: bool
