"""Garbage collection while a worker runs.

Python's default looks for cycles after every 700 new objects, and with a thousand runs open most of them live on: measured, a
third of the processor's time went there. While a worker runs the collector looks less often; afterwards the old setting comes
back.
"""

from __future__ import annotations

import gc
import threading

THRESHOLDS = (20_000, 20, 20)
"""New objects, young generations and middle generations after which the collector looks."""


class RarerCollection:
    """Counts the workers that run; the first changes the thresholds, the last restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = gc.get_threshold()
        self._ours = self._before

    def add(self) -> None:
        """A worker starts. Collecting that somebody has switched off, or made rarer still, stays as it is."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = gc.get_threshold()
                if self._before[0]:
                    self._ours = tuple(max(pair) for pair in zip(self._before, THRESHOLDS, strict=True))
                    gc.set_threshold(*self._ours)

    def remove(self) -> None:
        """A worker ends. A setting that somebody made meanwhile stays."""
        with self._lock:
            self._users -= 1
            if not self._users and gc.get_threshold() == self._ours:
                gc.set_threshold(*self._before)


collection = RarerCollection()
"""This process's."""
