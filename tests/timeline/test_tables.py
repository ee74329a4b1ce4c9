from __future__ import annotations

import datetime as dt

from timeline_histories import RUN, START, History, failed

from flowkernel.model.ids import SECOND, RunId, RunRef, WorkflowId
from flowkernel.model.policies import WorkflowExecutionStatus
from flowkernel.model.requests import ExecutionInfo
from flowkernel.timeline import executions_table, history_table
from flowkernel.timeline.blocks import width_of


def info(status: WorkflowExecutionStatus = WorkflowExecutionStatus.RUNNING, run: RunRef = RUN, close: int = 0) -> ExecutionInfo:
    return ExecutionInfo(run, "weather", "notebook", status, START, close, 12)


def test_executions_as_text_and_as_values() -> None:
    table = executions_table(
        [
            info(),
            info(WorkflowExecutionStatus.TIMED_OUT, close=START + 5 * SECOND),
            info(WorkflowExecutionStatus.CONTINUED_AS_NEW),
        ],
        START + 90 * SECOND,
    )
    lines = table.text(160).splitlines()
    assert lines[0] == "3 executions"
    assert lines[1].split("  ")[0] == "workflow id"
    assert "1 min 30 s" in lines[2]
    assert "timed out" in lines[3]
    assert table[1]["seconds"] == 5.0
    assert table[0]["close_time"] is None
    assert table[0]["start_time"] == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert [row["status"] for row in table] == ["running", "timed out", "continued as new"]


def test_a_history_as_text_and_as_values() -> None:
    history = failed()
    table = history_table(history.events)
    assert len(table) == len(history.events)
    assert table.text().splitlines()[0] == "11 events"
    assert "activity_type=charge_card" in table.text()
    assert "failure=CardDeclined: insufficient funds" in table.text(200)
    assert table[6]["attributes"] is history.events[6].attributes
    assert table[6]["event_type"] == "ActivityTaskFailed"


def test_a_long_cell_gives_way_and_a_short_one_stays_on_its_line() -> None:
    html = history_table(failed().events).html()
    assert 'white-space: nowrap">+0.000 s</td>' in html
    assert 'style="text-align: left">WorkflowExecutionStarted</td>' in html
    assert 'overflow-wrap: anywhere">activity_type=charge_card' in html


def test_empty_tables_say_so() -> None:
    assert repr(executions_table([], START)) == "No executions."
    assert repr(history_table([])) == "No events."
    assert history_table([])._repr_mimebundle_()["text/html"] == "<p>No events.</p>"


def test_names_are_data() -> None:
    evil = '<img src=x onerror="alert(1)">\x1b[31m\u202e'
    table = executions_table([info(run=RunRef("d", WorkflowId(evil), RunId("r")))], START)
    bundle = table._repr_mimebundle_()
    assert "<img" not in bundle["text/html"]
    assert "&lt;img src=x" in bundle["text/html"]
    assert "\x1b" not in bundle["text/plain"]
    assert "\u202e" not in bundle["text/plain"]
    assert table[0]["workflow_id"] == evil  # the value itself is untouched


def test_a_long_table_is_cut_on_the_screen_only() -> None:
    history = History("loop")
    for _ in range(300):
        history.task()
    table = history_table(history.events)
    assert len(table.rows) == 901
    assert table.text().splitlines()[-1] == "… 401 more"
    assert all(width_of(line) <= 120 for line in table.text().splitlines())
