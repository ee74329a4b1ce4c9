"""The commands of the present activation: added by the code, taken back if it changes its mind in time.

A command that ends the run comes last, whatever its place among the others: what other tasks ask for in the same
activation counts too, as in Temporal. Only when the end is known and everything has come to rest does nothing count any
more (`Outbox.sealed`).
"""

from __future__ import annotations

import asyncio
from types import CodeType
from typing import Any

from flowkernel.model.commands import Command
from flowkernel.replay.errors import EvictedError, ReadOnlyContextError
from flowkernel.replay.sources import SourceLine, calling_line


class Outbox:
    """Commands in the order in which they were asked for, each with the author's line.

    Attributes:
        tasks: the open tasks, and where they were created. Strong references: asyncio itself keeps tasks weakly.
        closed: the run's end was asked for.
        sealed: commands no longer count; taking back still does.
        read_only: a query handler is running.
        evicting: the instance is being torn down.
        tracing: note the author's lines. Needed only while replaying, where a command may turn out not to fit.
    """

    __slots__ = ("_commands", "_end", "_lines", "_stop", "evicting", "read_only", "sealed", "tasks", "tracing")

    def __init__(self, stop: CodeType) -> None:
        self._commands: list[Command | None] = []
        self._lines: list[SourceLine | None] = []
        self._end: tuple[Command, SourceLine | None] | None = None
        self._stop = stop
        self.tasks: dict[asyncio.Task[Any], SourceLine | None] = {}
        self.sealed = False
        self.read_only = False
        self.evicting = False
        self.tracing = False

    @property
    def closed(self) -> bool:
        """Whether the run's end was asked for."""
        return self._end is not None

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
        if self.sealed:
            return -1
        self._commands.append(command)
        self._lines.append(self.line())
        return len(self._commands) - 1

    def line(self) -> SourceLine | None:
        """The author's line that runs now, or where the running task was created. None while not `tracing`."""
        if not self.tracing:
            return None
        line = calling_line(self._stop)
        if line is None:
            current = asyncio.current_task()
            line = self.tasks.get(current) if current is not None else None
        return line

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold on to a task until it is done."""
        self.tasks[task] = calling_line(self._stop) if self.tracing else None

    def close(self, command: Command, line: SourceLine | None) -> None:
        """Ask for the run's end; the first one counts. Errors as for `check`."""
        self.check("end the workflow")
        if self._end is None:
            self._end = command, line

    def retract(self, slot: int) -> None:
        """Take back a command of this activation, as if it had never been asked for."""
        if slot >= 0:
            self._commands[slot] = None

    def take(self) -> list[tuple[Command, SourceLine | None]]:
        """Everything asked for since the last call, and the lines that asked; the run's end last."""
        taken = [(command, line) for command, line in zip(self._commands, self._lines, strict=True) if command is not None]
        self._commands.clear()
        self._lines.clear()
        if self._end is not None:
            taken.append(self._end)
        return taken
