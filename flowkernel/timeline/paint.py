"""Drawing of bars in SVG, for the whole picture and for the strips of the HTML table.

They are shown on light and on dark pages, often without knowing which: an image follows the system's colour scheme, not the
page's. So every colour is of middle lightness, readable on both, and the media query of the whole picture only moves it a little
further.
No colour says anything alone: failed attempts are hatched, waits are hollow, back-off is dotted, timers are lines.
"""

from __future__ import annotations

from html import escape

from flowkernel.timeline.layout import Group
from flowkernel.timeline.model import Bar, Mark, Segment, SegmentKind, State, Timeline
from flowkernel.timeline.words import duration_words

__all__ = ["DARK", "LIGHT", "MIDDLE", "Painter", "styles"]

MIDDLE = {
    "ink": "#747a84", "soft": "#7b828c", "line": "#8a919b", "run": "#7d8590", "work": "#4287df", "ok": "#2b9a66",
    "bad": "#db4f43", "wait": "#8a919b", "back": "#bd7d14", "mark": "#9c63d2",
}  # fmt: skip
LIGHT = {**MIDDLE, "ink": "#666c75", "soft": "#727983", "work": "#3a79d2", "bad": "#d3412f", "back": "#ad6f0a"}
DARK = {**MIDDLE, "ink": "#8b929c", "soft": "#848b95", "work": "#4d90ea", "bad": "#e6594c", "back": "#cc8b1f"}

_RULES = {
    "run": "fill:{run}",
    "susp": "fill:url(#fk-hatch);stroke:{bad}",
    "work": "fill:{work}",
    "ok": "fill:{ok}",
    "bad": "fill:url(#fk-hatch);stroke:{bad}",
    "off": "fill:url(#fk-back);stroke:{wait}",
    "wait": "fill:none;stroke:{wait}",
    "pause": "stroke:{back};stroke-width:2;stroke-dasharray:2 3",
    "timer": "stroke:{work};stroke-width:2;fill:none",
    "area": "fill:{work};fill-opacity:.8",
    "mark": "fill:{mark}",
    "stop": "fill:{bad}",
    "grid": "stroke:{line};stroke-opacity:.3",
    "now": "stroke:{line};stroke-dasharray:2 3",
    "hatch": "stroke:{bad};stroke-width:3",
    "back": "stroke:{wait};stroke-width:3",
    "text": "fill:{ink};font-size:13px",
    "title": "fill:{ink};font-size:14px;font-weight:600",
    "soft": "fill:{soft};font-size:11px",
    "soft-end": "fill:{soft};font-size:11px;text-anchor:end",
    "text-end": "fill:{ink};font-size:13px;text-anchor:end",
}
_HATCHED = {"susp": "hatch", "bad": "hatch", "off": "back"}
_ANGLES = {"hatch": 45, "back": -45}
_ATTEMPT: dict[State, str] = {
    "completed": "ok", "failed": "bad", "timed out": "bad", "canceled": "off", "abandoned": "off", "terminated": "off",
}  # fmt: skip
_OUTLINED = frozenset({"bad", "wait", "susp", "off"})
_HEIGHTS: dict[SegmentKind, float] = {"queued": 6, "attempt": 12}


def styles(used: set[str], palette: dict[str, str]) -> str:
    """The CSS rules for these kinds of shapes and text."""
    return "".join(f".fk-{kind}{{{rule.format_map(palette)}}}" for kind, rule in _RULES.items() if kind in used)


