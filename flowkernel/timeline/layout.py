"""What the static renderers share: rows, a time axis, symbols.

A still picture cannot be zoomed, so many bars of one kind become one row: how many, how they went, how long they took, and how
many were at work at each moment. The failures among them keep their names.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flowkernel.timeline.model import Bar, Problem, State, Status, Timeline
from flowkernel.timeline.preview import clip, one_line
from flowkernel.timeline.words import attempts_words, duration_words

__all__ = [
    "GROUP_OVER",
    "SYMBOLS",
    "BarRow",
    "Group",
    "GroupRow",
    "Row",
    "attempt_problems",
    "attempts_text",
    "bar_label",
    "rows",
    "span_of",
    "state_text",
    "ticks",
]

GROUP_OVER = 20
"""More bars than this of one kind become one row."""
MAX_ROWS = 100
"""At most so many rows in a still picture."""
_LISTED_FAILURES = 5
_LABEL_LIMIT = 80

SYMBOLS: dict[State | Status, str] = {
    "queued": "○",
    "running": "●",
    "backing off": "↻",
    "handed over": "◐",
    "ticking": "◔",
    "fired": "✓",
    "suspended": "‖",
    "completed": "✓",
    "failed": "✗",
    "canceled": "⊘",
    "terminated": "■",
    "timed out": "✗",
    "abandoned": "–",
}
"""One sign per state, so that colour is never the only one."""

_WORST_FIRST: tuple[State, ...] = (
    "running", "backing off", "queued", "handed over", "ticking", "failed", "timed out", "abandoned", "canceled"
)  # fmt: skip
_TICK_STEPS = (
    *(unit * factor for unit in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0) for factor in (1, 2, 5)),
    *(1e3 * factor for factor in (1, 2, 5, 10, 15, 30)),
    *(6e4 * factor for factor in (1, 2, 5, 10, 15, 30)),
    *(3.6e6 * factor for factor in (1, 2, 3, 6, 12)),
    *(8.64e7 * factor for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)),
)


@dataclass(frozen=True)
class BarRow:
    """One bar in a row of its own."""

    bar: Bar
    label: str


@dataclass(frozen=True)
class Group:
    """Many bars of one kind.

    Attributes:
        counts: how many are in each state, most frequent first.
        median, p95, longest: durations of the closed ones in milliseconds; None while none is closed.
        failures: label and error of the first failed ones.
        more_failures: failed ones beyond those.
    """

    name: str
    bars: tuple[Bar, ...]
    start: float
    end: float | None
    counts: tuple[tuple[State, int], ...]
    retried: int
    median: float | None
    p95: float | None
    longest: float | None
    failures: tuple[tuple[str, str], ...]
    more_failures: int

    @property
    def state(self) -> State:
        """One state for all: what is still going on, else the worst that happened."""
        present = {state for state, _ in self.counts}
        for state in _WORST_FIRST:
            if state in present:
                return state
        return self.counts[0][0]

    @property
    def progress(self) -> str:
        """``60 of 60 done``."""
        return f"{sum(bar.end is not None for bar in self.bars)} of {len(self.bars)} done"

    @property
    def symbol(self) -> str:
        """The sign of `state`; a tick when all went well."""
        return SYMBOLS[self.state]

    def describe(self) -> str:
        """``58 completed, 2 failed, 5 retried``."""
        words = [f"{count} {state}" for state, count in self.counts]
        return ", ".join([*words, f"{self.retried} retried"] if self.retried else words)

    def percentiles(self) -> str:
        """``median 1.2 s, 95 % within 2.4 s, longest 3.1 s``; empty while none is closed."""
        if self.median is None or self.p95 is None or self.longest is None:
            return ""
        within = f"95 % within {duration_words(self.p95)}"
        return f"median {duration_words(self.median)}, {within}, longest {duration_words(self.longest)}"

    def notes(self) -> list[str]:
        """Lines that say it all: how many, how long, and which failed."""
        notes = [self.describe(), self.percentiles(), *(f"✗ {label}: {error}" for label, error in self.failures)]
        if self.more_failures:
            notes.append(f"✗ and {self.more_failures} more failures")
        return [note for note in notes if note]

    def density(self, columns: int, span: float, now: float) -> list[float]:
        """How many were at work in each column of a picture, on average."""
        width = span / columns
        levels = [0.0] * columns
        for bar in self.bars:
            for segment in bar.segments:
                if segment.kind not in ("attempt", "timer"):
                    continue
                start, end = segment.start / width, (now if segment.end is None else segment.end) / width
                first, last = min(int(start), columns - 1), min(int(end), columns - 1)
                for column in range(first, last + 1):
                    levels[column] += max(min(end, column + 1) - max(start, column), 0.02)
        return levels


@dataclass(frozen=True)
class GroupRow:
    """Many bars in one row."""

    group: Group
    label: str


Row: TypeAlias = BarRow | GroupRow


def rows(timeline: Timeline, *, group_over: int = GROUP_OVER) -> tuple[list[Row], int]:
    """The rows below the run's own, in order of start, and how many bars found no room."""
    steps = timeline.bars[1:]
    kinds = Counter((bar.kind, bar.name if bar.kind == "activity" else "") for bar in steps)
    repeated = {key for key, count in kinds.items() if count > 1}
    grouped = {key for key, count in kinds.items() if count > group_over}
    found: list[Row] = []
    done: set[tuple[str, str]] = set()
    for bar in steps:
        key = (bar.kind, bar.name if bar.kind == "activity" else "")
        if key not in grouped:
            found.append(BarRow(bar, bar_label(bar, with_inputs=key in repeated)))
        elif key not in done:
            done.add(key)
            group = _group(key, [other for other in steps if (other.kind, other.name if key[1] else "") == key])
            found.append(GroupRow(group, f"{group.name} ×{len(group.bars)}"))
    return found[:MAX_ROWS], sum(len(row.group.bars) if isinstance(row, GroupRow) else 1 for row in found[MAX_ROWS:])


