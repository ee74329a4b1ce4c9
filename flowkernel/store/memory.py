"""The store in plain Python structures: for tests, and for work that need not outlive the process."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence

from flowkernel.model.errors import EngineBug, StoreError
from flowkernel.model.events import (
    CLOSE_EVENTS,
    Attributes,
    Event,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
from flowkernel.model.ids import FIRST_EVENT_ID, EventId, RunId, RunRef
from flowkernel.model.policies import WorkflowExecutionStatus
from flowkernel.model.records import Record
from flowkernel.model.requests import ExecutionInfo
from flowkernel.model.transition import Transition
from flowkernel.store.port import Entry, RunRow, StoredRun

__all__ = ["MemoryStore"]

_STATUS: dict[type[Attributes], WorkflowExecutionStatus] = {
    WorkflowExecutionCompleted: WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionFailed: WorkflowExecutionStatus.FAILED,
    WorkflowExecutionCanceled: WorkflowExecutionStatus.CANCELED,
    WorkflowExecutionTerminated: WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionTimedOut: WorkflowExecutionStatus.TIMED_OUT,
}


def _closes(transition: Transition) -> bool:
    return bool(transition.events) and type(transition.events[-1].attributes) in CLOSE_EVENTS


class _Run:
    """One run. ``entries`` is the truth; events and records are drawn from it."""

    def __init__(self, ref: RunRef) -> None:
        self.ref = ref
        self.entries: list[Entry] = []
        self.closed = False

    @property
    def events(self) -> list[Event]:
        return [entry for entry in self.entries if isinstance(entry, Event)]

    def row(self) -> RunRow:
        events = self.events
        first, last = events[0], events[-1]
        started = first.attributes
        assert isinstance(started, WorkflowExecutionStarted)
        return RunRow(
            run=self.ref,
            started=started,
            status=_STATUS[type(last.attributes)] if self.closed else WorkflowExecutionStatus.RUNNING,
            start_time=first.event_time,
            close_time=last.event_time if self.closed else 0,
            history_length=last.event_id,
            user_metadata=first.user_metadata,
        )


class MemoryStore:
    """The `Store` port in memory. See `flowkernel.store.port.Store` for each method. Nothing survives the process."""

    path = ":memory:"

    def __init__(self) -> None:
        self._runs: dict[RunId, _Run] = {}
        self._lock = threading.Lock()
        self._committer: int | None = None
        self._closed = False

    def reopened(self) -> MemoryStore:
        """A new store with all that was committed to this one: what a restart finds. This one is closed."""
        self.close()
        fresh = MemoryStore()
        fresh._runs = self._runs
        return fresh

    def commit(self, transitions: Sequence[Transition]) -> None:
        """See `Store.commit`."""
        self._check_usable()
        if self._committer is None:
            self._committer = threading.get_ident()
        elif self._committer != threading.get_ident():
            raise StoreError(self.path, "another thread does the committing", "Send requests to the service that owns the store.")
        writing = [transition for transition in transitions if transition.writes]
        self._check(writing)
        with self._lock:
            for transition in writing:
                run = self._runs.setdefault(transition.run.run_id, _Run(transition.run))
                run.entries.extend(transition.events)
                run.entries.extend(transition.records)
                run.closed = _closes(transition)

    def _check(self, transitions: Sequence[Transition]) -> None:
        """Refuse the whole before anything is written."""
        touched = {transition.run.run_id for transition in transitions}
        is_open = {run_id: not self._runs[run_id].closed for run_id in touched if run_id in self._runs}
        for transition in transitions:
            run = transition.run
            if transition.events and transition.events[0].event_id == FIRST_EVENT_ID:
                first = transition.events[0]
                if not isinstance(first.attributes, WorkflowExecutionStarted):
                    raise EngineBug(f"{run}: event 1 is {first.stored_name}, not WorkflowExecutionStarted; nothing was written")
                if run.run_id in is_open:
                    raise EngineBug(f"{run}: opened twice; nothing was written")
            elif not is_open.get(run.run_id):
                raise EngineBug(f"{run}: is not open, so nothing can be added to it; nothing was written")
            is_open[run.run_id] = not _closes(transition)

    def history(self, run_id: RunId, after_event_id: EventId = 0) -> tuple[Event, ...]:
        """See `Store.history`."""
        return tuple(entry for entry in self._entries(run_id) if isinstance(entry, Event) and entry.event_id > after_event_id)

    def records(self, run_id: RunId) -> tuple[Record, ...]:
        """See `Store.records`."""
        return tuple(entry for entry in self._entries(run_id) if not isinstance(entry, Event))

    def open_runs(self) -> Iterator[StoredRun]:
        """See `Store.open_runs`."""
        self._check_usable()
        with self._lock:
            found = [StoredRun(run.ref, tuple(run.entries)) for run in self._runs.values() if not run.closed]
        yield from found

    def find_run(self, namespace: str, workflow_id: str, run_id: RunId | None = None) -> RunRow | None:
        """See `Store.find_run`."""
        return next((row for row in self._rows(namespace, workflow_id) if run_id in (None, row.run.run_id)), None)

    def list_runs(
        self,
        namespace: str,
        *,
        status: WorkflowExecutionStatus | None = None,
        workflow_type: str | None = None,
        workflow_id: str | None = None,
        limit: int = 1000,
    ) -> tuple[ExecutionInfo, ...]:
        """See `Store.list_runs`."""
        rows = [
            row
            for row in self._rows(namespace, workflow_id)
            if status in (None, row.status) and workflow_type in (None, row.started.workflow_type)
        ]
        rows.sort(key=lambda row: row.start_time, reverse=True)
        return tuple(row.info for row in itertools.islice(rows, limit))

    def close(self) -> None:
        """See `Store.close`."""
        self._closed = True

    def _entries(self, run_id: RunId) -> tuple[Entry, ...]:
        self._check_usable()
        with self._lock:
            run = self._runs.get(run_id)
            return tuple(run.entries) if run else ()

    def _rows(self, namespace: str, workflow_id: str | None) -> list[RunRow]:
        """Runs that fit, the last started first."""
        self._check_usable()
        with self._lock:
            return [
                run.row()
                for run in reversed(self._runs.values())
                if run.ref.namespace == namespace and workflow_id in (None, run.ref.workflow_id)
            ]

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreError(self.path, "is closed", "Open it again.")
