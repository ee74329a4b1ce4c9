"""What a person sees while a notebook runs: plain lines in a log, a moving picture in a terminal."""

from __future__ import annotations

import time
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from flowkernel.headless.report import CellReport, CellStatus, ExecutionReport

__all__ = ["LiveProgress", "PlainProgress", "Progress", "progress_for"]

_QUIET_SECONDS = 10.0
_MARKS = {CellStatus.OK: "ok", CellStatus.EXPECTED: "ok", CellStatus.FAILED: "FAILED"}


class Progress:
    """Told how a run goes. This one keeps it to itself; the others write."""

    def begin(self, name: str, cells: int, kernel: str) -> None:
        """The kernel is up; ``cells`` cells will be run."""

    def cell_begin(self, number: int, title: str) -> None:
        """A cell starts."""

    def cell_end(self, cell: CellReport) -> None:
        """A cell has ended."""

    def wait(self, executions: tuple[ExecutionReport, ...]) -> None:
        """All cells have been run; these executions are still open."""

    def execution(self, execution: ExecutionReport) -> None:
        """The status of an execution, or its reason to wait, has changed."""

    def tick(self) -> None:
        """Some time has passed."""

    def end(self) -> None:
        """The run is over; a report follows."""


class PlainProgress(Progress):
    """One line per cell, per new status of an execution, and now and then where it stands, should nothing happen."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._total = 0
        self._doing = ""
        self._since = self._spoke = time.monotonic()
        self._statuses: dict[tuple[str, str], str] = {}
        self._waits: dict[tuple[str, str], ExecutionReport] = {}

    def begin(self, name: str, cells: int, kernel: str) -> None:
        """Write what is run, and on what."""
        self._total = cells
        self._write(f"{name}: {_count(cells, 'cell')}, {kernel}")

    def cell_begin(self, number: int, title: str) -> None:
        """Remember it, for when it takes long."""
        self._doing, self._since = f"[{number}/{self._total}] {title}", time.monotonic()

    def cell_end(self, cell: CellReport) -> None:
        """Write its line."""
        place = f"[{cell.number}/{self._total}]".rjust(2 * len(str(self._total)) + 3)
        self._write(f"  {place} {_MARKS[cell.status]:<6} {cell.seconds:6.1f} s  {cell.title}")
        self._doing = ""

    def wait(self, executions: tuple[ExecutionReport, ...]) -> None:
        """Write which executions are waited for."""
        names = ", ".join(execution.workflow_id for execution in executions)
        self._doing, self._since = f"waiting for {names}", time.monotonic()
        self._write(f"  {self._doing}")

    def execution(self, execution: ExecutionReport) -> None:
        """Write a new status at once; keep a new reason to wait for the next time something is due."""
        key = execution.workflow_id, execution.run_id
        self._waits[key] = execution
        if self._statuses.get(key) != execution.status:
            self._statuses[key] = execution.status
            # What it waits for at the first moment is rarely what it waits for when somebody reads this.
            running = execution.status == "running"
            self._write(f"      {execution.workflow_id}: running" if running else f"      {_state(execution)}")

    def tick(self) -> None:
        """Write where it stands, if nothing was written for a while."""
        if not self._doing or time.monotonic() - self._spoke < _QUIET_SECONDS:
            return
        self._write(f"  {self._doing}: {time.monotonic() - self._since:.0f} s so far")
        for execution in self._waits.values():
            if execution.waiting:
                self._write(f"      {_state(execution)}")

    def _write(self, line: str) -> None:
        self._spoke = time.monotonic()
        print(line, file=self._stream, flush=True)


class LiveProgress(Progress):
    """Lines for cells that have ended; below them, redrawn in place, the present one and the open executions."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = 0
        self._doing = ""
        self._since = 0.0
        self._spinner = Spinner("dots")
        self._executions: dict[tuple[str, str], ExecutionReport] = {}
        self._live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._draw)

    def begin(self, name: str, cells: int, kernel: str) -> None:
        """Write the headline and begin to draw."""
        self._total = cells
        self._console.print(f"[bold]{escape(name)}[/]  {_count(cells, 'cell')}, {escape(kernel)}", highlight=False)
        self._live.start()

    def cell_begin(self, number: int, title: str) -> None:
        """Show it as the present one."""
        self._begin(f"[{number}/{self._total}] {title}")

    def cell_end(self, cell: CellReport) -> None:
        """Write its line."""
        self._doing = ""
        colour = "red" if cell.status is CellStatus.FAILED else "green"
        line = Text.assemble(
            f"  [{cell.number}/{self._total}] ",
            (f"{_MARKS[cell.status]:<6}", colour),
            f" {cell.seconds:6.1f} s  {cell.title}",
        )
        self._console.print(line, highlight=False)

    def wait(self, executions: tuple[ExecutionReport, ...]) -> None:
        """Show that the cells are through."""
        self._begin("waiting for " + ", ".join(execution.workflow_id for execution in executions))

    def execution(self, execution: ExecutionReport) -> None:
        """Show it from the next picture on; leave a line when it has closed."""
        key = execution.workflow_id, execution.run_id
        self._executions[key] = execution
        if execution.status not in {"running", "suspended"}:
            self._console.print(f"      {_state(execution)}", markup=False, highlight=False)

    def tick(self) -> None:
        """Draw."""
        self._live.refresh()

    def end(self) -> None:
        """Take the moving part away."""
        self._live.stop()

    def _begin(self, what: str) -> None:
        self._doing, self._since = what, time.monotonic()

    def _draw(self) -> RenderableType:
        lines: list[RenderableType] = []
        if self._doing:
            self._spinner.update(text=Text(f"{self._doing}  {time.monotonic() - self._since:.1f} s"))
            lines.append(self._spinner)
        for execution in list(self._executions.values()):
            if execution.status in {"running", "suspended"}:
                style = "yellow" if execution.status == "suspended" else "cyan"
                lines.append(Text(f"      {_state(execution)}", style=style, overflow="ellipsis", no_wrap=True))
        return Group(*lines)


def progress_for(stream: TextIO) -> Progress:
    """Return what suits a stream: the moving picture for a terminal, plain lines for anything else."""
    console = Console(file=stream)
    return LiveProgress(console) if console.is_terminal and not console.is_dumb_terminal else PlainProgress(stream)


def _state(execution: ExecutionReport) -> str:
    sentence = execution.waiting or execution.outcome
    return f"{execution.workflow_id}: {execution.status}" + (f". {sentence}" if sentence else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
