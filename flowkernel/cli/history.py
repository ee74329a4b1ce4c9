"""``flowkernel history``: an execution's events."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from flowkernel.cli.columns import columns
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
    print(columns(HISTORY_COLUMNS, history_rows(history.events)))
    return 0


def _whole(event: Event) -> dict[str, Any]:
    attributes: dict[str, Any] = json.loads(codec.encode(event.attributes))
    return {"event_id": event.event_id, "event_time": event.event_time, "type": event.stored_name, **attributes}
