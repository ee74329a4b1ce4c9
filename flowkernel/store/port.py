"""The port to durable storage. `flowkernel.testing.store_conformance` holds every implementation to what is said here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

import msgspec

from flowkernel.model.events import Event, UserMetadata, WorkflowExecutionStarted
from flowkernel.model.ids import EventId, Instant, RunId, RunRef
from flowkernel.model.policies import WorkflowExecutionStatus
from flowkernel.model.records import Record
from flowkernel.model.requests import ExecutionInfo
from flowkernel.model.transition import Transition

__all__ = ["Entry", "RunRow", "Store", "StoredRun"]

Entry: TypeAlias = Event | Record
"""What a run is made of."""


class StoredRun(msgspec.Struct, frozen=True):
    """A run as it was written.

    Attributes:
        run: which run.
        entries: in the order of the transitions; within one transition, events before records.
    """

    run: RunRef
    entries: tuple[Entry, ...]


class RunRow(msgspec.Struct, frozen=True):
    """What is known of a run without reading its whole history.

    Attributes:
        run: which run.
        started: its first event's attributes.
        status: where it stands.
        start_time: instant of its first event.
        close_time: instant of its last event, 0 while it is open.
        history_length: how many events it has; also the id of the last one.
        user_metadata: words for people, given at the start.
    """

    run: RunRef
    started: WorkflowExecutionStarted
    status: WorkflowExecutionStatus
    start_time: Instant
    close_time: Instant
    history_length: int
    user_metadata: UserMetadata | None = None

    @property
    def open(self) -> bool:
        """Whether the run can still get events."""
        return self.status is WorkflowExecutionStatus.RUNNING

    @property
    def first_execution_run_id(self) -> RunId:
        """The run that began the chain of which this one is a part; itself when it began it."""
        return self.started.first_execution_run_id or self.run.run_id

    @property
    def info(self) -> ExecutionInfo:
        """As a row of a list of executions."""
        return ExecutionInfo(
            run=self.run,
            workflow_type=self.started.workflow_type,
            task_queue=self.started.task_queue,
            status=self.status,
            start_time=self.start_time,
            close_time=self.close_time,
            history_length=self.history_length,
            memo=self.started.memo,
            search_attributes=self.started.search_attributes,
        )


class Store(Protocol):
    """Keeps what the engine decided.

    One thread, the first that commits, does all the committing. Every other method may be called from any thread, also during
    a commit, and sees all commits that returned before it was called.

    Raises:
        StoreError: from every method: the store is closed, was carried into a forked process, or can no longer be read
            (`DatabaseCorrupt`).
    """

    def commit(self, transitions: Sequence[Transition]) -> None:
        """Write transitions, in their order, all or none of them.

        A transition whose first event is event 1 (`WorkflowExecutionStarted`) opens a run. Those that write nothing are skipped.

        Raises:
            WriteFailed: none of them was written. The store can be used further.
            EngineBug: a transition continues a run that was never opened, or opens one twice. None of them was written.
            StoreError: called from a second thread.
        Durable: all of them, once this returns.
        """
        ...

    def history(self, run_id: RunId, after_event_id: EventId = 0) -> tuple[Event, ...]:
        """Events of a run, those after `after_event_id`. Empty when there is no such run."""
        ...

    def records(self, run_id: RunId) -> tuple[Record, ...]:
        """All records of a run, in order. Empty when there is no such run."""
        ...

    def open_runs(self) -> Iterator[StoredRun]:
        """Every run that has no closing event, in the order of their starts, with all it consists of."""
        ...

    def find_run(self, namespace: str, workflow_id: str, run_id: RunId | None = None) -> RunRow | None:
        """A run of an execution: the one that started last, or the one named. An id that was never used costs no query."""
        ...

    def list_runs(
        self,
        namespace: str,
        *,
        status: WorkflowExecutionStatus | None = None,
        workflow_type: str | None = None,
        workflow_id: str | None = None,
        limit: int = 1000,
    ) -> tuple[ExecutionInfo, ...]:
        """Runs of a namespace, latest start first, at most `limit`. None means any."""
        ...

    def close(self) -> None:
        """Let go of everything. May be called twice, and from any thread once no commit is under way."""
        ...
