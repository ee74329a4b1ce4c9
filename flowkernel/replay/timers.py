"""Timers: delays that outlive the process."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowkernel.model.commands import CancelTimer, StartTimer
from flowkernel.model.events import UserMetadata
from flowkernel.model.ids import Duration

if TYPE_CHECKING:
    from flowkernel.replay.loop import WorkflowLoop


class DurableTimer(asyncio.TimerHandle):
    """A timer that was asked for. ``recorded`` and ``fired`` say what the history knows of it."""

    __slots__ = ("fired", "recorded", "slot", "timer_id")

    def __init__(
        self,
        timer_id: str,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.timer_id = timer_id
        self.slot = -1
        self.recorded = False
        self.fired = False


class Timers:
    """The timers of one run. Ids are 1, 2, 3, … in the order in which the code asks."""

    __slots__ = ("_count", "_loop", "_pending", "metadata")

    def __init__(self, loop: WorkflowLoop) -> None:
        self._loop = loop
        self._pending: dict[str, DurableTimer] = {}
        self._count = 0
        self.metadata: UserMetadata | None = None
        """Goes with the next timer that asyncio starts, which cannot pass it on itself."""

    def start(
        self,
        delay: Duration,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None = None,
        metadata: UserMetadata | None = None,
    ) -> DurableTimer:
        """Ask to be called after ``delay`` nanoseconds; 0 is a timer too.

        Raises:
            RuntimeError: the delay is negative.
            ReadOnlyContextError: in a query handler.
        """
        loop = self._loop
        loop.outbox.check("start a timer")
        if delay < 0:
            raise RuntimeError(f"a timer cannot be {-delay / 1e9:g} seconds in the past: the delay must be 0 or more")
        self._count += 1
        timer_id = str(self._count)
        timer = DurableTimer(timer_id, loop.time() + delay / 1e9, callback, args, loop, context)
        timer.slot = loop.outbox.add(StartTimer(timer_id, delay, metadata or self.metadata))
        self.metadata = None
        self._pending[timer_id] = timer
        return timer

    def cancelled(self, handle: asyncio.TimerHandle) -> None:
        """The code no longer wants a timer: take the command back, or ask to cancel, or nothing if it is too late."""
        outbox = self._loop.outbox
        if not isinstance(handle, DurableTimer) or outbox.evicting:
            return
        if handle.timer_id not in self._pending:
            return
        if handle.fired:
            del self._pending[handle.timer_id]
        elif handle.recorded:
            outbox.add(CancelTimer(handle.timer_id))
            del self._pending[handle.timer_id]
        else:
            outbox.check("cancel a timer")
            outbox.retract(handle.slot)
            del self._pending[handle.timer_id]

    def recorded(self, timer_id: str) -> None:
        """The history holds the timer's start."""
        timer = self._pending.get(timer_id)
        if timer is not None:
            timer.recorded = True

    def fired(self, timer_id: str) -> DurableTimer | None:
        """The history says that the time came; cancelling is too late now."""
        timer = self._pending.get(timer_id)
        if timer is not None:
            timer.fired = True
        return timer

    def fire(self, timer: DurableTimer) -> None:
        """Run the callback with what is ready, unless a handler cancelled the timer in this very activation."""
        if self._pending.pop(timer.timer_id, None) is not None:
            self._loop.enqueue(timer)
