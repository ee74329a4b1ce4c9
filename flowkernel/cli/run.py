"""``flowkernel run``: a notebook from top to bottom, without a browser."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from flowkernel.headless import ExecutionReport, NotebookError, NotebookRun, Progress, RunReport, progress_for

__all__ = ["main", "report_text"]

_DESCRIPTION = """\
Run a notebook from top to bottom in a new kernel (this Python, the notebook's folder), and save the executed notebook after
each cell, also when something goes wrong. After the last cell, wait until the workflow executions that it started have closed.

A cell that fails ends the run. Executions that are open then, or when the run is interrupted or killed, are recorded: run the
notebook again and they carry on from their last step.
"""

_EPILOG = """\
exit code:
  0  every cell ran, every execution completed (or was cancelled or terminated by the notebook)
  1  a cell, an execution or the kernel failed, or an execution is suspended
  2  wrong usage, or no such notebook
  130, 143  stopped by SIGINT, SIGTERM
"""


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, run the notebook, print the report, return the exit code."""
    parser = argparse.ArgumentParser(
        prog="flowkernel run",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebook", type=Path, help="the notebook; it is not changed")
    parser.add_argument(
        "-o", "--output", type=Path, help="where to save the executed notebook (default: NAME.out.ipynb beside it)"
    )
    parser.add_argument("--cell-timeout", type=_seconds, metavar="SECONDS", help="how long one cell may take (default: no limit)")
    parser.add_argument(
        "--wait-timeout",
        type=_seconds,
        metavar="SECONDS",
        help="how long to wait for open executions after the last cell; those still open then fail the run (default: no limit)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no timelines, only what went wrong")
    chosen = parser.parse_args(arguments)
    try:
        run = NotebookRun(
            chosen.notebook,
            chosen.output,
            cell_timeout=chosen.cell_timeout,
            wait_timeout=chosen.wait_timeout,
            progress=Progress() if chosen.quiet else progress_for(sys.stdout),
        )
    except NotebookError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    try:
        report = asyncio.run(run.run())
    except OSError as error:
        print(f"flowkernel run: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(report_text(report, quiet=chosen.quiet), flush=True)
    return report.exit_code


def report_text(report: RunReport, *, quiet: bool = False) -> str:
    """Return what is printed at the end: timelines, what went wrong, where the executed notebook is."""
    parts: list[str] = []
    if not quiet:
        parts.extend(_timeline(execution) for execution in report.executions)
    if report.problem is not None:
        parts.append(f"{report.problem.headline}\n\n{report.problem.detail}".rstrip())
    for execution in report.executions:
        if execution.failed:
            why = execution.waiting or execution.outcome
            parts.append(f"workflow execution {execution.workflow_id} is {execution.status}" + (f": {why}" if why else ""))
    parts.append(_summary(report))
    return "\n".join(f"\n{part}" for part in parts)


def _timeline(execution: ExecutionReport) -> str:
    return execution.text.rstrip() or f"{execution.workflow_id}: {execution.status}"


def _summary(report: RunReport) -> str:
    verdict = {0: "ok", 1: "FAILED"}.get(report.exit_code, "stopped")
    counts = [f"{len(report.cells)} cell{'' if len(report.cells) == 1 else 's'}"]
    if report.executions:
        counts.append(f"{len(report.executions)} workflow execution{'s' if len(report.executions) > 1 else ''}")
    here = Path.cwd()
    output = report.output.relative_to(here) if report.output.is_relative_to(here) else report.output
    return f"{verdict}: {', '.join(counts)}, {report.seconds:.1f} s\nexecuted notebook: {output}"


def _seconds(text: str) -> int:
    seconds = int(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"must be positive, not {seconds}")
    return seconds
