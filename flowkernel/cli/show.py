"""``flowkernel show``: an execution's timeline."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flowkernel.cli.database import add_database, add_execution, open_database
from flowkernel.timeline import fold, render_html, render_text

__all__ = ["main"]

_WIDEST = 120


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, print the timeline, return the exit code."""
    parser = argparse.ArgumentParser(prog="flowkernel show", description="Show an execution's timeline, and why it waits.")
    add_database(parser)
    add_execution(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as HTML instead")
    chosen = parser.parse_args(arguments)
    with open_database(chosen) as database:
        history = database.history(chosen.execution, chosen.run_id)
    timeline = fold(history.run, history.events, history.records, time.time_ns())
    if chosen.html is not None:
        chosen.html.write_text(f"<!doctype html>\n<meta charset='utf-8'>\n{render_html(timeline)}\n", encoding="utf-8")
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDEST
    print(render_text(timeline, min(width, _WIDEST)))
    return 0
