"""What people see with SQL."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flowkernel.model.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    UserMetadata,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowTaskCompleted,
    WorkflowTaskStarted,
)
from flowkernel.model.failures import Failure, RetryState
from flowkernel.model.ids import SECOND, WorkflowId
from flowkernel.model.records import (
    ActivityAttemptFailed,
    ActivityAttemptReleased,
    ActivityAttemptStarted,
    ActivityHeartbeatRecorded,
    ActivityOutputCaptured,
)
from flowkernel.store.duckdb import DuckDBStore, open_duckdb
from flowkernel.testing.run_script import AWKWARD, FAILURE, START, RunScript, awkward_start, json_payload

VIEWS = ["activities", "activity_output", "attempts", "events", "executions", "signals", "timers"]


def second(number: float) -> dt.datetime:
    """A moment after the start of the runs, with the microseconds that a TIMESTAMP holds."""
    start = dt.datetime.fromtimestamp(START // SECOND, dt.UTC).replace(tzinfo=None, microsecond=123456)
    return start + dt.timedelta(seconds=number)


@pytest.fixture
def store() -> Iterator[DuckDBStore]:
    store = open_duckdb()
    yield store
    store.close()


def rows(store: DuckDBStore, sql: str) -> list[tuple[Any, ...]]:
    return store.cursor().execute(sql).fetchall()


def test_every_view_and_column_is_described(store: DuckDBStore) -> None:
    views = rows(store, "select view_name, comment from duckdb_views() where schema_name = 'main' and not internal order by all")
    assert [name for name, _ in views] == VIEWS
    described = "select table_name, column_name, comment from duckdb_columns() where schema_name = 'main' and not internal"
    columns = rows(store, described)
    assert {name for name, _, _ in columns} == set(VIEWS)
    assert [row for row in (*views, *columns) if not row[-1]] == []


@pytest.mark.parametrize("view", VIEWS)
def test_views_of_an_empty_store_are_empty(store: DuckDBStore, view: str) -> None:
    assert rows(store, f"from {view}") == []


def test_executions(store: DuckDBStore) -> None:
    given = (json_payload(b'{"x": 1}'), json_payload(b'"two"'))
    running = RunScript("a", started=WorkflowExecutionStarted("Order", WorkflowId("a"), "orders", given))
    done, failed, killed = RunScript("b"), RunScript("c"), RunScript("d")
    store.commit([run.start() for run in (running, done, failed, killed)])
    store.commit([done.complete(b'{"mean": 2.5}')])
    store.commit([failed.add(WorkflowExecutionFailed(FAILURE)), killed.add(WorkflowExecutionTerminated("enough"))])
    columns = "workflow_id, run_id, workflow_type, task_queue, status, start_time, close_time, history_length, result, failure"
    assert rows(store, f"select {columns} from executions order by workflow_id") == [
        ("a", "a-run", "Order", "orders", "Running", second(0), None, 2, None, None),
        ("b", "b-run", "Order", "orders", "Completed", second(0), second(2), 3, '{"mean": 2.5}', None),
        ("c", "c-run", "Order", "orders", "Failed", second(0), second(2), 3, None, "no such order: 404"),
        ("d", "d-run", "Order", "orders", "Terminated", second(0), second(2), 3, None, "enough"),
    ]
    assert rows(store, "select input->>'$[0].x', input->>'$[1]' from executions where workflow_id = 'a'") == [("1", "two")]
    assert rows(store, "select duration from executions where duration is not null and workflow_id = 'b'") == [
        (dt.timedelta(seconds=2),)
    ]


def test_payloads_that_are_no_json_are_shown_as_stored(store: DuckDBStore) -> None:
    store.commit([RunScript(started=awkward_start()).start()])
    [(text,)] = rows(store, "select input from executions")
    shown = json.loads(text)
    assert shown[0] == {"x": [1, "\x00"]}
    assert shown[1]["data"].startswith("žluťoučký 🐎"), "said to be JSON, but is not"
    assert shown[3]["data"].keys() == {"base64"}
    assert shown[4] is None
    assert shown[6] == {"metadata": {}, "data": ""}
    assert len(shown) == len(AWKWARD)


def test_events(store: DuckDBStore) -> None:
    run = RunScript()
    store.commit([run.start(UserMetadata(json_payload(b'"Order of Ann"')))])
    assert rows(
        store, "select workflow_id, event_id, event_time, event_type, attributes->>'$.task_queue', summary from events"
    ) == [
        ("order-1", 1, second(0), "WorkflowExecutionStarted", "orders", "Order of Ann"),
        ("order-1", 2, second(1), "WorkflowTaskScheduled", "orders", None),
    ]


def activity(run: RunScript, number: int) -> ActivityTaskScheduled:
    return ActivityTaskScheduled(str(number), f"step{number}", "orders", (json_payload(str(number).encode()),))


def test_activities_and_their_attempts(store: DuckDBStore) -> None:
    """Of six activities, one succeeds at the third try, and each other stands somewhere else."""
    run = RunScript()
    lost = Failure("connection lost")
    again = START + 60 * SECOND
    at = [START + number * SECOND for number in range(100)]
    store.commit([run.start(), run.add(WorkflowTaskStarted(2), WorkflowTaskCompleted(2, 3))])
    store.commit([run.add(*(activity(run, number) for number in range(6)))])  # events 5 to 10
    store.commit(
        [
            run.add(records=(ActivityAttemptStarted(at[20], 5, 1, "w"), ActivityAttemptFailed(at[21], 5, 1, lost, at[22]))),
            run.add(records=(ActivityAttemptStarted(at[22], 5, 2, "w"), ActivityAttemptFailed(at[23], 5, 2, lost, at[24]))),
            run.add(records=(ActivityAttemptStarted(at[24], 5, 3, "w"), ActivityAttemptStarted(at[24], 6, 1, "w"))),
            run.add(records=(ActivityHeartbeatRecorded(at[25], 6, 1, (json_payload(b"0.1"),)),)),
            run.add(records=(ActivityHeartbeatRecorded(at[26], 6, 1, (json_payload(b"0.2"),)),)),
            run.add(records=(ActivityAttemptStarted(at[27], 7, 1), ActivityAttemptFailed(at[28], 7, 1, lost, again))),
            run.add(records=(ActivityAttemptStarted(at[29], 8, 1), ActivityAttemptReleased(at[30], 8, 1))),
            run.add(records=(ActivityAttemptStarted(at[31], 9, 1),)),
            run.add(ActivityTaskStarted(5, "w", 3, lost), ActivityTaskCompleted(5, 11, (json_payload(b"42"),))),
            run.add(ActivityTaskStarted(9), ActivityTaskFailed(9, 13, FAILURE, RetryState.NON_RETRYABLE_FAILURE)),
        ]
    )
    columns = "activity_id, activity_type, status, attempts, started_time, close_time, input, result, failure"
    assert rows(store, f"select {columns} from activities order by event_id") == [
        ("0", "step0", "Completed", 3, second(24), second(11), "[0]", "42", None),
        ("1", "step1", "Started", 1, second(24), None, "[1]", None, None),
        ("2", "step2", "BackingOff", 1, second(27), None, "[2]", None, None),
        ("3", "step3", "Released", 1, second(29), None, "[3]", None, None),
        ("4", "step4", "Failed", 1, second(31), second(13), "[4]", None, "no such order: 404"),
        ("5", "step5", "Scheduled", 0, None, None, "[5]", None, None),
    ]
    columns = "activity_id, attempt, status, started_time, close_time, failure, next_attempt_time, identity, heartbeat_details"
    assert rows(store, f"select {columns} from attempts order by event_id, attempt") == [
        ("0", 1, "Failed", second(20), second(21), "connection lost", second(22), "w", None),
        ("0", 2, "Failed", second(22), second(23), "connection lost", second(24), "w", None),
        ("0", 3, "Completed", second(24), second(11), None, None, "w", None),
        ("1", 1, "Started", second(24), None, None, None, "w", "[0.2]"),
        ("2", 1, "Failed", second(27), second(28), "connection lost", second(60), None, None),
        ("3", 1, "Released", second(29), None, None, None, None, None),
        ("4", 1, "Failed", second(31), second(13), "no such order: 404", None, None, None),
    ]
    store.commit([run.add(ActivityTaskCanceled(7, 0)), run.complete()])
    assert rows(store, "select status from activities order by event_id") == [
        ("Completed",), ("Abandoned",), ("Canceled",), ("Abandoned",), ("Failed",), ("Abandoned",)
    ]  # fmt: skip
    assert rows(store, "select status from attempts order by event_id, attempt") == [
        ("Failed",), ("Failed",), ("Completed",), ("Abandoned",), ("Failed",), ("Abandoned",), ("Failed",)
    ]  # fmt: skip


def test_timers(store: DuckDBStore) -> None:
    run, gone = RunScript(), RunScript("gone")
    store.commit([run.start(), run.add(*(TimerStarted(str(number), 5 * SECOND) for number in range(3)))])
    store.commit([run.add(TimerFired("0", 3), TimerCanceled("1", 4))])
    store.commit([gone.start(), gone.add(TimerStarted("0", SECOND)), gone.complete()])
    columns = "workflow_id, timer_id, status, start_time, due_time, close_time, timeout"
    five, one = dt.timedelta(seconds=5), dt.timedelta(seconds=1)
    assert rows(store, f"select {columns} from timers order by workflow_id desc, event_id") == [
        ("order-1", "0", "Fired", second(2), second(7), second(5), five),
        ("order-1", "1", "Canceled", second(3), second(8), second(6), five),
        ("order-1", "2", "Ticking", second(4), second(9), None, five),
        ("gone", "0", "Abandoned", second(2), second(3), None, one),
    ]


def test_signals(store: DuckDBStore) -> None:
    run = RunScript()
    store.commit([run.start(), run.add(WorkflowExecutionSignaled("approve", (json_payload(b"true"),), "ann"))])
    assert rows(store, "select workflow_id, event_id, signal_name, signal_time, input, identity from signals") == [
        ("order-1", 3, "approve", second(2), "[true]", "ann")
    ]


def test_activity_output(store: DuckDBStore) -> None:
    run = RunScript()
    store.commit([run.start(), run.add(activity(run, 1))])
    for number in range(3):
        store.commit([run.add(records=(ActivityOutputCaptured(START + number * SECOND, 3, 2, "stdout", f"line {number}\n"),))])
    columns = "workflow_id, activity_id, activity_type, attempt, output_time, stream, text"
    assert rows(store, f"select {columns} from activity_output order by seq") == [
        ("order-1", "1", "step1", 2, second(number), "stdout", f"line {number}\n") for number in range(3)
    ]


def test_cursors_end_with_the_store(store: DuckDBStore) -> None:
    cursor = store.cursor()
    assert cursor.execute("select count(*) from executions").fetchone() == (0,)
    store.close()
    with pytest.raises(Exception, match="closed"):
        cursor.execute("select 1")


def test_closing_interrupts_a_query_in_another_thread(tmp_path: Path) -> None:
    store = open_duckdb(tmp_path / "history.duckdb")
    running = threading.Event()
    ended: list[str] = []

    def begun(number: int) -> int:
        running.set()
        return number

    def query() -> None:
        cursor = store.cursor()
        cursor.create_function("begun", begun, ["BIGINT"], "BIGINT")
        try:
            cursor.execute("select sum(begun(a.range) * sqrt(b.range)) from range(1000000) a, range(1000000) b").fetchall()
        except duckdb.Error as error:
            ended.append(str(error))

    thread = threading.Thread(target=query)
    thread.start()
    assert running.wait(30)
    store.close()
    thread.join()
    assert "nterrupt" in ended[0]
    open_duckdb(tmp_path / "history.duckdb").close()
