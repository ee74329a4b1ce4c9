"""``flowkernel history``: an execution's events."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from flowkernel.cli.database import add_database, add_execution, open_database
from flowkernel.model import codec
from flowkernel.model.events import Event
from flowkernel.timeline.tables import HISTORY_COLUMNS, history_rows

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, print the events, return the exit code."""
    parser = argparse.ArgumentParser(prog="flowkernel history", description="Print an execution's recorded events.")
    add_database(parser)
    add_execution(parser)
    parser.add_argument("--json", action="store_true", help="the whole of each event, one JSON object per line")
    chosen = parser.parse_args(arguments)
    with open_database(chosen) as database:
        history = database.history(chosen.execution, chosen.run_id)
    if chosen.json:
        for event in history.events:
            print(json.dumps(_whole(event), ensure_ascii=False))
        return 0
    rows = [HISTORY_COLUMNS, *history_rows(history.events)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _whole(event: Event) -> dict[str, Any]:
    attributes: dict[str, Any] = json.loads(codec.encode(event.attributes))
    return {"event_id": event.event_id, "event_time": event.event_time, "type": event.stored_name, **attributes}
