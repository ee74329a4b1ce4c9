"""Executions and events as rows of text: what a list or a history shows, in a cell as in a terminal. Cleaned, not escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, cast

from flowkernel.model.events import Event
from flowkernel.model.failures import Failure
from flowkernel.model.ids import MILLISECOND, SECOND, Instant
from flowkernel.model.payloads import Payload
from flowkernel.model.requests import ExecutionInfo
from flowkernel.timeline.blocks import fit, width_of
from flowkernel.timeline.preview import one_line, preview, problem
from flowkernel.timeline.words import duration_words

__all__ = [
    "EXECUTION_COLUMNS",
    "HISTORY_COLUMNS",
    "Table",
    "execution_rows",
    "executions_table",
    "history_rows",
    "history_table",
]

EXECUTION_COLUMNS = ("workflow id", "status", "type", "started", "duration", "events", "run id")
HISTORY_COLUMNS = ("event", "time", "type", "details")

_CELL_LIMIT = 120
_DETAILS_LIMIT = 300
_NAMED = ("activity_type", "activity_id", "workflow_type", "timer_id", "signal_name", "marker_name", "cause", "reason", "attempt")
_VALUES = ("input", "result", "details")
_VALUES_SHOWN = 5
_ROWS_SHOWN = 500
"""Rows that a screen gets; `Table.rows` has them all."""
_COLUMN_WIDTH = 48
_UNBROKEN = 20
"""Characters of a cell that is not wrapped."""
_LEFT = 'align="left" style="text-align: left"'


class Table:
    """Rows that display themselves; iterate over it, or take ``rows``, for the plain values.

    Attributes:
        caption: one line on what this is.
        columns: names of the columns.
        rows: a dictionary per row, with Python values.
    """

    def __init__(
        self, caption: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], cells: Sequence[Sequence[str]]
    ) -> None:
        """Make a table of ``rows``, shown as ``cells``: per row one text per column."""
        self.caption = caption
        self.columns = tuple(columns)
        self.rows = tuple(dict(row) for row in rows)
        self._cells = tuple(tuple(row) for row in cells)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def __repr__(self) -> str:
        return self.text()

    def text(self, width: int = 120) -> str:
        """The table for a terminal of ``width`` columns; what finds no room is cut with an ellipsis."""
        if not self.rows:
            return self.caption
        shown = (self.columns, *self._cells[:_ROWS_SHOWN])
        widths = [min(max(map(width_of, column)), _COLUMN_WIDTH) for column in zip(*shown, strict=True)]
        widths[-1] = max(width - sum(widths[:-1]) - 2 * len(widths[:-1]), 0)
        lines = ["  ".join(map(fit, row, widths)) for row in shown]
        if len(self.rows) > _ROWS_SHOWN:
            lines.append(f"… {len(self.rows) - _ROWS_SHOWN} more")
        return "\n".join([fit(self.caption, width).rstrip(), *(fit(line, width).rstrip() for line in lines)])

    def html(self) -> str:
        """The table as an HTML fragment that needs no styles."""
        caption = f"<p>{escape(self.caption)}</p>"
        if not self.rows:
            return caption
        head = "".join(f"<th {_LEFT}>{escape(name)}</th>" for name in self.columns)
        body = "\n".join(f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in self._cells[:_ROWS_SHOWN])
        more = f"\n<p>… {len(self.rows) - _ROWS_SHOWN} more</p>" if len(self.rows) > _ROWS_SHOWN else ""
        return f"{caption}\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>{more}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What IPython shows."""
        del include, exclude
        return {"text/html": self.html(), "text/plain": self.text()}


