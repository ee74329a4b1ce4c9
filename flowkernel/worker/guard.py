"""Keeps effects out of workflow code at run time, for what can be seen there: files, sockets, processes, threads, sleeping.

Python reports such calls to audit hooks; what older versions do not report is wrapped. A hook cannot be removed again, so one is
installed, with the first worker, that looks at a flag of the calling thread first: but for workflow code it does nothing.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from flowkernel.replay.current import unrestricted
from flowkernel.replay.errors import UnsupportedInWorkflow


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_WATCHED: dict[str, Callable[[tuple[Any, ...]], str]] = {
    "open": lambda args: f"open({_shown(args[0])})",
    "time.sleep": lambda args: f"time.sleep({_shown(args[0])})",
    "socket.connect": lambda args: f"connecting a socket to {_shown(args[1])}",
    "socket.bind": lambda args: f"binding a socket to {_shown(args[1])}",
    "socket.getaddrinfo": lambda args: f"looking up the address of {_shown(args[0])}",
    "subprocess.Popen": lambda args: f"starting the process {_shown(args[0])}",
    "os.system": lambda args: f"os.system({_shown(args[0])})",
    "os.fork": lambda _: "os.fork()",
    "os.remove": lambda args: f"removing the file {_shown(args[0])}",
    "os.rename": lambda args: f"renaming the file {_shown(args[0])}",
    "os.mkdir": lambda args: f"making the folder {_shown(args[0])}",
    "os.listdir": lambda args: f"listing the folder {_shown(args[0])}",
    "os.scandir": lambda args: f"listing the folder {_shown(args[0])}",
    "_thread.start_new_thread": lambda _: "starting a thread",
    "_thread.start_joinable_thread": lambda _: "starting a thread",
}

_INSTEAD = {
    "time.sleep": "Use await workflow.sleep(...), which is a durable timer and blocks nobody.",
}

_TRUSTED = frozenset({"linecache", "tokenize", "traceback", "zipimport", "logging", "warnings", "inspect", "encodings"})
"""Modules that open files on the way to something harmless: showing source lines, importing, logging."""

_state = threading.local()


class RestrictedWorkflowAccessError(UnsupportedInWorkflow):
    """Workflow code tried something with an effect outside of its history."""

    def __init__(self, attempted: str, instead: str | None) -> None:
        RuntimeError.__init__(
            self,
            f"{attempted} is not possible in workflow code, because a replay could not repeat it. "
            + (instead or "Put it into an activity and await that."),
        )


def _trusted() -> bool:
    frame: FrameType | None = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        top = module.partition(".")[0]
        if top in _TRUSTED or module.startswith("importlib"):
            return True
        frame = frame.f_back
    return False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    words = _WATCHED.get(event)
    if words is None or not getattr(_state, "guarded", False) or unrestricted.get() or _trusted():
        return
    raise RestrictedWorkflowAccessError(words(args), _INSTEAD.get(event))


_sleep = time.sleep


@functools.wraps(_sleep)
def _reporting_sleep(seconds: float, /) -> None:
    if getattr(_state, "guarded", False):
        _hook("time.sleep", (seconds,))
    _sleep(seconds)


_start = threading.Thread.start


@functools.wraps(_start)
def _reporting_start(self: threading.Thread) -> None:
    if getattr(_state, "guarded", False):
        _hook("_thread.start_new_thread", ())
    _start(self)


_install_lock = threading.Lock()
_installed = False


def install() -> None:
    """Add the hook, once per process."""
    global _installed  # noqa: PLW0603 - audit hooks are per process, and can't be removed
    with _install_lock:
        if not _installed:
            sys.addaudithook(_hook)
            if sys.version_info < (3, 13):  # from then on Python reports it itself
                time.sleep = _reporting_sleep
            if sys.version_info < (3, 12):
                threading.Thread.start = _reporting_start
            _installed = True


class Guarded:
    """Everything that this thread does inside the block is workflow code. One object serves all threads."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Begin to look."""
        _state.guarded = True

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        _state.guarded = False


guarded = Guarded()
"""``with guarded:`` around workflow code."""
