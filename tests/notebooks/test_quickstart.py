"""The quickstart, run as `make demo` runs it."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

from flowkernel.cli import main
from flowkernel.headless import run_notebook
from flowkernel.timeline.model import MIME_TYPE

pytestmark = [pytest.mark.kernel, pytest.mark.xdist_group("quickstart")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart")
    source = Path(__file__).resolve().parents[2] / "notebooks" / "quickstart.ipynb"
    shutil.copy(source, folder)
    return folder


@pytest.fixture(scope="module")
def executed(folder: Path) -> Any:
    report = run_notebook(folder / "quickstart.ipynb")
    assert report.problem is None, f"{report.problem.headline}\n{report.problem.detail}"
    assert report.exit_code == 0
    return report, {cell.id: cell for cell in nbformat.read(report.output, as_version=4).cells}


def shown(executed: Any, cell: str) -> dict[str, Any]:
    return executed[1][cell].outputs[-1].data


def test_both_executions_completed(executed: Any) -> None:
    report, _ = executed
    assert {(one.workflow_id.split("/")[-1], one.status) for one in report.executions} == {
        ("weather", "completed"),
        ("countdown", "completed"),
    }
    assert all(one.text for one in report.executions)


def test_the_timeline_shows_two_failed_attempts_a_timer_and_the_signal(executed: Any) -> None:
    timeline = shown(executed, "weather")[MIME_TYPE]
    bars = timeline["bars"]
    assert timeline["status"] == "completed"
    assert sorted(bar.get("attempts") for bar in bars if bar.get("name") == "fetch") == [1, 3]
    assert sorted(bar["kind"] for bar in bars) == ["activity"] * 6 + ["run", "timer"]
    assert [mark["label"] for mark in timeline["marks"] if mark["kind"] == "signal"] == ["signal approve"]


def test_a_saved_timeline_needs_nothing_but_the_file(executed: Any) -> None:
    data = shown(executed, "weather")
    assert set(data) == {MIME_TYPE, "text/html", "text/plain"}
    assert "completed" in data["text/plain"]


def test_result_and_chart(executed: Any) -> None:
    result = ast.literal_eval(shown(executed, "result")["text/plain"])
    assert result == {"approved": True, "months": 24, "chart": ".flowkernel/quickstart/months.png"}
    assert "image/png" in shown(executed, "chart")
    assert "lift-off" in shown(executed, "lift-off")["text/plain"]


def test_the_committed_notebook_has_no_outputs(root: Path) -> None:
    notebook = nbformat.read(root / "notebooks" / "quickstart.ipynb", as_version=4)
    assert [cell.id for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)] == []


@pytest.mark.usefixtures("executed")
def test_the_command_line_reads_what_the_notebook_left(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = str(folder / "quickstart.ipynb")
    assert main(["list", notebook]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split()[:3] == ["workflow", "id", "status"]
    assert [row.split()[:2] for row in rows[1:]] == [["quickstart/countdown", "completed"], ["quickstart/weather", "completed"]]

    assert main(["show", notebook, "weather"]) == 0
    assert "quickstart/weather" in capsys.readouterr().out

    assert main(["history", notebook, "weather"]) == 0
    events = capsys.readouterr().out.splitlines()
    assert events[1].split()[3] == "WorkflowExecutionStarted"
    assert events[-1].split()[3] == "WorkflowExecutionCompleted"
    assert sum("ActivityTaskScheduled" in line for line in events) == 6

    assert main(["show", notebook, "wether"]) == 1
    assert "no execution 'wether'" in capsys.readouterr().err