def bar_label(bar: Bar, *, with_inputs: bool = False) -> str:
    """The author's summary if there is one, else the name; with the arguments where several share a name."""
    if bar.summary:
        return clip(bar.summary, _LABEL_LIMIT)
    if not with_inputs or not bar.inputs:
        return clip(bar.label, _LABEL_LIMIT)
    return clip(f"{bar.label}({', '.join(one_line(value, 40) for value in bar.inputs)})", _LABEL_LIMIT)


def state_text(bar: Bar, now: float) -> str:
    """The state's word, and what else there is to say in a word or two."""
    if bar.state == "ticking" and bar.due is not None and bar.due > now:
        return f"{duration_words(bar.due - now)} left"
    return "cancelling" if bar.cancel_requested and bar.end is None else bar.state


def attempts_text(bar: Bar) -> str:
    """``attempt 2 of 3`` where trying again is the news; empty for a bar that went well at once."""
    if bar.kind != "activity" or bar.attempts == 0 or (bar.attempts == 1 and bar.problem is None):
        return ""
    return attempts_words(bar.attempts, 0 if bar.state == "completed" else bar.max_attempts)


def attempt_problems(bar: Bar) -> list[tuple[str, Problem]]:
    """Which attempts failed with what; neighbours that failed alike share a line, and of many lines the last three stay."""
    found: list[tuple[int, int, Problem]] = []
    for segment in bar.segments:
        if segment.problem is None:
            continue
        if found and found[-1][2].summary == segment.problem.summary:
            found[-1] = (found[-1][0], segment.attempt, segment.problem)
        else:
            found.append((segment.attempt, segment.attempt, segment.problem))
    if not found and bar.problem is not None:
        return [("failed", bar.problem)]
    return [(f"attempts {first}–{last}" if last > first else f"attempt {first}", failed) for first, last, failed in found[-3:]]


def span_of(timeline: Timeline) -> float:
    """Length of the picture's time axis in milliseconds; never 0."""
    ends = [bar.end for bar in timeline.bars if bar.end is not None]
    return max(timeline.duration, *ends, 0.001) if ends else max(timeline.duration, 0.001)


def ticks(span: float, most: int) -> list[tuple[float, str]]:
    """Positions and labels of at most ``most`` marks on an axis from 0 to ``span`` milliseconds, on round figures."""
    step = next((step for step in _TICK_STEPS if span / step < most), _TICK_STEPS[-1] * math.ceil(span / _TICK_STEPS[-1] / most))
    count = math.floor(span / step + 1e-9)
    return [(min(index * step, span), duration_words(index * step) if index else "0") for index in range(count + 1)]


def _group(key: tuple[str, str], bars: Sequence[Bar]) -> Group:
    counts: Counter[State] = Counter(bar.state for bar in bars)
    durations = sorted(bar.end - bar.start for bar in bars if bar.end is not None)
    failed = [bar for bar in bars if bar.state in ("failed", "timed out")]
    ends = [bar.end for bar in bars if bar.end is not None]
    return Group(
        name=key[1] or "timers",
        bars=tuple(bars),
        start=min(bar.start for bar in bars),
        end=max(ends) if len(ends) == len(bars) else None,
        counts=tuple(counts.most_common()),
        retried=sum(bar.attempts > 1 for bar in bars),
        median=_percentile(durations, 50),
        p95=_percentile(durations, 95),
        longest=durations[-1] if durations else None,
        failures=tuple(
            (bar_label(bar, with_inputs=True), bar.problem.summary if bar.problem else bar.state)
            for bar in failed[:_LISTED_FAILURES]
        ),
        more_failures=max(len(failed) - _LISTED_FAILURES, 0),
    )


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Nearest rank."""
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else None
