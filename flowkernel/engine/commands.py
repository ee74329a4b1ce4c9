"""What each command of workflow code does: a table that later commands extend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowkernel.engine import activity, lifecycle, timer
from flowkernel.engine.draft import Draft
from flowkernel.model import commands as cmd
from flowkernel.model.events import MarkerRecorded
from flowkernel.model.ids import EventId

CLOSING = (cmd.CompleteWorkflowExecution, cmd.FailWorkflowExecution, cmd.CancelWorkflowExecution)


def is_close(command: cmd.Command) -> bool:
    """Whether the command ends the run."""
    return isinstance(command, CLOSING)


def record_marker(draft: Draft, command: cmd.RecordMarker, completed: EventId) -> None:
    """Write down what the worker wants to find again."""
    draft.append(MarkerRecorded(command.marker_name, command.details, completed, command.header, command.failure))


COMMANDS: dict[type[Any], Callable[[Draft, Any, EventId], None]] = {
    cmd.ScheduleActivityTask: activity.schedule,
    cmd.RequestCancelActivityTask: activity.request_cancel,
    cmd.StartTimer: timer.start,
    cmd.CancelTimer: timer.cancel,
    cmd.RecordMarker: record_marker,
    cmd.CompleteWorkflowExecution: lifecycle.complete,
    cmd.FailWorkflowExecution: lifecycle.fail,
    cmd.CancelWorkflowExecution: lifecycle.cancel,
}
"""Command type → what it does, given the id of the workflow task's completed event."""
