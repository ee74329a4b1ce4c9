"""The timeline as HTML that needs no styles, no script and no trust.

Pages that show saved notebooks strip styles, and untrusted output is sanitised: so the state is said in words, the bars are small
images whose alternative text draws the same bar with block characters, and what inline styles there are only tidy up. No colours
are set on text: the page's own, light or dark, are right.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from html import escape

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
from flowkernel.timeline.model import Bar, Mark, OutputLine, Problem, Timeline
from flowkernel.timeline.preview import clip
from flowkernel.timeline.svg import STRIP_WIDTH, axis_strip, row_strip
from flowkernel.timeline.text import start_text
from flowkernel.timeline.words import duration_words

__all__ = ["render_html"]

_COLUMNS = 36
_DETAILED = 40
"""So many steps get their inputs, results and output told in a page."""
_VALUE_LIMIT = 600
_MARKS_SHOWN = 8
_NO_BREAK = "\u00a0"
_LEFT = 'style="text-align: left"'
_HEADINGS = ("Step", "State", "Started", "Took", "When")
_STRIP = f"width: 100%; min-width: {STRIP_WIDTH * 2 // 3}px; max-width: {STRIP_WIDTH}px"


def render_html(timeline: Timeline, *, pictures: bool = True) -> str:
    """Draw a timeline as an HTML fragment.

    Args:
        timeline: the view.
        pictures: draw the bars as small images, with the block characters as their alternative text; else the characters alone.
    """
    shown, left_out = rows(timeline)
    parts = ["<div>", _heading(timeline), _Table(timeline, pictures=pictures).html(shown, left_out)]
    parts.extend(_marks(timeline))
    parts.extend(_details(timeline))
    parts.append("</div>")
    return "\n".join(parts)


def _heading(timeline: Timeline) -> str:
    names = [f"<code>{_said(timeline.workflow_id)}</code>"]
    if timeline.workflow_type != timeline.workflow_id:
        names.append(_said(timeline.workflow_type))
    facts = " · ".join([*names, duration_words(timeline.duration), f"started {start_text(timeline)}"])
    sentence = timeline.waiting or timeline.outcome
    summary = f"<p>{_said(timeline.summary)}</p>\n" if timeline.summary else ""
    return f"<p><b>{SYMBOLS[timeline.status]} {timeline.status}</b> · {facts}</p>\n{summary}<p>{_said(sentence)}</p>"


class _Table:
    """One row per bar, all on one time axis."""

    def __init__(self, timeline: Timeline, *, pictures: bool) -> None:
        self._timeline = timeline
        self._pictures = pictures
        self._span = span_of(timeline)

    def html(self, shown: list[Row], left_out: int) -> str:
        """The whole table."""
        timeline, span = self._timeline, self._span
        head = "".join(f'<th align="left" {_LEFT}>{word}</th>' for word in _HEADINGS)
        status = f"{SYMBOLS[timeline.status]} {timeline.status}"
        run = self._when(blocks.run_cells(timeline, _COLUMNS, span), None)
        axis = self._cells(blocks.axis_cells(ticks(span, 4), _COLUMNS, span), lambda: axis_strip(timeline, span))
        lines = [
            f'<table style="border-collapse: collapse">\n<thead><tr>{head}</tr></thead>\n<tbody>',
            _line("<b>workflow</b>", _kept(status), "", duration_words(timeline.duration), run),
            *(self._bar(row) if isinstance(row, BarRow) else self._group(row) for row in shown),
        ]
        if left_out:
            lines.append(f'<tr><td colspan="5" align="left" {_LEFT}>… {left_out} more steps</td></tr>')
        lines.append(_line("", "", "", "", axis))
        return "\n".join([*lines, "</tbody>\n</table>"])

    def _bar(self, row: BarRow) -> str:
        bar, now = row.bar, self._timeline.now
        step = _said(row.label)
        for attempts, problem in attempt_problems(bar):
            step += f"<br><small>{attempts}: {_said(problem.summary)}</small>"
        took = duration_words((now if bar.end is None else bar.end) - bar.start)
        when = self._when(blocks.bar_cells(bar, _COLUMNS, self._span, now), row)
        state = _kept(f"{SYMBOLS[bar.state]} {state_text(bar, now)}")
        if attempts := attempts_text(bar):
            state += f"<br><small>{_kept(attempts)}</small>"
        return _line(step, state, f"+{duration_words(bar.start)}", took, when)

    def _group(self, row: GroupRow) -> str:
        group, now = row.group, self._timeline.now
        step = _said(row.label) + "".join(f"<br><small>{_said(note)}</small>" for note in group.notes())
        took = duration_words((now if group.end is None else group.end) - group.start)
        when = self._when(blocks.group_cells(group, _COLUMNS, self._span, now), row)
        return _line(step, _kept(f"{group.symbol} {group.progress}"), f"+{duration_words(group.start)}", took, when)

    def _when(self, cells: str, row: Row | None) -> str:
        return self._cells(cells, lambda: row_strip(self._timeline, row, self._span))

    def _cells(self, cells: str, strip: Callable[[], str]) -> str:
        """The characters, or an image that falls back to them.

        The image has no size of its own in the markup: where its source is taken away, it would keep an empty box. Its style,
        which goes where styles go, makes all strips give way alike where the page is narrow.
        """
        said = escape(cells.ljust(_COLUMNS)).replace(" ", _NO_BREAK)
        if self._pictures:
            data = base64.b64encode(strip().encode()).decode("ascii")
            said = f'<img alt="{said}" style="{_STRIP}" src="data:image/svg+xml;base64,{data}">'
        return f"<samp>{said}</samp>"


def _line(step: str, state: str, started: str, took: str, when: str) -> str:
    """A row of the table; ``step``, ``state`` and ``when`` are HTML already."""
    columns = [
        f'<td align="left" style="text-align: left; overflow-wrap: anywhere">{step}</td>',
        f'<td align="left" {_LEFT}>{state}</td>',
        *(f'<td align="right">{_kept(text)}</td>' for text in (started, took)),
        f'<td align="left" {_LEFT}>{when}</td>',
    ]
    return f"<tr>{''.join(columns)}</tr>"


def _kept(text: str) -> str:
    """Text kept on one line."""
    return text.replace(" ", _NO_BREAK)


def _marks(timeline: Timeline) -> Iterable[str]:
    if not timeline.marks:
        return
    items = [_mark(mark) for mark in timeline.marks[-_MARKS_SHOWN:]]
    if len(timeline.marks) > _MARKS_SHOWN:
        items.insert(0, f"… {len(timeline.marks) - _MARKS_SHOWN} earlier marks")
    yield f"<p>{'<br>'.join(items)}</p>"


def _mark(mark: Mark) -> str:
    detail = mark.detail or (mark.problem.summary if mark.problem else "")
    times = f" ×{mark.count}" if mark.count > 1 else ""
    said = f": {_said(clip(detail, 200))}" if detail else ""
    return f"{blocks.MARKS[mark.kind]} +{duration_words(mark.at)} {_said(mark.label)}{times}{said}"


def _details(timeline: Timeline) -> Iterable[str]:
    if timeline.problem is not None:
        yield _folded("Failure", _problem(timeline.problem))
    if timeline.inputs:
        yield _folded("Input", _pre("\n".join(timeline.inputs)))
    if timeline.result is not None:
        yield _folded("Result", _pre(timeline.result))
    steps = [bar for bar in timeline.bars[1:] if bar.kind == "activity"]
    if not steps:
        return
    # What failed or printed is looked for first; the rest in the order in which it happened.
    telling = sorted(steps, key=lambda bar: (bar.problem is None and not bar.output, bar.event_id))[:_DETAILED]
    told = sorted(telling, key=lambda bar: bar.event_id)
    more = f"<p>… {len(steps) - len(told)} more</p>" if len(steps) > len(told) else ""
    yield _folded(f"Steps: inputs, results, output ({len(told)})", "\n".join(map(_step, told)) + more)


def _step(bar: Bar) -> str:
    parts = [f'<div style="margin-bottom: 1em">\n<p><b>{_said(bar.summary or bar.label)}</b> ({_said(bar.state)})']
    if bar.inputs:
        parts.append(f"<br>input: <code>{_said(clip(', '.join(bar.inputs), _VALUE_LIMIT))}</code>")
    if bar.result is not None:
        parts.append(f"<br>result: <code>{_said(clip(bar.result, _VALUE_LIMIT))}</code>")
    if bar.heartbeat:
        parts.append(f"<br>last heartbeat: <code>{_said(clip(bar.heartbeat, _VALUE_LIMIT))}</code>")
    parts.append("</p>")
    if bar.problem is not None:
        parts.append(_problem(bar.problem))
    if bar.output:
        parts.append(_pre(_output(bar.output, bar.output_omitted)))
    parts.append("</div>")
    return "".join(parts)


def _output(lines: Iterable[OutputLine], omitted: int) -> str:
    text = "\n".join(line.text if line.stream == "stdout" else f"[{line.stream}] {line.text}" for line in lines)
    return f"… {omitted} earlier lines\n{text}" if omitted else text


def _problem(problem: Problem) -> str:
    said = [problem.summary, *(f"caused by {cause}" for cause in problem.causes)]
    return _pre("\n".join(filter(None, [*said, problem.trace])))


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>\n{body}\n</details>"


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _said(text: str) -> str:
    """Text as data: escaped, and its direction kept to itself."""
    return escape(text) if text.isascii() else f"<bdi>{escape(text)}</bdi>"
