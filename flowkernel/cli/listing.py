"""``flowkernel list``: the executions in a database."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from flowkernel.cli.columns import columns
from flowkernel.cli.database import add_database, open_database
from flowkernel.model.policies import WorkflowExecutionStatus
from flowkernel.timeline.tables import EXECUTION_COLUMNS, execution_rows

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, print the table, return the exit code."""
    parser = argparse.ArgumentParser(prog="flowkernel list", description="List the executions in a database, latest start first.")
    statuses = [status.name.lower() for status in WorkflowExecutionStatus]
    add_database(parser)
    parser.add_argument("--status", choices=statuses, metavar="STATUS", help=f"only these: {', '.join(statuses)}")
    parser.add_argument("--type", metavar="TYPE", help="only executions of this workflow type")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    status = WorkflowExecutionStatus[chosen.status.upper()] if chosen.status else None
    with open_database(chosen) as database:
        found = database.executions(status=status, workflow_type=chosen.type, limit=chosen.limit)
    print(columns(EXECUTION_COLUMNS, execution_rows(found, time.time_ns())) if found else "no executions")
    return 0
