"""The commands of the present activation: added by the code, taken back if it changes its mind in time."""

from __future__ import annotations

import asyncio
from types import CodeType
from typing import Any

from flowkernel.model.commands import (
    CancelWorkflowExecution,
    Command,
    CompleteWorkflowExecution,
    FailWorkflowExecution,
)
from flowkernel.replay.errors import EvictedError, ReadOnlyContextError
from flowkernel.replay.sources import SourceLine, calling_line

CLOSE_COMMANDS = (CompleteWorkflowExecution, FailWorkflowExecution, CancelWorkflowExecution)
"""The commands that end a run. Later ones of the same activation are dropped."""


class Outbox:
    """Commands in the order in which they were asked for, each with the author's line."""

    __slots__ = ("_commands", "_last", "_lines", "closed", "evicting", "read_only", "stop", "tasks")

    def __init__(self, stop: CodeType) -> None:
        self._commands: list[Command | None] = []
        self._lines: list[SourceLine | None] = []
        self.stop = stop
        self.closed = False
        self._last: Command | None = None
        self.evicting = False
        self.read_only = False
        # A strong reference to every open task, and where it was created: asyncio itself keeps tasks weakly.
        self.tasks: dict[asyncio.Task[Any], SourceLine | None] = {}

    def check(self, attempted: str) -> None:
        """Refuse a change during a query or while the instance is torn down.

        Raises:
            ReadOnlyContextError: in a query handler.
            EvictedError: during eviction.
        """
        if self.evicting:
            raise EvictedError(attempted)
        if self.read_only:
            raise ReadOnlyContextError(attempted)

    def add(self, command: Command) -> int:
        """Ask for something; returns the slot to take it back with. Errors as for `check`."""
        if self.evicting or self.read_only:
            self.check(f"ask for {type(command).__name__}")
        line = calling_line(self.stop)
        if line is None:
            current = asyncio.current_task()
            line = self.tasks.get(current) if current is not None else None
        self._commands.append(command)
        self._lines.append(line)
        return len(self._commands) - 1

    def close(self, command: Command) -> None:
        """Ask for the run's end. What is asked for later counts no more."""
        if self._last is None:
            self.check(f"ask for {type(command).__name__}")
            self._last = command
            self.closed = True

    def retract(self, slot: int) -> None:
        """Take back a command of this activation, as if it had never been asked for."""
        if slot >= 0:
            self._commands[slot] = None

    def take(self) -> tuple[tuple[Command, ...], list[SourceLine | None]]:
        """Everything asked for since the last call, and the lines that asked."""
        commands, lines = self._commands, self._lines
        if self._last is not None:
            commands.append(self._last)
            lines.append(None)
            self._last = None
        self._commands, self._lines = [], []
        if None in commands:
            kept = [index for index, command in enumerate(commands) if command is not None]
            lines = [lines[index] for index in kept]
            return tuple(command for command in commands if command is not None), lines
        return tuple(commands), lines  # pyright: ignore[reportReturnType]