def executions_table(infos: Sequence[ExecutionInfo], now: Instant) -> Table:
    """List executions in the order given.

    ``rows`` hold ``status``, ``workflow_id``, ``workflow_type``, ``task_queue``, ``run_id``, ``start_time`` and ``close_time``
    (UTC; None while open), ``seconds`` and ``events``.

    Args:
        infos: what a list request answered.
        now: up to when the duration of an open one counts.
    """
    rows: list[dict[str, Any]] = [
        {
            "status": info.status.name.lower().replace("_", " "),
            "workflow_id": info.run.workflow_id,
            "workflow_type": info.workflow_type,
            "task_queue": info.task_queue,
            "run_id": info.run.run_id,
            "start_time": datetime.fromtimestamp(info.start_time / SECOND, UTC),
            "close_time": datetime.fromtimestamp(info.close_time / SECOND, UTC) if info.close_time else None,
            "seconds": ((info.close_time or max(now, info.start_time)) - info.start_time) / SECOND,
            "events": info.history_length,
        }
        for info in infos
    ]
    count = f"{len(rows)} execution{'' if len(rows) == 1 else 's'}" if rows else "No executions."
    return Table(count, EXECUTION_COLUMNS, rows, execution_rows(infos, now))


def history_table(events: Sequence[Event]) -> Table:
    """List a run's events.

    ``rows`` hold ``event_id``, ``event_type``, ``time`` (UTC), ``seconds`` after the first of these events, and ``attributes``
    (the event's own, as they are in the history).
    """
    start = events[0].event_time if events else 0
    rows: list[dict[str, Any]] = [
        {
            "event_id": event.event_id,
            "event_type": event.stored_name,
            "time": datetime.fromtimestamp(event.event_time / SECOND, UTC),
            "seconds": (event.event_time - start) / SECOND,
            "attributes": event.attributes,
        }
        for event in events
    ]
    count = f"{len(rows)} event{'' if len(rows) == 1 else 's'}" if rows else "No events."
    return Table(count, HISTORY_COLUMNS, rows, history_rows(events))


def execution_rows(executions: Sequence[ExecutionInfo], now: Instant) -> list[tuple[str, ...]]:
    """Return one row per run, in the given order.

    Args:
        executions: the runs.
        now: up to when the duration of an open one counts.
    """
    return [
        (
            one_line(info.run.workflow_id),
            info.status.name.lower().replace("_", " "),
            one_line(info.workflow_type),
            _moment(info.start_time),
            duration_words(((info.close_time or now) - info.start_time) / MILLISECOND),
            str(info.history_length),
            info.run.run_id,
        )
        for info in executions
    ]


def history_rows(events: Sequence[Event]) -> list[tuple[str, ...]]:
    """Return one row per event; times count from the first."""
    start = events[0].event_time if events else 0
    return [
        (str(event.event_id), f"+{(event.event_time - start) / SECOND:.3f} s", event.stored_name, _details(event))
        for event in events
    ]


def _moment(instant: Instant) -> str:
    return datetime.fromtimestamp(instant / SECOND, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S") if instant else ""


def _details(event: Event) -> str:
    attributes: Any = event.attributes
    parts: list[str] = []
    for name in _NAMED:
        value = getattr(attributes, name, None)
        if value and not (name == "attempt" and value == 1):
            parts.append(f"{name}={one_line(str(getattr(value, 'name', value)), _CELL_LIMIT)}")
    for name in _VALUES:
        value = getattr(attributes, name, None)
        if isinstance(value, tuple) and value:
            shown = cast(tuple[object, ...], value)[:_VALUES_SHOWN]
            parts.append(f"{name}={', '.join(map(_value, shown))}")
    failure = getattr(attributes, "failure", None)
    summary = problem(failure) if isinstance(failure, Failure) else None
    if summary is not None:
        parts.append(f"failure={summary.summary}")
    earlier = getattr(attributes, "scheduled_event_id", 0) or getattr(attributes, "started_event_id", 0)
    if earlier:
        parts.append(f"of event {earlier}")
    return one_line("  ".join(parts), _DETAILS_LIMIT)


def _value(value: object) -> str:
    return one_line(preview(value), _CELL_LIMIT) if isinstance(value, Payload) else str(value)


def _html_cell(text: str) -> str:
    # Moments, lengths of time and ids stay on one line; the long cell beside them is the one that wraps, within words if need be.
    wrapping = ""
    if len(text) <= _UNBROKEN:
        wrapping = "; white-space: nowrap"
    elif len(text) > _COLUMN_WIDTH:
        wrapping = "; overflow-wrap: anywhere"
    said = escape(text) if text.isascii() else f"<bdi>{escape(text)}</bdi>"
    return f'<td align="left" style="text-align: left{wrapping}">{said}</td>'
