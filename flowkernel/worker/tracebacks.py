"""Tracebacks as their readers want them: beginning with the author's code."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def from_authors_code(error: E) -> E:
    """Cut off the frames of ours that called the author's code; an error that is all ours keeps them."""
    frame = _authors_frame(error)
    return error.with_traceback(frame) if frame is not None else error


def is_authors(error: BaseException) -> bool:
    """Whether an author's code raised it, so that its traceback tells an author something."""
    return _authors_frame(error) is not None


def _authors_frame(error: BaseException) -> TracebackType | None:
    frame = error.__traceback__
    while frame is not None and str(frame.tb_frame.f_globals.get("__name__", "")).startswith("flowkernel."):
        frame = frame.tb_next
    return frame
