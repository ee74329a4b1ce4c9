"""Bars and text of a fixed width: what terminals, and pages without styles, can show.

A cell of a bar shows what it most needs to: a failed attempt before work, work before a wait. So nothing that happened is ever
too short to see.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from flowkernel.timeline.layout import Group
from flowkernel.timeline.model import Bar, Mark, Segment, Timeline

__all__ = ["LEGEND", "MARKS", "axis_cells", "bar_cells", "fit", "group_cells", "run_cells", "width_of", "wrap"]

WORK, FAILED, QUEUED, BACKOFF, TIMER, CODE, FAILING = "█", "▒", "░", "┈", "─", "━", "╍"
_STRENGTH = {" ": 0, BACKOFF: 1, QUEUED: 2, TIMER: 3, WORK: 4, FAILED: 5}
_LEVELS = "▁▂▃▄▅▆▇█"

_UNIT = re.compile(r"(\d) (ms|s|min|h|d)\b")

LEGEND = {TIMER: "timer", QUEUED: "queued", FAILED: "failed attempt", BACKOFF: "back-off", FAILING: "code failing"}
"""Cells that do not explain themselves."""

MARKS = {
    "signal": "◆",
    "cancel": "⊘",
    "task failed": "!",
    "task timed out": "!",
    "patch": "◇",
    "marker": "◇",
    "definition": "◇",
}
"""One sign per kind of mark."""


def width_of(text: str) -> int:
    """Columns that the text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def fit(text: str, width: int) -> str:
    """The text in exactly ``width`` columns: padded with spaces, or cut with an ellipsis."""
    length = width_of(text)
    if length <= width:
        return text + " " * (width - length)
    kept: list[str] = []
    room = max(width - 1, 0)
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept.append(character)
    cut = "".join(kept) + "…" if width else ""
    return cut + " " * (width - width_of(cut))


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` columns; a number stays with its unit, a long word is broken."""
    lines: list[str] = []
    line = ""
    for word in _UNIT.sub("\\1\u00a0\\2", text).split(" "):
        candidate = f"{line} {word}" if line else word
        if width_of(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        while width_of(word) > width:
            head = fit(word, width + 1).rstrip()[:-1]
            lines.append(head)
            word = word[len(head) :]  # noqa: PLW2901 - what is left of the same word
        line = word
    return [found.replace("\u00a0", " ") for found in [*lines, line] if found]


def bar_cells(bar: Bar, columns: int, span: float, now: float) -> str:
    """A bar's segments on an axis of ``columns`` cells for ``span`` milliseconds."""
    cells = [" "] * columns
    for segment in bar.segments:
        sign = _sign(segment)
        for cell in _covered(segment.start, now if segment.end is None else segment.end, columns, span):
            if _STRENGTH[sign] > _STRENGTH[cells[cell]]:
                cells[cell] = sign
    return "".join(cells)


def run_cells(timeline: Timeline, columns: int, span: float) -> str:
    """The run's own bar, with its marks on it."""
    cells = [" "] * columns
    for segment in timeline.bars[0].segments:
        sign = FAILING if segment.state == "suspended" else CODE
        for cell in _covered(segment.start, timeline.now if segment.end is None else segment.end, columns, span):
            cells[cell] = sign
    for mark in timeline.marks:
        for cell in _covered(mark.at, mark.at, columns, span):
            cells[cell] = _mark_sign(mark)
    return "".join(cells)


def group_cells(group: Group, columns: int, span: float, now: float) -> str:
    """How many of a group were at work at each moment, as a line of columns; the highest stands for the most."""
    levels = group.density(columns, span, now)
    top = max(levels, default=0.0)
    return "".join(_level(level / top) if level > 0 else " " for level in levels) if top else " " * columns


def axis_cells(marks: Sequence[tuple[float, str]], columns: int, span: float) -> str:
    """Labels below an axis, each beginning at its place."""
    line = ""
    for position, label in marks:
        cell = int(position / span * columns)
        text = f"╵{label}"
        if (not line or cell > len(line)) and cell + len(text) <= columns + 4:
            line = line.ljust(cell) + text
    return line


def _sign(segment: Segment) -> str:
    if segment.kind == "queued":
        return QUEUED
    if segment.kind == "backoff":
        return BACKOFF
    if segment.kind == "timer":
        return TIMER
    return FAILED if segment.state in ("failed", "timed out") else WORK


def _mark_sign(mark: Mark) -> str:
    return MARKS[mark.kind]


def _level(share: float) -> str:
    return _LEVELS[min(int(share * len(_LEVELS)), len(_LEVELS) - 1)]


def _covered(start: float, end: float, columns: int, span: float) -> range:
    """The cells that a stretch of time touches, one at least."""
    first = min(int(start / span * columns), columns - 1)
    last = max(min(int(end / span * columns - 1e-9), columns - 1), first)
    return range(first, last + 1)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