class Painter:
    """Collects shapes on a time axis of ``chart`` pixels that begins at ``left``."""

    def __init__(self, timeline: Timeline, span: float, left: float, chart: float) -> None:
        self._timeline = timeline
        self._span = span
        self._left = left
        self._chart = chart
        self.parts: list[str] = []
        self.used: set[str] = set()

    def x(self, at: float) -> float:
        """Where a moment is, in pixels."""
        return round(self._left + min(max(at / self._span, 0.0), 1.0) * self._chart, 1)

    def until(self, end: float | None) -> float:
        """Where an open bar ends for now."""
        return self._timeline.now if end is None else end

    def text(self, x: float, y: float, text: str, kind: str = "text") -> None:
        """A line of text, escaped."""
        self.used.add(kind)
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="fk-{kind}">{escape(text)}</text>')

    def line(self, x1: float, x2: float, y1: float, y2: float, kind: str) -> None:
        """A straight line."""
        self.used.add(kind)
        self.parts.append(f'<line class="fk-{kind}" x1="{x1:g}" x2="{x2:g}" y1="{y1:g}" y2="{y2:g}"/>')

    def patterns(self) -> str:
        """Definitions of the hatchings in use."""
        kinds = sorted({_HATCHED[kind] for kind in self.used if kind in _HATCHED})
        self.used.update(kinds)
        found = "".join(
            f'<pattern id="fk-{kind}" width="6" height="6" patternUnits="userSpaceOnUse" '
            f'patternTransform="rotate({_ANGLES[kind]})"><line class="fk-{kind}" y2="6"/></pattern>'
            for kind in kinds
        )
        return f"<defs>{found}</defs>" if found else ""

    def run(self, middle: float) -> None:
        """The run's own bar, with its marks on it."""
        for segment in self._timeline.bars[0].segments:
            kind = "susp" if segment.state == "suspended" else "run"
            self._box(segment.start, self.until(segment.end), middle, 6, kind)
        for mark in self._timeline.marks:
            self._mark(mark, middle)

    def bar(self, bar: Bar, middle: float) -> None:
        """A step's segments."""
        for segment in bar.segments:
            start, end = segment.start, self.until(segment.end)
            if segment.kind == "backoff":
                self.line(self.x(start), max(self.x(end), self.x(start) + 2), middle, middle, "pause")
            elif segment.kind == "timer":
                self._timer(self.x(start), self.x(end), middle, closed=segment.end is not None)
            else:
                kind = "wait" if segment.kind == "queued" else _ATTEMPT.get(segment.state, "work")
                self._box(start, end, middle, _HEIGHTS[segment.kind], kind, _tip(segment, end))

    def group(self, group: Group, base: float, height: float, columns: int) -> None:
        """How many of a group were at work at each moment; the highest column stands for the most."""
        levels = group.density(columns, self._span, self._timeline.now)
        top, step = max(levels, default=0.0) or 1.0, self._chart / columns
        path = "".join(
            f"M{self._left + index * step:.1f} {base:g}v{-max(level / top * height, 1):.1f}h{step:.1f}V{base:g}z"
            for index, level in enumerate(levels)
            if level
        )
        self.used.add("area")
        self.parts.append(f'<path class="fk-area" d="{path}"><title>{escape(group.describe())}</title></path>')

    def _box(self, start: float, end: float, middle: float, height: float, kind: str, tip: str = "") -> None:
        self.used.add(kind)
        x = min(self.x(start), self._left + self._chart - 2)
        inset = 0.5 if kind in _OUTLINED else 0.0
        width = max(self.x(end) - x, 2.0) - 2 * inset
        title = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(
            f'<rect class="fk-{kind}" x="{x + inset:g}" y="{middle - height / 2 + inset:g}" width="{max(width, 1):g}" '
            f'height="{height - 2 * inset:g}" rx="2">{title}</rect>'
        )

    def _timer(self, x1: float, x2: float, middle: float, *, closed: bool) -> None:
        self.used.add("timer")
        x1, x2 = max(x1, self._left + 1), min(x2, self._left + self._chart - 1)
        arrow = f"M{x2 - 4:g} {middle - 4:g}L{x2:g} {middle:g}L{x2 - 4:g} {middle + 4:g}"
        cap = f"M{x2:g} {middle - 5:g}V{middle + 5:g}" if closed else arrow
        self.parts.append(f'<path class="fk-timer" d="M{x1:g} {middle - 5:g}V{middle + 5:g}M{x1:g} {middle:g}H{x2:g}{cap}"/>')

    def _mark(self, mark: Mark, middle: float) -> None:
        x = min(max(self.x(mark.at), self._left + 6), self._left + self._chart - 6)
        title = f"<title>{escape(': '.join(filter(None, [mark.label, mark.detail])))}</title>"
        kind = "stop" if mark.kind in ("task failed", "task timed out", "cancel") else "mark"
        self.used.add(kind)
        if mark.kind == "cancel":
            self.parts.append(f'<circle class="fk-{kind}" cx="{x:g}" cy="{middle:g}" r="5">{title}</circle>')
            return
        shape = f"M{x:g} {middle - 7:g}l6 12h-12z" if kind == "stop" else f"M{x:g} {middle - 7:g}l6 7l-6 7l-6 -7z"
        self.parts.append(f'<path class="fk-{kind}" d="{shape}">{title}</path>')


def _tip(segment: Segment, end: float) -> str:
    if segment.problem is not None:
        return f"attempt {segment.attempt}: {segment.problem.summary}"
    return f"{segment.state}, {duration_words(end - segment.start)}"
