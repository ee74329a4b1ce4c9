"""What survives: a killed process, a full disk, a commit that breaks half way."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowkernel.model.errors import WriteFailed
from flowkernel.model.events import WorkflowExecutionSignaled
from flowkernel.model.ids import RunId
from flowkernel.store.duckdb import DuckDBStore, open_duckdb
from flowkernel.testing.run_script import START, RunScript, every_record, json_payload

KILL_ITSELF = """
import os, signal, sys
from flowkernel.store.duckdb import open_duckdb
from flowkernel.testing.run_script import RunScript, every_record
store = open_duckdb(sys.argv[1])
runs = [RunScript(f"order-{number}") for number in range(3)]
store.commit([run.start() for run in runs])
store.commit([run.add(records=every_record()) for run in runs])
store.commit([runs[0].complete()])
os.kill(os.getpid(), signal.SIGKILL)
"""

COMMIT_FOR_EVER = """
import sys
from flowkernel.model.events import WorkflowExecutionSignaled
from flowkernel.store.duckdb import open_duckdb
from flowkernel.testing.run_script import RunScript, every_record
store = open_duckdb(sys.argv[1])
run = RunScript()
store.commit([run.start()])
while True:
    other = RunScript(f"other-{len(run.events)}")
    signals = [WorkflowExecutionSignaled("s") for _ in range(4)]
    store.commit([run.add(*signals, records=every_record()), other.start()])
    print(len(run.events), flush=True)
"""


def test_what_was_committed_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    died = subprocess.run([sys.executable, "-c", KILL_ITSELF, str(path)], check=False)
    assert died.returncode == -signal.SIGKILL
    store = open_duckdb(path)
    runs = [RunScript(f"order-{number}") for number in range(3)]
    for run in runs:
        run.start()
    runs[0].complete()
    for run in runs:
        assert store.history(run.ref.run_id) == tuple(run.events)
        assert store.records(run.ref.run_id) == every_record()
    assert [stored.run for stored in store.open_runs()] == [runs[1].ref, runs[2].ref]
    store.commit([runs[1].complete()])
    store.close()


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
def test_a_kill_between_or_in_commits_leaves_whole_commits(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "history.duckdb"
    child = subprocess.Popen([sys.executable, "-c", COMMIT_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = [int(child.stdout.readline()) for _ in range(acknowledged)]
    child.kill()
    told += [int(line) for line in child.stdout.read().splitlines()]
    child.wait()
    child.stdout.close()
    store = open_duckdb(path)
    events = len(store.history(RunId("order-1-run")))
    commits = (events - 2) // 4
    assert events in (told[-1], told[-1] + 4), "the last commit may have been written without being acknowledged"
    assert store.records(RunId("order-1-run")) == every_record() * commits
    assert len(store.list_runs("default")) == 1 + commits
    store.close()


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_refuses_the_commit_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    store = open_duckdb(path)
    run = RunScript()
    store.commit([run.start()])
    before = tuple(run.events)
    big = (json_payload(b"x" * 1_000_000),)
    with files_end_at(100_000), pytest.raises(WriteFailed) as raised:
        store.commit([RunScript("fresh").start(), run.add(WorkflowExecutionSignaled("big", big))])
    assert str(raised.value).startswith(f"{path}: could not be written (")
    assert str(raised.value).endswith("What was acknowledged before stays recorded; mend the cause and open the file again.")
    assert store.history(run.ref.run_id) == before
    assert store.find_run("default", "fresh") is None
    again = RunScript()
    again.start()
    store.commit([again.add(WorkflowExecutionSignaled("big", big)), RunScript("fresh").start()])
    store.close()
    store = open_duckdb(path)
    assert store.history(run.ref.run_id) == tuple(again.events)
    assert len(store.list_runs("default")) == 2
    store.close()


def test_a_full_disk_at_the_end_keeps_what_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    store = open_duckdb(path)
    run = RunScript()
    store.commit([run.start()])
    store.commit([run.add(WorkflowExecutionSignaled("s", (json_payload(os.urandom(400_000).hex().encode()),)))])
    with files_end_at(path.stat().st_size):
        store.close()
    store = open_duckdb(path)
    assert store.history(run.ref.run_id) == tuple(run.events)
    store.close()


class Broken:
    """An appender that fails at its n-th flush."""

    def __init__(self, appender: object, error: BaseException) -> None:
        self.appender = appender
        self.error = error

    def append_rows(self, rows: object) -> None:
        self.appender.append_rows(rows)

    def flush(self) -> None:
        raise self.error

    def clear(self) -> None:
        self.appender.clear()


@pytest.mark.parametrize("table", ["_run_rows", "_entry_rows"])
@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_a_commit_that_breaks_half_way_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: str, error: BaseException
) -> None:
    store = open_duckdb(tmp_path / "history.duckdb")
    run = RunScript()
    store.commit([run.start()])
    with monkeypatch.context() as patch:
        patch.setattr(store, table, Broken(getattr(store, table), error))
        with pytest.raises(WriteFailed if isinstance(error, RuntimeError) else KeyboardInterrupt):
            store.commit([RunScript("fresh").start(), run.add(WorkflowExecutionSignaled("s"))])
    assert_as_before(store, run)
    store.close()


@pytest.mark.parametrize("workflow_id", ["\ud800", 7])
def test_a_value_that_cannot_be_stored_leaves_nothing(tmp_path: Path, workflow_id: object) -> None:
    store = open_duckdb(tmp_path / "history.duckdb")
    run = RunScript()
    store.commit([run.start()])
    odd = RunScript("fresh", start=2**70 if workflow_id == 7 else START)
    odd.ref = type(odd.ref)("default", workflow_id, odd.ref.run_id)
    with pytest.raises(WriteFailed):
        store.commit([odd.start(), run.add(WorkflowExecutionSignaled("s"))])
    assert_as_before(store, run)
    store.close()


def assert_as_before(store: DuckDBStore, run: RunScript) -> None:
    """Nothing of the failed commit is there, and the next one goes through, also for the run that was refused."""
    assert store.history(run.ref.run_id) == tuple(run.events[:2])
    assert [info.run for info in store.list_runs("default")] == [run.ref]
    fresh = RunScript("fresh")
    store.commit([fresh.start()])
    store.commit([fresh.complete()])
    assert store.history(fresh.ref.run_id) == tuple(fresh.events)
    assert [stored.run for stored in store.open_runs()] == [run.ref]
