"""Finding the author's line: in the running stack, in a suspended coroutine, in a traceback.

Capturing happens for every command, so it is a plain walk over frames; texts are made only when an error needs them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeAlias

SourceLine: TypeAlias = tuple[str, int]
"""File name (a cell's, in a notebook) and line number."""

DescribeLine: TypeAlias = Callable[[str, int], str]
"""Turns a file name and a line number into words, for example ``cell [5], line 3``."""

_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_STANDARD_LIBRARY = str(Path(asyncio.__file__).parent.parent) + os.sep
_SITE_PACKAGES = _STANDARD_LIBRARY + "site-packages"
_INSTANCE = str(Path(__file__).with_name("instance.py"))

_internal: dict[str, bool] = {}


def _is_internal(filename: str) -> bool:
    """Whether a file is flowkernel's or the standard library's rather than an author's."""
    known = _internal.get(filename)
    if known is None:
        known = filename.startswith((_PACKAGE, "<frozen ")) or (
            filename.startswith(_STANDARD_LIBRARY) and not filename.startswith(_SITE_PACKAGES)
        )
        if len(_internal) > 10_000:  # notebooks make new file names without end
            _internal.clear()
        _internal[filename] = known
    return known


def calling_line(stop: CodeType) -> SourceLine | None:
    """The innermost author's line on the stack, not looking past the frame that runs ``stop``, nor out of the instance."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    known = _internal
    while frame is not None:
        code = frame.f_code
        filename = code.co_filename
        if code is stop or filename == _INSTANCE:
            return None
        internal = known.get(filename)
        if internal is None:
            internal = _is_internal(filename)
        if not internal:
            return filename, frame.f_lineno
        frame = frame.f_back
    return None


def traceback_line(error: BaseException) -> SourceLine | None:
    """The innermost author's line that an exception passed."""
    found: SourceLine | None = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not _is_internal(filename):
            found = filename, traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def suspended_frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames in which a waiting task is suspended, outermost first."""
    coroutine: Any = task.get_coro()
    while coroutine is not None:
        frame = (
            getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None) or getattr(coroutine, "ag_frame", None)
        )
        if frame is None:
            return
        yield frame
        coroutine = (
            getattr(coroutine, "cr_await", None)
            or getattr(coroutine, "gi_yieldfrom", None)
            or getattr(coroutine, "ag_await", None)
        )


def waiting_line(task: asyncio.Task[Any] | None) -> SourceLine | None:
    """The innermost author's line at which a task waits."""
    found: SourceLine | None = None
    if task is not None:
        for frame in suspended_frames(task):
            if not _is_internal(frame.f_code.co_filename):
                found = frame.f_code.co_filename, frame.f_lineno
    return found


def plain_line(filename: str, line: int) -> str:
    """``file:line``, as tools and terminals understand it."""
    return f"{filename}:{line}"


def describe(line: SourceLine | None, words: DescribeLine) -> str:
    """A line in words; empty when there is none."""
    return words(*line) if line is not None else ""
