"""The size limit of payloads, for what workflow code asks for."""

from __future__ import annotations

from collections.abc import Iterable

from flowkernel.converter import naming
from flowkernel.model.commands import Command, CompleteWorkflowExecution, ScheduleActivityTask


def check_sizes(commands: Iterable[Command], limit: int | None, workflow_type: str) -> None:
    """Refuse commands with payloads that are too large to be recorded.

    Raises:
        PayloadTooLargeError: it says which argument or result it is.
    """
    for command in commands:
        if isinstance(command, ScheduleActivityTask):
            naming.check_sizes(command.input, limit, naming.arguments_of(f"activity {command.activity_type!r}"))
        elif isinstance(command, CompleteWorkflowExecution):
            naming.check_sizes(command.result, limit, naming.always(f"workflow {workflow_type!r}: its result"))
