"""The timeline as a picture: a Gantt chart in SVG, and strips of it for a table."""

from __future__ import annotations

from html import escape

from flowkernel.timeline.blocks import fit, width_of
from flowkernel.timeline.layout import (
    SYMBOLS,
    GroupRow,
    Row,
    attempt_problems,
    attempts_text,
    rows,
    span_of,
    state_text,
    ticks,
)
from flowkernel.timeline.model import Mark, Timeline
from flowkernel.timeline.paint import DARK, LIGHT, MIDDLE, Painter, styles
from flowkernel.timeline.words import duration_words

__all__ = ["STRIP_WIDTH", "axis_strip", "render_svg", "row_strip"]

WIDTH = 960
_LABEL, _FACTS, _PAD = 200, 250, 10
_CHART = WIDTH - _LABEL - _FACTS
_ROW, _NOTE, _GROUP = 24, 16, 34
_FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
_SMALL = 6.1
"""Pixels that a character of the small text takes, roughly."""
STRIP_WIDTH = 360
_STRIP_HEIGHT, _STRIP_GROUP = 18, 30


def render_svg(timeline: Timeline, *, title: bool = True) -> str:
    """Draw a timeline as a stand-alone SVG document.

    Args:
        timeline: the view.
        title: whether to head the picture with status, id and the sentence.
    """
    picture = _Picture(timeline)
    if title:
        picture.title()
    picture.axis()
    picture.run()
    shown, left_out = rows(timeline)
    for row in shown:
        picture.row(row)
    if left_out:
        picture.note(f"… {left_out} more steps")
    return picture.document()


def row_strip(timeline: Timeline, row: Row | None, span: float) -> str:
    """One row's bar alone (the run's for None), as a small SVG document of `STRIP_WIDTH` pixels."""
    painter = Painter(timeline, span, 0, STRIP_WIDTH)
    height = _STRIP_GROUP if isinstance(row, GroupRow) else _STRIP_HEIGHT
    for at, _ in _roomy_ticks(span, STRIP_WIDTH):
        painter.line(painter.x(at), painter.x(at), 0, height, "grid")
    if row is None:
        painter.run(height / 2)
    elif isinstance(row, GroupRow):
        painter.group(row.group, height - 2, height - 4, STRIP_WIDTH // 4)
    else:
        painter.bar(row.bar, height / 2)
    return _strip(painter, height)


def axis_strip(timeline: Timeline, span: float) -> str:
    """The time axis of the strips."""
    painter = Painter(timeline, span, 0, STRIP_WIDTH)
    _axis(painter, _roomy_ticks(span, STRIP_WIDTH), STRIP_WIDTH, 12)
    return _strip(painter, 16)


def _strip(painter: Painter, height: int) -> str:
    patterns = painter.patterns()
    font = f' style="{_FONT}"' if "<text" in "".join(painter.parts) else ""
    size = f'width="{STRIP_WIDTH}" height="{height}" viewBox="0 0 {STRIP_WIDTH} {height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}{font}>'
        f"<style>{styles(painter.used, MIDDLE)}</style>{patterns}{''.join(painter.parts)}</svg>"
    )


def _roomy_ticks(span: float, width: float) -> list[tuple[float, str]]:
    """As many ticks as have room for their labels side by side."""
    marks: list[tuple[float, str]] = []
    for most in (10, 8, 6, 5, 4, 3, 2):
        marks = ticks(span, most)
        gap = marks[1][0] / span * width if len(marks) > 1 else width
        if all(width_of(label) * _SMALL + 16 < gap for _, label in marks):
            break
    return marks


def _axis(painter: Painter, marks: list[tuple[float, str]], right: float, y: float) -> None:
    free = 0.0
    for at, label in marks:
        x, room = painter.x(at), width_of(label) * _SMALL + 4
        ends = x + room > right
        begin = x - room if ends else x
        if begin >= free:
            painter.text(x, y, label, "soft-end" if ends else "soft")
            free = begin + room + 4


