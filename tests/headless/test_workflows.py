"""Headless runs of notebooks with durable workflows: waiting, verdicts, and carrying on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from flowkernel.headless import ExecutionReport, RunReport, run_notebook
from flowkernel.timeline.model import MIME_TYPE

pytestmark = pytest.mark.kernel

LOAD = "%load_ext flowkernel\nfrom flowkernel import activity, workflow"
STEP = """\
@activity.defn
def step(n: int) -> int:
    with open("steps.txt", "a") as file:
        print(n, file=file)
    return n
"""


def only(report: RunReport) -> ExecutionReport:
    (execution,) = report.executions
    return execution


def steps(path: Path) -> list[str]:
    return path.with_name("steps.txt").read_text().split()


def test_open_executions_are_waited_for_and_their_pictures_kept(make_notebook: Any) -> None:
    path = make_notebook(LOAD, STEP, "%%workflow later\nawait workflow.sleep(0.5)\nawait step(1)", "print('last')")
    report = run_notebook(path)
    assert report.exit_code == 0
    assert (only(report).workflow_id, only(report).status) == ("example/later", "completed")
    saved = nbformat.read(report.output, as_version=4).cells[2].outputs
    assert [output.data[MIME_TYPE]["status"] for output in saved if MIME_TYPE in output.get("data", {})] == ["completed"]
    assert only(report).text == saved[-1].data["text/plain"]


def test_a_suspended_execution_fails_the_run(make_notebook: Any) -> None:
    report = run_notebook(make_notebook(LOAD, "%%workflow broken\n{}['missing']"))
    assert report.problem is None
    assert report.exit_code == 1
    assert only(report).status == "suspended"
    assert "KeyError" in only(report).waiting


def test_a_failed_execution_fails_the_run(make_notebook: Any) -> None:
    step = "@activity.defn\ndef step() -> None:\n    raise ValueError('no such station')"
    report = run_notebook(make_notebook(LOAD, step, "%%workflow failing --retry maximum_attempts=1\nawait step()"))
    assert report.problem is None
    assert report.exit_code == 1
    assert only(report).status == "failed"
    assert "no such station" in only(report).outcome


def test_the_wait_has_a_limit_if_one_is_given(make_notebook: Any) -> None:
    report = run_notebook(make_notebook(LOAD, "%%workflow long\nawait workflow.sleep('30 days')"), wait_timeout=0.5)
    assert report.problem is None
    assert report.exit_code == 1
    assert only(report).status == "running"


def test_a_run_after_a_killed_one_carries_on(make_notebook: Any) -> None:
    deadly = (
        "import os, pathlib, signal\n"
        "@activity.defn\n"
        "def deadly() -> str:\n"
        "    if not pathlib.Path('died').exists():\n"
        "        pathlib.Path('died').touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 'alive'"
    )
    body = "%%workflow brave --wait\nawait step(1)\nawait step(2)\nanswer = await deadly()\nawait step(3)\nanswer"
    path = make_notebook(LOAD, STEP, deadly, body)
    first = run_notebook(path)
    assert first.exit_code == 1
    assert first.problem is not None
    assert first.problem.headline == "the kernel was killed by SIGKILL in cell 4 of 4 (%%workflow brave)"
    assert steps(path) == ["1", "2"]

    second = run_notebook(path)
    assert second.exit_code == 0
    assert steps(path) == ["1", "2", "3"]
    assert only(second).status == "completed"


def test_a_run_stopped_by_a_signal_carries_on(make_notebook: Any) -> None:
    stop = "import os, pathlib, signal\nif not pathlib.Path('stopped').exists():\n    pathlib.Path('stopped').touch()\n"
    stop += "    os.kill(os.getppid(), signal.SIGTERM)\n%workflow wait"
    body = "%%workflow patient\nawait step(1)\nawait workflow.sleep('2s')\nawait step(2)"
    path = make_notebook(LOAD, STEP, body, stop)
    first = run_notebook(path)
    assert first.exit_code == 143
    second = run_notebook(path)
    assert second.exit_code == 0
    assert steps(path) == ["1", "2"]
    assert only(second).run_id == only(first).run_id
