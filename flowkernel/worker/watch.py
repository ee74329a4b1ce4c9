"""A watch for workflow code that blocks."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
import traceback
from collections.abc import Callable

from flowkernel.model.tasks import WorkflowTask


class Deadlock(BaseException):
    """Raised inside a stuck thread, so that it ends if it can."""


QUIET = 8
"""After so many looks with nothing to see, wait to be woken."""


class Watch:
    """Looks whether the code that a thread is running comes to an end.

    Args:
        timeout: seconds that it may take.
        give_up: called, on a thread of the watch's, with the task in which it did not.
    """

    def __init__(self, timeout: float, give_up: Callable[[WorkflowTask], None]) -> None:
        self.timeout = timeout
        self._give_up = give_up
        self._current: tuple[float, WorkflowTask] | None = None
        self._work = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="flowkernel-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End, at once or within a quarter of the timeout."""
        self._stopping = True
        self._work.set()

    def begin(self, task: WorkflowTask) -> None:
        """Code begins to run in this task."""
        self._current = (time.monotonic(), task)
        if not self._work.is_set():
            self._work.set()

    def end(self) -> None:
        """It has come to an end."""
        self._current = None

    def _run(self) -> None:
        """Look four times per timeout while there is work, so that beginning and ending a task need to wake nobody."""
        pause = threading.Event()
        while not self._stopping:
            self._work.wait()
            self._work.clear()
            quiet = 0
            while quiet < QUIET and not self._stopping:
                current = self._current
                if current is None:
                    quiet += 1
                    pause.wait(self.timeout / 4)
                    continue
                quiet = 0
                since, task = current
                left = self.timeout - (time.monotonic() - since)
                if left <= 0:
                    self._current = None
                    self._give_up(task)
                else:
                    pause.wait(min(left, self.timeout / 4))
            # A task may have begun since the last look, and found the event set.
            if self._current is not None:
                self._work.set()


def break_out(thread: threading.Thread) -> str:
    """Ask a stuck thread to end; returns where it is, as a stack trace."""
    if thread.ident is None:
        return ""
    frame = sys._current_frames().get(thread.ident)  # pyright: ignore[reportPrivateUsage]
    stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Deadlock))
    return stack
