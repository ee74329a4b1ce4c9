"""The timeline: one pure fold from a run's history to a view model, and the still pictures drawn from it."""

from __future__ import annotations

from flowkernel.timeline.bundle import mimebundle
from flowkernel.timeline.fold import TimelineFold, fold
from flowkernel.timeline.html import render_html
from flowkernel.timeline.model import MIME_TYPE, Timeline
from flowkernel.timeline.svg import render_svg
from flowkernel.timeline.tables import Table, executions_table, history_table
from flowkernel.timeline.text import render_text

__all__ = [
    "MIME_TYPE",
    "Table",
    "Timeline",
    "TimelineFold",
    "executions_table",
    "fold",
    "history_table",
    "mimebundle",
    "render_html",
    "render_svg",
    "render_text",
]
