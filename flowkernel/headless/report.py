"""What a headless run found: values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CellReport", "CellStatus", "ExecutionReport", "Problem", "RunReport"]

_GOOD_ENDS = frozenset({"completed", "continued as new", "canceled", "terminated"})


class CellStatus(enum.Enum):
    """How a code cell ended."""

    OK = "ok"
    FAILED = "failed"
    EXPECTED = "failed, as its tag raises-exception allows"


@dataclass(frozen=True, slots=True)
class CellReport:
    """One code cell that was run.

    Attributes:
        number: its place among the code cells that are run, from 1.
        index: its place among all cells of the notebook, from 0.
        title: its comment, heading, magic or first line.
        status: how it ended.
        seconds: how long it took.
    """

    number: int
    index: int
    title: str
    status: CellStatus
    seconds: float


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """One workflow execution, as its timeline last showed it.

    Attributes:
        workflow_id: its id.
        run_id: which of its runs.
        workflow_type: its type, "" if unknown.
        status: Temporal's word in lower case ("running", "completed", "failed", "timed out", ...), or "suspended".
        waiting: why it waits now, "" if it does not.
        outcome: how it ended, "" while it is open or if no timeline was shown.
        text: its timeline as plain text, "" if none was shown.
    """

    workflow_id: str
    run_id: str
    workflow_type: str
    status: str
    waiting: str = ""
    outcome: str = ""
    text: str = ""

    @property
    def failed(self) -> bool:
        """Whether this fails the run. A cancellation or termination does not: only the notebook itself can have asked for it."""
        return self.status not in _GOOD_ENDS


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a run ended early.

    Attributes:
        headline: one line: what happened, and in which cell.
        detail: source, traceback or the kernel's last words; lines of text.
        exit_code: what the process should exit with.
    """

    headline: str
    detail: str = ""
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class RunReport:
    """The whole run.

    Attributes:
        source: the notebook that was run.
        output: where the executed notebook was saved.
        cells: the cells that were run, in order.
        executions: the workflow executions that it started or showed.
        problem: why it ended early; None if every cell was run.
        seconds: how long it took.
    """

    source: Path
    output: Path
    cells: tuple[CellReport, ...]
    executions: tuple[ExecutionReport, ...]
    problem: Problem | None
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 if every cell and every execution succeeded, 1 if not, 128 + n when signal n ended the run."""
        if self.problem is not None:
            return self.problem.exit_code
        return int(any(execution.failed for execution in self.executions))