class _Picture:
    """The document while it grows downwards."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._span = span_of(timeline)
        self._paint = Painter(timeline, self._span, _LABEL, _CHART)
        self._ticks = _roomy_ticks(self._span, _CHART)
        self._y = 4.0
        self._top = 0.0

    def title(self) -> None:
        """Status, names and the sentence."""
        timeline = self._timeline
        names = [timeline.workflow_id]
        if timeline.workflow_type != timeline.workflow_id:
            names.append(timeline.workflow_type)
        facts = " · ".join([f"{SYMBOLS[timeline.status]} {timeline.status}", *names, duration_words(timeline.duration)])
        self._paint.text(_PAD, self._y + 16, fit(facts, 105).rstrip(), "title")
        self._paint.text(_PAD, self._y + 36, fit(timeline.waiting or timeline.outcome, 132).rstrip())
        self._y += 50

    def axis(self) -> None:
        """Labels along the top."""
        self._y += 14
        _axis(self._paint, self._ticks, _LABEL + _CHART, self._y)
        self._top = self._y + 4
        self._y += 14 if self._named_marks() else 8

    def run(self) -> None:
        """The run's own row."""
        timeline, middle = self._timeline, self._y + _ROW / 2
        self._label(SYMBOLS[timeline.status], "workflow")
        self._facts(duration_words(timeline.duration), timeline.status)
        self._paint.run(middle)
        free = 0.0
        for mark in self._named_marks():
            x, room = self._paint.x(mark.at), width_of(mark.label) * _SMALL + 8
            ends = x + room > _LABEL + _CHART
            begin = x - room if ends else x
            if begin >= free:
                self._paint.text(x, middle - 9, fit(mark.label, 40).rstrip(), "soft-end" if ends else "soft")
                free = begin + room
        self._y += _ROW

    def row(self, row: Row) -> None:
        """A step, or a group of them."""
        if isinstance(row, GroupRow):
            group = row.group
            self._label(group.symbol, row.label)
            self._facts(duration_words(self._paint.until(group.end) - group.start), group.progress)
            self._paint.group(group, self._y + _GROUP - 6, _GROUP - 10, 120)
            self._y += _GROUP
            for note in group.notes():
                self.note(note, group.start)
            return
        bar = row.bar
        self._label(SYMBOLS[bar.state], row.label)
        words = [state_text(bar, self._timeline.now), attempts_text(bar)]
        self._facts(duration_words(self._paint.until(bar.end) - bar.start), ", ".join(filter(None, words)))
        self._paint.bar(bar, self._y + _ROW / 2)
        self._y += _ROW
        for attempts, problem in attempt_problems(bar):
            self.note(f"{attempts}: {problem.summary}", bar.start)

    def note(self, text: str, at: float = 0.0) -> None:
        """A small line below a row, beginning where its bar does if there is room for it."""
        wanted = width_of(text) * _SMALL
        x = max(min(self._paint.x(at), WIDTH - _PAD - wanted), _LABEL)
        self._paint.text(x, self._y + 8, fit(text, int((WIDTH - x - _PAD) / _SMALL)).rstrip(), "soft")
        self._y += _NOTE

    def document(self) -> str:
        """The finished SVG."""
        timeline, height = self._timeline, round(self._y + 8)
        shapes, self._paint.parts = self._paint.parts, []
        for at, _ in self._ticks:
            self._paint.line(self._paint.x(at), self._paint.x(at), self._top, height - 6, "grid")
        if timeline.is_open:
            self._paint.line(self._paint.x(timeline.now), self._paint.x(timeline.now), self._top, height - 6, "now")
        patterns = self._paint.patterns()
        used = self._paint.used
        name = escape(f"Timeline of {timeline.workflow_id}: {timeline.status}. {timeline.waiting or timeline.outcome}")
        style = f"{styles(used, LIGHT)}@media (prefers-color-scheme:dark){{{styles(used, DARK)}}}"
        size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" style="{_FONT}"><title>{name}</title>'
            f"<style>{style}</style>{patterns}{''.join(self._paint.parts)}{''.join(shapes)}</svg>"
        )

    def _named_marks(self) -> list[Mark]:
        signals = [mark for mark in self._timeline.marks if mark.kind == "signal"]
        return signals if len(signals) <= 6 else []

    def _label(self, symbol: str, text: str) -> None:
        y = self._y + _ROW / 2 + 4.5
        self._paint.text(_PAD, y, symbol)
        self._paint.text(_PAD + 18, y, fit(text, 24).rstrip())

    def _facts(self, duration: str, words: str) -> None:
        y = self._y + _ROW / 2 + 4.5
        self._paint.text(_LABEL + _CHART + 68, y, duration, "text-end")
        self._paint.text(_LABEL + _CHART + 76, y, fit(words, 28).rstrip(), "soft")
