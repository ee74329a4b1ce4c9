"""One display bundle that lives everywhere: the view model for those who can draw it, HTML, and plain text."""

from __future__ import annotations

from typing import Any

import msgspec

from flowkernel.timeline.html import render_html
from flowkernel.timeline.model import MIME_TYPE, Timeline
from flowkernel.timeline.text import render_text

__all__ = ["mimebundle"]


def mimebundle(timeline: Timeline, *, width: int = 100) -> dict[str, Any]:
    """Every form of a timeline, by MIME type; the richest that a screen knows is the one it shows.

    Args:
        timeline: the view.
        width: columns of the plain text.
    """
    return {
        MIME_TYPE: msgspec.to_builtins(timeline),
        "text/html": render_html(timeline),
        "text/plain": render_text(timeline, width),
    }
