"""The workflow executions of a run: as their timelines show them in outputs, and as the kernel lists them at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from flowkernel.headless.report import ExecutionReport
from flowkernel.timeline.model import MIME_TYPE, Timeline

__all__ = ["SETTLE", "Executions"]

SETTLE = (
    "(lambda notebook: notebook.wait_until_settled({timeout}) if notebook else '[]')"
    "(__import__('sys').modules.get('flowkernel.notebook'))"
)
"""What the kernel is asked at the end. A kernel that never loaded flowkernel has no executions."""


class _Listed(msgspec.Struct):
    """One execution, as the kernel lists it."""

    workflow_id: str
    run_id: str
    workflow_type: str = ""
    status: str = ""
    waiting: str | None = ""


class Executions:
    """What is known of each execution, in the order in which they appeared.

    Attributes:
        changed: called with an execution whose status or reason to wait has changed.
    """

    def __init__(self) -> None:
        self.changed: Callable[[ExecutionReport], None] = lambda _execution: None
        self._known: dict[tuple[str, str], ExecutionReport] = {}

    def all(self) -> tuple[ExecutionReport, ...]:
        """Return them all."""
        return tuple(self._known.values())

    def open(self) -> tuple[ExecutionReport, ...]:
        """Return those that run or are suspended."""
        return tuple(execution for execution in self._known.values() if execution.status in {"running", "suspended"})

    def show(self, data: dict[str, Any], _cell_index: int = -1) -> None:
        """Take a display; one without a timeline of ours, or with one of another version, says nothing."""
        if MIME_TYPE not in data:
            return
        try:
            timeline = msgspec.convert(data[MIME_TYPE], Timeline)
        except msgspec.ValidationError:
            return
        text = data.get("text/plain", "")
        self._learn(
            ExecutionReport(
                timeline.workflow_id,
                timeline.run_id,
                timeline.workflow_type,
                timeline.status,
                timeline.waiting,
                timeline.outcome,
                text if isinstance(text, str) else "".join(text),
            )
        )

    def list(self, answer: str) -> None:
        """Take the kernel's list (JSON), which is later than any display."""
        for entry in msgspec.json.decode(answer, type=list[_Listed]):
            known = self._known.get((entry.workflow_id, entry.run_id))
            report = known or ExecutionReport(entry.workflow_id, entry.run_id, entry.workflow_type, "")
            status = entry.status.lower().replace("_", " ")
            self._learn(replace(report, status=status, waiting=entry.waiting or ""))

    def _learn(self, report: ExecutionReport) -> None:
        key = report.workflow_id, report.run_id
        before = self._known.get(key)
        self._known[key] = report
        if before is None or (before.status, before.waiting) != (report.status, report.waiting):
            self.changed(report)
