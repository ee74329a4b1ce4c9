"""One thread that draws all timelines of a kernel.

What it publishes goes out *unpinned*: in an empty context, so that its parent is whatever cell ran last. Front ends find the
output by its display id; nbclient drops everything else whose parent is not the running cell, so a pinned update of an earlier
cell would be lost in a headless run. For the same reason, what has changed is drawn once more at the end of every cell, on the
main thread.

While nothing changes and no bar grows the thread sleeps.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowkernel.api import Change
from flowkernel.model.ids import Instant, RunRef
from flowkernel.notebook.board import Board, Picture
from flowkernel.timeline import Timeline, mimebundle

__all__ = ["Publish", "Publisher"]

_log = logging.getLogger(__name__)

Publish = Callable[[Mapping[str, Any], str, bool], None]
"""Puts a display bundle on the screen: the bundle, its display id, whether it updates one that is there."""


class Publisher:
    """Keeps timelines on the screen true. Owns its thread; `close` ends it.

    Args:
        publish: puts a bundle on the screen.
        live: whether updates reach the screen at all; in a terminal they would only repeat themselves.
        clock: seconds, steady; for pacing.
        now: nanoseconds since the epoch; for the picture.
    """

    def __init__(
        self,
        publish: Publish,
        *,
        live: bool = True,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], Instant] = time.time_ns,
    ) -> None:
        self.board = Board()
        self._publish = publish
        self._live = live
        self._clock = clock
        self._now = now
        self._changed = threading.Condition()
        self._dirty = False
        self._closing = False
        self._drawing = threading.Lock()
        self._thread: threading.Thread | None = None

    def hear(self, changes: Sequence[Change]) -> None:
        """Take in commits; the service's listener."""
        if self.board.hear(changes):
            self.wake()

    def wake(self) -> None:
        """Have the thread look again."""
        with self._changed:
            self._dirty = True
            self._changed.notify_all()

    def show(self, run: RunRef, display_id: str) -> Timeline:
        """Put a run that the board knows on the screen and keep it true. The first picture belongs to the calling cell."""
        if not self._live:
            timeline = self.board.view(run, self._now())
            self._publish(mimebundle(timeline), display_id, False)
            return timeline
        with self._drawing:  # no update may go out before the display is there
            timeline = self.board.display(run, display_id, self._clock, self._now())
            self._publish(mimebundle(timeline), display_id, False)
        self._ensure_thread()
        self.wake()
        return timeline

    def flush(self) -> None:
        """Draw everything that has changed, now, on this thread."""
        contextvars.Context().run(self._draw, everything=True)

    def wait_until(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait for commits until a condition holds. Interruptible.

        Args:
            condition: asked after each commit that concerns a shown run.
            timeout: seconds; None for as long as it takes.
        Returns:
            Whether it holds.
        """
        deadline = None if timeout is None else self._clock() + timeout
        with self._changed:
            while not condition():
                remaining = None if deadline is None else deadline - self._clock()
                if remaining is not None and remaining <= 0:
                    return False
                self._changed.wait(remaining)
        return True

    def close(self, timeout: float = 0.5) -> None:
        """Draw what has changed and end the thread, waiting ``timeout`` seconds at most."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
        self.flush()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=contextvars.Context().run, args=(self._run,), name="flowkernel-publisher", daemon=True
            )
            self._thread.start()

    def _run(self) -> None:
        while self._wait_for_work():
            self._draw(everything=False)

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not self._closing:
                due = self.board.next_due()
                pause = due - self._clock()
                if pause <= 0:
                    return True
                self._dirty = False
                self._changed.wait_for(lambda: self._dirty or self._closing, None if pause == float("inf") else pause)
        return False

    def _draw(self, *, everything: bool) -> None:
        with self._drawing:  # an older picture must not overtake a newer one
            for picture in self.board.pictures(self._clock, self._now(), everything=everything):
                self._put(picture)

    def _put(self, picture: Picture) -> None:
        bundle = mimebundle(picture.timeline)
        for display_id in picture.display_ids:
            try:
                self._publish(bundle, display_id, True)
            except Exception:  # noqa: BLE001 (whatever a screen raises)
                # A screen that went away must not end the drawing of the others.
                _log.exception("could not draw the timeline of %s", picture.timeline.workflow_id)
