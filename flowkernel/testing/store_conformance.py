"""What every `Store` must do, as tests that any implementation's pytest can run.

Subclass `StoreConformance`, give it the two ways to open, and pytest collects the tests::

    class TestMyStore(StoreConformance):
        def open(self, place: Path) -> Store:
            return MyStore(place / "history")

        def reopen(self, store: Store, place: Path) -> Store:
            store.close()
            return MyStore(place / "history")
"""
# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowkernel.model.errors import EngineBug, StoreError
from flowkernel.model.events import (
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    EventAttributes,
    UserMetadata,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowTaskCompleted,
    WorkflowTaskStarted,
)
from flowkernel.model.ids import SECOND, RunId, WorkflowId
from flowkernel.model.policies import RetryPolicy, WorkflowExecutionStatus
from flowkernel.model.records import ActivityAttemptStarted, ActivityOutputCaptured
from flowkernel.store.port import RunRow, Store
from flowkernel.testing.run_script import AWKWARD, FAILURE, START, RunScript, awkward_start, every_record, json_payload

__all__ = ["StoreConformance"]


class StoreConformance(ABC):
    """The promises of `flowkernel.store.port.Store`. Subclass it in a test module; the class's name begins with ``Test``."""

    @abstractmethod
    def open(self, place: Path) -> Store:
        """A new, empty store. `place` is a folder that it may use."""

    @abstractmethod
    def reopen(self, store: Store, place: Path) -> Store:
        """The store that a restart would find."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """A new store, closed after the test."""
        store = self.open(tmp_path)
        yield store
        store.close()

    # --- what is written is read ------------------------------------------------------------------------------------

    def test_a_new_store_is_empty(self, store: Store) -> None:
        assert store.history(RunId("none")) == ()
        assert store.records(RunId("none")) == ()
        assert list(store.open_runs()) == []
        assert store.find_run("default", "none") is None
        assert store.list_runs("default") == ()

    def test_history_gives_the_very_events_back(self, store: Store) -> None:
        run = RunScript(started=awkward_start())
        metadata = UserMetadata(json_payload(b'"summary"'), json_payload(b'"details"'))
        store.commit([run.start(metadata)])
        store.commit(
            [
                run.add(
                    WorkflowTaskStarted(2, "worker", history_size_bytes=7),
                    WorkflowTaskCompleted(2, 3),
                    ActivityTaskScheduled("1", "ship", "orders", AWKWARD, retry_policy=RetryPolicy(maximum_attempts=3)),
                    WorkflowExecutionSignaled("hurry", AWKWARD, "me", {"trace": AWKWARD[3]}),
                )
            ]
        )
        store.commit([run.add(WorkflowExecutionFailed(FAILURE))])
        assert store.history(run.ref.run_id) == tuple(run.events)
        assert store.history(run.ref.run_id, 4) == tuple(run.events[4:])
        assert store.history(run.ref.run_id, 7) == ()

    def test_records_come_back_in_order(self, store: Store) -> None:
        run = RunScript()
        store.commit([run.start()])
        store.commit([run.add(records=every_record())])
        store.commit([run.add(WorkflowExecutionSignaled("s"), records=tuple(reversed(every_record())))])
        assert store.records(run.ref.run_id) == tuple(run.records)
        assert store.history(run.ref.run_id) == tuple(run.events)

    def test_many_records_of_one_transition_keep_their_order(self, store: Store) -> None:
        run = RunScript()
        lines = tuple(ActivityOutputCaptured(START, 5, 1, "stdout", f"{number % 7} of {number}\n") for number in range(5000))
        store.commit([run.start(), run.add(records=lines)])
        assert store.records(run.ref.run_id) == lines

    def test_runs_in_one_commit_do_not_mix(self, store: Store) -> None:
        runs = [RunScript(f"order-{number}") for number in range(50)]
        store.commit([run.start() for run in runs])
        store.commit([run.add(WorkflowExecutionSignaled(run.ref.workflow_id)) for run in reversed(runs)])
        for run in runs:
            assert store.history(run.ref.run_id) == tuple(run.events)

    def test_nothing_to_write_is_no_error(self, store: Store) -> None:
        run = RunScript()
        store.commit([])
        store.commit([run.add()])
        assert store.history(run.ref.run_id) == ()

    # --- recovery ---------------------------------------------------------------------------------------------------

    def test_open_runs_are_those_without_a_closing_event(self, store: Store) -> None:
        endings: list[EventAttributes] = [
            WorkflowExecutionCompleted(),
            WorkflowExecutionFailed(FAILURE),
            WorkflowExecutionTimedOut(),
            WorkflowExecutionCanceled(),
            WorkflowExecutionTerminated("enough"),
        ]
        closed = [RunScript(f"closed-{number}") for number in range(len(endings))]
        still_open = [RunScript("b"), RunScript("a")]
        store.commit([run.start() for run in (still_open[0], *closed, still_open[1])])
        store.commit([run.add(ending) for run, ending in zip(closed, endings, strict=True)])
        assert [stored.run for stored in store.open_runs()] == [run.ref for run in still_open]

    def test_open_runs_give_entries_in_the_order_of_the_transitions(self, store: Store, tmp_path: Path) -> None:
        run = RunScript()
        attempt = ActivityAttemptStarted(START, 5, 1, "worker")
        transitions = [
            run.start(),
            run.add(WorkflowTaskStarted(2), WorkflowTaskCompleted(2, 3)),
            run.add(ActivityTaskScheduled("1", "ship", "orders"), records=(attempt,)),
            run.add(records=every_record()),
            run.add(ActivityTaskStarted(5), ActivityTaskCompleted(5, 6), records=(attempt,)),
        ]
        expected = [entry for transition in transitions for entry in (*transition.events, *transition.records)]
        for transition in transitions:
            store.commit([transition])
        assert [list(stored.entries) for stored in store.open_runs()] == [expected]
        store = self.reopen(store, tmp_path)
        assert [list(stored.entries) for stored in store.open_runs()] == [expected]
        store.close()

    def test_a_restart_finds_everything_and_carries_on(self, store: Store, tmp_path: Path) -> None:
        done, going = RunScript("done"), RunScript("going")
        store.commit([done.start(), going.start()])
        store.commit([done.complete()])
        store = self.reopen(store, tmp_path)
        later = RunScript("later")
        store.commit([going.add(WorkflowExecutionSignaled("s"), records=every_record())])
        store.commit([later.start()])
        store = self.reopen(store, tmp_path)
        assert store.history(done.ref.run_id) == tuple(done.events)
        assert store.history(going.ref.run_id) == tuple(going.events)
        assert [stored.run for stored in store.open_runs()] == [going.ref, later.ref]
        assert next(iter(store.open_runs())).entries == (*going.events, *going.records)
        assert [info.run for info in store.list_runs("default", workflow_id="later")] == [later.ref]
        store.close()

    # --- all or nothing ---------------------------------------------------------------------------------------------

    def test_a_refused_transition_takes_the_whole_commit_with_it(self, store: Store) -> None:
        good, unknown = RunScript("good"), RunScript("unknown")
        unknown.start()
        with pytest.raises(EngineBug, match=r"unknown.*nothing was written"):
            store.commit([good.start(), unknown.add(WorkflowExecutionSignaled("s"))])
        assert store.history(good.ref.run_id) == ()
        assert store.find_run("default", "good") is None
        store.commit([RunScript("good").start()])
        assert len(store.history(good.ref.run_id)) == 2

    def test_a_run_opens_once(self, store: Store) -> None:
        store.commit([RunScript().start()])
        with pytest.raises(EngineBug, match="opened twice"):
            store.commit([RunScript().start()])
        assert len(store.history(RunScript().ref.run_id)) == 2

    def test_nothing_follows_the_closing_event(self, store: Store) -> None:
        run = RunScript()
        store.commit([run.start()])
        closing, after = run.complete(), run.add(records=every_record())
        with pytest.raises(EngineBug, match="is not open"):
            store.commit([closing, after])
        assert len(store.history(run.ref.run_id)) == 2
        store.commit([closing])
        with pytest.raises(EngineBug, match="is not open"):
            store.commit([after])
        assert store.records(run.ref.run_id) == ()

    # --- visibility -------------------------------------------------------------------------------------------------

    def test_find_run_takes_the_latest_or_the_named_one(self, store: Store, tmp_path: Path) -> None:
        first, second = RunScript(run_id="r1"), RunScript(run_id="r2", started=awkward_start())
        metadata = UserMetadata(json_payload(b'"second"'))
        store.commit([first.start()])
        store.commit([first.complete()])
        store.commit([second.start(metadata)])
        for _ in range(2):
            latest = store.find_run("default", "order-1")
            assert latest is not None
            assert latest == RunRow(second.ref, second.first, WorkflowExecutionStatus.RUNNING, START, 0, 2, metadata)
            assert latest.open
            assert latest.first_execution_run_id == "r0"
            named = store.find_run("default", "order-1", RunId("r1"))
            closed = START + 2 * SECOND
            assert named is not None
            assert named == RunRow(first.ref, first.first, WorkflowExecutionStatus.COMPLETED, START, closed, 3)
            assert named.first_execution_run_id == "r1"
            assert store.find_run("default", "order-1", RunId("r3")) is None
            assert store.find_run("other", "order-1") is None
            assert store.find_run("default", "order-2", RunId("r1")) is None
            store = self.reopen(store, tmp_path)
        store.close()

    def test_every_ending_has_its_status(self, store: Store) -> None:
        endings: dict[WorkflowExecutionStatus, EventAttributes] = {
            WorkflowExecutionStatus.COMPLETED: WorkflowExecutionCompleted(),
            WorkflowExecutionStatus.FAILED: WorkflowExecutionFailed(FAILURE),
            WorkflowExecutionStatus.CANCELED: WorkflowExecutionCanceled(),
            WorkflowExecutionStatus.TERMINATED: WorkflowExecutionTerminated(),
            WorkflowExecutionStatus.TIMED_OUT: WorkflowExecutionTimedOut(),
        }
        for status, ending in endings.items():
            run = RunScript(status.name)
            store.commit([run.start(), run.add(ending)])
            row = store.find_run("default", status.name)
            assert row is not None
            assert (row.status, row.close_time, row.history_length) == (status, START + 2 * SECOND, 3)
            assert [info.run for info in store.list_runs("default", status=status)] == [run.ref]

    def test_list_runs_narrows_orders_and_limits(self, store: Store) -> None:
        runs = [RunScript("a", "a1", start=START), RunScript("b", "b1", start=START + 2), RunScript("a", "a2", start=START + 1)]
        other = RunScript("a", "other", namespace="other")
        ship = RunScript("c", "c1", start=START + 3, started=WorkflowExecutionStarted("Ship", WorkflowId("c"), "ships"))
        store.commit([run.start() for run in (*runs, other, ship)])
        store.commit([runs[0].complete()])

        def ids(
            status: WorkflowExecutionStatus | None = None,
            workflow_type: str | None = None,
            workflow_id: str | None = None,
            limit: int = 1000,
        ) -> list[str]:
            rows = store.list_runs("default", status=status, workflow_type=workflow_type, workflow_id=workflow_id, limit=limit)
            return [row.run.run_id for row in rows]

        assert ids() == ["c1", "b1", "a2", "a1"]
        assert ids(limit=2) == ["c1", "b1"]
        assert ids(workflow_id="a") == ["a2", "a1"]
        assert ids(workflow_type="Ship") == ["c1"]
        assert ids(status=WorkflowExecutionStatus.RUNNING, workflow_type="Order") == ["b1", "a2"]
        assert ids(status=WorkflowExecutionStatus.COMPLETED) == ["a1"]
        assert [info.run.run_id for info in store.list_runs("other")] == ["other"]

    def test_list_rows_say_what_the_first_event_said(self, store: Store) -> None:
        run = RunScript(started=awkward_start())
        store.commit([run.start()])
        [info] = store.list_runs("default")
        row = store.find_run("default", "order-1")
        assert row is not None
        assert info == row.info
        assert (info.workflow_type, info.task_queue, info.history_length) == ("Order", "orders", 2)
        assert info.memo == run.first.memo
        assert info.search_attributes == run.first.search_attributes

    # --- threads and the end ----------------------------------------------------------------------------------------

    def test_other_threads_read_during_commits(self, store: Store) -> None:
        run = RunScript()
        store.commit([run.start()])
        told = threading.Event()
        seen: list[int] = []
        errors: list[BaseException] = []

        def read() -> None:
            try:
                while not told.is_set():
                    seen.append(len(store.history(run.ref.run_id)))
                    store.list_runs("default")
                seen.append(len(store.history(run.ref.run_id)))
            except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
                errors.append(error)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for _ in range(50):
            store.commit([run.add(WorkflowExecutionSignaled("a"), WorkflowExecutionSignaled("b"))])
            assert store.history(run.ref.run_id) == tuple(run.events)
        told.set()
        for reader in readers:
            reader.join()
        assert errors == []
        assert seen[-1] == 102
        assert all(count % 2 == 0 for count in seen), "a reader saw half of a commit"

    def test_only_one_thread_commits(self, store: Store) -> None:
        store.commit([RunScript("mine").start()])
        errors: list[BaseException] = []

        def commit() -> None:
            try:
                store.commit([RunScript("theirs").start()])
            except StoreError as error:
                errors.append(error)

        thread = threading.Thread(target=commit)
        thread.start()
        thread.join()
        assert "another thread does the committing" in str(errors[0])
        assert store.find_run("default", "theirs") is None

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreError, match="is closed"):
            store.commit([RunScript().start()])
        with pytest.raises(StoreError, match="is closed"):
            store.history(RunId("r"))
        with pytest.raises(StoreError, match="is closed"):
            store.records(RunId("r"))
        with pytest.raises(StoreError, match="is closed"):
            list(store.open_runs())
        with pytest.raises(StoreError, match="is closed"):
            store.find_run("default", "w")
        with pytest.raises(StoreError, match="is closed"):
            store.list_runs("default")
