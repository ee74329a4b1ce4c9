"""The store in a DuckDB file.

A commit is one `INSERT` through DuckDB's appender: events and records share one table, so that a step of a workflow needs no
transaction around several statements. Only a commit that opens a run touches a second table, and then both are written in one
transaction. Everything else is reading, on cursors of its own, which DuckDB isolates from the writer.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec

from flowkernel.model.codec import decode_event, decode_record, encode, encode_record
from flowkernel.model.errors import DatabaseCorrupt, EngineBug, StoreError, WriteFailed
from flowkernel.model.events import CLOSE_EVENTS, Event, UserMetadata, WorkflowExecutionStarted
from flowkernel.model.ids import FIRST_EVENT_ID, EventId, Instant, RunId, RunRef, WorkflowId
from flowkernel.model.policies import WorkflowExecutionStatus
from flowkernel.model.records import Record
from flowkernel.model.requests import ExecutionInfo
from flowkernel.model.transition import Transition
from flowkernel.store import opening, schema
from flowkernel.store.port import Entry, RunRow, StoredRun
from flowkernel.store.queries import load_queries

__all__ = ["DuckDBStore", "open_duckdb"]

_BATCH = 10_000
_REMEMBERED = 10_000

Row = tuple[Any, ...]


class _Batch(NamedTuple):
    """What a commit writes, and what is true once it has."""

    runs: list[Row]
    entries: list[Row]
    opened: dict[RunId, int]
    closed: set[RunId]


class DuckDBStore:
    """The `Store` port over one DuckDB file, made by `open_duckdb`. See `flowkernel.store.port.Store` for each method."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: str | Path) -> None:
        """Take over a connection to a prepared database; reads the ids that were ever used."""
        self.path = str(path)
        self._connection = connection
        self._queries: Mapping[str, str] = load_queries()
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        self._lock = threading.Lock()  # guards the set of cursors
        self._committer: int | None = None
        self._unusable = ""
        self._open_keys: dict[RunId, int] = dict(self._rows("open_keys"))
        self._closed_keys: OrderedDict[RunId, int] = OrderedDict()  # a dict forgets its oldest slowly
        self._last_key, self._last_seq = self._rows("counters")[0]
        # Hashes, not ids: a false hit costs one query, and a million of them a tenth of the memory.
        self._started_ids = {hash(row) for row in self._rows("started_ids")}
        self._run_rows = connection.appender("store.runs")
        self._entry_rows = connection.appender("store.entries")
        _living.add(self)

    # --- writing ----------------------------------------------------------------------------------------------------

    def commit(self, transitions: Sequence[Transition]) -> None:
        """See `Store.commit`."""
        self._check_usable()
        if self._committer is None:
            self._committer = threading.get_ident()
        elif self._committer != threading.get_ident():
            raise StoreError(self.path, "another thread does the committing", "Send requests to the service that owns the store.")
        try:
            batch = self._batch(transitions)
            if not batch.entries:
                return
            self._write(batch)
        except EngineBug:
            raise
        except Exception as error:
            self._undo()
            raise WriteFailed(self.path, str(error)) from error
        except BaseException:
            self._undo()
            raise
        self._open_keys.update(batch.opened)
        for row in batch.runs:
            self._started_ids.add(hash((row[1], row[2])))
        for run_id in batch.closed:
            self._closed_keys[run_id] = self._open_keys.pop(run_id)
        while len(self._closed_keys) > _REMEMBERED:
            self._closed_keys.popitem(last=False)

    def _batch(self, transitions: Sequence[Transition]) -> _Batch:
        batch = _Batch([], [], {}, set())
        for transition in transitions:
            events = transition.events
            if not events and not transition.records:
                continue
            if events and events[0].event_id == FIRST_EVENT_ID:
                key = self._open(transition, batch)
            else:
                key = self._key_to_extend(transition.run, batch)
            # Given out even if the commit fails: a gap harms nothing, a number used twice would.
            self._last_seq += 1
            seq = self._last_seq
            append = batch.entries.append
            for event in events:
                attributes = event.attributes
                metadata = event.user_metadata
                append(
                    (
                        key,
                        seq,
                        event.event_id,
                        event.event_time,
                        type(attributes).__name__,
                        encode(attributes).decode(),
                        None if metadata is None else encode(metadata).decode(),
                    )
                )
            for record in transition.records:
                append((key, seq, 0, record.time, type(record).__name__, encode_record(record).decode(), None))
            if events and type(events[-1].attributes) in CLOSE_EVENTS:
                batch.closed.add(transition.run.run_id)
        return batch

    def _open(self, transition: Transition, batch: _Batch) -> int:
        run = transition.run
        first = transition.events[0]
        started = first.attributes
        if not isinstance(started, WorkflowExecutionStarted):
            raise EngineBug(f"{run}: event 1 is {first.stored_name}, not WorkflowExecutionStarted; nothing was written")
        if run.run_id in self._open_keys or run.run_id in self._closed_keys or run.run_id in batch.opened:
            raise EngineBug(f"{run}: opened twice; nothing was written")
        self._last_key += 1
        key = self._last_key
        batch.opened[run.run_id] = key
        batch.runs.append(
            (key, run.namespace, run.workflow_id, run.run_id, started.workflow_type, started.task_queue, first.event_time)
        )
        return key

    def _key_to_extend(self, run: RunRef, batch: _Batch) -> int:
        key = batch.opened.get(run.run_id) or self._open_keys.get(run.run_id)
        if key is None or run.run_id in batch.closed:
            raise EngineBug(f"{run}: is not open, so nothing can be added to it; nothing was written")
        return key

    def _write(self, batch: _Batch) -> None:
        if not batch.runs:  # one statement is a transaction by itself
            self._entry_rows.append_rows(batch.entries)
            self._entry_rows.flush()
            return
        self._connection.begin()
        self._run_rows.append_rows(batch.runs)
        self._run_rows.flush()
        self._entry_rows.append_rows(batch.entries)
        self._entry_rows.flush()
        self._connection.commit()

    def _undo(self) -> None:
        self._run_rows.clear()
        self._entry_rows.clear()
        with contextlib.suppress(duckdb.Error):  # there may be no transaction
            self._connection.rollback()

    # --- reading ----------------------------------------------------------------------------------------------------

    def history(self, run_id: RunId, after_event_id: EventId = 0) -> tuple[Event, ...]:
        """See `Store.history`."""
        key = self._key_of(run_id)
        if key is None:
            return ()
        with self._decoding(run_id):
            return tuple(decode_event(*row) for row in self._rows("history", key, after_event_id))

    def records(self, run_id: RunId) -> tuple[Record, ...]:
        """See `Store.records`."""
        key = self._key_of(run_id)
        if key is None:
            return ()
        with self._decoding(run_id):
            return tuple(decode_record(*row) for row in self._rows("records", key))

    def open_runs(self) -> Iterator[StoredRun]:
        """See `Store.open_runs`. Reads ahead by some thousand rows, so that memory holds one run at a time."""
        run: RunRef | None = None
        present = 0
        entries: list[Entry] = []
        for namespace, workflow_id, run_id, key, event_id, instant, name, data, metadata in self._stream("open_entries"):
            if key != present:
                if run is not None:
                    yield StoredRun(run, tuple(entries))
                run, present, entries = RunRef(namespace, workflow_id, run_id), key, []
            with self._decoding(run_id):
                if event_id:
                    entries.append(decode_event(event_id, instant, name, data, metadata))
                else:
                    entries.append(decode_record(name, data))
        if run is not None:
            yield StoredRun(run, tuple(entries))

    def find_run(self, namespace: str, workflow_id: str, run_id: RunId | None = None) -> RunRow | None:
        """See `Store.find_run`."""
        self._check_usable()
        if hash((namespace, workflow_id)) not in self._started_ids:
            return None
        if run_id is None:
            rows = self._rows("latest_run", namespace, workflow_id)
        else:
            rows = self._rows("named_run", namespace, workflow_id, run_id)
        key = rows[0][0]
        return None if key is None else self._run_row(self._rows("run_row", key)[0])

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
        wanted = None if status is None else int(status)
        rows = self._rows("list_runs", namespace, workflow_type, workflow_id, wanted, limit)
        return tuple(self._run_row(row).info for row in rows)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor for SQL over the views, for one thread; meant for reading. Closed with the store."""
        self._check_usable()
        try:
            cursor = self._connection.cursor()
        except duckdb.Error as error:
            raise self._read_error(error) from error
        with self._lock:
            self._cursors.add(cursor)
        return cursor

    def _key_of(self, run_id: RunId) -> int | None:
        key = self._open_keys.get(run_id) or self._closed_keys.get(run_id)
        if key is None:
            rows = self._rows("key_of_run", run_id)
            key = rows[0][0] if rows else None
        return key

    def _run_row(self, row: Row) -> RunRow:
        namespace, workflow_id, run_id, start_time, data, metadata, status, close_time, history_length = row
        with self._decoding(run_id):
            first = decode_event(FIRST_EVENT_ID, start_time, WorkflowExecutionStarted.__name__, data, metadata)
        started = first.attributes
        assert isinstance(started, WorkflowExecutionStarted)
        run = RunRef(namespace, WorkflowId(workflow_id), RunId(run_id))
        user_metadata: UserMetadata | None = first.user_metadata
        state = WorkflowExecutionStatus(status)
        return RunRow(run, started, state, start_time, close_time, history_length, user_metadata)

    def _rows(self, query: str, *parameters: object) -> list[Any]:
        cursor = self.cursor()
        try:
            return cursor.execute(self._queries[query], parameters).fetchall()
        except duckdb.Error as error:
            raise self._read_error(error) from error
        finally:
            cursor.close()

    def _stream(self, query: str) -> Iterator[Any]:
        cursor = self.cursor()
        try:
            cursor.execute(self._queries[query])
            while rows := cursor.fetchmany(_BATCH):
                yield from rows
        except duckdb.Error as error:
            raise self._read_error(error) from error
        finally:
            cursor.close()

    def _read_error(self, error: duckdb.Error) -> StoreError:
        return self._closed_error() if self._unusable else opening.store_error(self.path, error)

    @contextlib.contextmanager
    def _decoding(self, run_id: str) -> Generator[None]:
        try:
            yield
        except msgspec.MsgspecError as error:
            raise DatabaseCorrupt(self.path, f"run {run_id}: {error}") from error

    # --- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """See `Store.close`. Folds the write-ahead log into the file and lets other processes open it.

        A query that still runs in another thread is interrupted; other processes wait until its cursor is dropped.
        """
        if self._unusable:
            return
        self._unusable = "is closed"
        with self._lock:
            cursors = list(self._cursors)
        for cursor in cursors:
            try:
                cursor.close()
            except duckdb.Error:  # busy in another thread
                cursor.interrupt()
        # On a full disk the log stays beside the file and is read at the next opening.
        with contextlib.suppress(duckdb.Error):
            self._connection.execute("checkpoint")
        self._connection.close()
        # Somebody may keep this object until the process ends, and DuckDB's binding complains about what is left then.
        del self._entry_rows, self._run_rows, self._connection
        opening.release(self.path)

    def abandon_in_child(self) -> None:
        """Refuse all use in a forked child, and never touch the file there; called by the hook that runs after a fork."""
        if self._unusable:
            return
        self._unusable = f"was opened by process {os.getppid()} and cannot be used in the process forked from it"
        # DuckDB's own threads did not survive the fork: destroying these objects would crash the child, or write to the
        # parent's file. So they are kept for ever.
        for owned in (self._connection, self._run_rows, self._entry_rows, *self._cursors):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(owned))

    def _check_usable(self) -> None:
        if self._unusable:
            raise self._closed_error()

    def _closed_error(self) -> StoreError:
        way_out = "Open it again."
        if "forked" in self._unusable:
            way_out = (
                "Start the process with the 'spawn' method (multiprocessing.get_context('spawn')), or as a program of its own."
            )
        return StoreError(self.path, self._unusable, way_out)


_living: weakref.WeakSet[DuckDBStore] = weakref.WeakSet()  # for the hook below alone: Python cannot unregister one


def _after_fork() -> None:
    for store in list(_living):
        store.abandon_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_duckdb(path: str | Path = opening.MEMORY, *, owner: str | None = None, now: Instant | None = None) -> DuckDBStore:
    """Open a database, or make one, and bring it to the present schema. Closing it is the caller's.

    Args:
        path: a file in an existing folder, or ``":memory:"``. For the default place see `opening.make_database_folder`.
        owner: what to call this process when another one wants the file: a notebook's name. None takes the program's name.
        now: recorded with migrations; None asks the clock.

    Raises:
        DatabaseInUse: another process, or this one, has it open.
        DatabaseReadOnly: file or folder cannot be written.
        DatabaseCorrupt: no DuckDB database, or a damaged one.
        DatabaseTooNew: a newer flowkernel wrote it.
        StoreError: no such folder, the path is a folder, or the file holds somebody else's tables.
    """
    now = time.time_ns() if now is None else now
    owner = Path(sys.argv[0]).name or "python" if owner is None else owner
    if path != opening.MEMORY:
        path = Path(path).absolute()  # the working directory may change before the store is closed
    connection = opening.connect(path, owner, now)
    try:
        schema.prepare(connection, path, now)
        return DuckDBStore(connection, path)
    except BaseException as error:
        connection.close()
        opening.release(path)
        if isinstance(error, duckdb.Error):
            raise opening.store_error(path, error) from error
        raise
