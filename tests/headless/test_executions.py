"""How a run's verdict follows from its executions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowkernel.cli.run import report_text
from flowkernel.headless import CellReport, CellStatus, ExecutionReport, RunReport, run_notebook
from flowkernel.headless.executions import Executions
from flowkernel.timeline.model import MIME_TYPE, Code, Timeline


def shown(status: str, *, workflow_id: str = "weather", waiting: str = "", text: str = "picture") -> dict[str, Any]:
    timeline = Timeline(
        namespace="default",
        workflow_id=workflow_id,
        run_id="run-1",
        workflow_type="Weather",
        task_queue="q",
        status=status,  # type: ignore[arg-type]
        start_time=0.0,
        now=1.0,
        end=None,
        waiting=waiting,
        outcome="",
        bars=(),
        marks=(),
        code=Code(),
    )
    return {MIME_TYPE: msgspec.to_builtins(timeline), "text/plain": text}


def listed(status: str, *, workflow_id: str = "weather", waiting: str = "") -> str:
    entry = {"workflow_id": workflow_id, "run_id": "run-1", "workflow_type": "Weather", "status": status, "waiting": waiting}
    return json.dumps([entry])


def report(*executions: ExecutionReport) -> RunReport:
    cell = CellReport(1, 0, "one", CellStatus.OK, 0.1)
    return RunReport(Path("a.ipynb"), Path("a.out.ipynb"), (cell,), executions, None, 1.0)


def test_the_latest_display_of_an_execution_counts() -> None:
    executions = Executions()
    heard: list[tuple[str, str]] = []
    executions.changed = lambda execution: heard.append((execution.status, execution.waiting))
    executions.show(shown("running", waiting="timer"))
    executions.show(shown("running", waiting="timer", text="newer picture"))
    executions.show(shown("completed", text="last picture"))
    assert heard == [("running", "timer"), ("completed", "")]
    assert [(one.status, one.text) for one in executions.all()] == [("completed", "last picture")]


def test_other_displays_say_nothing() -> None:
    executions = Executions()
    executions.show({"text/plain": "'v1'"})
    executions.show({MIME_TYPE: {"version": 99}, "text/plain": "?"})
    assert executions.all() == ()


def test_the_kernels_list_is_later_than_displays_and_knows_what_was_never_shown() -> None:
    executions = Executions()
    executions.show(shown("running", waiting="timer"))
    executions.list(listed("SUSPENDED", waiting="its code fails"))
    executions.list(listed("TIMED_OUT", workflow_id="other"))
    assert [(one.workflow_id, one.status, one.waiting, one.text) for one in executions.all()] == [
        ("weather", "suspended", "its code fails", "picture"),
        ("other", "timed out", "", ""),
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("completed", 0),
        ("canceled", 0),
        ("terminated", 0),
        ("failed", 1),
        ("timed out", 1),
        ("suspended", 1),
        ("running", 1),
    ],
)
def test_executions_decide_the_exit_code(status: str, code: int) -> None:
    ran = report(ExecutionReport("weather", "run-1", "Weather", status, "reason", "", "picture"))
    assert ran.exit_code == code
    text = report_text(ran)
    assert "picture" in text
    assert ("workflow execution weather is " in text) == bool(code)
    assert text.splitlines()[-2].startswith(
        "FAILED: 1 cell, 1 workflow execution" if code else "ok: 1 cell, 1 workflow execution"
    )


@pytest.mark.kernel
def test_an_execution_that_failed_unseen_fails_the_run(make_notebook: Any) -> None:
    answer = listed("FAILED", waiting="")
    source = (
        "import sys, types\n"
        f"sys.modules['flowkernel.notebook'] = types.SimpleNamespace(wait_until_settled=lambda timeout: {answer!r})"
    )
    ran = run_notebook(make_notebook(source))
    assert ran.problem is None
    assert ran.exit_code == 1
    assert [(one.workflow_id, one.status) for one in ran.executions] == [("weather", "failed")]


@pytest.mark.kernel
def test_a_wait_that_breaks_fails_the_run(make_notebook: Any) -> None:
    source = "import sys, types\nsys.modules['flowkernel.notebook'] = types.SimpleNamespace(wait_until_settled=len)"
    ran = run_notebook(make_notebook(source))
    assert ran.exit_code == 1
    assert ran.problem is not None
    assert ran.problem.headline == "could not wait for the notebook's workflow executions"
    assert ran.problem.detail.startswith("TypeError: ")
