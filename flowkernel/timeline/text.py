"""The timeline as plain text, for terminals and for ``text/plain``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from flowkernel.timeline import blocks
from flowkernel.timeline.layout import (
    SYMBOLS,
    BarRow,
    GroupRow,
    Row,
    attempt_problems,
    attempts_text,
    rows,
    span_of,
    state_text,
    ticks,
)
from flowkernel.timeline.model import Bar, Mark, Timeline
from flowkernel.timeline.preview import one_line
from flowkernel.timeline.words import duration_words

__all__ = ["render_text", "start_text"]

_MARKS_SHOWN = 8
_NARROWEST = 40
_PARAGRAPH = 6
"""Lines that a sentence may take."""


def start_text(timeline: Timeline) -> str:
    """When the run started, in UTC: a saved picture is read in other time zones too."""
    started = dt.datetime.fromtimestamp(timeline.start_time / 1e3, tz=dt.UTC)
    return f"{started:%Y-%m-%d %H:%M:%S} UTC"


def render_text(timeline: Timeline, width: int = 100) -> str:
    """Draw a timeline with characters.

    Args:
        timeline: the view.
        width: columns to fill; at least 40.

    Returns:
        Lines without trailing spaces, and without a newline at the end.
    """
    width = max(width, _NARROWEST)
    run = timeline.bars[0]
    shown, left_out = rows(timeline)
    lines = _heading(timeline, width)
    table: list[tuple[str, str, Bar | None, Row | None, str]] = [
        (SYMBOLS[timeline.status], "workflow", run, None, duration_words(timeline.duration))
    ]
    for row in shown:
        if isinstance(row, BarRow):
            end = timeline.now if row.bar.end is None else row.bar.end
            table.append((SYMBOLS[row.bar.state], row.label, row.bar, row, duration_words(end - row.bar.start)))
        else:
            end = timeline.now if row.group.end is None else row.group.end
            table.append((row.group.symbol, row.label, None, row, duration_words(end - row.group.start)))
    states = [_state(bar, row, timeline.now) for _, _, bar, row, _ in table]
    label_width = min(max(blocks.width_of(label) for _, label, *_ in table), max(width // 4, 12))
    time_width = max(len(time) for *_, time in table)
    state_width = max(map(len, states))
    columns = width - label_width - time_width - state_width - 10
    if columns < 8:  # too narrow for everything: the bars matter least, the words most
        columns = 0
    span = span_of(timeline)
    used: set[str] = set()
    for (symbol, label, bar, row, time), state in zip(table, states, strict=True):
        cells = _cells(timeline, bar, row, columns, span) if columns else ""
        used.update(cells)
        gap = f"{cells}  " if columns else ""
        line = f"  {symbol} {blocks.fit(label, label_width)}  {gap}{time:>{time_width}}  {state}"
        lines.append(blocks.fit(line, width))
        lines.extend(f"      {note}" for note in _notes(row, width - 6))
    if columns:
        lines.append(" " * (label_width + 6) + blocks.axis_cells(ticks(span, max(columns // 10, 2)), columns, span))
    if left_out:
        lines.append(f"    … {left_out} more steps")
    lines.extend(_marks(timeline, width))
    legend = [f"{sign} {word}" for sign, word in blocks.LEGEND.items() if sign in used]
    if legend:
        lines.append(f"  {'   '.join(legend)}")
    return "\n".join(line.rstrip() for line in lines)


def _heading(timeline: Timeline, width: int) -> list[str]:
    status = f"{SYMBOLS[timeline.status]} {timeline.status}"
    facts = [timeline.workflow_id]
    if timeline.workflow_type != timeline.workflow_id:
        facts.append(timeline.workflow_type)
    facts.append(duration_words(timeline.duration))
    tail = f"started {start_text(timeline)}"
    room = width - len(status) - 2
    heading = " · ".join([*facts, tail])
    if blocks.width_of(heading) > room:
        heading = " · ".join(facts)
    lines = [f"{status}  {blocks.fit(heading, room).rstrip()}"]
    sentence = timeline.waiting or timeline.outcome
    if timeline.summary:
        lines.extend(_wrapped(timeline.summary, width))
    lines.extend(_wrapped(sentence, width))
    if timeline.result not in (None, "null"):
        lines.extend(_wrapped(f"Result: {one_line(timeline.result or '', 2 * width)}", width))
    return [*lines, ""]


def _wrapped(text: str, width: int) -> list[str]:
    lines = blocks.wrap(text, width - 2)
    if len(lines) > _PARAGRAPH:
        lines = [*lines[: _PARAGRAPH - 1], blocks.fit(" ".join(lines[_PARAGRAPH - 1 :]), width - 2)]
    return [f"  {line}" for line in lines]


def _state(bar: Bar | None, row: Row | None, now: float) -> str:
    if isinstance(row, GroupRow):
        return row.group.progress
    if bar is None:
        return ""
    state, attempts = state_text(bar, now), attempts_text(bar)
    return f"{state}, {attempts}" if attempts else state


def _cells(timeline: Timeline, bar: Bar | None, row: Row | None, columns: int, span: float) -> str:
    if isinstance(row, GroupRow):
        return blocks.group_cells(row.group, columns, span, timeline.now)
    if row is None or bar is None:
        return blocks.run_cells(timeline, columns, span)
    return blocks.bar_cells(bar, columns, span, timeline.now)


def _notes(row: Row | None, width: int) -> Iterable[str]:
    if isinstance(row, BarRow):
        for attempts, problem in attempt_problems(row.bar):
            yield _note(f"{attempts}: {problem.summary}", width)
    elif isinstance(row, GroupRow):
        for note in row.group.notes():
            yield _note(note, width)


def _note(text: str, width: int) -> str:
    return f"└ {blocks.fit(text, width - 2).rstrip()}"


def _marks(timeline: Timeline, width: int) -> list[str]:
    marks: Sequence[Mark] = timeline.marks[-_MARKS_SHOWN:]
    lines = [""] if marks else []
    if len(timeline.marks) > len(marks):
        lines.append(f"  … {len(timeline.marks) - len(marks)} earlier marks")
    for mark in marks:
        detail = mark.detail or (mark.problem.summary if mark.problem else "")
        times = f" ×{mark.count}" if mark.count > 1 else ""
        text = f"{mark.label}{times}" + (f": {one_line(detail)}" if detail else "")
        at = f"+{duration_words(mark.at)}"
        lines.append(f"  {blocks.MARKS[mark.kind]} {at:>10}  {blocks.fit(text, width - 16).rstrip()}")
    return lines
