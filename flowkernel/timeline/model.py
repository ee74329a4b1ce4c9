"""The timeline's view model: what every screen draws.

All positions are milliseconds after the run's start (floats, resolution 1 µs): nanoseconds since the epoch do not fit a
JavaScript number. Something still open has `end` None, so that a screen lets it grow to `Timeline.now` and a closed bar never
changes again. All text is cleaned (`flowkernel.timeline.preview`) and capped, but not escaped: it is data, never markup.

New fields get defaults; a change that old readers would misread raises `VERSION`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "MIME_TYPE",
    "VERSION",
    "Bar",
    "BarKind",
    "Code",
    "CodeState",
    "Mark",
    "MarkKind",
    "OutputLine",
    "Problem",
    "Segment",
    "SegmentKind",
    "State",
    "Status",
    "Timeline",
]

VERSION = 1
"""Version of the view model."""

MIME_TYPE = "application/vnd.flowkernel.timeline.v1+json"
"""Under which the view model travels in a display bundle."""

Status: TypeAlias = Literal["running", "suspended", "completed", "failed", "canceled", "terminated", "timed out"]
"""Where the run stands. ``suspended``: its code fails and is tried again."""

State: TypeAlias = Literal[
    "queued",
    "running",
    "backing off",
    "handed over",
    "ticking",
    "fired",
    "suspended",
    "completed",
    "failed",
    "canceled",
    "terminated",
    "timed out",
    "abandoned",
]
"""Where a bar or segment stands. ``handed over``: to be completed from outside. ``abandoned``: open when the run closed."""

BarKind: TypeAlias = Literal["run", "activity", "timer"]
SegmentKind: TypeAlias = Literal["code", "queued", "attempt", "backoff", "timer"]
MarkKind: TypeAlias = Literal["signal", "cancel", "task failed", "task timed out", "patch", "marker", "definition"]
CodeState: TypeAlias = Literal["idle", "ready", "running", "failing"]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A failure for people.

    Attributes:
        summary: one line, such as ``ConnectionError: refused``.
        causes: the summaries of what caused it, outermost first.
        trace: the stack trace's text.
        where: the author's line, such as ``cell line 3``; empty if the trace does not tell.
    """

    summary: str
    causes: tuple[str, ...] = ()
    trace: str = ""
    where: str = ""


class OutputLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line that an attempt printed or logged. ``stream`` is ``stdout``, ``stderr`` or ``log``."""

    at: float
    stream: str
    text: str
    attempt: int = 1


class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stretch of a bar: an attempt, the wait before it, the back-off after it."""

    kind: SegmentKind
    state: State
    start: float
    end: float | None = None
    attempt: int = 0
    problem: Problem | None = None


class Bar(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step, or the run itself.

    Attributes:
        id: stable within the run: ``run``, ``activity-5``, ``timer-9`` (the number is the event that began it).
        label: short name; ``name`` is the activity type, or the timer's id.
        due: when something happens by itself: the timer fires, the next attempt may start.
        attempts: how many have begun; ``max_attempts`` 0 means no limit.
        heartbeat: preview of the latest details, reported at ``heartbeat_at``.
        output: the last lines; ``output_omitted`` counts those before them.
        parent: id of the bar that this one belongs under; empty at the top.
    """

    id: str
    kind: BarKind
    label: str
    state: State
    start: float
    end: float | None = None
    name: str = ""
    summary: str = ""
    task_queue: str = ""
    segments: tuple[Segment, ...] = ()
    due: float | None = None
    attempts: int = 0
    max_attempts: int = 0
    cancel_requested: bool = False
    inputs: tuple[str, ...] = ()
    result: str | None = None
    problem: Problem | None = None
    heartbeat: str = ""
    heartbeat_at: float | None = None
    output: tuple[OutputLine, ...] = ()
    output_omitted: int = 0
    identity: str = ""
    event_id: int = 0
    parent: str = ""


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened at one moment. ``count`` > 1: it repeated until ``last_at``."""

    id: str
    kind: MarkKind
    at: float
    label: str
    detail: str = ""
    problem: Problem | None = None
    count: int = 1
    last_at: float | None = None
    event_id: int = 0


class Code(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the run's workflow task stands: whether its code has something to do.

    ``has_worker`` None means that nobody said whether a worker has the code.
    """

    state: CodeState = "idle"
    since: float = 0.0
    attempt: int = 1
    retry_at: float | None = None
    problem: Problem | None = None
    has_worker: bool | None = None


class Timeline(msgspec.Struct, frozen=True):
    """A run as screens draw it.

    Attributes:
        start_time: milliseconds since the Unix epoch; everything else counts from here.
        now: when this picture was taken.
        end: when the run closed; None while it is open.
        expires: when a timeout ends the run; None without one.
        waiting: one sentence, why the run waits now; empty once it is closed.
        outcome: one sentence, how the run ended; empty while it is open.
        bars: the run itself first, then steps in the order in which the code asked for them.
    """

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: Status
    start_time: float
    now: float
    end: float | None
    waiting: str
    outcome: str
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    code: Code
    inputs: tuple[str, ...] = ()
    result: str | None = None
    problem: Problem | None = None
    summary: str = ""
    expires: float | None = None
    attempt: int = 1
    history_length: int = 0
    cancel_requested_at: float | None = None
    cancel_reason: str = ""
    version: int = VERSION

    @property
    def duration(self) -> float:
        """Milliseconds from start to close, or to now."""
        return self.now if self.end is None else self.end

    @property
    def is_open(self) -> bool:
        """Whether the run can still change."""
        return self.end is None
