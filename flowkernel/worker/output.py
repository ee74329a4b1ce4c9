"""Captured output: what an activity prints and logs goes to its attempt, not to whatever screen happens to be there.

``sys.stdout`` and ``sys.stderr`` are wrapped while a worker runs. Text written where no activity is running passes through
untouched. Log records are taken at ``Logger.handle`` and still reach their usual handlers.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO, cast

from flowkernel.model.requests import Output

LIMIT = 1 << 20
"""Characters kept per attempt."""


class Captured:
    """The output of one attempt that has not been stored yet. Safe to write from several threads."""

    def __init__(self, on_text: Callable[[], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._pieces: list[tuple[int, str, list[str]]] = []
        self._left = LIMIT
        self._on_text = on_text
        self.muted = False

    def write(self, stream: str, text: str) -> None:
        """Keep text; past the limit, only the fact that there was more."""
        if not text or self.muted:
            return
        with self._lock:
            if self._left <= 0:
                return
            if len(text) > self._left:
                text = text[: self._left] + "\n[flowkernel: output past 1,048,576 characters was not kept]\n"
                self._left = 0
            else:
                self._left -= len(text)
            first = not self._pieces
            if self._pieces and self._pieces[-1][1] == stream:
                self._pieces[-1][2].append(text)
            else:
                self._pieces.append((time.time_ns(), stream, [text]))
        if first and self._on_text is not None:
            self._on_text()

    def detach(self) -> None:
        """Tell nobody of text any more."""
        self._on_text = None

    def take(self) -> tuple[Output, ...]:
        """What came since the last call."""
        if not self._pieces:
            return ()
        with self._lock:
            pieces, self._pieces = self._pieces, []
        return tuple(Output(when, stream, "".join(texts)) for when, stream, texts in pieces)


current_output: contextvars.ContextVar[Captured | None] = contextvars.ContextVar("flowkernel_output", default=None)


class _Dispatcher:
    """Stands in for a standard stream."""

    def __init__(self, original: TextIO, name: str) -> None:
        self._original = original
        self._name = name

    def write(self, text: str) -> int:
        captured = current_output.get()
        if captured is None:
            return self._original.write(text)
        captured.write(self._name, text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if current_output.get() is None:
            self._original.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _Installation:
    """Counts the workers that need capturing; the first installs, the last removes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._streams: list[tuple[str, _Dispatcher, TextIO]] = []
        self._handle: Any = None

    def add(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            for name in ("stdout", "stderr"):
                original = cast(TextIO, getattr(sys, name))
                dispatcher = _Dispatcher(original, name)
                setattr(sys, name, dispatcher)
                self._streams.append((name, dispatcher, original))
            self._handle = logging.Logger.handle
            logging.Logger.handle = _capturing(self._handle)

    def remove(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            for name, dispatcher, original in self._streams:
                if getattr(sys, name) is dispatcher:
                    setattr(sys, name, original)
            self._streams = []
            logging.Logger.handle = self._handle


def _capturing(handle: Callable[[logging.Logger, logging.LogRecord], None]) -> Any:
    def capture(self: logging.Logger, record: logging.LogRecord) -> None:
        captured = current_output.get()
        if captured is None:
            handle(self, record)
            return
        captured.write("log", f"{record.levelname} {record.name}: {record.getMessage()}\n")
        captured.muted = True  # handlers that write to stderr must not have it captured twice
        try:
            handle(self, record)
        finally:
            captured.muted = False

    return capture


installation = _Installation()
"""The wrapping of this process's standard streams."""
