"""Runs notebooks without a browser: every output kept, open executions waited for, a report at the end."""

from __future__ import annotations

from flowkernel.headless.files import NotebookError
from flowkernel.headless.progress import LiveProgress, PlainProgress, Progress, progress_for
from flowkernel.headless.report import CellReport, CellStatus, ExecutionReport, Problem, RunReport
from flowkernel.headless.runner import NotebookRun, run_notebook

__all__ = [
    "CellReport",
    "CellStatus",
    "ExecutionReport",
    "LiveProgress",
    "NotebookError",
    "NotebookRun",
    "PlainProgress",
    "Problem",
    "Progress",
    "RunReport",
    "progress_for",
    "run_notebook",
]
